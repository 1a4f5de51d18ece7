"""Infer the specs of outputs from a model's answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.plain_outputs import dtype_of
from onnx_conformance.core.size_expressions import evaluate, is_expression
from onnx_conformance.core.spec import BATCH_NAMES, Shape, TensorSpec

BATCH = BATCH_NAMES[1]
LONGEST_DIFFERENCE = 8  # the longest difference between two axes that is read as "axis+N"


@dataclass(frozen=True)
class TrialRun:
    """What a model answered to one set of inputs.

    Args:
        sizes: the symbolic axes' sizes, that of the batch among them.
        calls: its outputs, in its own layout, of one call or several of the same sizes.
        rows: the same as rows, one for each sample.
    """

    sizes: dict[str, int]
    calls: tuple[Outputs, ...]
    rows: Outputs


def outputs_of(
    names: Sequence[str], runs: Sequence[TrialRun], inputs: Sequence[TensorSpec]
) -> tuple[TensorSpec, ...]:
    """Specs of what a model answered.

    Args:
        names: of the outputs.
        runs: of unlike sizes.
        inputs: whose symbolic dimensions an output may have, the batch's first.
    """
    batch, found = batch_of(inputs), []
    named = [dim for spec in inputs for dim in spec.shape if isinstance(dim, str)]
    plain = sorted(dict.fromkeys(named), key=is_expression)
    dims = [*([batch] if batch else []), *(dim for dim in plain if dim != batch)]
    for name in names:
        shape = shape_of(name, runs, batch, dims)
        arrays = [run.rows[name] for run in runs]
        found.append(TensorSpec(name, shape, _dtype(name, arrays), scale=_scale(arrays)))
    return tuple(found)


def sized_by_values(names: Sequence[str], calls: Sequence[Outputs]) -> tuple[str, ...]:
    """The outputs, in the order of ``names``, that have another size in calls of the same sizes."""
    shapes = [
        {array.shape for array in column}
        for column in zip(*(c.values() for c in calls), strict=True)
    ]
    return tuple(name for name, found in zip(names, shapes, strict=True) if len(found) > 1)


def batch_of(inputs: Sequence[TensorSpec]) -> str:
    """What the inputs call their batch; empty where they have none."""
    dims = (dim for spec in inputs for dim in spec.shape)
    return str(next((dim for dim in dims if dim in BATCH_NAMES), ""))


def shape_of(name: str, runs: Sequence[TrialRun], batch: str, dims: Sequence[str]) -> Shape:
    """An output's shape: numbers where a size stays, else the dimension that it follows.

    One that is not the same in calls of the same sizes follows from the values.
    """
    seen = [[call[name].shape for call in run.calls] for run in runs]
    if len({len(shape) for shapes in seen for shape in shapes}) > 1:
        raise UsageError(f"output '{name}' has another rank at another size: {seen}")
    shape: list[int | str] = []
    for place in range(len(seen[0][0])):
        sizes = [{one[place] for one in shapes} for shapes in seen]
        if all(len(found) == 1 for found in sizes):
            series = [found.pop() for found in sizes]
            known = [dim for dim in dims if dim != batch or batch not in shape]
            shape.append(_follows(series, runs, known, name, place))
        else:
            shape.append(f"{name}_dim_{place}")
    return tuple(shape)


def _follows(
    series: list[int], runs: Sequence[TrialRun], dims: Sequence[str], name: str, place: int
) -> int | str:
    if len(set(series)) == 1:
        return series[0]
    for dim in (*dims, *_sums(dims)):
        if series == [evaluate(dim, run.sizes) for run in runs]:
            return dim
    return f"{name}_dim_{place}"


def _sums(dims: Sequence[str]) -> Iterator[str]:
    """Sizes that follow from two axes, or from one and a few more: a past and what comes to it."""
    axes = [dim for dim in dims if not is_expression(dim) and dim not in BATCH_NAMES]
    yield from (f"{axis}+{more}" for axis in axes for more in range(1, LONGEST_DIFFERENCE + 1))
    yield from (f"{one}+{other}" for one, other in combinations(axes, 2))


def _dtype(name: str, arrays: list[np.ndarray[Any, Any]]) -> str:
    kinds = {dtype_of(array) for array in arrays}
    if len(kinds) > 1:
        raise UsageError(f"output '{name}' changes its dtype: {sorted(kinds)}")
    return kinds.pop()


def _scale(arrays: list[np.ndarray[Any, Any]]) -> Any:
    """``probabilities`` for rows of positive numbers that add up to 1."""
    floating = all(np.issubdtype(array.dtype, np.floating) for array in arrays)
    if not floating or any(array.ndim < 2 or array.shape[-1] < 2 for array in arrays):
        return "linear"
    rows = [array.reshape(-1, array.shape[-1]) for array in arrays]
    summed = all(bool(np.allclose(row.sum(axis=1), 1.0, atol=1e-5)) for row in rows)
    return "probabilities" if summed and all(bool((row > 0).all()) for row in rows) else "linear"
