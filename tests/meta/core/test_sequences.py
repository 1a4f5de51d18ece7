"""Outputs that are sequences or optional: each tensor of them is an output."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnx_conformance.core.onnx_file import inspect
from onnx_conformance.core.plain_outputs import named


@pytest.fixture
def path(tmp_path):
    """A file that answers a sequence of two tensors, and an optional one."""
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, ["batch", 3])
    nodes = [
        helper.make_node("Neg", ["x"], ["a"]),
        helper.make_node("SequenceConstruct", ["a", "x"], ["both"], name="join"),
        helper.make_node("Optional", ["a"], ["maybe"]),
    ]
    outputs = [
        helper.make_value_info("both", helper.make_sequence_type_proto(kind)),
        helper.make_value_info("maybe", helper.make_optional_type_proto(kind)),
    ]
    inputs = [helper.make_value_info("x", kind)]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_a_file_says_of_which_tensors_its_sequences_are(path):
    found = [(one["name"], one["dtype"], one["shape"]) for one in inspect(path)["outputs"]]
    names = ["both[0]", "both[1]", "maybe"]
    assert found == [(name, "float32", ["batch", 3]) for name in names]


def test_the_tensors_of_an_answer_bear_the_same_names():
    x = np.ones((2, 3), np.float32)
    found = named(["both", "maybe"], [[-x, x], -x])
    assert list(found) == ["both[0]", "both[1]", "maybe"]
    assert (found["both[0]"] == -x).all()
