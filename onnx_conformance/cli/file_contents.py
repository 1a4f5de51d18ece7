"""What is in an ONNX file: its operators and its weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

import onnx

from onnx_conformance.core.onnx_file import every_graph, every_node

# Bits of an element, of types that share a byte; which of them there are depends on onnx.
PACKED_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}


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
    return Counter(_name(node) for node in every_node(model))


def weights(model: onnx.ModelProto) -> list[Weight]:
    """Initialisers and constants, the largest first."""
    stored = [
        _weight(tensor, "external" if tensor.external_data else "file")
        for graph, _ in every_graph(model)
        if isinstance(graph, onnx.GraphProto)
        for tensor in graph.initializer
    ]
    constants = [
        _weight(attribute.t, "Constant", node.output[0])
        for node in every_node(model)
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.HasField("t")
    ]
    return sorted([*stored, *constants], key=lambda weight: (-weight.bytes, weight.name))


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
    if kind in PACKED_BITS:
        return -(-elements * PACKED_BITS[kind] // 8)
    try:
        return elements * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except KeyError:
        return 0
