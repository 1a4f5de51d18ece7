"""allclose: a tolerance in units of an output's rms beside what float32 itself errs."""

import numpy as np
import pytest

from onnx_conformance.checks.closeness import check_allclose
from onnx_conformance.core.budget import Reference
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
