"""An ONNX graph in float64: the oracle of a file that has no native model.

Every float32 and float16 tensor of the graph, its subgraphs and its functions becomes float64;
``onnx.reference`` computes it, in NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
    shape_inference,
)

from onnx_conformance.core.onnx_file import every_graph, is_quantised
from onnx_conformance.workers.replica_arithmetic import SPLIT, STORED

NARROW_TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}
TYPES = ("to", "dtype", "output_datatype")  # attributes that name an element type
# Operators whose result is float32 unless an attribute says otherwise, and that attribute.
FLOAT_BY_DEFAULT = {
    "BlackmanWindow": "output_datatype",
    "ConstantOfShape": "value",
    "HammingWindow": "output_datatype",
    "HannWindow": "output_datatype",
    "MelWeightMatrix": "output_datatype",
}
# Operators that draw numbers. Like those that are defined by a narrow type they would be another
# function in float64.
DRAWING_OPERATORS = ("Random", "Bernoulli", "Multinomial")


class NoDouble(ValueError):
    """The graph has no float64 counterpart; the message says why."""


def doubled(model: ModelProto) -> ModelProto:
    """A copy whose floating tensors are float64.

    Raises:
        NoDouble: an operator that is about rounding.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    for graph, _ in every_graph(copy):
        if isinstance(graph, GraphProto):
            for tensor in graph.initializer:
                _widen_tensor(tensor)
            for value in (*graph.input, *graph.output, *graph.value_info):
                kind = value.type.tensor_type
                if kind.elem_type in NARROW_TYPES:
                    kind.elem_type = TensorProto.DOUBLE
        for node in graph.node:
            _widen_node(node)
    return copy


def _widen_node(node: NodeProto) -> None:
    if is_quantised(node) or any(word in node.op_type for word in DRAWING_OPERATORS):
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise NoDouble(f"operator {name} has no float64 counterpart")
    _write_default(node)
    for attribute in node.attribute:
        if attribute.name in TYPES and attribute.i in NARROW_TYPES:
            attribute.i = TensorProto.DOUBLE
        elif attribute.name in ("value_float", "value_floats") and node.op_type == "Constant":
            _as_tensor(attribute)
        elif attribute.type == AttributeProto.TENSOR:
            _widen_tensor(attribute.t)


def _write_default(node: NodeProto) -> None:
    """Write an element type explicitly where float32 is the default."""
    name = FLOAT_BY_DEFAULT.get(node.op_type)
    if name is None or any(attribute.name == name for attribute in node.attribute):
        return
    if node.op_type == "ConstantOfShape":
        zero = numpy_helper.from_array(np.zeros(1, np.float64))
        node.attribute.append(helper.make_attribute(name, zero))
    else:
        node.attribute.append(helper.make_attribute(name, int(TensorProto.DOUBLE)))


def _as_tensor(attribute: AttributeProto) -> None:
    """``value_float`` is float32 by definition; ``value`` is what its tensor is."""
    single = attribute.name == "value_float"
    array = np.float64(attribute.f) if single else np.array(attribute.floats, np.float64)
    whole = helper.make_attribute("value", numpy_helper.from_array(np.asarray(array)))
    attribute.CopyFrom(whole)


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in NARROW_TYPES:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


# What mixed precision keeps in float32.
KEPT_IN_FLOAT32 = {
    "Exp", "LayerNormalization", "Log", "LogSoftmax", "Pow", "ReduceMean", "ReduceSum", "Softmax",
    "Softplus",
}  # fmt: skip
# What multiplies in matrix units, which read TF32.
PRODUCTS = {"Conv", "ConvTranspose", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"}
CONSTANT = "conformance_split"


def rounded(model: ModelProto, precision: str) -> ModelProto:
    """A copy that computes in ``precision``, with the same inputs and outputs."""
    narrow = ModelProto()
    narrow.CopyFrom(model)
    kinds = _kinds(model)
    initializers = [tensor.name for tensor in model.graph.initializer]
    initializers += [value.name for value in model.graph.input if value.name not in initializers]
    stored = getattr(TensorProto, precision.upper()) if precision in STORED else None
    nodes = list(_stored(model, initializers, kinds, stored) if stored else _tf32(model, kinds))
    del narrow.graph.node[:]
    narrow.graph.node.extend(nodes)
    if stored is None:
        split = numpy_helper.from_array(np.array(SPLIT, np.float32), CONSTANT)
        narrow.graph.initializer.append(split)
    return narrow


def _kinds(model: ModelProto) -> dict[str, int]:
    """Tensor -> its element type, as far as shape inference knows it."""
    graph = shape_inference.infer_shapes(model).graph
    known = {tensor.name: tensor.data_type for tensor in graph.initializer}
    values = (*graph.input, *graph.output, *graph.value_info)
    return {**known, **{value.name: value.type.tensor_type.elem_type for value in values}}


def _stored(
    model: ModelProto, initializers: list[str], kinds: dict[str, int], narrow: int
) -> Iterator[NodeProto]:
    """Every float32 tensor is rounded where it is made; readers read the rounded one."""
    read: dict[str, str] = {}
    for name in initializers:
        if kinds.get(name) == TensorProto.FLOAT:
            read[name] = f"{name}::narrow"
            yield from _narrowed(name, read[name], narrow)
    for node in model.graph.node:
        copy = _reading(node, read)
        if node.op_type in KEPT_IN_FLOAT32:
            yield copy
            continue
        floats = [n for n in node.output if n and kinds.get(n) == TensorProto.FLOAT]
        exact = {name: f"{name}::wide" for name in floats}
        for place, name in enumerate(copy.output):
            copy.output[place] = exact.get(name, name)
        yield copy
        for name in floats:
            yield from _narrowed(exact[name], name, narrow)


def _tf32(model: ModelProto, kinds: dict[str, int]) -> Iterator[NodeProto]:
    """The float32 operands of products are split, and their upper halves multiplied."""
    for index, node in enumerate(model.graph.node):
        if node.op_type not in PRODUCTS:
            yield node
            continue
        read = {}
        for name in dict.fromkeys(node.input):
            if name and kinds.get(name) == TensorProto.FLOAT:
                read[name] = f"{name}::tf32 {index}"
                wide, rest = f"{read[name]} wide", f"{read[name]} rest"
                yield helper.make_node("Mul", [name, CONSTANT], [wide])
                yield helper.make_node("Sub", [wide, name], [rest])
                yield helper.make_node("Sub", [wide, rest], [read[name]])
        yield _reading(node, read)


def _reading(node: NodeProto, names: dict[str, str]) -> NodeProto:
    """A copy of the node that reads other tensors."""
    copy = NodeProto()
    copy.CopyFrom(node)
    for place, name in enumerate(copy.input):
        copy.input[place] = names.get(name, name)
    return copy


def _narrowed(source: str, target: str, narrow: int) -> Iterator[NodeProto]:
    """``target`` is ``source`` rounded to the type ``narrow``."""
    middle = f"{target}::rounded"
    yield helper.make_node("Cast", [source], [middle], to=narrow)
    yield helper.make_node("Cast", [middle], [target], to=TensorProto.FLOAT)
