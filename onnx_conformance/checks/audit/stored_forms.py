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
    for found in _quantised_tensors(model, stored):
        if found.stored in steps:
            continue
        scale = _spread_along(stored[found.scale], found.axis, stored[found.stored].ndim)
        zero = stored.get(found.zero_point, np.zeros(1, np.int32))
        shifted = stored[found.stored].astype(np.float64) - _spread_along(
            zero.astype(np.float64), found.axis, stored[found.stored].ndim
        )
        arrays[found.stored] = (shifted * scale.astype(np.float64)).astype(np.float32)
        steps[found.stored] = np.broadcast_to(np.abs(scale), shifted.shape)
        for name in (found.scale, found.zero_point):
            arrays.pop(name, None)
    return Dequantised(arrays, steps, _operators_of_unread(model, stored, steps))


def _quantised_tensors(model: onnx.ModelProto, stored: Mapping[str, Array]) -> Iterator[Quantised]:
    for graph, _ in every_graph(model):
        for node in graph.node:
            for found in _read_by(node):
                fits = found.stored in stored and found.scale in stored
                if fits and _has_scale(stored[found.stored], stored[found.scale], found.axis):
                    yield found


def _read_by(node: onnx.NodeProto) -> Iterator[Quantised]:
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


def _spread_along(values: Array, axis: int, axes: int) -> Array:
    if values.size == 1:
        return values.reshape([1] * axes)
    shape = [1] * axes
    shape[axis] = -1
    return values.reshape(shape)


def _operators_of_unread(
    model: onnx.ModelProto, stored: Mapping[str, Array], steps: Mapping[str, Array]
) -> tuple[str, ...]:
    coarse = {
        name
        for name, array in stored.items()
        if array.ndim > 1 and array.dtype.name in NARROW and name not in steps
    }
    nodes = every_node(model)
    return tuple(dict.fromkeys(node.op_type for node in nodes if coarse & set(node.input)))


# -- ONNX Runtime's blocked convolutions -----------------------------------------------------------

DOMAIN = "com.microsoft.nchwc"
BLOCKS = (16, 8)  # floats of a vector register: AVX-512, and others; the file does not say which


def possible_weights(
    model: onnx.ModelProto, stored: Mapping[str, Array]
) -> Iterator[Mapping[str, Array]]:
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
        if whole[0].size == 1:  # what a Mul by channel became is filled with ones
            channels = min(channels, _filled(whole - 1, 0, block))
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
