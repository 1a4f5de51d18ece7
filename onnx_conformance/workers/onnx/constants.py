"""What an ONNX file computes from its initialisers alone. Runs in the worker's process."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from onnx_conformance.core.compute_modes import REPLICAS
from onnx_conformance.core.graph_weights import constant_nodes
from onnx_conformance.core.native_constants import ConstantRecord, Values
from onnx_conformance.core.onnx_file import captured_names
from onnx_conformance.workers.native import perturbed
from onnx_conformance.workers.onnx.evaluator import tensors_of

_REFUSALS = (RuntimeError, ValueError, ort.capi.onnxruntime_pybind11_state.Fail)


def constants_of(model: onnx.ModelProto) -> tuple[list[ConstantRecord], dict[str, Values]]:
    """The results of the main graph's nodes that no input reaches, and what they are made of.

    Args:
        model: with its weights.
    """
    nodes = [node for node in constant_nodes(model) if node.op_type != "Constant"]
    made = {name: node for node in nodes for name in node.output if name}
    if not made:
        return [], {}
    fed = {
        name
        for node in model.graph.node
        if not made.keys() & set(node.output)
        for name in (*node.input, *captured_names(node))
    }
    used = fed | {value.name for value in model.graph.output}
    stored = [tensor.name for tensor in model.graph.initializer]
    stored += [n.output[0] for n in model.graph.node if n.op_type == "Constant"]
    records: list[ConstantRecord] = [
        {"name": name, "operands": [], "copies": [], "used": name in used} for name in stored
    ]
    records += [
        {
            "name": name,
            "operands": [one for one in dict.fromkeys((*node.input, *captured_names(node))) if one],
            "copies": [],
            "used": name in used,
        }
        for name, node in made.items()
    ]
    return records, _values(model, list(made))


def _values(model: onnx.ModelProto, names: list[str]) -> dict[str, Values]:
    """The floating results in float32, and again from weights that are rounded otherwise."""
    exact, other = _computed(model, names, ""), _computed(model, names, REPLICAS[0])
    return {
        name: Values(array, other.get(name, array))
        for name, array in exact.items()
        if np.issubdtype(array.dtype, np.floating) and array.size
    }


def _computed(model: onnx.ModelProto, names: list[str], replica: str) -> dict[str, Any]:
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.node[:], part.graph.output[:], part.graph.input[:], part.graph.value_info[:]
    part.graph.node.extend(constant_nodes(model))
    for tensor in part.graph.initializer if replica else ():
        array = perturbed(tensor.name, numpy_helper.to_array(tensor), replica)
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(array), tensor.name))
    try:
        return tensors_of(part, names, {})
    except _REFUSALS:
        return {}
