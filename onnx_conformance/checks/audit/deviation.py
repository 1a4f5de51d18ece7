"""Deviation of a found tensor from the expected one, element by element, in float64."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

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


class TensorBlock(NamedTuple):
    """A part of a comparison; ``start`` is the flat position of its first element."""

    start: int
    expected: Float64
    magnitude: Float64
    found: Array
    tiny: float | Array = 0.0


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
    outer, channels = int(np.prod(found.shape[:axis])), found.shape[axis]
    shape = (outer, channels, -1)
    factors = np.broadcast_to(factor, (channels,))[None, :, None]
    source, target = aligned.reshape(shape), found.reshape(shape)
    tiny = np.broadcast_to(weight_tolerance.tiny, found.shape).reshape(shape)

    def blocks() -> Iterator[TensorBlock]:
        for start, part in _parts(*target.shape):
            expected = source[part].astype(np.float64) * factors[(slice(None), *part[1:])]
            yield TensorBlock(start, expected, np.abs(expected), target[part], tiny[part])

    return _measure(blocks(), found.size, weight_tolerance, limit)


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
    flat = found.reshape(-1)
    tiny = np.broadcast_to(weight_tolerance.tiny, found.shape).reshape(-1)
    return _measure(
        [TensorBlock(0, expected, magnitude, flat, tiny)], found.size, weight_tolerance, limit
    )


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


def _parts(
    outer: int, channels: int, inner: int
) -> Iterator[tuple[int, tuple[slice, slice, slice]]]:
    """Contiguous parts of an (outer, channels, inner) array, with their flat start."""
    everything = slice(None)
    if outer > 1:
        step = max(1, _BLOCK // (channels * inner))
        for start in range(0, outer, step):
            rows = slice(start, start + step)
            yield start * channels * inner, (rows, everything, everything)
        return
    step = max(1, _BLOCK // inner)
    for start in range(0, channels, step):
        yield start * inner, (everything, slice(start, start + step), everything)


def _measure(
    blocks: Iterable[TensorBlock], elements: int, weight_tolerance: WeightTolerance, limit: float
) -> Measure:
    mismatched, worst = 0, (-1.0, 0, 0.0, 0.0)
    for start, expected, magnitude, there, tiny in blocks:
        units = deviations(
            expected, magnitude, there.astype(np.float64), weight_tolerance.eps, tiny
        )
        place = int(units.argmax())
        peak = float(units.flat[place])
        if peak > limit:
            mismatched += int(np.count_nonzero(units > limit))
        if peak > worst[0]:
            worst = (peak, start + place, float(expected.flat[place]), float(there.flat[place]))
    ulp, flat, value, found = worst
    return Measure(elements, mismatched, flat, value, found, ulp)
