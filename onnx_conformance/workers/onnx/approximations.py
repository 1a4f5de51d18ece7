"""Errors of approximated functions in an ONNX graph, for the replicas of a file.

ONNX Runtime computes such a function otherwise once its optimiser has fused nodes or changed
layouts, so a file that is run as it is written shows one of several lawful errors. The bounds:
docs/numerics.md.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from onnx_conformance.core.onnx_file import default_opset, every_graph, every_node
from onnx_conformance.workers.replica_arithmetic import ApproximationErrors

Nodes = list[onnx.NodeProto]
BROADCASTING = 8
ONNX_DOMAINS = ("", "ai.onnx")  # domains of ONNX's own operators


def approximate(model: onnx.ModelProto, errors: ApproximationErrors) -> None:
    """Make each application of an approximated function in ``model`` err by its whole bound.

    Tensors keep their names. What is not known to be float32 stays as it is, and so do files of an
    opset whose arithmetic does not broadcast, or without operators of ONNX's own.
    """
    if default_opset(model) < BROADCASTING:
        return
    if not any(node.op_type in ERRORS for node in every_node(model)):
        return
    inferred = shape_inference.infer_shapes(model)
    pairs = list(zip(every_graph(model), every_graph(inferred), strict=True))
    for (graph, _), (known, _) in reversed(pairs):  # a graph's nodes are copied with what is inside
        floats = _floats(known)
        nodes: Nodes = []
        for node in graph.node:
            if node.op_type in ERRORS and node.domain in ONNX_DOMAINS and node.output[0] in floats:
                nodes += _erring(node, errors)
            else:
                nodes.append(node)
        del graph.node[:]
        graph.node.extend(nodes)


def _floats(graph: onnx.GraphProto | onnx.FunctionProto) -> set[str]:
    """The float32 tensors among those whose type shape inference knows."""
    outputs = graph.output if isinstance(graph, onnx.GraphProto) else ()
    values = (*graph.value_info, *outputs)
    return {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}


def _erring(node: onnx.NodeProto, errors: ApproximationErrors) -> Nodes:
    """The node, followed by nodes that compute its output from its result."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    name = node.output[0]
    exact = copy.output[0] = f"{name}::exact"
    return [copy, *ERRORS[node.op_type](errors, node, exact, name)]


def _constant(value: float, name: str) -> onnx.NodeProto:
    return helper.make_node(
        "Constant", [], [name], value=numpy_helper.from_array(np.array(value, np.float32))
    )


def _shifted(errors: ApproximationErrors, node: onnx.NodeProto, exact: str, name: str) -> Nodes:
    """An error that is absolute."""
    error = f"{name}::error"
    add = helper.make_node("Add", [exact, error], [name])
    return [_constant(errors.error(node.op_type.lower()), error), add]


def _scaled(errors: ApproximationErrors, node: onnx.NodeProto, exact: str, name: str) -> Nodes:
    """An error that is relative; of an exponential that of Elu, which is exp(x) - 1 below 0."""
    factor = f"{name}::factor"
    function = "elu" if node.op_type == "Exp" else node.op_type.lower()
    multiply = helper.make_node("Mul", [exact, factor], [name])
    return [_constant(1.0 + errors.error(function), factor), multiply]


def _below_zero(errors: ApproximationErrors, node: onnx.NodeProto, exact: str, name: str) -> Nodes:
    """alpha·(exp(x) - 1) by subtraction: an absolute error where the answer is negative."""
    numbers = {a.name: a.f for a in node.attribute}
    alpha = numbers.get("alpha", SELU_ALPHA if node.op_type == "Selu" else 1.0)
    size = alpha * (numbers.get("gamma", SELU_GAMMA) if node.op_type == "Selu" else 1.0)
    zero, below, cast, factor, error = (
        f"{name}::{part}" for part in ("zero", "below", "cast", "factor", "error")
    )
    return [
        _constant(0.0, zero),
        helper.make_node("Less", [exact, zero], [below]),
        helper.make_node("Cast", [below], [cast], to=TensorProto.FLOAT),
        _constant(size * errors.error("elu"), factor),
        helper.make_node("Mul", [cast, factor], [error]),
        helper.make_node("Add", [exact, error], [name]),
    ]


SELU_ALPHA, SELU_GAMMA = 1.67326319, 1.05070102  # ONNX's defaults
ERRORS: dict[str, Callable[[ApproximationErrors, onnx.NodeProto, str, str], Nodes]] = {
    "Celu": _below_zero,
    "Elu": _below_zero,
    "Exp": _scaled,
    "Mish": _scaled,
    "Selu": _below_zero,
    "Sigmoid": _shifted,
    "Softplus": _scaled,
    "Tanh": _scaled,
}
