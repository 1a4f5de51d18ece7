"""Declared sizes of tensors, compared with the bytes that the file has for them."""

from __future__ import annotations

import math

import onnx
from onnx import TensorProto, numpy_helper

from onnx_conformance.core.errors import Refused
from onnx_conformance.core.onnx_file import every_graph, every_tensor
from onnx_conformance.core.settings import Limits
from onnx_conformance.core.text import quoted

EXPORT_AGAIN = "export it again"
# Bits of an element, where no NumPy dtype of ours tells; the format: onnx.proto, ``raw_data``.
PACKED_BITS = {
    getattr(TensorProto, name): bits
    for name, bits in (("INT4", 4), ("UINT4", 4), ("FLOAT4E2M1", 4), ("INT2", 2), ("UINT2", 2))
    if hasattr(TensorProto, name)
}
SHAPED_BY = {"ConstantOfShape": 0, "Expand": 1}  # operator -> the input that says its shape
MOST_AXES = 64
TYPED_FIELDS = (
    "float_data",
    "int32_data",
    "string_data",
    "int64_data",
    "double_data",
    "uint64_data",
)


def elements(tensor: onnx.TensorProto) -> int:
    """How many elements the tensor declares.

    Raises:
        Refused: a negative size.
    """
    if any(dim < 0 for dim in tensor.dims):
        shape = list(tensor.dims)
        raise Refused(
            f"has initializer {quoted(tensor.name)}, which has a negative size: {shape}; "
            f"{EXPORT_AGAIN}"
        )
    return math.prod(tensor.dims)


def declared_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of the declared elements as raw data; 0 of strings.

    Raises:
        Refused: a negative size, or a type that does not exist.
    """
    count, kind = elements(tensor), tensor.data_type
    if kind == TensorProto.STRING:
        return 0
    if kind in PACKED_BITS:
        return -(-count * PACKED_BITS[kind] // 8)
    try:
        return count * int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)
    except (KeyError, TypeError) as error:
        raise Refused(
            f"has initializer {quoted(tensor.name)}, which is of type {kind}, and ONNX does not "
            f"have it; {EXPORT_AGAIN}"
        ) from error


def refuse_sizes(model: onnx.ModelProto, limits: Limits) -> None:
    """Refuse tensors that declare more than the file has, and nodes that make huge tensors.

    Raises:
        Refused: the first that does.
    """
    for tensor in every_tensor(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            continue
        wanted, held = declared_bytes(tensor), len(tensor.raw_data)
        count = sum(len(getattr(tensor, field)) for field in TYPED_FIELDS)
        packed = 8 // PACKED_BITS[tensor.data_type] if tensor.data_type in PACKED_BITS else 1
        if held < wanted and count * packed < elements(tensor):
            raise Refused(
                f"has initializer {quoted(tensor.name)}, which declares {elements(tensor):,} "
                f"elements and holds {held or count:,} {'bytes' if held else 'of them'}; "
                f"{EXPORT_AGAIN}"
            )
    _refuse_giants(model, limits)


def _refuse_giants(model: onnx.ModelProto, limits: Limits) -> None:
    known = _small_constants(model)
    for graph, _ in every_graph(model):
        for pair in getattr(graph, "sparse_initializer", ()):
            what = f"sparse initializer {quoted(pair.values.name)}"
            _refuse_giant(what, math.prod(map(abs, pair.dims)), limits)
        for node in graph.node:
            place = SHAPED_BY.get(node.op_type)
            if place is not None and len(node.input) > place and node.input[place] in known:
                what = f"node {quoted(node.name or node.op_type)} ({node.op_type})"
                _refuse_giant(what, math.prod(known[node.input[place]]), limits)


def _refuse_giant(what: str, count: int, limits: Limits) -> None:
    if count > limits.elements:
        raise Refused(
            f"has {what}, which makes a tensor of {count:,} elements, and {limits.elements:,.0f} "
            "are allowed; do not use it, or raise --artifact-limit elements=N"
        )


def _small_constants(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Constants of whole numbers in one axis, which may be shapes, by name."""
    found = {}
    for graph, _ in every_graph(model):
        named = [(t.name, t) for t in getattr(graph, "initializer", ())]
        for node in graph.node:
            if node.op_type == "Constant" and node.output:
                for attribute in node.attribute:
                    if attribute.name == "value":
                        named.append((node.output[0], attribute.t))
                    elif attribute.name == "value_ints":
                        found[node.output[0]] = list(attribute.ints)
        for name, tensor in named:
            inline = tensor.data_location != TensorProto.EXTERNAL
            whole = tensor.data_type == TensorProto.INT64 and len(tensor.dims) == 1
            if inline and whole and tensor.dims[0] <= MOST_AXES:
                found[name] = [abs(int(n)) for n in numpy_helper.to_array(tensor)]
    return found
