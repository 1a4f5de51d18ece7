"""Inputs that float32 itself computes badly: judged, left out, or nothing that could be asked."""

import numpy as np
import pytest

from onnx_conformance.checks.function import check_denormals, check_error_budget
from onnx_conformance.checks.verdict import judge
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.results import CheckResult
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.inputs.families import denormal, pinned
from onnx_conformance.inputs.recipes import Inputs
from tests import test_function
from tests.meta.plain_subject import plain_subject, wide_model

MODEL = wide_model(64)
NOISE = 1e-4


def centred(x, off=0.0):
    """What a norm of ``x`` gives, with an error of its mean."""
    return x - x.mean(axis=1, keepdims=True) + off


def subject_of(error, noise):
    """A runtime that errs by ``error`` where float32's own ways err by ``noise``."""

    def reference(inputs):
        exact = centred(inputs["x"].astype(np.float64))
        return Reference({"y": exact}, {"y": exact + noise}, ({"y": exact - noise},))

    return plain_subject(
        MODEL, reference, lambda inputs: centred(inputs["x"].astype(np.float64), error)
    )


def verdict(error, *, noise=NOISE):
    """On ones, where the model answers 0 and rounding."""
    inputs = pinned(0)["ones"].inputs(MODEL.inputs)
    return judge(subject_of(error, noise), inputs, "ones").outcome


@pytest.mark.parametrize(
    ("error", "noise", "outcome"),
    [
        (NOISE, NOISE, "passed"),  # 0 to within a ten-thousandth of an ordinary output
        (9 * NOISE, NOISE, "skipped"),  # more than float32 errs: nothing is said, as ever
        (0.5, 0.5, "not_applicable"),  # float32 errs by half of an ordinary output
    ],
)
def test_an_answer_of_nothing_but_rounding(error, noise, outcome):
    assert verdict(error, noise=noise) == outcome


@pytest.mark.parametrize(("size", "outcome"), [(64, "not_applicable"), (1, "skipped")])
def test_inputs_without_variation_are_not_asked_for_unless_no_input_has_any(size, outcome):
    inputs = pinned(0)["ones"].inputs((TensorSpec("x", ("batch", size)),))
    found = judge(subject_of(0.5, 0.5), inputs, "ones")
    assert found.outcome == outcome


@pytest.mark.parametrize(("others", "outcome"), [(6, "not_applicable"), (7, "skipped")])
def test_nor_are_inputs_of_which_nearly_all_is_one_number(others, outcome):
    """A black image with a dot."""
    inputs = Inputs(x=np.zeros((1, 64), np.float32))
    inputs["x"][0, :others] = np.arange(1, others + 1)
    assert judge(subject_of(1e3, 1e3), inputs, "dots").outcome == outcome


def test_a_wrong_answer_to_inputs_without_variation_that_float32_computes_is_red():
    found = subject_of(0.5, NOISE)
    away = {"y": np.ones((1, 64))}  # from 0, where it would be nothing but rounding
    near = {"y": away["y"] + NOISE}
    found.reference = lambda inputs: Reference(away, near, (near,))
    inputs = pinned(0)["ones"].inputs(MODEL.inputs)
    assert judge(found, inputs, "ones").outcome == "failed"


@pytest.mark.parametrize(
    ("name", "noise", "outcome"),
    [
        ("normal", 1e9, "skipped"),  # ordinary inputs are missed
        ("large_normal", 1e9, "skipped"),
        ("huge_normal", 1e9, "not_applicable"),  # no file could be right there
        ("huge_normal", np.inf, "not_applicable"),
        ("huge_normal", 1.0, "failed"),  # float32 can: the file must
        ("tiny_normal", 1e9, "not_applicable"),  # as of peaks of an image that is nearly black
        ("tiny_normal", 1e-9, "failed"),
        ("onehot", 1e9, "not_applicable"),  # an image of one bright point: nearly all of it ties
        ("onehot", 1e-9, "failed"),
    ],
)
def test_inputs_beyond_ordinary_ones_that_float32_cannot_compute_are_not_asked_for(
    name, noise, outcome
):
    subject = subject_of(max(noise, 1e9), noise)
    assert check_error_budget(subject, pinned(0)[name]).outcome == outcome


@pytest.mark.parametrize(("noise", "outcome"), [(1e9, "not_applicable"), (1e-43, "failed")])
def test_nor_are_denormal_numbers(noise, outcome):
    assert check_denormals(subject_of(1e9, noise), denormal(0)).outcome == outcome


@pytest.mark.parametrize(
    ("name", "outcome"), [("normal", "skipped"), ("huge_normal", "not_applicable")]
)
def test_where_native_answers_infinity_alone_nothing_is_said(name, outcome):
    """An exponential that overflows in float64 as well."""
    subject = subject_of(np.inf, np.inf)
    native = subject.reference
    subject.reference = lambda inputs: Reference(
        native(inputs).native, native(inputs).native, (native(inputs).native,)
    )
    assert check_error_budget(subject, pinned(0)[name]).outcome == outcome


def test_drawn_inputs_that_cannot_be_asked_for_are_replaced_by_others(monkeypatch):
    """Else the first of them would end the test, and the others would be judged by nobody."""
    usual, drawn, judged = CheckResult("error_budget", "passed", "", compared=1), [], []

    def all_but_the_first(check, subject, recipe):
        drawn.append(recipe)
        return usual if len(drawn) > 1 else CheckResult("error_budget", "not_applicable", "")

    monkeypatch.setattr(test_function, "shrunk", all_but_the_first)
    test_function.test_drawn_inputs(subject=None, evidence=lambda _, one: judged.append(one))
    assert len(drawn) > len(judged) >= 4
    assert all(one is usual for one in judged)
