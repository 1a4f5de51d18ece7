"""Infer specs: of inputs from example arrays, of outputs from a model's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnx_conformance.core.comparison import Outputs
from onnx_conformance.core.domains import Choice, Domain, Integers, Real
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import Axes, Axis, TensorSpec, sizes_of

BATCH = "batch_size"


def from_examples(examples: Any, names: Sequence[str]) -> tuple[TensorSpec, ...]:
    """Specs of example arrays: axis 0 is the batch, other axes keep their size.

    Whole numbers get the range that the example spans, so give one that spans it.

    Args:
        examples: arrays by name, or in the order of ``names``.
    """
    if isinstance(examples, Mapping):
        labelled = dict(examples)
    else:
        given = list(examples) if isinstance(examples, (tuple, list)) else [examples]
        labels = [*names, *(f"input_{place}" for place in range(len(names), len(given)))]
        labelled = dict(zip(labels, given, strict=False))
    return tuple(_of_example(name, _as_array(array)) for name, array in labelled.items())


def _as_array(value: Any) -> np.ndarray[Any, Any]:
    detached = value.detach().cpu() if hasattr(value, "detach") else value
    return np.asarray(detached)


def _of_example(name: str, array: np.ndarray[Any, Any]) -> TensorSpec:
    if array.ndim == 0:
        raise UsageError(f"example '{name}' is a single number; its first axis must be the batch")
    return TensorSpec(
        name, (BATCH, *array.shape[1:]), array.dtype.name, domain=_domain_of(name, array)
    )


def _domain_of(name: str, array: np.ndarray[Any, Any]) -> Domain:
    if array.dtype == bool:
        return Choice((0, 1))
    if np.issubdtype(array.dtype, np.floating):
        return Real()
    if not np.issubdtype(array.dtype, np.integer) or not array.size:
        raise UsageError(f"example '{name}' has dtype {array.dtype}, which no tensor has")
    if array.dtype == np.uint8:
        return Integers(0, 256)
    return Integers(int(array.min()), int(array.max()) + 1)


def with_axes(inputs: Sequence[TensorSpec], axes: Axes) -> Axes:
    """The axes that were declared, and of other symbolic axes of the inputs the usual sizes.

    Raises:
        UsageError: a declared axis that no input has.
    """
    batch = inputs[0].shape[0]
    named = [dim for spec in inputs for dim in spec.shape[1:] if isinstance(dim, str)]
    known = dict(axes)
    for name in known:
        if name not in named:
            raise UsageError(f"axes names '{name}', which is in no input's shape")
    return tuple((name, known.get(name, Axis())) for name in dict.fromkeys(named) if name != batch)


def outputs_of(
    names: Sequence[str],
    answers: Sequence[tuple[int, float, Outputs]],
    batch: str,
    axes: Axes,
) -> tuple[TensorSpec, ...]:
    """Specs of what a model answered.

    Args:
        names: of the outputs.
        answers: (batch size, extent, outputs) of two runs of unlike sizes.
    """
    found = []
    for name in names:
        arrays = [out[name] for _, _, out in answers]
        seen = [(size, extent, out[name].shape) for size, extent, out in answers]
        shape = _shape(name, seen, batch, axes)
        found.append(TensorSpec(name, shape, _dtype(name, arrays), scale=_scale(arrays)))
    return tuple(found)


def _shape(
    name: str, seen: list[tuple[int, float, tuple[int, ...]]], batch: str, axes: Axes
) -> tuple[int | str, ...]:
    """Sizes that stay are sizes; those that follow a symbolic axis bear its name."""
    if len({len(shape) for _, _, shape in seen}) > 1:
        raise UsageError(f"output '{name}' has another rank at another size: {seen}")
    shape: list[int | str] = []
    for place in range(len(seen[0][2])):
        sizes = [found[place] for _, _, found in seen]
        if place == 0 and sizes == [size for size, _, _ in seen]:
            shape.append(batch)
        elif len(set(sizes)) == 1:
            shape.append(sizes[0])
        else:
            shape.append(_follows(sizes, [extent for _, extent, _ in seen], axes, name, place))
    if not shape or shape[0] != batch:
        raise UsageError(
            f"output '{name}' has shape {list(seen[0][2])} for {seen[0][0]} samples; its first "
            "axis must be the batch: wrap the model in one that transposes or reshapes it"
        )
    return tuple(shape)


def _follows(sizes: list[int], extents: list[float], axes: Axes, name: str, place: int) -> str:
    for axis, _ in axes:
        if sizes == [sizes_of(axes, extent)[axis] for extent in extents]:
            return axis
    return f"{name}_dim_{place}"


def _dtype(name: str, arrays: list[np.ndarray[Any, Any]]) -> str:
    kinds = {str(array.dtype.name) for array in arrays}
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
