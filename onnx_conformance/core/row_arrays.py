"""Rows of unlike sizes in one array: filled up with zeros, or cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from onnx_conformance.core.comparison import Array


def stacked(parts: Iterable[Array]) -> Array:
    """Rows joined along axis 0; those of unlike sizes are filled up with zeros."""
    arrays = list(parts)
    if len(arrays) == 1:
        return np.array(arrays[0])
    ranks = {array.ndim for array in arrays}
    if len(ranks) > 1:
        most = max(ranks)
        arrays = [a.reshape(*a.shape, *(1,) * (most - a.ndim)) for a in arrays]
    largest = [max(sizes) for sizes in zip(*(a.shape[1:] for a in arrays), strict=True)]
    return np.concatenate([filled_up(array, largest) for array in arrays])


def filled_up(array: Array, sizes: Sequence[int]) -> Array:
    """Rows with zeros behind them, up to ``sizes``."""
    if list(array.shape[1:]) == list(sizes):
        return array
    widths = [
        (0, 0),
        *((0, size - width) for size, width in zip(sizes, array.shape[1:], strict=True)),
    ]
    return np.pad(array, widths)


def fitted(array: Array, sizes: Sequence[int]) -> Array:
    """Rows cut, or filled up with zeros, to ``sizes``."""
    if array.ndim != len(sizes) + 1:
        return array
    return filled_up(array[(slice(None), *(slice(size) for size in sizes))], sizes)
