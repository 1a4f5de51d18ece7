"""Weights in eight bits: the numbers that they represent, and the step between two of them.

    value = (stored - zero point) * scale                          (ONNX, DequantizeLinear)

so a value that was rounded to the nearest is off by at most half a scale (half a step).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from onnx_conformance.core.arrays import Array
from onnx_conformance.core.onnx_file import every_graph, every_node

NARROW = ("int8", "uint8")
SUFFIX, SCALE, ZERO_POINT = "_quantized", "_scale", "_zero_point"  # ONNX Runtime's dynamic files


@dataclass(frozen=True)
class Quantised:
    """Where a stored tensor, its scale and its zero point are named, and the scale's axis."""

    stored: str
    scale: str
    zero_point: str
    axis: int


@dataclass(frozen=True)
class Dequantised:
    """A file's weights as numbers.

    Args:
        arrays: all initialisers, those in eight bits as float32.
        steps: of these, the scale of each element, in the array's shape.
        unread: the operators that read weights in eight bits whose scale is not read here.
    """

    arrays: Mapping[str, Array]
    steps: Mapping[str, Array]
    unread: tuple[str, ...]


def dequantised(model: onnx.ModelProto, stored: Mapping[str, Array]) -> Dequantised:
    """The file's weights, those in eight bits as the numbers that they stand for."""
    arrays, steps = dict(stored), {}
    for found in _found(model, stored):
        if found.stored in steps:
            continue
        scale = _along(stored[found.scale], found.axis, stored[found.stored].ndim)
        zero = stored.get(found.zero_point, np.zeros(1, np.int32))
        shifted = stored[found.stored].astype(np.float64) - _along(
            zero.astype(np.float64), found.axis, stored[found.stored].ndim
        )
        arrays[found.stored] = (shifted * scale.astype(np.float64)).astype(np.float32)
        steps[found.stored] = np.broadcast_to(np.abs(scale), shifted.shape)
        for name in (found.scale, found.zero_point):
            arrays.pop(name, None)
    return Dequantised(arrays, steps, _unread(model, stored, steps))


def _found(model: onnx.ModelProto, stored: Mapping[str, Array]) -> Iterator[Quantised]:
    for graph, _ in every_graph(model):
        for node in graph.node:
            for found in _of(node):
                fits = found.stored in stored and found.scale in stored
                if fits and _has_scale(stored[found.stored], stored[found.scale], found.axis):
                    yield found


def _of(node: onnx.NodeProto) -> Iterator[Quantised]:
    """The tensors that a node reads with a scale beside them."""
    inputs = [*node.input, "", ""]
    if node.op_type == "DequantizeLinear":
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        if not any(a.name == "block_size" and a.i for a in node.attribute):
            yield Quantised(inputs[0], inputs[1], inputs[2], axis)
    if node.op_type == "QLinearConv":
        yield Quantised(inputs[3], inputs[4], inputs[5], 0)
    if node.op_type == "QLinearMatMul":
        yield Quantised(inputs[3], inputs[4], inputs[5], -1)
    if node.op_type in ("MatMulInteger", "ConvInteger"):  # whose scale is multiplied in later
        base = inputs[1].removesuffix(SUFFIX)
        axis = -1 if node.op_type == "MatMulInteger" else 0
        yield Quantised(inputs[1], base + SCALE, base + ZERO_POINT, axis)


def _has_scale(array: Array, scale: Array, axis: int) -> bool:
    """Whether the scale is one number, or one for each place along the axis."""
    if scale.size == 1:
        return True
    return scale.ndim == 1 and -array.ndim <= axis < array.ndim and scale.size == array.shape[axis]


def _along(values: Array, axis: int, axes: int) -> Array:
    if values.size == 1:
        return values.reshape([1] * axes)
    shape = [1] * axes
    shape[axis] = -1
    return values.reshape(shape)


def _unread(
    model: onnx.ModelProto, stored: Mapping[str, Array], steps: Mapping[str, Array]
) -> tuple[str, ...]:
    coarse = {
        name
        for name, array in stored.items()
        if array.ndim > 1 and array.dtype.name in NARROW and name not in steps
    }
    nodes = every_node(model)
    return tuple(dict.fromkeys(node.op_type for node in nodes if coarse & set(node.input)))
