"""Negative controls that change the file, which is then loaded and run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnx_conformance.checks.controls import register_control, register_edit
from onnx_conformance.core.arrays import Array
from onnx_conformance.run.subject import Subject


@register_edit(checker="NoSuchOperator")
def unknown_operator(model: onnx.ModelProto) -> None:
    """A node of an operator that no runtime has."""
    model.graph.node[0].op_type = "NoSuchOperator"


@register_edit(interface="is named 'renamed', expected 'output'")
def output_renamed(model: onnx.ModelProto) -> None:
    """The output has another name than was asked for."""
    output = model.graph.output[0]
    model.graph.node.append(helper.make_node("Identity", [output.name], ["renamed"]))
    output.name = "renamed"


@register_edit(batch_axis="the batch axis of 'input' is 1, not symbolic")
def batch_axis_frozen(model: onnx.ModelProto) -> None:
    """The example's batch size became a constant."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1


@register_edit(opset="delivered 15")
def opset_relabelled(model: onnx.ModelProto) -> None:
    """The file says another opset than was asked for."""
    model.opset_import[0].version += 1


def _append(model: onnx.ModelProto, operator: str, **tensors: Array) -> None:
    """Append a node that gives the first output, of what gave it so far and of ``tensors``."""
    graph, output = model.graph, model.graph.output[0].name
    last = next(node for node in graph.node if output in node.output)
    last.output[list(last.output).index(output)] = "before_control"
    graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in tensors.items())
    graph.node.append(helper.make_node(operator, ["before_control", *tensors], [output]))


@register_edit(inference_mode="is in training mode")
def training_mode(model: onnx.ModelProto) -> None:
    """A Dropout that still drops."""
    _append(model, "Dropout", ratio=np.array(0.5, np.float32), training=np.array(True))


@register_edit(
    initializers="1 of 4 native weights are not intact", error_budget="differs from native torch"
)
def one_weight_flipped(model: onnx.ModelProto) -> None:
    """One element of one weight has the wrong sign: the largest, of the largest tensor."""
    tensor = max(model.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    array = numpy_helper.to_array(tensor).copy()
    array.flat[int(np.abs(array).argmax())] *= -1
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


@register_edit(deciding_values="off native's add")
def slightly_too_large(model: onnx.ModelProto) -> None:
    """What comes out is a ten-thousandth too large: too little to turn most decisions."""
    _append(model, "Mul", scale_of_control=np.array(1.0001, np.float32))


@register_edit(operators="'Gemm Relu Gemm Identity', expected 'Gemm Relu Gemm'")
def identity_appended(model: onnx.ModelProto) -> None:
    """A node more than the model has layers, which changes no number."""
    _append(model, "Identity")


@register_edit(folding="1 BatchNormalization nodes for the native model's 0")
def batch_norm_appended(model: onnx.ModelProto) -> None:
    """A BatchNormalization that should have been folded into the layer before it."""
    channels = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    values = {"gamma": 1.0, "beta": 0.0, "mean": 0.0, "variance": 1.0}
    tensors = {name: np.full(channels, value, np.float32) for name, value in values.items()}
    _append(model, "BatchNormalization", **tensors)


@register_edit(static_batch="the batch axis of 'input' is batch_size, not 2")
def batch_axis_freed(model: onnx.ModelProto) -> None:
    """A static batch axis became symbolic, so any batch is taken."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch_size"


@register_edit(weight_inputs="the inputs are input, 2.bias")
def weight_inputs_reordered(model: onnx.ModelProto) -> None:
    """The weights that a file without weights gets as inputs stand in another order."""
    weights = model.graph.input[1:]
    del model.graph.input[1:]
    model.graph.input.extend(reversed(weights))


@register_control(external_data="model.onnx.data is not what was exported")
def data_file_changed(subject: Subject, folder: Path) -> Subject:
    """One bit of the weights beside the graph has flipped since the export."""
    files = tuple(folder / path.name for path in subject.artifact.files)
    for source, copy in zip(subject.artifact.files, files, strict=True):
        copy.write_bytes(source.read_bytes())
    content = bytearray(files[-1].read_bytes())
    content[-1] ^= 1
    files[-1].write_bytes(content)
    return subject.with_artifact(replace(subject.artifact, path=files[0], files=files))


@register_edit(denormals="differs in NaN")
def denormals_divided(model: onnx.ModelProto) -> None:
    """Denormals come out as NaN, as a division by them may do. No other input shows it.

    Denormals flushed to zero would be no control: beside a bias they are as good as zero.
    """
    graph, name = model.graph, model.graph.input[0].name
    for node in graph.node:
        for place, value in enumerate(node.input):
            if value == name:
                node.input[place] = "divided"
    smallest = np.finfo(np.float32).smallest_normal
    values = {"nothing": 0.0, "smallest": smallest, "not_a_number": np.nan}
    graph.initializer.extend(
        numpy_helper.from_array(np.array(v, np.float32), n) for n, v in values.items()
    )
    nodes = [
        helper.make_node("Abs", [name], ["size"]),
        helper.make_node("Less", ["size", "smallest"], ["tiny"]),
        helper.make_node("Greater", ["size", "nothing"], ["something"]),
        helper.make_node("And", ["tiny", "something"], ["denormal"]),
        helper.make_node("Where", ["denormal", "not_a_number", name], ["divided"]),
    ]
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)
