"""Rows of unlike sizes in one array, and the order of rows that are sorted by a score.

Where scores tie, either order is right.

Boxes that are kept stand in the order of their scores. Two scores nearer to each other than
float32's own error may change places, in native as in the runtime, and with them whole rows of
every output of that size. Where no output is a descending score, the order is the model's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.compute_modes import ULP
from onnx_conformance.core.spec import ModelSpec, size_of


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


def in_order_of(
    anchor: Outputs,
    natives: Sequence[Outputs],
    outputs: Outputs,
    model: ModelSpec,
    tie_factor: float,
) -> dict[str, Array]:
    """Outputs with rows of tied scores put in the order of ``anchor``.

    Args:
        anchor: the oracle; all arrays are of its sizes, and sizes stand beside them.
        natives: float32's own, whose error says what a tie is.
        tie_factor: how many of those errors two tied scores may be apart.
    """
    found = {name: np.array(array) for name, array in outputs.items()}
    kept = [name for name in model.by_values if _comparable(name, anchor, outputs)]
    for sample in range(len(next(iter(found.values()), ()))):
        sizes = {name: int(anchor[size_of(name)][sample][0]) for name in kept}
        alike = [n for n in kept if int(outputs[size_of(n)][sample][0]) == sizes[n]]
        for count in {sizes[name] for name in alike} - {0}:
            names = [name for name in alike if sizes[name] == count]
            score = _score(names, anchor, sample, count)
            if score is None:
                continue
            same = [w[score] for w in natives if int(w[size_of(score)][sample][0]) == count]
            tie = tie_factor * _error(anchor[score], same, sample, count)
            order = _order(anchor, outputs, names, anchor[score][sample][:count], sample, tie)
            for name in names:
                found[name][sample][:count] = outputs[name][sample][order]
    return found


def _comparable(name: str, anchor: Outputs, outputs: Outputs) -> bool:
    """Whether both sides have the output in arrays of the same size, with at least one axis."""
    if name not in anchor or name not in outputs:
        return False
    return anchor[name].ndim > 1 and anchor[name].shape == outputs[name].shape


def _score(names: Sequence[str], anchor: Outputs, sample: int, count: int) -> str | None:
    """The output by which rows are sorted: a number for each row, descending."""
    for name in names:
        array = anchor[name]
        if array.ndim == 2 and np.issubdtype(array.dtype, np.floating):
            values = array[sample][:count]
            if bool((np.diff(values) <= 0).all()):
                return name
    return None


def _error(exact: Array, natives: Sequence[Array], sample: int, count: int) -> float:
    """float32's largest error of a score, at least one ulp of the largest."""
    wanted = np.asarray(exact[sample][:count], np.float64)
    found = [
        float(np.abs(np.asarray(native[sample][:count], np.float64) - wanted).max(initial=0.0))
        for native in natives
        if native.shape == exact.shape
    ]
    return max([*found, ULP * float(np.abs(wanted).max(initial=0.0))])


def _order(
    anchor: Outputs,
    outputs: Outputs,
    names: Sequence[str],
    scores: Array,
    sample: int,
    tie: float,
) -> list[int]:
    """Which row of ``outputs`` stands for each row of the anchor."""
    wanted = _rows(anchor, anchor, names, sample, len(scores))
    got = _rows(outputs, anchor, names, sample, len(scores))
    order: list[int] = []
    start = 0
    for stop in range(1, len(scores) + 1):
        if stop < len(scores) and abs(float(scores[stop - 1] - scores[stop])) <= tie:
            continue
        left = list(range(start, stop))
        for row in range(start, stop):
            nearest = min(left, key=lambda other: float(np.abs(got[other] - wanted[row]).max()))
            left.remove(nearest)
            order.append(nearest)
        start = stop
    return order


def _rows(
    outputs: Outputs, anchor: Outputs, names: Sequence[str], sample: int, count: int
) -> NDArray[np.float64]:
    """Each row of all outputs in one line, in units of the anchor's largest number."""
    parts = []
    for name in names:
        flat = np.asarray(outputs[name][sample][:count], np.float64).reshape(count, -1)
        largest = float(np.abs(np.asarray(anchor[name][sample], np.float64)).max(initial=0.0))
        parts.append(np.nan_to_num(flat) / (largest or 1.0))
    return np.concatenate(parts, axis=1)
