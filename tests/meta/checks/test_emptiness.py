"""Of no samples: a file that is right by ONNX's definition, and one that is not."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_conformance.checks.robustness import by_definition
from onnx_conformance.core.case import Case
from onnx_conformance.core.onnx_file import inspect
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.subject import Artifact

CASE = Case("m", "torch_dynamo", 18, "cpu")
MODEL = ModelSpec(
    "m", "torch", (TensorSpec("x", ("batch", 4)),), (TensorSpec("y", ("batch", 2)),), "m:m"
)
FEED = Inputs({"x": np.zeros((0, 4), np.float32)})
REFUSED = "FAIL : Non-zero status code returned while running Reshape node. Name:'last' Status"


@pytest.fixture
def subject(tmp_path):
    def made(shape, case=CASE):
        graph = helper.make_graph(
            [helper.make_node("Reshape", ["x", "shape"], ["y"], name="last", allowzero=1)],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
            [numpy_helper.from_array(np.array(shape), "shape")],
        )
        path = tmp_path / "m.onnx"
        opset = helper.make_opsetid("", 18)
        onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
        artifact = Artifact(path, (path,), ("",), inspect(path))
        return SimpleNamespace(case=case, model=MODEL, artifact=artifact)

    return made


def test_a_right_file_that_the_runtime_refuses_is_reported_with_its_node(subject):
    node, outputs = by_definition(subject([0, 2]), FEED, REFUSED)
    assert node == "Reshape 'last'"
    assert outputs["y"].shape == (0, 2)


@pytest.mark.parametrize(
    ("shape", "case", "error"),
    [
        ([1, 2], CASE, REFUSED),  # the file itself takes one sample alone
        ([0, 2], CASE, "InvalidArgument: empty batch"),
        ([0, 2], CASE, REFUSED.replace("last", "another")),
        ([0, 2], CASE.external("given.onnx", "given"), REFUSED),
    ],
    ids=["wrong by definition", "no node", "a node of no file", "a given file"],
)
def test_nothing_else_is_excused(subject, shape, case, error):
    assert by_definition(subject(shape, case), FEED, error) is None
