"""Sums and approximations of replicas: how correct float32 results may differ from native's.

Shared by the frameworks' replicas. Why a runtime is entitled to it: docs/numerics.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.compute_modes import REPLICAS, ULP
from onnx_conformance.workers.native import Approximation

LANES = 8  # two vectors of SSE, one of AVX2


class ApproximationErrors:
    """The draws of one forward pass of a replica.

    Every application of an approximated function errs by its whole bound, in one direction for
    all its elements: an approximation is smooth, so where inputs are alike its errors are too.
    The directions depend on the replica and on the place in the pass alone, so a sample's answer
    does not depend on its batch mates.

    Args:
        approximation: the bounds, in float32 epsilons (``tolerances.yaml``: approximation).
    """

    def __init__(self, approximation: Approximation, replica: str) -> None:
        self._approximation = approximation
        self._directions = _directions(replica)

    def error(self, function: str) -> float:
        """The signed error of the next application of ``function``."""
        return next(self._directions) * self._approximation[function] * ULP


def _directions(replica: str) -> Iterator[float]:
    rng = np.random.default_rng([len(REPLICAS), REPLICAS.index(replica)])
    while True:
        yield 1.0 if rng.random() < 0.5 else -1.0


def sum_in_lanes(
    array: NDArray[np.float32], axes: tuple[int, ...], *, keepdims: bool
) -> NDArray[np.float32]:
    """The sum over ``axes``, its float32 terms added in turn to LANES running sums.

    So add the kernels of reductions and norms that are written for vectors of 4 to 16 numbers.
    """
    rows, shape = _rows(array, axes)
    with np.errstate(all="ignore"):
        if rows.shape[-1] <= LANES or not rows.size:
            total = rows.sum(axis=-1, dtype=np.float32)
        else:
            missing = -rows.shape[-1] % LANES
            padded = np.pad(rows, [*[(0, 0)] * (rows.ndim - 1), (0, missing)])
            lanes = padded.reshape(*rows.shape[:-1], -1, LANES)
            total = np.add.reduce(lanes, axis=-2, dtype=np.float32).sum(axis=-1, dtype=np.float32)
    return _shaped(total, shape if keepdims else rows.shape[:-1])


def sum_in_order(
    array: NDArray[np.float32], axes: tuple[int, ...], *, keepdims: bool
) -> NDArray[np.float32]:
    """The sum over ``axes``, its float32 terms added one after the other.

    Frameworks add in pairs or in blocks; a runtime that keeps one running sum errs by up to a
    share N of an epsilon, and does where all N terms are alike.
    """
    rows, shape = _rows(array, axes)
    with np.errstate(all="ignore"):
        if not rows.size:
            total = rows.sum(axis=-1, dtype=np.float32)
        else:
            total = np.add.accumulate(rows, axis=-1, dtype=np.float32)[..., -1]
    return _shaped(total, shape if keepdims else rows.shape[:-1])


def mean_in_order(
    array: NDArray[np.float32], axes: tuple[int, ...], *, keepdims: bool
) -> NDArray[np.float32]:
    """The mean over ``axes``, its float32 terms added one after the other."""
    terms = np.prod([array.shape[axis] for axis in axes])
    with np.errstate(all="ignore"):
        # of all elements too an array, and not the number that NumPy makes of one
        return np.asarray(sum_in_order(array, axes, keepdims=keepdims) / np.float32(terms))


def _rows(
    array: NDArray[np.float32], axes: tuple[int, ...]
) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """The terms of each sum along a last axis, and the shape that keeps the axes summed over."""
    axes = tuple(axis % array.ndim for axis in axes)
    kept = [axis for axis in range(array.ndim) if axis not in axes]
    sizes, count = [array.shape[axis] for axis in kept], math.prod(array.shape[a] for a in axes)
    rows = array.transpose(*kept, *axes).reshape(*sizes, count)
    return rows, tuple(1 if axis in axes else size for axis, size in enumerate(array.shape))


def _shaped(array: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.asarray(array, np.float32).reshape(shape)


STORED = ("float16", "bfloat16")  # classes that are types, in which tensors are kept
TF32 = "tf32"
SPLIT = 2.0**13 + 1.0  # float32 has 24 bits, TF32 11: Dekker's constant of 24 - 11 bits


def eleven_bits(x: Any) -> Any:
    """``x`` (float32) rounded to 11 bits of significand, to nearest.

    Source: T. J. Dekker, A floating-point technique for extending the available precision,
    Numerische Mathematik 18 (1971), the splitting of a number in two halves.
    """
    wide = x * SPLIT
    return wide - (wide - x)
