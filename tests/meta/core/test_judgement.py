"""One judgement for checks, timings, the gate and localisation: structure, non-finite, score."""

import numpy as np
import pytest

from onnx_conformance.core.budget import Reference
from onnx_conformance.core.case import Case
from onnx_conformance.core.files import TOLERANCES
from onnx_conformance.core.judgement import AnswerLimits, judge_outputs, limits_of
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.core.tolerances import load_tolerances

SPECS = (TensorSpec("y", ("batch", 4)), TensorSpec("n", ("batch",), "int64"))
EXACT = np.random.default_rng(0).standard_normal((3, 4))
TOLERATED = load_tolerances(TOLERANCES)
CASE = Case("m", "torch_dynamo", 18, "cpu")
LIMITS = {
    "score": limits_of(TOLERATED, CASE, oracle=True),
    "allclose": limits_of(TOLERATED, CASE, oracle=False),
    "decibels": AnswerLimits("decibels", TOLERATED.rule("sqnr", CASE)),
}


def answer(scale=1.0, n=2, **others):
    return {"y": (EXACT * scale).astype(np.float32), "n": np.full(3, n)} | others


REFERENCE = Reference({"y": EXACT, "n": np.full(3, 2)}, answer(), (answer(1 + 2**-22),))


def judged(got, measure, specs=SPECS):
    return judge_outputs(REFERENCE, got, specs, LIMITS[measure])


def with_nan():
    array = answer()["y"]
    array[1, 2] = np.nan
    return answer(y=array)


@pytest.mark.parametrize("measure", LIMITS)
def test_a_right_answer_is_right_by_every_measure(measure):
    found = judged(answer(1 - 2**-23), measure)
    assert found.right
    assert found.elements == EXACT.size + 3


@pytest.mark.parametrize("measure", LIMITS)
@pytest.mark.parametrize(
    ("got", "message"),
    [
        ({"y": answer()["y"]}, "outputs are ['y'], expected ['n', 'y']"),
        (answer(z=EXACT), "outputs are ['n', 'y', 'z'], expected ['n', 'y']"),
        (answer(y=EXACT[:1].astype(np.float32)), "output 'y' has shape (1, 4), expected (3, 4)"),
        (answer(y=EXACT), "output 'y' has dtype float64, expected float32"),
        (with_nan(), "output 'y' differs in NaN at [1, 2]"),
    ],
)
def test_structure_comes_first_and_non_finite_values_second(got, message, measure):
    found = judged(got, measure)
    assert not found.right
    assert found.problem.startswith(message)
    assert str(found) == found.problem
    assert found.severity == np.inf
    assert found.elements == 0
    assert found.comparable == ("NaN" in message)


@pytest.mark.parametrize(
    ("got", "measure", "message"),
    [
        (answer(1.001), "score", "of 'y'"),
        (answer(n=3), "score", "of 'n'"),
        (answer(1.1), "allclose", "11 of 12 elements of 'y' are not close"),
        (answer(n=3), "allclose", "3 of 3 elements of 'n' are not close"),
        (answer(2.0), "decibels", "0.0 dB of signal to quantisation noise"),
        (answer(n=3), "decibels", "0.0 dB of signal to quantisation noise"),
    ],
)
def test_numbers_that_are_off_are_wrong(got, measure, message):
    found = judged(got, measure)
    assert not found.right
    assert message in str(found)
    assert not found.problem
    assert found.severity > judged(answer(), measure).severity


def test_one_output_is_judged_by_itself():
    assert not judged(answer(n=3), "score").right
    assert judged(answer(n=3), "score", SPECS[:1]).right
    assert not judged(answer(n=3, z=EXACT), "score", SPECS[:1]).right  # native has no such output


def test_of_no_element_nothing_is_said():
    none = {"y": np.zeros((0, 4), np.float32)}
    with pytest.raises(ValueError, match="no element"):
        judge_outputs(Reference(none, none, ()), none, SPECS[:1], LIMITS["score"])


def test_native_itself_has_no_overrides():
    found = limits_of(TOLERATED, None, oracle=True)
    assert found.rule.figures == TOLERATED.defaults["error_budget"]


def without_oracle(*, flipped, other=0.05, elements=400):
    """An answer without an oracle: ``flipped`` steps off where native itself may be one off."""
    native = np.linspace(-1, 1, elements).astype(np.float32)[None]
    alternative, got = native.copy(), native.copy()
    alternative[0, ::40] += other
    got[0, 1::40] += flipped
    y = [TensorSpec("y", ("batch", elements))]
    reference = Reference(
        {"y": native}, {"y": native}, (), alternatives=lambda: ({"y": alternative},)
    )
    return judge_outputs(reference, {"y": got}, y, LIMITS["allclose"])


@pytest.mark.parametrize(
    ("flipped", "other", "undecided"),
    [
        (0.05, 0.05, True),  # as far as native is from itself
        (0.5, 0.05, False),  # ten times as far
        (0.05, 0.0, False),  # native answers the same
        (0.05, 0.002, False),  # nearly the same: it is close by allclose
    ],
)
def test_what_native_itself_leaves_open_decides_nothing(flipped, other, undecided):
    found = without_oracle(flipped=flipped, other=other)
    assert not found.right
    assert found.native_differs(4.0) == undecided


def test_native_is_asked_again_only_where_an_answer_is_not_close():
    def ask():
        raise AssertionError("asked")

    native = {"y": EXACT.astype(np.float32)}
    reference = Reference({"y": EXACT}, native, (), alternatives=ask)
    assert judge_outputs(reference, native, SPECS[:1], LIMITS["allclose"]).right
