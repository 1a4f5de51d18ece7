"""Conv, DeformConv and pools of ONNX, in any number of dimensions, in the dtype of their inputs.

``onnx.reference`` loops over groups and windows, which takes minutes on networks of ordinary size,
and knows no 1-dimensional GlobalMaxPool. Equations: https://onnx.ai/onnx/operators/.
Shapes: x (batch, channels, *spatial), conv's w (channels out, channels in / group, *kernel).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from onnx_conformance.core.arrays import Array

Sizes = Sequence[int] | None


@dataclass(frozen=True)
class Windows:
    """How a kernel moves: sizes by spatial axis; ``after`` may be more than was asked for."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    def views(self, x: Array, fill: float) -> Array:
        """(batch, channels, *places, *kernel): what each window sees, padded with ``fill``."""
        pads = [(0, 0), (0, 0), *zip(self.before, self.after, strict=True)]
        padded = np.pad(x, pads, constant_values=fill)
        axes = tuple(range(2, x.ndim))
        reach = tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))
        if any(r > size for r, size in zip(reach, padded.shape[2:], strict=True)):
            sizes = [
                max((size - r) // step + 1, 0)
                for size, r, step in zip(padded.shape[2:], reach, self.strides, strict=True)
            ]
            return np.zeros((*x.shape[:2], *sizes, *self.kernel), x.dtype)  # no place for one
        seen = sliding_window_view(padded, reach, axis=axes)
        places = tuple(slice(None, None, stride) for stride in self.strides)
        within = tuple(slice(None, None, step) for step in self.dilations)
        result: Array = seen[(slice(None), slice(None), *places, *within)]
        return result


def _windows(
    shape: Sequence[int],
    kernel: Sequence[int],
    strides: Sizes,
    dilations: Sizes,
    pads: Sizes,
    auto_pad: str | bytes,
    ceil_mode: int = 0,
    *,
    pooled: bool = False,
) -> Windows:
    """Raises NotImplementedError where a pad would cut the input.

    Args:
        pooled: of a pool, whose window may be larger than the input by less than a stride: ONNX
            Runtime cuts it there.
    """
    count = len(kernel)
    steps, spread = tuple(strides or [1] * count), tuple(dilations or [1] * count)
    kind = auto_pad.decode() if isinstance(auto_pad, bytes) else auto_pad
    edges = list(pads or [0] * 2 * count)
    padded = []
    for axis, (size, step) in enumerate(zip(shape, steps, strict=True)):
        reach = (kernel[axis] - 1) * spread[axis] + 1
        before, after = _pads(kind, size, step, reach, (edges[axis], edges[count + axis]))
        if ceil_mode:
            after += _beyond(size, before, after, step, reach)
        room = size + before + after - reach
        if pooled and -step < room < 0:
            after -= room
        padded.append((before, after))
    firsts, lasts = zip(*padded, strict=True) if padded else ((), ())
    return Windows(tuple(kernel), steps, spread, firsts, lasts)


def _pads(kind: str, size: int, step: int, reach: int, written: tuple[int, int]) -> tuple[int, int]:
    """What an axis is padded by, before and after."""
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        needed = max((math.ceil(size / step) - 1) * step + reach - size, 0)
        less, more = needed // 2, needed - needed // 2
        return (less, more) if kind == "SAME_UPPER" else (more, less)
    if kind == "VALID":
        return 0, 0
    if min(written) < 0:
        raise NotImplementedError("negative pads")
    return written


def _beyond(size: int, before: int, after: int, step: int, reach: int) -> int:
    """How far the last window reaches beyond the pads in ceil mode.

    A window that would start beyond the input and its first pad does not exist.
    """
    room = size + before + after - reach
    places = math.ceil(room / step) + 1
    if (places - 1) * step >= size + before:
        places -= 1
    return max((places - 1) * step - room, 0)


def conv(
    x: Array,
    w: Array,
    b: Array | None = None,
    auto_pad: str = "NOTSET",
    dilations: Sizes = None,
    group: int = 1,
    kernel_shape: Sizes = None,
    pads: Sizes = None,
    strides: Sizes = None,
) -> Array:
    """Cross-correlation, one matrix product a group."""
    spatial = x.ndim - 2
    windows = _windows(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
    seen = windows.views(x, 0.0)
    batch, places = x.shape[0], seen.shape[2 : 2 + spatial]
    # (batch, group, places, channels of the group x kernel)
    seen = seen.reshape(batch, group, x.shape[1] // group, *seen.shape[2:])
    order = (0, 1, *range(3, 3 + spatial), 2, *range(3 + spatial, 3 + 2 * spatial))
    rows = seen.transpose(order).reshape(batch, group, math.prod(places), -1)
    columns = w.reshape(group, w.shape[0] // group, -1).swapaxes(1, 2)
    y = np.matmul(rows, columns).swapaxes(2, 3).reshape(batch, w.shape[0], *places)
    result: Array = y if b is None else y + b.reshape(-1, *[1] * spatial)
    return result


def deform_conv(
    x: Array,
    w: Array,
    offset: Array,
    b: Array | None = None,
    mask: Array | None = None,
    dilations: Sizes = None,
    group: int = 1,
    kernel_shape: Sizes = None,
    offset_group: int = 1,
    pads: Sizes = None,
    strides: Sizes = None,
) -> Array:
    """Conv whose kernel's points are moved by ``offset``, in two spatial dimensions.

    Args:
        offset: (batch, offset_group x kernel points x (row, column), rows, columns).
        mask: (batch, offset_group x kernel points, rows, columns), a factor of each point.
    """
    windows = _windows(x.shape[2:], w.shape[2:], strides, dilations, pads, "NOTSET")
    batch, channels, places = x.shape[0], x.shape[1], offset.shape[2:]
    points = math.prod(windows.kernel)
    moved = offset.reshape(batch, offset_group, points, 2, *places)
    kernel = np.indices(windows.kernel).reshape(2, points, 1, 1)
    at = []  # (batch, offset_group, points, rows, columns): the row, and the column, of each point
    for axis, grid in enumerate(np.indices(places)):
        fixed = kernel[axis] * windows.dilations[axis] - windows.before[axis]
        at.append(moved[:, :, :, axis] + fixed + grid * windows.strides[axis])
    shared = x.reshape(batch, offset_group, channels // offset_group, *x.shape[2:])
    seen = _bilinear(shared, *at)  # (batch, offset_group, channels of it, points, rows, columns)
    if mask is not None:
        seen = seen * mask.reshape(batch, offset_group, 1, points, *places)
    rows = seen.reshape(batch, group, channels // group * points, math.prod(places))
    y = np.matmul(w.reshape(group, w.shape[0] // group, -1), rows)
    y = y.reshape(batch, w.shape[0], *places)
    result: Array = y if b is None else y + b.reshape(-1, 1, 1)
    return result


def _bilinear(x: Array, row: Array, column: Array) -> Array:
    """(batch, group, channels, *of ``row``): x there, and 0 beyond its edges.

    Args:
        x: (batch, group, channels, height, width).
        row: (batch, group, *places), as ``column``.
    """
    height, width = x.shape[3:]
    batch, group = np.ogrid[: x.shape[0], : x.shape[1]]
    ahead = (..., *[np.newaxis] * (row.ndim - 2))
    result = np.zeros((*row.shape, x.shape[2]), x.dtype)
    for r, c in ((0, 0), (0, 1), (1, 0), (1, 1)):
        i, j = np.floor(row) + r, np.floor(column) + c
        share = (1 - abs(row - i)) * (1 - abs(column - j))
        inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
        places = [np.where(inside, one, 0).astype(np.intp) for one in (i, j)]
        values = x[batch[ahead], group[ahead], :, places[0], places[1]]
        result += np.where(inside, share, 0)[..., np.newaxis] * values
    return np.moveaxis(result, -1, 2)


def max_pool(
    x: Array,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sizes = None,
    pads: Sizes = None,
    storage_order: int = 0,
    strides: Sizes = None,
) -> Array:
    """The largest element of each window. Its second output, the places, is not computed."""
    settings = (x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    windows = _windows(*settings, pooled=True)
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    result: Array = windows.views(x, least).max(axis=tuple(range(x.ndim, 2 * x.ndim - 2)))
    return result


def average_pool(
    x: Array,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Sizes = None,
    pads: Sizes = None,
    strides: Sizes = None,
) -> Array:
    """The mean of each window; elements beyond the pads do not count."""
    settings = (x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    windows = _windows(*settings, ceil_mode, pooled=True)
    axes = tuple(range(x.ndim, 2 * x.ndim - 2))
    ones = np.ones((1, 1, *x.shape[2:]), x.dtype)
    if count_include_pad:
        plain = _windows(*settings)
        inside = [(0, 0), (0, 0), *zip(plain.before, plain.after, strict=True)]
        wide = np.pad(ones, inside, constant_values=1.0)
        rest = tuple(a - p for a, p in zip(windows.after, plain.after, strict=True))
        zeros = (0,) * len(rest)
        counted = Windows(windows.kernel, windows.strides, windows.dilations, zeros, rest)
        counts = counted.views(wide, 0.0).sum(axis=axes)
    else:
        counts = windows.views(ones, 0.0).sum(axis=axes)
    result: Array = windows.views(x, 0.0).sum(axis=axes) / counts
    return result


def global_max_pool(x: Array) -> Array:
    """Over every axis behind the channels."""
    result: Array = x.max(axis=tuple(range(2, x.ndim)), keepdims=True)
    return result
