"""A framework of NumPy's matrices alone: its backend and its export route, in one module."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx_conformance.core.arrays import digest_arrays
from onnx_conformance.workers.native import (
    NativeBackend,
    build,
    input_names,
    named_outputs,
    perturbed,
)
from onnx_conformance.workers.server import load_object
from onnx_conformance.workers.stopwatch import TimedCall


class ToyBackend(NativeBackend):
    """Its models are mappings of weights: two dense layers with a ReLU between them."""

    def __init__(self, threads):
        pass

    def prepare(self, request):
        weights = build(request)
        np.savez(request.weights, **weights)
        return {"digest": digest_arrays(weights), "batch_norms": [], "unused": [], "names": []}

    def run(self, request, mode, input_sets):
        return [named_outputs(request.model, [_answer(request, mode, one)]) for one in input_sets]

    def timed_call(self, form, inputs, *, request):
        return TimedCall(
            lambda: _answer(request, "float32", inputs),
            lambda array: named_outputs(request.model, [array]),
        )

    def export(self, request, function, opset, options, path):
        load_object(function)(build(request), request.model, opset, path)


def _answer(request, mode, inputs):
    dtype = np.float64 if mode == "float64" else np.float32
    weights = {
        name: perturbed(name, array, mode if mode != "float64" else "float32")
        for name, array in build(request).items()
    }
    array = inputs[input_names(request.model)[0]].astype(dtype)
    for layer in (0, 1):
        matrix, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        array = array @ matrix.astype(dtype) + bias.astype(dtype)
        array = np.maximum(array, 0) if layer == 0 else array
    return array


def export(weights, spec, opset, path):
    """Write the layers as two Gemm nodes."""
    taken, given = spec.inputs[0], spec.outputs[0]
    nodes = [
        helper.make_node("Gemm", [taken.name, "0.weight", "0.bias"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["rectified"]),
        helper.make_node("Gemm", ["rectified", "1.weight", "1.bias"], [given.name]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(taken.name, TensorProto.FLOAT, taken.shape)],
        [helper.make_tensor_value_info(given.name, TensorProto.FLOAT, given.shape)],
        [numpy_helper.from_array(array, key) for key, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="toy")
    onnx.save(model, path)
