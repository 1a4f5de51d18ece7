"""Deviation of a found tensor from the expected one, element by element, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.checks.audit.formats import WeightTolerance
from onnx_conformance.core.arrays import Array

Float64 = NDArray[np.float64]

_BLOCK = 1 << 15  # elements; the temporaries of one block stay in the processor's cache


@dataclass(frozen=True)
class Measure:
    """What the comparison of all elements found.

    Args:
        mismatched: how many elements deviate by more than the limit.
        flat: position of the worst element in the compared layout.
        ulp: its deviation in units of epsilon times the magnitude expected there.
    """

    elements: int
    mismatched: int
    flat: int
    expected: float
    found: float
    ulp: float


def measure_scaled(
    aligned: Array,
    factor: Float64,
    axis: int,
    found: Array,
    weight_tolerance: WeightTolerance,
    limit: float,
) -> Measure:
    """Compare ``found`` with ``aligned`` times ``factor`` along ``axis``.

    Args:
        aligned: the native tensor in the layout of ``found``, same shape.
        factor: (channels,), or (1,) for the same factor everywhere.
        limit: the largest deviation allowed, in units of the tolerance.
    """
    source, inner = aligned.reshape(-1), int(np.prod(found.shape[axis + 1 :]))

    def scaled(part: slice) -> tuple[Float64, Float64]:
        factors = factor
        if factor.size > 1:
            factors = factor[np.arange(part.start, part.stop) // inner % factor.size]
        expected = source[part].astype(np.float64) * factors
        return expected, np.abs(expected)

    return _measure(scaled, found, weight_tolerance, limit)


def measure_terms(
    expected: Float64,
    magnitude: Float64,
    found: Array,
    weight_tolerance: WeightTolerance,
    limit: float,
) -> Measure:
    """Compare flat vectors; ``magnitude`` is the sum of the terms' absolute values.

    A sum that cancels (beta - mean * factor) is rounded in proportion to its terms.
    """
    return _measure(lambda part: (expected[part], magnitude[part]), found, weight_tolerance, limit)


def deviations(
    expected: Float64,
    magnitude: Float64,
    found: Float64,
    eps: float | Float64,
    tiny: float | Float64,
) -> Float64:
    """|found - expected| in units of ``eps * magnitude``; NaN counts as infinitely far.

    ``tiny`` is granted: a fold may flush what lies below it to zero.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        units = np.abs(found - expected) / (eps * magnitude + tiny)
    return np.where(np.isnan(units), np.inf, units)


def _measure(
    expected_of: Callable[[slice], tuple[Float64, Float64]],
    found: Array,
    weight_tolerance: WeightTolerance,
    limit: float,
) -> Measure:
    """Compare block by block; ``expected_of`` gives what a part should be, and its magnitude."""
    flat = found.reshape(-1)
    tiny = np.broadcast_to(weight_tolerance.tiny, found.shape).reshape(-1)
    mismatched, worst = 0, (-1.0, 0, 0.0, 0.0)
    for start in range(0, flat.size, _BLOCK):
        part = slice(start, min(start + _BLOCK, flat.size))
        (expected, magnitude), there = expected_of(part), flat[part].astype(np.float64)
        units = deviations(expected, magnitude, there, weight_tolerance.eps, tiny[part])
        place = int(units.argmax())
        peak = float(units[place])
        if peak > limit:
            mismatched += int(np.count_nonzero(units > limit))
        if peak > worst[0]:
            worst = (peak, start + place, float(expected[place]), float(there[place]))
    ulp, position, value, seen = worst
    return Measure(flat.size, mismatched, position, value, seen, ulp)
