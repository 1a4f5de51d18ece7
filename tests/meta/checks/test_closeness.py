"""allclose: a tolerance in units of an output's rms beside what float32 itself errs."""

import numpy as np
import pytest

from onnx_conformance.checks.closeness import (
    absolute_error,
    check_allclose,
    check_top5,
    rank_problem,
)
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from tests.meta.plain_subject import plain_subject, wide_model


def peaked(x, off=0.0):
    """One number of a thousand times the others' size, off by ``off``."""
    y = 1e-3 * np.tanh(np.asarray(x, np.float64))
    y[:, 0] = 0.1 + off
    return y


def subject_of(error, noise):
    """A runtime that errs by ``error`` at the large number, where float32 errs by ``noise``."""

    def reference(inputs):
        exact = peaked(inputs["x"])
        native = {"y": peaked(inputs["x"], noise)}
        return Reference({"y": exact}, native, ({"y": peaked(inputs["x"], -noise)},))

    return plain_subject(
        wide_model(64),
        reference,
        lambda inputs: peaked(inputs["x"], error),
        native=lambda inputs: reference(inputs).native,
        fail_fast=True,
    )


@pytest.mark.parametrize(
    ("error", "noise", "outcome"),
    [
        (0.0, 0.0, "passed"),
        (-3e-4, 2e-4, "skipped"),  # beyond the tolerance on every input, and float32 as far off
        (-3e-4, 1e-6, "failed"),  # float32 computes it: the file must, too
        (-3e-3, 2e-4, "failed"),  # ten times what float32 errs
    ],
)
def test_a_peak_is_held_to_what_float32_itself_errs(error, noise, outcome):
    assert check_allclose(subject_of(error, noise)).outcome == outcome


@pytest.mark.parametrize(
    ("order", "outcome"),
    [((0, 1, 2, 3), "passed"), ((1, 0, 2, 3), "failed"), ((0, 1, 3, 2), "failed")],
)
def test_masked_classes_rank_last_and_tie_with_each_other(order, outcome):
    """Classes that a mask leaves out are minus infinity in every answer."""

    def logits(x):
        scores = np.tanh(np.asarray(x, np.float64)) + np.arange(4)[::-1] * 3.0
        return np.concatenate([scores, np.full((len(x), 2), -np.inf)], 1)

    def reference(inputs):
        exact = logits(inputs["x"])
        near = exact.astype(np.float32)
        return Reference({"y": exact}, {"y": near}, ({"y": near},))

    def answer(inputs):
        return logits(inputs["x"])[:, [*order, 5, 4]].astype(np.float32)

    model = ModelSpec(
        "m", "torch", (TensorSpec("x", ("batch", 4)),), (TensorSpec("y", ("batch", 6)),), ""
    )
    assert check_top5(plain_subject(model, reference, answer)).outcome == outcome


def test_an_answer_without_numbers_ranks_none():
    """What a condition selects may be nothing."""
    nothing = {"y": np.zeros((1, 0))}
    reference = Reference(nothing, nothing, (nothing,))
    assert absolute_error(reference, "y", 0) == 0.0
    assert rank_problem(reference, nothing, "y", 0, 0.0) == (None, 0)
