"""Layouts of a tensor in a file: its axes permuted, then some merged, split or dropped.

A layout is a permutation of the native axes; the initialiser is ``native.transpose(layout)``
reshaped. It covers HWIO -> OIHW, depthwise HWCM -> (C*M)1HW, a transposed Dense kernel and a
vector spread to (1, C, 1, 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, permutations
from math import prod
from operator import mul

import numpy as np
import onnx

from onnx_conformance.checks.audit.deviation import Formats
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


_PARTS = (1, 2, 3, 4)  # gates of an LSTM, of a GRU; query, key and value
_FEW = 4  # fewer values in a part are alike by chance


def find_blocks(
    missing: Mapping[str, Array], leftovers: Sequence[tuple[str, Array]], formats: Formats
) -> dict[str, str]:
    """The missing tensors all of whose parts stand among the leftovers: native -> initialiser."""
    pools = [
        (name, found, formats.of(name, found).settled(found).tobytes()) for name, found in leftovers
    ]
    found: dict[str, str] = {}
    for native, array in missing.items():
        for parts in _divided(array):
            names = [_holder(part, pools, formats) for part in parts]
            if all(names):
                found[native] = str(names[0])
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
        if any(_stands(each.tobytes(), held, found.itemsize) for each in (ours, ours.T)):
            return name
    return None


def _stands(piece: bytes, held: bytes, itemsize: int) -> bool:
    place = held.find(piece)
    while place >= 0 and place % itemsize:
        place = held.find(piece, place + 1)
    return place >= 0


DOMAIN = "com.microsoft.nchwc"
BLOCKS = (16, 8)  # floats of a vector register: AVX-512, and others; the file does not say which


def readings(model: onnx.ModelProto, stored: Mapping[str, Array]) -> Iterator[Mapping[str, Array]]:
    """What the file's weights may be: as they are stored, or with their blocks undone."""
    convolutions = [n for n in model.graph.node if n.domain == DOMAIN and n.op_type == "Conv"]
    if not convolutions:
        yield stored
        return
    for block in BLOCKS:
        yield {**stored, **_in_order(convolutions, stored, block)}


def _in_order(
    convolutions: list[onnx.NodeProto], stored: Mapping[str, Array], block: int
) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for node in convolutions:
        kernel = stored.get(node.input[1])
        if kernel is None or kernel.ndim != 4 or kernel.shape[0] % block:
            continue
        whole = unblocked(kernel, block)
        channels = _filled(whole, 0, block)
        found[node.input[1]] = whole[:channels, : _filled(whole, 1, block)]
        bias = stored.get(node.input[2]) if len(node.input) > 2 else None
        if bias is not None and bias.shape == kernel.shape[:1] and not bias[channels:].any():
            found[node.input[2]] = bias[:channels]
    return found


def unblocked(kernel: Array, block: int) -> Array:
    """``(out, in, height, width)``, from a kernel of that shape stored in blocks.

    Fewer input channels than a block (an image's, a depthwise kernel's one) are no block.
    """
    out, inner, height, width = kernel.shape
    if inner < block:
        parts = kernel.reshape(out // block, inner, height, width, block)
        return parts.transpose(0, 4, 1, 2, 3).reshape(kernel.shape)
    if inner % block:
        return kernel
    parts = kernel.reshape(out // block, inner // block, height, width, block, block)
    return parts.transpose(0, 5, 1, 4, 2, 3).reshape(kernel.shape)


def _filled(kernel: Array, axis: int, block: int) -> int:
    """How many channels there are without those that fill the last block with zeros."""
    size = int(kernel.shape[axis])
    others = tuple(place for place in range(kernel.ndim) if place != axis)
    used = np.flatnonzero(np.any(kernel != 0, axis=others))
    last = int(used[-1]) + 1 if used.size else 0
    return size if size < block else max(last, size - block + 1)
