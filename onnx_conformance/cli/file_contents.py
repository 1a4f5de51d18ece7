"""What is in an ONNX file: its operators and its weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod

import onnx

# Bits of an element, of types that share a byte; which of them there are depends on onnx.
PACKED = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}


@dataclass(frozen=True)
class Weight:
    """A stored tensor.

    Args:
        bytes: as its elements need them, wherever they are stored.
        where: ``file``, ``external`` or ``Constant`` (a node's attribute).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    where: str


def operators(model: onnx.ModelProto) -> Counter[str]:
    """How often each operator stands in the file, in branches, loops and functions too.

    Those of another domain than ONNX's own are called ``domain::Operator``.
    """
    return Counter(_name(node) for node in all_nodes(model))


def weights(model: onnx.ModelProto) -> list[Weight]:
    """Initialisers and constants, the largest first."""
    stored = [
        _weight(tensor, "external" if tensor.external_data else "file")
        for graph in _graphs(model.graph)
        for tensor in graph.initializer
    ]
    constants = [
        _weight(attribute.t, "Constant", node.output[0])
        for node in all_nodes(model)
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.HasField("t")
    ]
    return sorted([*stored, *constants], key=lambda weight: (-weight.bytes, weight.name))


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, in branches, loops and functions too."""
    for graph in _graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node
        for graph in _bodies(function.node):
            yield from graph.node


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    yield from _bodies(graph.node)


def _bodies(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(body)


def _name(node: onnx.NodeProto) -> str:
    own = node.domain in ("", "ai.onnx")
    return node.op_type if own else f"{node.domain}::{node.op_type}"


def _weight(tensor: onnx.TensorProto, where: str, name: str = "") -> Weight:
    kind = tensor.data_type
    known = onnx.TensorProto.DataType.Name(kind) if kind in _KINDS else "?"
    shape = tuple(tensor.dims)
    bytes_ = _bytes(tensor, known, prod(shape))
    return Weight(name or tensor.name, known.lower(), shape, bytes_, where)


_KINDS = set(onnx.TensorProto.DataType.values())


def _bytes(tensor: onnx.TensorProto, kind: str, elements: int) -> int:
    if kind == "STRING":
        return sum(len(text) for text in tensor.string_data)
    if kind in PACKED:
        return -(-elements * PACKED[kind] // 8)
    try:
        return elements * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except KeyError:
        return 0
