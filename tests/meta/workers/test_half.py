"""Half precision keeps in float32 what it says it keeps."""

import numpy as np
import onnx
import pytest
from onnx import helper

from onnx_conformance.workers.variants import fp16

pytestmark = pytest.mark.slow

FLOAT = onnx.TensorProto.FLOAT


@pytest.fixture
def half(tmp_path):
    """A scaled Softmax, and what fp16 made of it."""
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, FLOAT, ["batch", 4]) for name in ("x", "y")]
    scale = helper.make_tensor("scale", FLOAT, [1], [2.0])
    graph = helper.make_graph(nodes, "softmax", ends[:1], ends[1:], [scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    source, target = tmp_path / "source.onnx", tmp_path / "half.onnx"
    onnx.save(model, source)
    fp16(source, target)
    return target


def test_small_probabilities_survive(half):
    import onnxruntime as ort  # collecting tests imports no framework

    session = ort.InferenceSession(half, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"x": np.array([[0, 0, 0, 16]], np.float32)})
    assert 1e-14 < got.min() < 6e-8 / 2  # float16's least number is 6e-8


def test_the_file_is_in_half_precision_and_in_order(half):
    model = onnx.load(half)
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.initializer[0].data_type == onnx.TensorProto.FLOAT16


def test_weights_of_what_is_kept_are_not_said_to_be_in_half_precision(tmp_path):
    """torch_dynamo writes the types of initialisers down, and the converter changes them."""
    ends = [helper.make_tensor_value_info(name, FLOAT, ["batch", 4]) for name in ("x", "y")]
    scale = helper.make_tensor("scale", FLOAT, [4], [1.0, 2.0, 3.0, 4.0])
    known = [helper.make_tensor_value_info("scale", FLOAT, [4])]
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("LayerNormalization", ["square", "scale"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "norm", ends[:1], ends[1:], [scale], value_info=known)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "source.onnx")
    fp16(tmp_path / "source.onnx", tmp_path / "half.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "half.onnx"), full_check=True)
