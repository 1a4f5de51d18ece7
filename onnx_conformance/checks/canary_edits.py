"""Edits of the canary: weights of a file to change, the most effective first, else an output."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.graph_weights import settings_of
from onnx_conformance.core.onnx_file import captured_names

WEIGHTS_NEXT_TO_OUTPUT = 2  # weights next to an output, whose effect nothing hides
OFFSET, LENGTH = "offset", "length"
BEFORE = "before_canary"


def weights_to_move(model: onnx.ModelProto, folder: Path) -> list[str]:
    """Names of floating constants worth moving: those next to an output, then the largest.

    Initialisers and values of Constant nodes that feed a node from which an output is reached, have
    more than one element, and are not all zero.
    """
    stored, settings = constants_of(model), settings_of(model)
    reached = {output.name for output in model.graph.output}
    found: dict[str, None] = {}
    for node in reversed(model.graph.node):
        if not reached.intersection(node.output):
            continue
        names = [*node.input, *captured_names(node)]
        reached.update(names)
        found |= dict.fromkeys(n for n in names if n in stored and n not in settings)
    worth = [name for name in found if _worth_moving(stored[name], folder)]
    largest = sorted(
        worth[WEIGHTS_NEXT_TO_OUTPUT:], key=lambda name: -int(np.prod(stored[name].dims))
    )
    return [*worth[:WEIGHTS_NEXT_TO_OUTPUT], *largest]


def constants_of(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The tensors of the main graph's initialisers and Constant nodes, by name."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                stored[node.output[0]] = attribute.t
    return stored


def array_of(tensor: onnx.TensorProto, folder: Path) -> Array:
    """The tensor's values; onnx would leave what it reads from a file in the tensor.

    What :func:`onnx_conformance.checks.canary.light_graph` left in the exported file is read here,
    because onnx refuses files with several hard links.
    """
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    place = {entry.key: entry.value for entry in tensor.external_data}
    if LENGTH in place and OFFSET in place:
        with (folder / place["location"]).open("rb") as file:
            file.seek(int(place[OFFSET]))
            copy.raw_data = file.read(int(place[LENGTH]))
        copy.ClearField("data_location")
        del copy.external_data[:]
    return numpy_helper.to_array(copy, base_dir=str(folder))


def move_weight(model: onnx.ModelProto, name: str, folder: Path) -> None:
    """Multiply a constant by a ramp, so that a softmax, which knows no scale, moves too."""
    tensor = constants_of(model)[name]
    array = array_of(tensor, folder)
    ramp = np.linspace(1.0, 2.0, array.size).reshape(array.shape)
    label = tensor.name
    tensor.CopyFrom(numpy_helper.from_array((array * ramp).astype(array.dtype), label))


def movable_output(model: onnx.ModelProto, outputs: Outputs) -> str | None:
    """The first output of the file that holds numbers which another node could move.

    Args:
        outputs: what the file answered, in the file's order.
    """
    for value, array in zip(model.graph.output, outputs.values(), strict=False):
        kind = array.dtype.kind
        if value.type.tensor_type.elem_type == TensorProto.STRING:
            continue  # read as codes, which no node of the file could move
        if array.size and kind in "biuf" and (kind != "f" or np.isfinite(array).any()):
            return str(value.name)
    return None


def move_output(model: onnx.ModelProto, output: str, answered: Array) -> None:
    """Turn the sign of an output, add one where it is all zero; of a truth value, its opposite.

    The file's own dtype counts, which a plain callable's answers need not have.
    """
    declared = next(value for value in model.graph.output if value.name == output)
    kind = declared.type.tensor_type.elem_type
    last = next(node for node in model.graph.node if output in node.output)
    last.output[list(last.output).index(output)] = BEFORE
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == output:
                node.input[place] = BEFORE
    model.graph.node.extend(_moving(output, answered, kind))


def _moving(output: str, answered: Array, declared: int) -> Iterator[onnx.NodeProto]:
    if answered.dtype == np.bool_:
        yield helper.make_node("Not", [BEFORE], [output])
        return
    element_type = declared or helper.np_dtype_to_tensor_dtype(answered.dtype)
    wide = TensorProto.FLOAT if answered.dtype.kind == "f" else TensorProto.INT64
    yield helper.make_node("Cast", [BEFORE], ["canary_wide"], to=wide)
    if np.any(answered):
        yield helper.make_node("Neg", ["canary_wide"], ["canary_moved"])
    else:
        one = numpy_helper.from_array(np.ones((), helper.tensor_dtype_to_np_dtype(wide)))
        yield helper.make_node("Constant", [], ["canary_one"], value=one)
        yield helper.make_node("Add", ["canary_wide", "canary_one"], ["canary_moved"])
    yield helper.make_node("Cast", ["canary_moved"], [output], to=element_type)


def _worth_moving(tensor: onnx.TensorProto, folder: Path) -> bool:
    kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if not np.issubdtype(kind, np.floating) or np.prod(tensor.dims) < 2:
        return False
    return bool(array_of(tensor, folder).any())
