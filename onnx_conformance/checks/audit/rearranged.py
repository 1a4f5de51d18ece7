"""Rearranged tensors: the same values, permuted, split, joined or padded by a rewrite.

Such rewrites are equivalent only if all of them fit together, which is judged by running inputs: a
kernel whose channels are in the wrong order is wrong by far more than the error budget. The audit
asks only whether a value was lost or changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_conformance.checks.audit.deviation import Float64
from onnx_conformance.checks.audit.formats import Format, Formats
from onnx_conformance.checks.audit.matches import Fold
from onnx_conformance.core.arrays import Array

_SAMPLE = 64  # values that tell whether two tensors have to do with each other
_MOST = 0.9
_FEW = 4  # fewer values are alike by chance
_ALIKE = 2.0**-20  # relative


def permuted(
    expected: Float64, found: Float64, tolerance: Float64, indexed: Collection[int] = ()
) -> bool:
    """Whether ``found`` is ``expected`` with slices along its first two axes in another order.

    Args:
        expected, found, tolerance: of one shape; tolerance is absolute, element by element.
        indexed: axes along which the graph reads by index, so that order counts.
    """
    ours, theirs, allowed = expected, found, tolerance
    for axis in range(min(expected.ndim, 2)):
        if axis in indexed or axis - expected.ndim in indexed:
            continue
        order, other = (_order(array, axis) for array in (ours, theirs))
        ours, allowed = (np.take(array, order, axis) for array in (ours, allowed))
        theirs = np.take(theirs, other, axis)
    return bool(np.all(np.abs(ours - theirs) <= allowed))


def _order(array: Float64, axis: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """The slices along ``axis`` from small to large, whatever the order within them."""
    rest = tuple(place for place in range(array.ndim) if place != axis)
    return np.argsort(np.sum(array**3 + array**2, axis=rest), kind="stable")


@dataclass(frozen=True)
class Expectation:
    """Values that an artifact should hold somewhere.

    Args:
        natives: the tensors that they are made of.
        values, tolerance: (elements,), float64, sorted by value.
        alike: how near values are, relatively, that are taken for one another.
    """

    natives: tuple[str, ...]
    values: Float64
    tolerance: Float64
    alike: float

    def knows(self, sample: Float64) -> bool:
        """Whether most of the sample is among the values."""
        return _mostly_in(sample, self.values, self.tolerance)

    def share(self, sample: Float64) -> float:
        """What share of the sample is among the values."""
        return _share_in(sample, self.values, self.tolerance)


def find_rearranged(
    missing: Mapping[str, Array],
    folds: Sequence[Fold],
    leftovers: Sequence[tuple[str, Array]],
    formats: Formats,
) -> dict[str, tuple[str, ...]]:
    """The missing tensors whose values all stand among the leftovers: native -> initialisers.

    Args:
        missing: native tensors that no initialiser resembles.
        leftovers: initialisers that resemble no native tensor.
    """
    found: dict[str, tuple[str, ...]] = {}
    for form in formats.known:
        pools = {
            name: np.sort(_nonzero(array))
            for name, array in leftovers
            if array.size >= _FEW and formats.of(name, array) is form
        }
        found |= _wholly_held(expectations(missing, folds, form), pools)
    return found


def _wholly_held(
    wanted: Iterable[Expectation], pools: Mapping[str, Float64]
) -> dict[str, tuple[str, ...]]:
    """The natives whose values all stand in the pools, which hold nothing else."""
    held: list[tuple[Expectation, list[str]]] = []
    for one in wanted:
        near = [name for name, pool in pools.items() if _related(one, pool)]
        if near and _contained(one, np.sort(np.concatenate([pools[name] for name in near]))):
            held.append((one, near))
    covered = {name for name in pools if _covered(pools[name], [o for o, n in held if name in n])}
    return {
        native: tuple(near) for one, near in held if covered >= set(near) for native in one.natives
    }


def _related(one: Expectation, pool: Float64) -> bool:
    """Whether a sample of the one is in the other."""
    return one.knows(_spread(pool)) or _mostly_in(_spread(one.values), pool, one.alike)


def _covered(pool: Float64, held: Sequence[Expectation]) -> bool:
    """Whether everything in the pool is explained: a damaged value is nobody's."""
    if not held:
        return False
    values = np.concatenate([one.values for one in held])
    tolerance = np.concatenate([one.tolerance for one in held])
    order = np.argsort(values, kind="stable")
    return _mostly_in(pool, values[order], tolerance[order], share=1.0)


def expectations(
    missing: Mapping[str, Array], folds: Sequence[Fold], form: Format
) -> Iterator[Expectation]:
    """What missing tensors may have become: copies, or folds along the first or last axis."""
    for native, array in missing.items():
        if array.size < _FEW or not np.issubdtype(array.dtype, np.floating):
            continue
        weight_tolerance, exact = (
            form.weight_tolerance(array.dtype),
            form.held(array).astype(np.float64),
        )
        copied = weight_tolerance.copy * (
            weight_tolerance.eps * np.abs(exact) + weight_tolerance.tiny
        )
        alike = max(_ALIKE, weight_tolerance.eps)
        yield _expect((native,), exact, copied, alike)
        values = array.astype(np.float64)
        for fold in folds:
            for natives, folded, terms in _folded(native, values, fold):
                yield _expect(
                    natives, folded, weight_tolerance.fold * weight_tolerance.eps * terms, alike
                )


def _folded(
    native: str, values: Float64, fold: Fold
) -> Iterator[tuple[tuple[str, ...], Float64, Float64]]:
    """The natives of a fold, its values, and the magnitude of their terms."""
    if values.ndim == 1:
        for bias, names in ((0.0, ()), (values, (native,))):
            if native in fold.shift or (names and values.size == fold.factor.size):
                offset, terms = fold.offset(bias)
                yield (native, *fold.shift, *names), offset, terms
        if native in fold.scale:
            yield fold.scale, fold.factor, np.abs(fold.factor)
        return
    for axis in dict.fromkeys((0, 1, values.ndim - 1)):
        if values.shape[axis] == fold.factor.size:
            factor = fold.factor.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
            product = values * factor
            yield (native, *fold.scale), product, np.abs(product)


def _expect(
    natives: tuple[str, ...], values: Float64, tolerance: Float64, alike: float
) -> Expectation:
    kept = values.reshape(-1) != 0
    flat, allowed = values.reshape(-1)[kept], tolerance.reshape(-1)[kept]
    order = np.argsort(flat, kind="stable")
    return Expectation(tuple(dict.fromkeys(natives)), flat[order], allowed[order], alike)


def _contained(one: Expectation, pool: Float64) -> bool:
    """Whether each value has its like in the pool (sorted), and one of its own if sizes allow."""
    if one.values.size < _FEW or pool.size < one.values.size:
        return False
    if pool.size == one.values.size:
        return bool(np.all(np.abs(pool - one.values) <= one.tolerance))
    return _mostly_in(one.values, pool, one.tolerance, share=1.0)


def _mostly_in(
    sample: Float64, pool: Float64, tolerance: Float64 | float, share: float = _MOST
) -> bool:
    """Whether a share of the sample lies near a value of the pool, which is sorted."""
    return bool(sample.size and pool.size) and _share_in(sample, pool, tolerance) >= share


def _share_in(sample: Float64, pool: Float64, tolerance: Float64 | float) -> float:
    """What share of the sample lies near a value of the pool, which is sorted.

    Args:
        tolerance: of the sample's values or of the pool's; a number is relative to the sample.
    """
    if not sample.size or not pool.size:
        return 0.0
    after = np.clip(np.searchsorted(pool, sample), 0, pool.size - 1)
    before = np.maximum(after - 1, 0)
    gaps = [np.abs(pool[place] - sample) for place in (before, after)]
    if isinstance(tolerance, float):
        allowed = [tolerance * np.abs(sample)] * 2
    elif tolerance.size == sample.size and tolerance.size != pool.size:
        allowed = [tolerance] * 2
    else:
        allowed = [tolerance[place] for place in (before, after)]
    near = [gap <= most for gap, most in zip(gaps, allowed, strict=True)]
    return float(np.mean(near[0] | near[1]))


def _nonzero(array: Array) -> Float64:
    flat = array.reshape(-1).astype(np.float64)
    kept: Float64 = flat[flat != 0]
    return kept


def _spread(values: Float64) -> Float64:
    """Some of the values, from the smallest to the largest."""
    if not values.size:
        return values
    places = np.unique(np.linspace(0, values.size - 1, _SAMPLE).astype(np.intp))
    return values[places]


# -- parts in order --------------------------------------------------------------------------------

_PARTS = (1, 2, 3, 4)  # gates of an LSTM, of a GRU; query, key and value


def find_parts(
    missing: Mapping[str, Array], leftovers: Sequence[tuple[str, Array]], formats: Formats
) -> dict[str, tuple[str, ...]]:
    """The missing tensors all of whose parts stand among the leftovers: native -> initialisers."""
    pools = [
        (name, found, formats.of(name, found).settled(found).tobytes()) for name, found in leftovers
    ]
    found: dict[str, tuple[str, ...]] = {}
    for native, array in missing.items():
        for parts in _divided(array):
            names = [_holder(part, pools, formats) for part in parts]
            held = tuple(name for name in names if name)
            if len(held) == len(parts):
                found[native] = held
                break
    return found


def _divided(array: Array) -> Iterator[list[Array]]:
    """The tensor in equal parts along its first or last axis."""
    if array.ndim == 0:
        return
    for axis in dict.fromkeys((0, array.ndim - 1)):
        for count in _PARTS:
            if array.shape[axis] % count == 0 and array.size // count >= _FEW:
                yield np.split(array, count, axis)


def _holder(part: Array, pools: Sequence[tuple[str, Array, bytes]], formats: Formats) -> str | None:
    """The initialiser in which the part, or its transpose, stands in one piece."""
    for name, found, held in pools:
        if found.size < part.size:
            continue
        form = formats.of(name, found)
        ours = form.settled(form.held(part))
        if ours.dtype != found.dtype:
            continue
        if any(_is_aligned_within(each.tobytes(), held, found.itemsize) for each in (ours, ours.T)):
            return name
    return None


def _is_aligned_within(piece: bytes, held: bytes, itemsize: int) -> bool:
    place = held.find(piece)
    while place >= 0 and place % itemsize:
        place = held.find(piece, place + 1)
    return place >= 0
