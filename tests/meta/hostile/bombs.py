"""A few bytes that ask for much memory, or for ever."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.meta.hostile import hostile
from tests.meta.hostile.graphs import save

GIANT = 10**12
ALLOWED = "--artifact-limit memory_mb=N"


@hostile("declares 1,000,000,000,000 elements")
def header_without_data(right: onnx.ModelProto, path: Path) -> None:
    tensor = right.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.dims[:] = [10**6, 10**6]
    save(right, path)


@hostile("declares 1,000,000,000,000 elements")
def header_in_a_constant(right: onnx.ModelProto, path: Path) -> None:
    value = TensorProto(data_type=TensorProto.FLOAT, dims=[GIANT], name="value")
    right.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=value))
    save(right, path)


@hostile("has a negative size")
def negative_size(right: onnx.ModelProto, path: Path) -> None:
    right.graph.initializer[0].dims[0] *= -1
    save(right, path)


@hostile("and ONNX does not have it")
def unknown_type(right: onnx.ModelProto, path: Path) -> None:
    right.graph.initializer[0].data_type = 777
    save(right, path)


def add(model: onnx.ModelProto, nodes: list[onnx.NodeProto], **stored: np.ndarray) -> None:
    """Append nodes that make ``big`` from what is stored, and add 0 times it to the output."""
    output = model.graph.output[0].name
    model.graph.node[-1].output[0] = "before"
    for name, array in {**stored, "zero": np.zeros((), np.float32)}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    model.graph.node.extend(nodes)
    model.graph.node.append(helper.make_node("ReduceMean", ["big"], ["mean"], keepdims=0))
    model.graph.node.append(helper.make_node("Mul", ["mean", "zero"], ["nothing"]))
    model.graph.node.append(helper.make_node("Add", ["before", "nothing"], [output]))


@hostile("makes a tensor of 1,000,000,000 elements")
def billion_elements(right: onnx.ModelProto, path: Path) -> None:
    node = helper.make_node("ConstantOfShape", ["shape"], ["big"])
    add(right, [node], shape=np.array([1000, 10**6]))
    save(right, path)


@hostile("makes a tensor of")
def expanded(right: onnx.ModelProto, path: Path) -> None:
    node = helper.make_node("Expand", ["one", "shape"], ["big"])
    add(right, [node], shape=np.array([10**5, 10**6]), one=np.ones((1, 1), np.float32))
    save(right, path)


@hostile("sparse initializer 'empty', which makes a tensor of")
def sparse_giant(right: onnx.ModelProto, path: Path) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "empty")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "indices")
    tensor = helper.make_sparse_tensor(values, indices, [10**6, 10**6])
    right.graph.sparse_initializer.append(tensor)
    save(right, path)


@hostile(ALLOWED)
def tiled_in_two_steps(right: onnx.ModelProto, path: Path) -> None:
    """Each step is modest; ONNX Runtime meets the product."""
    nodes = [
        helper.make_node("Mul", ["row", "one"], ["row2"]),
        helper.make_node("Mul", ["column", "one"], ["column2"]),
        helper.make_node("Mul", ["row2", "column2"], ["big"]),
    ]
    stored = {"row": np.ones((1, 10**5)), "column": np.ones((10**5, 1)), "one": np.ones(())}
    add(right, nodes, **{name: array.astype(np.float32) for name, array in stored.items()})
    save(right, path)


@hostile("did not answer within")
def endless_loop(right: onnx.ModelProto, path: Path) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still"]),
            helper.make_node("Add", ["value", "value"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, []),
        ],
    )
    node = helper.make_node("Loop", ["turns", "yes", "start"], ["big"], body=body)
    start = np.zeros((), np.float32)
    add(right, [node], turns=np.array(2**62), yes=np.array(True), start=start)
    save(right, path)
