"""Negative controls of half precision and int8: each spoils a right file as real tools have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from onnx_conformance.checks.controls import changed, edited, register_control
from onnx_conformance.core.comparison import Outputs
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.session.subject import Subject

SHIFT = 32  # of the 256 levels
LARGE = np.float32(16384)
SATURATING = 0.02  # of the scale that was calibrated


@register_control(sqnr="dB of signal to quantisation noise")
def zero_points_wrong(subject: Subject, folder: Path) -> Subject:
    """The zero points of activations are off, where they are quantised and not where restored."""
    return edited(subject, folder, shift_zero_points)


@register_control(task="accuracy lost")
def layer_saturated(subject: Subject, folder: Path) -> Subject:
    """One layer's activations were calibrated on too small a range."""
    return edited(subject, folder, saturate)


@register_control(composition="alone and among 10 samples it differs")
def follows_the_batch(subject: Subject, folder: Path) -> Subject:
    """Each answer leans to the mean of its batch."""

    def lean(outputs: Outputs, inputs: Inputs, repeat: int) -> Outputs:
        return {name: array + array.mean(axis=0) for name, array in outputs.items()}

    return changed(subject, lean)


@register_control(overflow="overflows float16")
def half_overflows(subject: Subject, folder: Path) -> Subject:
    """A layer's weights are large and the next one's small: without limits the same function."""

    def edit(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            first = model.graph.node[1].input
            scaled = array * LARGE if tensor.name in first else array / LARGE
            tensor.CopyFrom(numpy_helper.from_array(scaled.astype(array.dtype), tensor.name))

    return edited(subject, folder, edit)


def shift_zero_points(model: onnx.ModelProto) -> None:
    """Move the zero point of every QuantizeLinear of an activation."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            wrong = f"{node.output[0]}_wrong_zero"
            point = numpy_helper.to_array(tensors[node.input[2]])
            limits = np.iinfo(point.dtype)
            shifted = np.clip(point.astype(np.int64) + SHIFT, limits.min, limits.max)
            shifted = shifted.astype(point.dtype)
            model.graph.initializer.append(numpy_helper.from_array(shifted, wrong))
            node.input[2] = wrong


def saturate(model: onnx.ModelProto) -> None:
    """Shrink the scale of the middle layer's activations, on both sides alike."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    scale = tensors[nodes[len(nodes) // 2].input[1]]
    smaller = numpy_helper.to_array(scale) * np.float32(SATURATING)
    scale.CopyFrom(numpy_helper.from_array(smaller, scale.name))
