"""Negative controls that change the file, which is then loaded and run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnx_conformance.checks.controls import edited, register_control
from onnx_conformance.core.arrays import Array
from onnx_conformance.run.subject import Subject


@register_control(checker="NoSuchOperator")
def unknown_operator(subject: Subject, folder: Path) -> Subject:
    """A node of an operator that no runtime has."""

    def edit(model: onnx.ModelProto) -> None:
        model.graph.node[0].op_type = "NoSuchOperator"

    return edited(subject, folder, edit)


@register_control(interface="is named 'renamed', expected 'output'")
def output_renamed(subject: Subject, folder: Path) -> Subject:
    """The output has another name than was asked for."""

    def edit(model: onnx.ModelProto) -> None:
        output = model.graph.output[0]
        model.graph.node.append(helper.make_node("Identity", [output.name], ["renamed"]))
        output.name = "renamed"

    return edited(subject, folder, edit)


@register_control(batch_axis="the batch axis of 'input' is 1, not symbolic")
def batch_axis_frozen(subject: Subject, folder: Path) -> Subject:
    """The example's batch size became a constant."""

    def edit(model: onnx.ModelProto) -> None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1

    return edited(subject, folder, edit)


@register_control(opset="delivered 15")
def opset_relabelled(subject: Subject, folder: Path) -> Subject:
    """The file says another opset than was asked for."""

    def edit(model: onnx.ModelProto) -> None:
        model.opset_import[0].version += 1

    return edited(subject, folder, edit)


def _append(model: onnx.ModelProto, operator: str, **tensors: Array) -> None:
    """Append a node that gives the first output, of what gave it so far and of ``tensors``."""
    graph, output = model.graph, model.graph.output[0].name
    last = next(node for node in graph.node if output in node.output)
    last.output[list(last.output).index(output)] = "before_control"
    graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in tensors.items())
    graph.node.append(helper.make_node(operator, ["before_control", *tensors], [output]))


@register_control(inference_mode="is in training mode")
def training_mode(subject: Subject, folder: Path) -> Subject:
    """A Dropout that still drops."""

    def edit(model: onnx.ModelProto) -> None:
        _append(model, "Dropout", ratio=np.array(0.5, np.float32), training=np.array(True))

    return edited(subject, folder, edit)


@register_control(
    initializers="1 of 4 native weights are not intact", error_budget="differs from native torch"
)
def one_weight_flipped(subject: Subject, folder: Path) -> Subject:
    """One element of one weight has the wrong sign: the largest, of the largest tensor."""

    def edit(model: onnx.ModelProto) -> None:
        tensor = max(model.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
        array = numpy_helper.to_array(tensor).copy()
        array.flat[int(np.abs(array).argmax())] *= -1
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    return edited(subject, folder, edit)


@register_control(deciding_values="off native's add")
def slightly_too_large(subject: Subject, folder: Path) -> Subject:
    """What comes out is a ten-thousandth too large: too little to turn most decisions."""

    def edit(model: onnx.ModelProto) -> None:
        _append(model, "Mul", scale_of_control=np.array(1.0001, np.float32))

    return edited(subject, folder, edit)


@register_control(operators="'Gemm Relu Gemm Identity', expected 'Gemm Relu Gemm'")
def identity_appended(subject: Subject, folder: Path) -> Subject:
    """A node more than the model has layers, which changes no number."""
    return edited(subject, folder, lambda model: _append(model, "Identity"))


@register_control(folding="1 BatchNormalization nodes for the native model's 0")
def batch_norm_appended(subject: Subject, folder: Path) -> Subject:
    """A BatchNormalization that should have been folded into the layer before it."""

    def edit(model: onnx.ModelProto) -> None:
        channels = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
        values = {"gamma": 1.0, "beta": 0.0, "mean": 0.0, "variance": 1.0}
        tensors = {name: np.full(channels, value, np.float32) for name, value in values.items()}
        _append(model, "BatchNormalization", **tensors)

    return edited(subject, folder, edit)


@register_control(static_batch="the batch axis of 'input' is batch_size, not 2")
def batch_axis_freed(subject: Subject, folder: Path) -> Subject:
    """A static batch axis became symbolic, so any batch is taken."""

    def edit(model: onnx.ModelProto) -> None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "batch_size"

    return edited(subject, folder, edit)


@register_control(weight_inputs="the inputs are input, 2.bias")
def weight_inputs_reordered(subject: Subject, folder: Path) -> Subject:
    """The weights that a file without weights gets as inputs stand in another order."""

    def edit(model: onnx.ModelProto) -> None:
        weights = model.graph.input[1:]
        del model.graph.input[1:]
        model.graph.input.extend(reversed(weights))

    return edited(subject, folder, edit)


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


@register_control(denormals="differs in NaN")
def denormals_divided(subject: Subject, folder: Path) -> Subject:
    """Denormals come out as NaN, as a division by them may do. No other input shows it.

    Denormals flushed to zero would be no control: beside a bias they are as good as zero.
    """

    def edit(model: onnx.ModelProto) -> None:
        graph, name = model.graph, model.graph.input[0].name
        for node in graph.node:
            for place, value in enumerate(node.input):
                if value == name:
                    node.input[place] = "divided"
        smallest = np.finfo(np.float32).smallest_normal
        values = {
            "nothing": np.float32(0),
            "smallest": smallest,
            "not_a_number": np.float32(np.nan),
        }
        graph.initializer.extend(numpy_helper.from_array(np.array(v), n) for n, v in values.items())
        nodes = [
            helper.make_node("Abs", [name], ["size"]),
            helper.make_node("Less", ["size", "smallest"], ["tiny"]),
            helper.make_node("Greater", ["size", "nothing"], ["something"]),
            helper.make_node("And", ["tiny", "something"], ["denormal"]),
            helper.make_node("Where", ["denormal", "not_a_number", name], ["divided"]),
        ]
        for place, node in enumerate(nodes):
            graph.node.insert(place, node)

    return edited(subject, folder, edit)
