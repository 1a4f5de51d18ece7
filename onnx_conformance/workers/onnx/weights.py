"""Which tensors of an ONNX file are weights: initialisers and constants, in subgraphs too.

What shapes a computation is none: an exponent, a bound, a scale of Resize, a value to compare with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from onnx_conformance.core.compute_modes import REPLICAS, ULP, compute_mode
from onnx_conformance.core.graph_weights import SETTINGS, stored_values
from onnx_conformance.core.native_request import BatchNormRecord
from onnx_conformance.core.onnx_file import answering_nodes, every_graph, every_node
from onnx_conformance.workers.native import perturbed

FLOATING = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
SUM_ERRORS = (4.0, -4.0, 1.0)  # of a replica: how far the sums that it quantises are off
# Operator -> the inputs that are no weights; None for all of them.
NO_WEIGHTS: dict[str, tuple[int, ...] | None] = {
    **SETTINGS,
    "Pow": (1,),
    "OneHot": None,
    "Equal": None,
    "Less": None,
    "LessOrEqual": None,
    "Greater": None,
    "GreaterOrEqual": None,
    "Mod": None,
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "MatMulNBits": (2,),
    "MatMulBnb4": (2,),
    "GatherBlockQuantized": (2,),
    "DynamicQuantizeMatMul": (2,),
    "MatMulIntegerToFloat": (2, 3),
    "QGemm": None,
    "QLinearConv": None,
    "QLinearMatMul": None,
    "ConstantOfShape": None,
}


def weights_of(model: onnx.ModelProto) -> Iterator[tuple[str, TensorProto]]:
    """Name and message of every floating weight of at least one axis; changes reach ``model``."""
    settings = set(_settings(model))
    for name, stored in stored_values(model):
        if (
            isinstance(stored, TensorProto)
            and stored.data_type in FLOATING
            and stored.dims
            and name not in settings
        ):
            yield name, stored


def _settings(model: onnx.ModelProto) -> Iterator[str]:
    for node in every_node(model):
        if node.op_type in NO_WEIGHTS:
            places = NO_WEIGHTS[node.op_type]
            chosen = range(len(node.input)) if places is None else places
            yield from (node.input[p] for p in chosen if p < len(node.input))


def read_weights(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """The weights as arrays by name; of equal names in several graphs the first."""
    found: dict[str, NDArray[Any]] = {}
    for name, tensor in weights_of(model):
        array = numpy_helper.to_array(tensor)
        if np.issubdtype(array.dtype, np.floating):  # bfloat16 is none of NumPy's
            found.setdefault(name, array)
    return found


def round_otherwise(model: onnx.ModelProto, replica: str) -> None:
    """Change the weights of ``model`` as rounding may, drawn by :func:`perturbed`.

    What QuantizeLinear rounds moves too, up or down: it is a sum of whole numbers, which often lies
    at a half, where float32's own rounding decides.
    """
    _move_quantised(model, 1.0 + ULP * SUM_ERRORS[REPLICAS.index(compute_mode(replica).replica)])
    for name, tensor in weights_of(model):
        if tensor.data_type != TensorProto.FLOAT:
            continue
        array = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            changed = perturbed(name, array, replica)
        kept = np.where(np.isfinite(changed), changed, array)  # the largest number stays finite
        label = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(kept, label))


def _move_quantised(model: onnx.ModelProto, factor: float) -> None:
    """Multiply what each QuantizeLinear of a float32 scale takes."""
    scales = {
        t.name for graph, _ in every_graph(model) for t in getattr(graph, "initializer", ())
        if t.data_type == TensorProto.FLOAT
    }  # fmt: skip
    for graph, _ in every_graph(model):
        nodes = []
        for place, node in enumerate(graph.node):
            if node.op_type == "QuantizeLinear" and node.input[1] in scales:
                moved, by = f"{node.input[0]}::moved {place}", f"{node.input[0]}::factor {place}"
                number = numpy_helper.from_array(np.array(factor, np.float32))
                nodes.append(onnx.helper.make_node("Constant", [], [by], value=number))
                nodes.append(onnx.helper.make_node("Mul", [node.input[0], by], [moved]))
                node.input[0] = moved
            nodes.append(node)
        if len(nodes) > len(graph.node):
            kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
            del graph.node[:]
            graph.node.extend(kept)


def batch_norms_of(model: onnx.ModelProto, weights: Mapping[str, Any]) -> list[BatchNormRecord]:
    """The BatchNormalizations that an optimiser may fold into what stands before or behind them.

    Args:
        weights: those of :func:`read_weights`.
    """
    found: list[BatchNormRecord] = []
    for node in every_node(model):
        if node.op_type != "BatchNormalization" or len(node.input) < 5:
            continue
        gamma, beta, mean, variance = node.input[1:5]
        if mean in weights and variance in weights:
            epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
            found.append(
                BatchNormRecord(
                    gamma=gamma, beta=beta, mean=mean, variance=variance, epsilon=epsilon
                )
            )
    return found


def unused_of(model: onnx.ModelProto, weights: Mapping[str, Any]) -> list[str]:
    """The weights from which no path leads to an output; a file may lack them."""
    read = {name for node in answering_nodes(model) for name in (*node.input, *node.output)}
    read |= {value.name for value in model.graph.output}
    return [name for name in weights if name not in read]
