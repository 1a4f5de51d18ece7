"""What NaN and infinity may come out as, on bare arrays."""

import numpy as np
import pytest

from onnx_conformance.checks.robustness import _lost_nonfinite

NAN, INF = np.nan, np.inf
NATIVE = {"y": np.array([[NAN, NAN], [INF, 2.0], [NAN, -INF], [1.0, 2.0]], np.float32)}


def answer(sample, values):
    """Native's answer with another row for one sample."""
    array = NATIVE["y"].copy()
    array[sample] = values
    return {"y": array}


@pytest.mark.parametrize(
    ("sample", "values"),
    [
        (0, [NAN, NAN]),
        (1, [3.4e38, 2.0]),  # a Relu written as a Clip
        (1, [NAN, NAN]),  # a kernel padded with zeros: 0 times infinity
        (2, [INF, NAN]),
    ],
)
def test_infinity_may_come_out_as_nan_or_as_the_largest_number(sample, values):
    assert _lost_nonfinite(NATIVE, answer(sample, values)) is None


@pytest.mark.parametrize(
    ("sample", "values"),
    [
        (0, [0.0, NAN]),
        (0, [3.4e38, NAN]),
        (1, [65504.0, 2.0]),
        (2, [NAN, 0.0]),
        (3, [NAN, 2.0]),  # the clean sample
    ],
)
def test_a_non_finite_value_that_came_out_as_a_number_is_reported(sample, values):
    assert f"at [{sample}, " in _lost_nonfinite(NATIVE, answer(sample, values))
