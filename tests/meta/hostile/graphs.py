"""Messages that can be read, and graphs that make no sense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.meta.hostile import hostile

FUTURE = 999
SCRIPT = "<script>document.title='owned'</script>"


def save(model: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(model.SerializeToString())


def rename_output(model: onnx.ModelProto, name: str) -> None:
    model.graph.node[-1].output[0] = model.graph.output[0].name = name


@hostile("its nodes stand in a circle")
def circle(right: onnx.ModelProto, path: Path) -> None:
    right.graph.node[0].input[0] = right.graph.node[-1].output[0]
    save(right, path)


@hostile("reads 'nowhere', which nothing makes")
def undefined_value(right: onnx.ModelProto, path: Path) -> None:
    right.graph.node[-1].input[0] = "nowhere"
    save(right, path)


@hostile("has the output 'absent', which nothing makes")
def output_of_nothing(right: onnx.ModelProto, path: Path) -> None:
    right.graph.output[0].name = "absent"
    save(right, path)


@hostile("has two nodes that make the value")
def two_makers(right: onnx.ModelProto, path: Path) -> None:
    right.graph.node.append(right.graph.node[-1])
    save(right, path)


@hostile("has two initializers of the name")
def two_initializers(right: onnx.ModelProto, path: Path) -> None:
    right.graph.initializer.append(right.graph.initializer[0])
    save(right, path)


@hostile("is not UTF-8: 'out\\xff\\xfe'")
def invalid_utf8(right: onnx.ModelProto, path: Path) -> None:
    rename_output(right, "out__")
    path.write_bytes(right.SerializeToString().replace(b"out__", b"out\xff\xfe"))


@hostile("characters that cannot be shown: 'output\\x1b[2J")
def terminal_escapes(right: onnx.ModelProto, path: Path) -> None:
    rename_output(right, "output\x1b[2J\x1b]0;owned\x07")
    save(right, path)


@hostile("expected 'output'")
def script_for_a_name(right: onnx.ModelProto, path: Path) -> None:
    right.producer_name = "pytorch"
    rename_output(right, SCRIPT)
    save(right, path)


@hostile("expected 'output'")
def path_for_a_name(right: onnx.ModelProto, path: Path) -> None:
    right.producer_name = "pytorch"
    rename_output(right, "../../../owned")
    save(right, path)


@hostile(f"says opset {FUTURE}")
def opset_from_the_future(right: onnx.ModelProto, path: Path) -> None:
    right.opset_import[0].version = FUTURE
    save(right, path)


@hostile("declares no opset")
def opset_zero(right: onnx.ModelProto, path: Path) -> None:
    right.opset_import[0].version = 0
    save(right, path)


@hostile(f"says IR version {FUTURE}")
def format_from_the_future(right: onnx.ModelProto, path: Path) -> None:
    right.ir_version = FUTURE
    save(right, path)


@hostile("--custom-op-library=PATH")
def unknown_domain(right: onnx.ModelProto, path: Path) -> None:
    right.graph.node[-1].domain = "nobody.knows"
    right.opset_import.append(helper.make_opsetid("nobody.knows", 1))
    save(right, path)


@hostile("NoSuchOperator")
def unknown_operator(right: onnx.ModelProto, path: Path) -> None:
    right.graph.node[1].op_type = "NoSuchOperator"
    save(right, path)


@hostile("names none; export or copy it again")
def no_outputs(right: onnx.ModelProto, path: Path) -> None:
    del right.graph.output[:]
    save(right, path)


@hostile("has no nodes: it computes nothing")
def no_nodes(right: onnx.ModelProto, path: Path) -> None:
    del right.graph.node[:]
    save(right, path)


@hostile("0 inputs [], expected 1")
def no_inputs(right: onnx.ModelProto, path: Path) -> None:
    name = right.graph.input[0].name
    del right.graph.input[:]
    value = numpy_helper.from_array(np.zeros((1, 10), np.float32), name)
    right.graph.initializer.append(value)
    save(right, path)


def branch(node: onnx.NodeProto, value: str) -> onnx.GraphProto:
    output = helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, None)
    return helper.make_graph([node], "branch", [], [output])


def nest(model: onnx.ModelProto, depth: int) -> None:
    """Append an If whose branches hold an If whose branches …"""
    output = model.graph.output[0].name
    model.graph.node[-1].output[0] = "inner"
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    inner = branch(helper.make_node("Identity", ["inner"], ["value"]), "value")
    other = branch(helper.make_node("Identity", ["inner"], ["other"]), "other")
    for level in range(depth):
        name = output if level == depth - 1 else f"level{level}"
        node = helper.make_node("If", ["yes"], [name], then_branch=inner, else_branch=other)
        inner = branch(node, name)
    model.graph.node.append(node)


@hostile("nested deeper than the 16 levels that are allowed")
def nested_branches(right: onnx.ModelProto, path: Path) -> None:
    nest(right, 20)
    save(right, path)


@hostile("nested deeper than protobuf allows")
def nested_beyond_reading(right: onnx.ModelProto, path: Path) -> None:
    content = b""
    for _ in range(60):
        attribute = field(1, b"then_branch") + field(6, content)
        content = field(1, field(4, b"If") + field(5, attribute))
    graph = onnx.GraphProto(output=right.graph.output).SerializeToString()
    path.write_bytes(field(7, content + graph))


def field(number: int, payload: bytes) -> bytes:
    """A field of protobuf's wire format; onnx's own messages refuse to nest so deep."""
    length, left = b"", len(payload)
    while left > 127:
        length, left = length + bytes([left & 127 | 128]), left >> 7
    return bytes([number << 3 | 2]) + length + bytes([left]) + payload


def call(model: onnx.ModelProto, bodies: dict[str, list[str]]) -> None:
    """Append a call of the first function; each calls others, by name, in a row."""
    model.opset_import.append(helper.make_opsetid("own", 1))
    imports = list(model.opset_import)
    for name, called in bodies.items():
        values = ["x", *(f"v{place}" for place in range(1, len(called))), "y"]
        nodes = [
            helper.make_node(
                operator, [before], [after], domain="" if operator == "Relu" else "own"
            )
            for operator, before, after in zip(called, values, values[1:], strict=False)
        ]
        model.functions.append(helper.make_function("own", name, ["x"], ["y"], nodes, imports))
    output = model.graph.output[0].name
    model.graph.node[-1].output[0] = "before"
    first = next(iter(bodies))
    model.graph.node.append(helper.make_node(first, ["before"], [output], domain="own"))


@hostile("which calls itself")
def function_that_calls_itself(right: onnx.ModelProto, path: Path) -> None:
    call(right, {"A": ["Relu", "B"], "B": ["Relu", "A"]})
    save(right, path)


@hostile("nodes, but only 200,000 are allowed")
def functions_that_multiply(right: onnx.ModelProto, path: Path) -> None:
    bodies = {f"F{level}": [f"F{level + 1}"] * 10 for level in range(30)}
    call(right, {**bodies, "F30": ["Relu"]})
    save(right, path)
