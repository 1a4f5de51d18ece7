"""Single wrong edits of any ONNX file: of attributes, constants, operators, orders of inputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import AttributeProto, numpy_helper

Edit = tuple[str, onnx.ModelProto]

# Operators that take and give the same, and are something else.
OTHERS = {
    "Add": "Sub", "And": "Or", "Ceil": "Round", "Cos": "Sin", "Elu": "Celu", "Floor": "Ceil",
    "Gelu": "Sigmoid", "Greater": "GreaterOrEqual", "Less": "LessOrEqual", "Max": "Min",
    "Mul": "Div", "ReduceL2": "ReduceL1", "ReduceMax": "ReduceMin", "ReduceSum": "ReduceMean",
    "Relu": "Softplus", "Round": "Floor", "Sigmoid": "HardSigmoid", "Sin": "Cos", "Sqrt": "Abs",
    "Tanh": "Erf",
}  # fmt: skip
# Texts of attributes, of which another one is tried.
TEXTS = (
    "tanh", "none", "linear", "nearest", "cubic", "floor", "ceil", "align_corners", "asymmetric",
    "half_pixel", "reflect", "edge", "sum", "mean", "zeros", "border", "add", "mul", "max", "min",
    "CRD", "DCR",
)  # fmt: skip
TYPES = {"to", "saturate", "stash_type"}  # attributes that say a dtype: another one is no fault


def edits(model: onnx.ModelProto) -> Iterator[Edit]:
    """Every edit, each of a copy; whether it changes an answer is to be found out."""
    for place, node in enumerate(model.graph.node):
        for index, attribute in enumerate(node.attribute):
            if attribute.name in TYPES:
                continue
            for what, change in _changes(attribute):
                edited = copy.deepcopy(model)
                change(edited.graph.node[place].attribute[index])
                yield f"{node.op_type}'s {attribute.name} {what}", edited
        if len(node.input) > 1 and node.input[0] and node.input[1] not in ("", node.input[0]):
            edited = copy.deepcopy(model)
            inputs = edited.graph.node[place].input
            inputs[0], inputs[1] = inputs[1], inputs[0]
            yield f"{node.op_type}'s inputs swapped", edited
        if node.op_type in OTHERS:
            edited = copy.deepcopy(model)
            edited.graph.node[place].op_type = OTHERS[node.op_type]
            yield f"{node.op_type} written as {OTHERS[node.op_type]}", edited


def _changes(attribute: AttributeProto) -> Iterator[tuple[str, Callable[[AttributeProto], None]]]:
    kind = attribute.type
    if kind == AttributeProto.INT:
        for step in (1, -1):
            yield f"{step:+d}", lambda a, step=step: setattr(a, "i", a.i + step)
    elif kind == AttributeProto.FLOAT:
        yield "5 % larger", lambda a: setattr(a, "f", 1.05 * a.f if a.f else 0.01)
    elif kind == AttributeProto.INTS and attribute.ints:
        yield "one larger at first", lambda a: a.ints.__setitem__(0, a.ints[0] + 1)
        yield "reversed", lambda a: a.ints.__setitem__(slice(None), [*a.ints][::-1])
    elif kind == AttributeProto.STRING:
        for text in TEXTS:
            yield f"'{text}'", lambda a, text=text: setattr(a, "s", text.encode())
    elif kind == AttributeProto.TENSOR:
        array = numpy_helper.to_array(attribute.t)
        if array.dtype.kind in "iuf" and array.size:
            yield "a little larger", _larger


def _larger(attribute: AttributeProto) -> None:
    array, name = numpy_helper.to_array(attribute.t), attribute.t.name
    changed = 1.01 * array + 0.01 if array.dtype.kind == "f" else array + 1
    attribute.t.CopyFrom(numpy_helper.from_array(np.asarray(changed, array.dtype), name))
