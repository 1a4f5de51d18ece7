"""Number formats of a file, and how far each may set a weight off.

A file in float32 holds exact copies. One in half precision holds rounded values: a copy is one of
the two numbers next to the value, a fold is off by the rounding error of its arithmetic in that
type.
One in eight bits holds multiples of a step: each value is off by at most half a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

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

    def limit(self, role: str) -> float:
        """The largest deviation of what has this role: a ``copy``, or something folded."""
        return self.copy if role == "copy" else self.fold


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


def narrower_format(native: Array, found: Array) -> str | None:
    """The floating-point format that ``found`` fits in and ``native`` does not, if any.

    It tells a rounded copy from a damaged one: a damaged element leaves all others as wide as
    they were. The narrowest format is named.
    """
    for name, fits in _FORMATS.items():
        if fits(found) and not fits(native):
            return name
    return None


def coarser_format(form: Format, expected: Callable[[], Array], found: Array) -> str | None:
    """The format below the file's own narrow one that ``found`` was rounded to, if any.

    Each value of such a tensor may lie within what a fold is granted.
    """
    if not form.narrow or not _FORMATS["bfloat16"](found):
        return None
    return narrower_format(form.held(expected()), found)


def _fits_bits(array: Array, dropped: int) -> bool:
    """Whether float32 values have ``dropped`` zero bits at the end of the mantissa."""
    single = np.ascontiguousarray(array, dtype=np.float32)
    return _fits_type(array, "float32") and not np.any(single.view(np.uint32) & (2**dropped - 1))


def _fits_type(array: Array, dtype: str) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(array.astype(dtype).astype(array.dtype), array, equal_nan=True))


_FORMATS: dict[str, Callable[[Array], bool]] = {
    "bfloat16": lambda array: _fits_bits(array, 16),
    "float16": lambda array: _fits_type(array, "float16"),
    "tf32": lambda array: _fits_bits(array, 13),
    "float32": lambda array: _fits_type(array, "float32"),
}
