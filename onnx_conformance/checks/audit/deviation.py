"""Deviation of a found tensor from the expected one, and the tolerance of a weight, in float64.

A file in float32 holds exact copies. One in half precision holds rounded values: a copy is one of
the two numbers next to the value, a fold is off by the rounding error of its arithmetic in that
type.
One in eight bits holds multiples of a step: each value is off by at most half a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.arrays import Array

_TINY = float(np.finfo(np.float32).tiny)  # below it float32 keeps few bits, or none at all
# Resemblance, not verdicts: wider than bfloat16's rounding, a wrong epsilon or a stale step; in
# steps, wider than what rounding does to a channel of small values.
_NEAR, _NEAR_IN_STEPS = 2.0**-6, 2.0**-3


@dataclass(frozen=True)
class Rounding:
    """How a file's class of precision may round weights, and how far they may be off then.

    Args:
        narrow: the dtype that it keeps weights in, where that is narrower than native's
            ("float16"): an initialiser of it holds rounded values.
        copy_ulp: how far a copied value may be off in it, in units of its epsilon.
        tiny_ulp: what is granted besides, in its smallest numbers: converters lift what it would
            lose to a number that it has.
        steps: of initialisers in eight bits, given as the numbers that they stand for, the scale of
            each element.
        step_share: how far such a value may be off, in steps.
    """

    narrow: str = ""
    copy_ulp: float = 0.0
    tiny_ulp: float = 0.0
    steps: Mapping[str, Array] = field(default_factory=dict)
    step_share: float = 0.0


EXACT = Rounding()


@dataclass(frozen=True)
class WeightTolerance:
    """What is granted to a value of one format.

    Args:
        eps: the unit of deviations, the format's machine epsilon.
        tiny: granted besides, in absolute terms (see ``measure.deviations``): a number, or one for
            each element.
        copy, fold: the largest deviation of a copied and of a folded value, in that unit.
    """

    eps: float
    tiny: float | Array
    copy: float
    fold: float


@dataclass(frozen=True, eq=False)
class Format:
    """How a file keeps native values: as they are, or rounded to a narrow format.

    Args:
        fold_ulp: how far a folded value may be from the fold computed in float64, in units of
            the format's epsilon times the magnitude of the terms it is made of.
        rounding: to a narrow format, or in steps; EXACT for native's own.
        step: of an initialiser in eight bits, each element's scale; None for others.
    """

    fold_ulp: float
    rounding: Rounding = EXACT
    step: Array | None = None

    @property
    def narrow(self) -> str:
        """The narrow format's dtype; empty for native's own."""
        return self.rounding.narrow

    @property
    def near(self) -> float:
        """How alike two tensors must be, relatively, to be taken for one another."""
        return _NEAR if self.step is None else _NEAR_IN_STEPS

    def weight_tolerance(self, native: np.dtype[Any]) -> WeightTolerance:
        """What is granted to a native tensor of that dtype."""
        if self.step is not None:
            share, eps = self.rounding.step_share, float(np.finfo(native).eps)
            return WeightTolerance(self.fold_ulp * eps / share, self.step, share, share)
        if self._narrows(native):
            info = np.finfo(np.dtype(self.narrow))
            tiny = self.rounding.tiny_ulp * float(info.smallest_subnormal)
            return WeightTolerance(float(info.eps), tiny, self.rounding.copy_ulp, self.fold_ulp)
        return WeightTolerance(float(np.finfo(native).eps), _TINY, 0.0, self.fold_ulp)

    def held(self, native: Array) -> Array:
        """The native tensor as the file would hold it, had it rounded to the nearest.

        What the format cannot hold becomes NaN, and equals nothing.
        """
        if not self._narrows(native.dtype):
            return native
        with np.errstate(over="ignore", under="ignore"):
            held = native.astype(self.narrow)
        lost = np.isinf(held) & np.isfinite(native)
        return np.where(lost, held.dtype.type(np.nan), held) if lost.any() else held

    def settled(self, array: Array) -> Array:
        """An array with zero for what a converter may lift or flush, where the format is narrow."""
        if not self.narrow or array.dtype.name != self.narrow:
            return array
        tiny = self.rounding.tiny_ulp * np.finfo(array.dtype).smallest_subnormal
        return np.where(np.abs(array) < tiny, array.dtype.type(0), array)

    def _narrows(self, native: np.dtype[Any]) -> bool:
        return bool(self.narrow) and np.issubdtype(native, np.floating) and native.itemsize > 2


class Formats:
    """The formats that one file may use."""

    def __init__(self, fold_ulp: float, rounding: Rounding) -> None:
        self._narrow = rounding.narrow
        wide, narrowed = Format(fold_ulp), replace(rounding, steps={})
        self.known = (wide, Format(fold_ulp, narrowed)) if rounding.narrow else (wide,)
        self._stepped = {
            name: Format(fold_ulp, replace(narrowed, narrow=""), step)
            for name, step in rounding.steps.items()
        }

    def of(self, name: str, found: Array) -> Format:
        """The format of an initialiser, which its own dtype tells, or its scale."""
        narrowed = bool(self._narrow) and found.dtype.name == self._narrow
        return self._stepped.get(name, self.known[-1 if narrowed else 0])


Float64 = NDArray[np.float64]

_BLOCK = 1 << 15  # elements; the temporaries of one block stay in the processor's cache


@dataclass(frozen=True)
class Measure:
    """A full comparison.

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
