"""Kernels in blocks of channels, as ONNX Runtime's highest level stores them, are read in order."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx_conformance.checks.audit.stored_forms import possible_weights, unblocked
from onnx_conformance.core.graph_weights import collect_initializers

pytestmark = pytest.mark.slow

FLOAT = onnx.TensorProto.FLOAT


def blocks_of(kernel, block):
    """The loops of MlasReorderFilterOIHWBiBo and, for few input channels, OIHWBo."""
    out, inner, height, width = kernel.shape
    wide = block if inner >= block else 1
    order = [
        kernel[o * block + bo, i * wide + bi, y, x]
        for o in range(out // block)
        for i in range(inner // wide)
        for y in range(height)
        for x in range(width)
        for bi in range(wide)
        for bo in range(block)
    ]
    return np.array(order, kernel.dtype).reshape(kernel.shape)


@pytest.mark.parametrize("inner", [1, 3, 8, 16])
@pytest.mark.parametrize("block", [8, 16])
def test_blocks_are_undone(inner, block):
    kernel = np.arange(2 * block * inner * 6, dtype=np.float32).reshape(2 * block, inner, 2, 3)
    assert np.array_equal(unblocked(blocks_of(kernel, block), block), kernel)


@pytest.fixture
def optimised(tmp_path):
    """Two convolutions, the first of three channels, the second filled up to whole blocks."""
    import onnxruntime as ort  # collecting tests imports no framework

    rng = np.random.default_rng(0)
    weights = {
        "first": rng.normal(size=(24, 3, 3, 3)),
        "bias": rng.normal(size=24),
        "second": rng.normal(size=(40, 24, 1, 1)),
    }
    kept = {name: array.astype(np.float32) for name, array in weights.items()}
    ends = [helper.make_tensor_value_info(n, FLOAT, [1, c, 8, 8]) for n, c in (("x", 3), ("y", 40))]
    nodes = [
        helper.make_node("Conv", ["x", "first", "bias"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["h", "second"], ["y"]),
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in kept.items()]
    graph = helper.make_graph(nodes, "two", ends[:1], ends[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(tmp_path / "optimised.onnx"), kept


def test_a_reading_of_the_optimised_file_has_the_weights_as_they_were(optimised, tmp_path):
    model, kept = optimised
    if not any(node.domain == "com.microsoft.nchwc" for node in model.graph.node):
        pytest.skip("on this processor ONNX Runtime stores no kernels in blocks")
    found = [
        {array.tobytes() for array in reading.values()}
        for reading in possible_weights(model, collect_initializers(model, tmp_path))
    ]
    assert {array.tobytes() for array in kept.values()} <= found[0] | found[1]
    assert any({array.tobytes() for array in kept.values()} <= one for one in found)


def test_a_file_without_blocks_is_read_as_it_is():
    graph = helper.make_graph([], "empty", [], [])
    stored = {"w": np.ones(3, np.float32)}
    assert list(possible_weights(helper.make_model(graph), stored)) == [stored]


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_factors_by_channel_are_read_without_what_fills_their_block(fill):
    factors = np.array([0.8, 1.4, 1.0, 1.9, 0.6], np.float32)
    kernel = np.full((8, 1, 1, 1), fill, np.float32)
    kernel[:5, 0, 0, 0] = factors
    node = helper.make_node("Conv", ["x", "k"], ["y"], domain="com.microsoft.nchwc", group=8)
    model = helper.make_model(helper.make_graph([node], "g", [], []))
    readings = [reading["k"].ravel() for reading in possible_weights(model, {"k": kernel})]
    assert any(np.array_equal(found, factors) for found in readings)
    kernel[4] = 1.0  # a factor that is another is not taken for the filling
    readings = [reading["k"].ravel() for reading in possible_weights(model, {"k": kernel})]
    assert not any(np.array_equal(found, factors) for found in readings)
