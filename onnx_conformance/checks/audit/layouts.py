"""Layouts of a tensor in a file: its axes permuted, then some merged, split or dropped.

A layout is a permutation of the native axes; the initialiser is ``native.transpose(layout)``
reshaped. It covers HWIO -> OIHW, depthwise HWCM -> (C*M)1HW, a transposed Dense kernel and a
vector spread to (1, C, 1, 1).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate, permutations
from math import prod
from operator import mul

import numpy as np

from onnx_conformance.core.arrays import Array

Layout = tuple[int, ...]
Shape = tuple[int, ...]

_MAX_AXES = 5  # 120 permutations; a weight with more axes longer than 1 is only sought in place
_SAMPLES = 64


@lru_cache(maxsize=4096)
def layouts(native: Shape, target: Shape) -> tuple[Layout, ...]:
    """The layouts that lead from shape ``native`` to ``target``; the unpermuted one first."""
    if prod(native) != prod(target):
        return ()
    unit = tuple(axis for axis, size in enumerate(native) if size == 1)
    axes = [axis for axis, size in enumerate(native) if size != 1]
    orders = permutations(axes) if len(axes) <= _MAX_AXES else iter([tuple(axes)])
    return tuple(
        order + unit for order in orders if _refines(tuple(native[axis] for axis in order), target)
    )


def _refines(source: Shape, target: Shape) -> bool:
    """Whether one shape's axes are the other's, with neighbours merged."""
    ours, theirs = (
        set(accumulate((size for size in shape if size != 1), mul)) for shape in (source, target)
    )
    return ours <= theirs or theirs <= ours


def align(native: Array, layout: Layout, shape: Shape) -> Array:
    """The native tensor in the initialiser's layout; a view where memory allows."""
    return native.transpose(layout).reshape(shape)


def native_index(flat: int, native: Shape, layout: Layout) -> tuple[int, ...]:
    """Where the ``flat``-th element of the aligned tensor stands in the native one."""
    coordinates = np.unravel_index(flat, tuple(native[axis] for axis in layout))
    index = [0] * len(native)
    for axis, coordinate in zip(layout, coordinates, strict=True):
        index[axis] = int(coordinate)
    return tuple(index)


def take(native: Array, layout: Layout, flat: Array) -> Array:
    """Elements of the aligned tensor at flat positions, without making it."""
    view = native.transpose(layout)
    return view[np.unravel_index(flat, view.shape)] if view.ndim else view.reshape(1)[flat]


def equal_layout(native: Array, found: Array) -> Layout | None:
    """The first layout in which the two hold the same bits, if there is one."""
    positions = np.linspace(0, found.size - 1, _SAMPLES).astype(np.intp)
    sample = bits(found.reshape(-1)[positions])
    for layout in layouts(native.shape, found.shape):
        if np.array_equal(bits(take(native, layout, positions)), sample) and np.array_equal(
            bits(align(native, layout, found.shape)), bits(found)
        ):
            return layout
    return None


def bits(array: Array) -> Array:
    """The array's bit patterns as unsigned integers, flat."""
    return np.ascontiguousarray(array).reshape(-1).view(f"u{min(array.dtype.itemsize, 8)}")


def fingerprint(array: Array) -> tuple[int, str, int]:
    """Equal for arrays that hold the same bit patterns in any order (and seldom otherwise)."""
    patterns = bits(array)
    return array.size, array.dtype.str, int(np.add.reduce(patterns, dtype=patterns.dtype))


def is_gathered(native: Array, found: Array) -> bool:
    """Whether ``found`` repeats the values of ``native``: all of them and no others.

    Without repetition it is no gather but a rearranged tensor.
    """
    if native.dtype != found.dtype or found.size <= native.size or native.min() != found.min():
        return False
    ours = np.unique(bits(native))
    return ours.size > 1 and np.array_equal(ours, np.unique(bits(found)))
