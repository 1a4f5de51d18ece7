"""What a fault must know of a graph before it strikes: layers, values and their ranges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

import numpy as np
import onnx

from studies.corpus.drafts import Array, Draft, Graph, attribute

KEEPS_RANGE = (
    "MaxPool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "ReduceMean",
    "ReduceMax",
    "Flatten",
    "Reshape",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Identity",
    "Dropout",
    "Cast",
    "CastLike",
)
FIXED_RANGE = {
    "Sigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
    "Erf": (-1.0, 1.0),
    "HardSigmoid": (0.0, 1.0),
}
Range = tuple[float, float]


@dataclass(frozen=True)
class Layer:
    """A node that multiplies by a constant weight.

    Args:
        name: the node's.
        operator: Conv, ConvTranspose, Gemm or MatMul.
        weight: the constant's name, the node's input 1.
        data: the value that is multiplied, the node's input 0.
        axis: the weight's axis of output channels.
    """

    name: str
    operator: str
    weight: str
    data: str
    axis: int


def layers(graph: Graph, *operators: str) -> Iterator[Layer]:
    """The nodes that multiply by a constant weight."""
    for node in graph.nodes(*(operators or ("Conv", "ConvTranspose", "Gemm", "MatMul"))):
        if len(node.input) > 1 and graph.is_constant(node.input[1]):
            first = node.op_type == "Conv" or attribute(node, "transB", 0) == 1
            axis = 0 if first else np.ndim(graph.array(node.input[1])) - 1
            axis = 1 if node.op_type == "ConvTranspose" else axis
            yield Layer(node.name, node.op_type, node.input[1], node.input[0], axis)


def data_values(graph: Graph) -> list[str]:
    """The values that layers read, the graph's input among them, without repetition."""
    return list(dict.fromkeys(layer.data for layer in layers(graph)))


def clip_bounds(graph: Graph, node: onnx.NodeProto) -> Range | None:
    """A Clip's bounds, from its attributes or constant inputs; None where they are computed."""
    found = [attribute(node, "min", -inf), attribute(node, "max", inf)]
    for place in (1, 2):
        if len(node.input) > place and node.input[place]:
            least, most = range_of(graph, node.input[place])
            if least != most:
                return None
            found[place - 1] = least
    return float(found[0]), float(found[1])


def range_of(graph: Graph, value: str) -> Range:
    """Bounds that a value cannot leave, whatever the input; infinite where none is known."""
    if isinstance(graph, Draft):  # through residual sums the same values are asked for often
        if value not in graph.ranges:
            graph.ranges[value] = _range_of(graph, value)
        return graph.ranges[value]
    return _range_of(graph, value)


def _range_of(graph: Graph, value: str) -> Range:
    if graph.is_constant(value):
        array = graph.array(value)
        return float(array.min()), float(array.max())
    node = graph.producer(value)
    if node is None:
        return -inf, inf
    if node.op_type in FIXED_RANGE:
        return FIXED_RANGE[node.op_type]
    if node.op_type in KEEPS_RANGE:
        return range_of(graph, node.input[0])
    return _computed_range(graph, node)


def can_be_negative(graph: Graph, value: str) -> bool:
    """Whether some input may make the value negative."""
    return range_of(graph, value)[0] < 0


def is_often_zero(graph: Graph, value: str) -> bool:
    """Whether whole regions may be exactly zero: an input, or what a Relu or a Clip cuts off."""
    node = graph.producer(value)
    if node is None:
        return not graph.is_constant(value)
    if node.op_type in ("MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Identity"):
        return is_often_zero(graph, node.input[0])
    return node.op_type in ("Relu", "Clip") and range_of(graph, value)[0] == 0


def is_unbounded(graph: Graph, value: str) -> bool:
    """Whether large inputs make the value as large as one likes."""
    return inf in map(abs, range_of(graph, value))


def channels(graph: Graph, name: str) -> int:
    """How many channels a Conv or Gemm node makes."""
    layer = next(one for one in layers(graph) if one.name == name)
    return int(graph.array(layer.weight).shape[layer.axis])


def _computed_range(graph: Graph, node: onnx.NodeProto) -> Range:
    if node.op_type in ("Pad", "AveragePool"):
        low, high = range_of(graph, node.input[0])
        return min(low, 0.0), max(high, 0.0)
    if node.op_type == "Relu":
        low, high = range_of(graph, node.input[0])
        return max(low, 0.0), max(high, 0.0)
    if node.op_type == "Clip":
        low, high = range_of(graph, node.input[0])
        least, most = clip_bounds(graph, node) or (-inf, inf)
        return min(max(low, least), most), max(min(high, most), least)
    if node.op_type in ("HardSwish", "Gelu", "Swish", "Mish"):
        return -0.4, max(range_of(graph, node.input[0])[1], 0.0)
    if node.op_type in ("Add", "Sub", "Mul"):
        return _of_two(node.op_type, *(range_of(graph, value) for value in node.input))
    if node.op_type == "BatchNormalization":
        return _of_batch_norm(graph, node)
    if node.op_type in ("Conv", "Gemm", "MatMul") and graph.is_constant(node.input[1]):
        return _of_layer(graph, node)
    return -inf, inf


def _of_two(operator: str, first: Range, second: Range) -> Range:
    if operator == "Add":
        return first[0] + second[0], first[1] + second[1]
    if operator == "Sub":
        return first[0] - second[1], first[1] - second[0]
    products = [0.0 if 0 in (a, b) else a * b for a in first for b in second]
    return min(products), max(products)


def _of_batch_norm(graph: Graph, node: onnx.NodeProto) -> Range:
    low, high = range_of(graph, node.input[0])
    if inf in (abs(low), abs(high)) or not all(map(graph.is_constant, node.input[1:])):
        return -inf, inf
    gamma, beta, mean, variance = (graph.array(name).astype(np.float64) for name in node.input[1:])
    factor = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    ends = np.stack([(end - mean) * factor + beta for end in (low, high)])
    return float(ends.min()), float(ends.max())


def _of_layer(graph: Graph, node: onnx.NodeProto) -> Range:
    low, high = range_of(graph, node.input[0])
    if inf in (abs(low), abs(high)):
        return -inf, inf
    low, high = min(low, 0.0), max(high, 0.0)  # padding brings zeros
    layer = next(one for one in layers(graph, node.op_type) if one.name == node.name)
    weight: Array = graph.array(layer.weight).astype(np.float64)
    others = tuple(axis for axis in range(weight.ndim) if axis != layer.axis)
    rising, falling = weight.clip(0).sum(axis=others), weight.clip(None, 0).sum(axis=others)
    bias: Array = np.zeros(())
    if len(node.input) > 2 and node.input[2]:
        if not graph.is_constant(node.input[2]):
            return -inf, inf
        bias = graph.array(node.input[2])
    least, most = rising * low + falling * high + bias, rising * high + falling * low + bias
    return float(least.min()), float(most.max())
