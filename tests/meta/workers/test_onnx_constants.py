"""What an ONNX file computes of its initialisers alone, when it stands in native's place."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_conformance.checks.audit.audit import audit_initializers
from onnx_conformance.core.graph_weights import collect_initializers, constant_outputs, settings_of
from onnx_conformance.core.native_constants import Constant
from onnx_conformance.workers.onnx.constants import constants_of

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(2)
FACTOR = RNG.normal(size=(4, 6)).astype(np.float32)
GAIN = RNG.uniform(1, 2, 6).astype(np.float32)


def model():
    nodes = [
        helper.make_node("Constant", [], ["two"], value_float=2.0),
        helper.make_node("Exp", ["v"], ["e"]),
        helper.make_node("Mul", ["e", "g"], ["m"]),
        helper.make_node("Mul", ["m", "two"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    graph_input = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    taken = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 6])
    stored = [numpy_helper.from_array(a, n) for n, a in (("v", FACTOR), ("g", GAIN))]
    graph = helper.make_graph(nodes, "g", [graph_input], [taken], stored)
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def judged(found):
    records, values = constants_of(model())
    constants = [
        Constant(
            record["name"],
            tuple(record["operands"]),
            (),
            record["used"],
            *values.get(record["name"], (None, None)),
        )
        for record in records
    ]
    natives = {"v": FACTOR, "g": GAIN}
    return audit_initializers(natives, [], found, fold_ulp=4.0, constants=constants)


def test_a_folded_file_holds_what_the_other_computes():
    whole = np.exp(FACTOR) * GAIN * np.float32(2)
    assert {f.status for f in judged({"folded": whole}).findings} == {"computed"}
    wrong = whole.copy()
    wrong[1, 1] *= np.float32(1.01)
    assert len(judged({"folded": wrong}).failures) == 2


def test_one_that_computes_nothing_beforehand_has_none():
    plain = model()
    del plain.graph.node[:-1]
    assert constants_of(plain) == ([], {})


def test_bounds_and_scales_are_no_weights():
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["z"]),
        helper.make_node("Clip", ["z", "low", "high"], ["c"]),
        helper.make_node("Mul", ["c", "high"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [], [])
    assert settings_of(onnx.ModelProto(graph=graph)) == {"", "scales", "low"}


def test_a_factor_may_stand_for_what_it_is_made_of():
    """The rest of the arithmetic, with its number, is the file's own."""
    found = {"m": np.exp(FACTOR) * GAIN}
    assert {f.status for f in judged(found).findings} == {"computed"}
    found = {"e": np.exp(FACTOR)}
    assert {f.native: f.status for f in judged(found).findings} == {"v": "missing", "g": "missing"}
    assert not judged({**found, "g": GAIN}).failures


def test_what_constant_nodes_and_sparse_tensors_hold_are_weights_too(tmp_path):
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("s", TensorProto.FLOAT, [2], [1.5, -2.5]),
        helper.make_tensor("s_indices", TensorProto.INT64, [2], [1, 10]),
        [4, 6],
    )
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(FACTOR)),
        helper.make_node("Constant", [], ["d"], sparse_value=sparse),
        helper.make_node("Add", ["c", "d"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [], [])
    arrays = collect_initializers(helper.make_model(graph), tmp_path)
    assert set(arrays) == {"c", "d"}
    expected = np.zeros((4, 6), np.float32)
    expected[0, 1], expected[1, 4] = 1.5, -2.5
    np.testing.assert_array_equal(arrays["d"], expected)
    graph.sparse_initializer.append(sparse)
    assert "s" in collect_initializers(helper.make_model(graph), tmp_path)
    sparse.dims[:] = [10**6, 10**6]
    graph.sparse_initializer[0].CopyFrom(sparse)
    with pytest.raises(ValueError, match="sparse 's' has 1,000,000,000,000 elements"):
        collect_initializers(helper.make_model(graph), tmp_path)


def test_an_output_of_shapes_and_weights_alone_is_constant():
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Add", ["zeros", "g"], ["lengths"]),
        helper.make_node("Add", ["zeros", "x"], ["moving"]),
        helper.make_node("ConstantOfShape", ["x"], ["sized"]),
    ]
    x, *outputs = (
        helper.make_tensor_value_info(name, TensorProto.INT64, None)
        for name in ("x", "lengths", "moving", "sized")
    )
    graph = helper.make_graph(nodes, "g", [x], outputs, [numpy_helper.from_array(GAIN, "g")])
    assert constant_outputs(helper.make_model(graph)) == ["lengths"]
