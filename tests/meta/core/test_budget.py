"""The error budget: it passes float32's own error, and nothing that is another function."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_conformance.core.budget import (
    Reference,
    Turns,
    largest_noise_floor,
    movements,
    stack,
    worst_score,
    wrong_decisions,
)
from onnx_conformance.core.compute_modes import ULP
from onnx_conformance.core.pooled_budget import PoolRule, pooled_scores
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.core.views import masked_from
from tests.meta.running import ROOT

RULE = load_tolerances(ROOT / "tolerances.yaml").defaults["error_budget"]
LINEAR = (TensorSpec("output", ("batch", 6)),)
TWO = (*LINEAR, replace(LINEAR[0], name="second"))
PROBABILITIES = (TensorSpec("output", ("batch", 6), scale="probabilities"),)


def rounded(rng, exact):
    """One way to compute ``exact`` in float32: each element off by at most about an ulp."""
    return (exact * (1 + ULP * rng.uniform(-1, 1, exact.shape))).astype(np.float32)


def reference(exact, seed=0):
    rng = np.random.default_rng(seed)
    native, *replicas = ({"output": rounded(rng, exact)} for _ in range(4))
    return Reference({"output": exact}, native, tuple(replicas))


def beside(first, second):
    """References of two outputs, ``output`` and ``second``."""
    return [
        Reference(
            {**one.oracle, "second": two.oracle["output"]},
            {**one.native, "second": two.native["output"]},
            tuple(
                {**a, "second": b["output"]}
                for a, b in zip(one.replicas, two.replicas, strict=True)
            ),
        )
        for one, two in zip(first, second, strict=True)
    ]


def score(ref, actual, outputs=LINEAR):
    return worst_score(ref, {"output": actual}, outputs, RULE["floor_ulp"])


def within_budget(ref, actual, outputs=LINEAR):
    return score(ref, actual, outputs).value <= RULE["factor"]


@pytest.fixture
def ref():
    """Four samples of unlike size, as the pinned inputs have them."""
    rng = np.random.default_rng(7)
    return reference(rng.standard_normal((4, 6)) * np.array([[1e-3], [1.0], [1e2], [1e6]]))


# -- what passes -----------------------------------------------------------------------------


def test_native_judged_by_itself_passes_below_one(ref):
    assert 0 < score(ref, ref.native["output"]).value < 1


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(-60, 60))
def test_another_float32_rounding_passes(seed, batch, exponent):
    rng = np.random.default_rng(seed)
    ref = reference(rng.standard_normal((batch, 6)) * 2.0**exponent, seed)
    assert within_budget(ref, rounded(rng, ref.oracle["output"]))


def test_exact_answer_scores_zero(ref):
    assert score(ref, ref.oracle["output"]).value == 0


def test_zero_outputs_pass_as_zeros():
    zeros = np.zeros((2, 6))
    assert within_budget(reference(zeros), zeros.astype(np.float32))


def test_saturated_softmax_passes():
    """Probabilities that underflow float32 are no error of the runtime's."""
    exact = np.array([[1.0, 1e-50, 0.0, 1e-38, 1e-44, 1e-300]])
    assert within_budget(reference(exact), exact.astype(np.float32), PROBABILITIES)


def test_denormal_probability_may_be_flushed_to_zero():
    exact, flushed = np.array([[1.0, 1e-2, 1e-4, 1e-40]]), np.array([[1.0, 1e-2, 1e-4, 0.0]])
    assert within_budget(reference(exact), flushed.astype(np.float32), PROBABILITIES)


# -- what fails ------------------------------------------------------------------------------


def one_element(array):
    array[2, 3] *= 1 + 1e-5
    return array


def smallest_sample(array):
    array[0] *= 1 + 1e-5
    return array


def with_value(value):
    def put(array):
        array[1, 1] = value
        return array

    return put


WRONG = {
    "scaled by 1e-5": lambda array: array * np.float32(1 + 1e-5),
    "scaled by a tenth": lambda array: array * np.float32(1.1),
    "negative": lambda array: -array,
    "one element": one_element,
    "one sample of four, the smallest": smallest_sample,
    "rows swapped": lambda array: array[[1, 0, 2, 3]],
    "one row for all": lambda array: np.repeat(array[:1], 4, axis=0),
    "columns reversed": lambda array: array[:, ::-1],
    "all zeros": np.zeros_like,
    "constant": np.ones_like,
    "a float16 in between": lambda array: (array / 1e3).astype(np.float16).astype("f4") * 1000,
    "NaN": with_value(np.nan),
    "inf": with_value(np.inf),
    "-inf": with_value(-np.inf),
    "all NaN": lambda array: np.full_like(array, np.nan),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_another_function_fails(ref, change):
    assert not within_budget(ref, change(ref.native["output"].copy()))


def test_one_bad_sample_among_many_good_and_large_ones_is_seen():
    exact = np.full((100, 6), 1e6)
    exact[57] = np.linspace(0.5e-3, 1e-3, 6)
    ref = reference(exact)
    actual = ref.native["output"].copy()
    actual[57, 2] += 1e-7
    found = score(ref, actual)
    assert found.value > RULE["factor"]
    assert (found.sample, found.output) == (57, "output")
    assert "sample 57 of 'output'" in str(found)


def test_max_norm_sees_one_element_of_many_in_a_small_sample():
    """Spread over ten thousand elements, the rms of the error is small."""
    exact = np.random.default_rng(1).standard_normal((2, 10_000)) * np.array([[1e-3], [1e3]])
    ref = reference(exact)
    actual = ref.native["output"].copy()
    actual[0, 4321] += 1e-3 * 200 * ULP
    found = score(ref, actual)
    assert found.value > RULE["factor"]
    assert (found.sample, found.norm) == (0, "max")


def test_wrong_second_output_is_seen_and_named(ref):
    [both] = beside([ref], [ref])
    actual = {"output": ref.native["output"], "second": -ref.native["output"]}
    found = worst_score(both, actual, TWO, RULE["floor_ulp"])
    assert (found.output, found.value > RULE["factor"]) == ("second", True)


def test_log_view_sees_what_the_plain_view_misses_on_flat_probabilities():
    """An odd class is wrong by 0.01 %, far below the error of the value that dominates."""
    exact = np.array([[1 - 5e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3]])
    ref = reference(exact)
    actual = ref.native["output"].copy()
    actual[0, 3] *= 1 + 1e-4
    assert within_budget(ref, actual, LINEAR)
    found = score(ref, actual, PROBABILITIES)
    assert found.value > RULE["factor"]
    assert found.view == "logarithms"


@pytest.mark.parametrize("masked", [-1e9, -np.inf])
def test_logits_beside_masked_ones_are_judged(masked):
    exact = np.random.default_rng(0).normal(size=(3, 12))
    exact[:, 8:] = masked
    ref = reference(exact)
    right, wrong = ref.native["output"].copy(), ref.native["output"].copy()
    wrong[1, 2] *= 1 + 1e-4
    assert within_budget(ref, right, LINEAR)
    assert not within_budget(ref, wrong, LINEAR)
    right[2, 9] = 0 if np.isinf(masked) else masked * (1 + 1e-4)
    assert not within_budget(ref, right, LINEAR)


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_few_logits_beside_masked_ones_are_judged_together(kept):
    exact = np.random.default_rng(0).normal(size=(6, 4))
    exact[:, kept:] = -1e9
    ref = reference(exact)
    right, wrong = ref.native["output"].copy(), ref.native["output"].copy()
    wrong[1, 0] += 1e-4
    assert within_budget(ref, right, LINEAR)
    assert not within_budget(ref, wrong, LINEAR)
    rule = PoolRule(4.0, 2.0, 0.1, 0.9, 8.0)
    for answer, over in ((right, False), (wrong, True)):
        scores = pooled_scores([(ref, {"output": answer})], LINEAR, rule)
        assert any((one.ratios(0) > 1.0).any() for one in scores) == over


def test_few_numbers_beside_a_large_one_that_varies_are_judged_in_many_samples_alone():
    """A rate beside a price: of few samples float32's own error is not known well enough."""
    exact = np.random.default_rng(0).normal(size=(512, 2)) * [1e6, 1.0]
    assert not masked_from(exact).any()
    ref, rule = reference(exact), PoolRule(4.0, 2.0, 0.1, 0.9, 8.0, strays=4.0)
    right, wrong = ref.replicas[0]["output"], ref.native["output"].copy()
    wrong[:, 1] = np.tanh(wrong[:, 1])
    for answer, over in ((right, False), (wrong, True)):
        scores = pooled_scores([(ref, {"output": answer})], LINEAR, rule)
        assert any((one.ratios(0) > 1.0).any() for one in scores) == over


def test_samples_that_overflow_widen_no_pool():
    """Exp of large numbers; the others of a whole set are exact, and their share is 0."""
    exact = np.ones((64, 6))
    exact[0] = np.inf
    ref, rule = (
        Reference(*({"output": exact},) * 2, ({"output": exact},)),
        PoolRule(4.0, 2.0, 0.1, 0.9, 8.0),
    )
    wrong = exact.copy()
    wrong[1, 0] += 1e-4
    for answer, over in ((exact, False), (wrong, True)):
        scores = pooled_scores([(ref, {"output": answer})], LINEAR, rule)
        assert any((one.ratios(0) > 1.0).any() for one in scores) == over


def test_masked_numbers_are_reported():
    assert masked_from(np.array([[-1e9, 1.0, 0.5, 0.0, 2.0, 3.0, -1e9]])) == 4.0
    assert masked_from(np.array([[-1e4 + 1, 1.0, 0.5, 0.2, 2.0, 3.0, -1e4 - 1]])) == 4.0
    others = ([-1e9, 1.0, 2.0, 3.0], [1e6, 2e6, 1.0, 1.0, 1.0, 1.0], [0.0] * 6, [1e300] * 6)
    for few in (*others, [0.9, 1e-9, 1e-9, 1e-9, 1e-9]):  # the last out of a sigmoid's tail
        assert masked_from(np.array([few])) == 0.0
    assert not masked_from(np.random.default_rng(0).normal(size=(1000, 1000))).any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_native_that_is_not_finite_excuses_nothing(ref, value):
    """float32 overflows where float64 does not: the noise floor is no measure, so no pass."""
    broken = reference(ref.oracle["output"])
    for answer in (broken.native, *broken.replicas):
        answer["output"][1, 1] = value
    assert not within_budget(broken, broken.native["output"])
    assert not within_budget(broken, -ref.native["output"])
    for both in (*beside([ref], [broken]), *beside([broken], [ref])):
        assert not worst_score(both, both.native, TWO, RULE["floor_ulp"]).value <= RULE["factor"]


@pytest.mark.parametrize("shape", [(0, 6), (4, 0)])
def test_nothing_to_compare_is_an_error(shape):
    empty = reference(np.zeros(shape))
    with pytest.raises(ValueError, match="no element to compare"):
        score(empty, empty.native["output"])


def test_no_output_to_compare_is_an_error(ref):
    with pytest.raises(ValueError, match="no element to compare"):
        score(ref, ref.native["output"], outputs=())


# -- what a reference is ---------------------------------------------------------------------


def test_the_noise_floor_is_the_worst_of_float32s_compute_modes(ref):
    worse = {"output": ref.native["output"] * np.float32(1 + 1e-3)}
    lenient = replace(ref, replicas=(*ref.replicas, worse))
    actual = ref.native["output"] * np.float32(1 + 1e-3)
    assert not within_budget(ref, actual)
    assert within_budget(lenient, actual)


def test_stacked_references_are_judged_as_one(ref):
    whole = stack([ref.chosen(slice(0, 1)), ref.chosen(slice(1, 4))])
    actual = one_element(ref.native["output"].copy())
    assert score(whole, actual) == score(ref, actual)


def test_rows_judge_the_first_samples_alone(ref):
    actual = one_element(ref.native["output"].copy())
    assert within_budget(ref.chosen(slice(0, 2)), actual[:2])
    assert not within_budget(ref.chosen(slice(0, 3)), actual[:3])


# -- liveness --------------------------------------------------------------------------------


def references(function, scale=1.0):
    rng = np.random.default_rng(3)
    return [reference(function(scale * rng.standard_normal((4, 6)))) for _ in range(3)]


def softmax(rows):
    powers = np.exp(rows)
    return powers / powers.sum(axis=1, keepdims=True)


def alive(refs, outputs=LINEAR):
    found = movements(refs, outputs, RULE["floor_ulp"], dead_share=0.1, moving_share=0.1)
    return float(np.min(list(found.values())))


def test_linear_function_is_alive_at_any_size():
    for scale in (1e-6, 1.0, 1e6):
        assert alive(references(lambda x: x, scale)) > 1e5


def test_an_output_of_natural_size_one_is_dead_where_its_budget_sees_nothing():
    unit = (replace(LINEAR[0], scale="unit"),)
    small = references(lambda x: x, 1e-7)
    assert within_budget(small[0], -small[0].native["output"] / 4, unit)
    assert alive(small, unit) < 100
    assert alive(references(lambda x: x), unit) > 1e5


@pytest.mark.parametrize("scale", [1.0, 1e-7])
def test_a_constant_mask_hides_neither_what_moves_nor_what_does_not(scale):
    def masked(x):
        return np.where(np.arange(6) < 2, x, -1e9)

    assert (alive(references(masked, scale)) > 1e5) == (scale == 1.0)


def test_constant_function_is_dead():
    assert alive(references(lambda x: np.full_like(x, 3.0))) < 1e-3


def test_function_that_moves_within_its_rounding_is_dead():
    assert alive(references(lambda x: 3.0 + 1e-7 * x)) < 10


def test_one_moving_element_does_not_make_a_function_alive():
    assert alive(references(lambda x: np.where(np.arange(6) == 0, x, 3.0))) < 1e-3


def test_one_dead_output_of_two_is_dead():
    both = beside(references(lambda x: x), references(np.ones_like))
    assert alive(both, TWO) < 1e-3


def test_output_that_is_nan_is_not_alive():
    broken = references(lambda x: x)
    broken[0].replicas[1]["output"][0, 0] = np.nan
    assert not alive(beside(references(lambda x: x), broken), TWO) >= 0


def test_flat_softmax_is_alive_by_its_logarithms():
    """A thousand classes barely move in value; their logarithms do."""
    assert alive(references(softmax), PROBABILITIES) > 1e5
    assert alive(references(lambda x: softmax(0 * x)), PROBABILITIES) < 1e-3


@pytest.mark.parametrize(("places", "lives"), [(1, True), (0, False)])
def test_whole_numbers_are_alive_where_a_share_of_them_changes(places, lives):
    """A mask is background in most places, whatever the image; one that never moves is dead."""
    masks = [np.zeros((2, 6), np.int64) for _ in range(3)]
    for seed, mask in enumerate(masks):
        mask[:, :places] = seed
    refs = [Reference({"output": m}, {"output": m}, ({"output": m},) * 3) for m in masks]
    moved = alive(refs, (replace(LINEAR[0], dtype="int64"),))
    assert (moved > 1e5) == lives


def test_one_still_output_beside_a_moving_one_is_told_apart():
    """The least share that moves: none of one output, all of the other."""

    def reference(seed):
        rng = np.random.default_rng(seed)
        oracle = {"moving": rng.normal(size=(1, 20)), "still": np.full((1, 20), 0.25)}
        answers = {name: array.astype(np.float32) for name, array in oracle.items()}
        return Reference(oracle, answers, (answers, answers, answers))

    outputs = [TensorSpec(name, ("batch", 20)) for name in ("moving", "still")]
    found = movements([reference(seed) for seed in range(5)], outputs, 2.0, 0.9, 0.1)
    assert found["moving"] > 1e5
    assert found["still"] == 0


# -- whole numbers and truth values ----------------------------------------------------------------


def test_decisions_that_native_leaves_open_are_counted():
    spec = TensorSpec("label", ("batch",), "int64")
    sides = [np.arange(9), np.arange(9), np.array([9, *range(1, 9)])]
    reference = Reference({"label": sides[0]}, {"label": sides[1]}, ({"label": sides[2]},))
    wrong, count = wrong_decisions(reference, {"label": np.array([9, 9, *range(2, 9)])}, spec)
    assert (int(wrong.sum()), count) == (1, 1)


@pytest.mark.parametrize(
    ("elements", "left_open", "turned", "right"),
    [
        (10_000, 4, 0, True),
        (10_000, 4, 3, True),
        (10_000, 4, 4, False),  # more than rounding turns
        (10_000, 0, 1, False),  # native is sure of all
        (10_000, 200, 3, False),  # native is sure of too few
        (200, 1, 2, True),
        (200, 1, 3, False),
        (64, 1, 1, False),  # few decisions: each counts
    ],
)
def test_rounding_turns_a_few_of_many_whole_numbers(elements, left_open, turned, right):
    spec = TensorSpec("pixels", ("batch", elements // 2), "uint8")
    exact = np.zeros((2, elements // 2), np.uint8)
    replica, got = exact.copy(), exact.copy()
    replica.flat[:left_open] = 1
    got.flat[-turned or elements :] = 1
    reference = Reference({"pixels": exact}, {"pixels": exact}, ({"pixels": replica},))
    score = worst_score(reference, {"pixels": got}, [spec], 2.0, Turns(3.0, 0.01))
    assert (score.value == 0.0) is right
    exactly = worst_score(reference, {"pixels": got}, [spec], 2.0)
    assert (exactly.value == 0.0) is (turned == 0)


@pytest.mark.parametrize(("known_to", "wrong"), [(1.0, False), (1e-5, True)])
def test_logarithms_that_float32_does_not_know_show_nothing(known_to, wrong):
    """1 - sigmoid(20) is what a rounding left; a softmax knows its small numbers well."""
    spec = [TensorSpec("p", ("batch", 2), scale="probabilities")]

    def pair(small):
        return {"p": np.array([[1.0 - small, small]])}

    reference = Reference(pair(2e-9), pair(2e-9), (pair(2e-9 * (1 + known_to)),))
    score = worst_score(reference, pair(1e-8), spec, 2.0, most=0.1)
    assert (score.value > 4.0) is wrong
    assert largest_noise_floor(reference, spec) < 0.1
