"""The float64 computation of an ONNX file: is it the function that ONNX Runtime computes?"""

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_conformance.core.tolerances import shipped
from onnx_conformance.workers.onnx import older_operators
from onnx_conformance.workers.onnx.agreement import find_oracle
from onnx_conformance.workers.onnx.backend import open_at
from onnx_conformance.workers.onnx.evaluator import evaluator_of, open_session
from onnx_conformance.workers.onnx.precision import doubled
from onnx_conformance.workers.onnx.weights import (
    batch_norms_of,
    read_weights,
    round_otherwise,
    unused_of,
)

pytestmark = pytest.mark.slow


def graph_of(nodes, inputs, outputs, *, opset, weights=(), domains=()):
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in inputs.items()
    ]
    made = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()]
    stored = [numpy_helper.from_array(array, name) for name, array in dict(weights).items()]
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    graph = helper.make_graph(nodes, "g", values, made, stored)
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def one_node(operator, *arrays, opset, count=1, domain="", **attributes):
    inputs = {f"i{place}": array for place, array in enumerate(arrays) if array is not None}
    names = ["" if array is None else f"i{place}" for place, array in enumerate(arrays)]
    outputs = [f"o{place}" for place in range(count)]
    node = helper.make_node(operator, names, outputs, domain=domain, **attributes)
    kinds = dict.fromkeys(outputs, TensorProto.FLOAT)
    domains = [domain] if domain else []
    return graph_of([node], inputs, kinds, opset=opset, domains=domains), inputs


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def positive(*shape, seed=0):
    return np.abs(noise(*shape, seed=seed)) + np.float32(0.1)


X, C = noise(2, 3, 4), noise(3)
OLD = {
    "Softmax": ("Softmax", (X,), 11, {"axis": 1}),
    "Softmax, by its old default": ("Softmax", (X,), 9, {}),
    "LogSoftmax": ("LogSoftmax", (X,), 12, {"axis": -2}),
    "Hardmax": ("Hardmax", (X,), 7, {"axis": 1}),
    "BatchNormalization 7": ("BatchNormalization", (X, C, C, C, positive(3)), 7, {}),
    "BatchNormalization 9": ("BatchNormalization", (X, C, C, C, positive(3)), 13, {"epsilon": 0.1}),
    "Upsample 7": ("Upsample", (noise(1, 2, 3, 4),), 7, {"scales": [1.0, 1.0, 2.0, 3.0]}),
    "Upsample 9": ("Upsample", (noise(1, 2, 3, 4), np.float32([1, 1, 2, 1.5])), 9, {}),
    "Upsample, linear": (
        "Upsample", (noise(1, 2, 3, 4), np.float32([1, 1, 2, 2])), 9, {"mode": "linear"},
    ),
    "Resize 10": ("Resize", (noise(1, 2, 4, 4), np.float32([1, 1, 0.5, 2])), 10, {}),
    "GlobalMaxPool of one dimension": ("GlobalMaxPool", (X,), 13, {}),
    "MaxPool, ceil": (
        "MaxPool", (noise(1, 2, 7, 9),), 12,
        {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1},
    ),
    "AveragePool, counting pads": (
        "AveragePool", (noise(1, 2, 7, 9),), 11,
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1,
         "count_include_pad": 1},
    ),
    "AveragePool of windows larger than the input": (
        "AveragePool", (noise(1, 2, 1, 3),), 11, {"kernel_shape": [3, 2], "strides": [3, 2]},
    ),
    "MaxPool of windows larger than the input": (
        "MaxPool", (noise(1, 2, 1, 6),), 11, {"kernel_shape": [2, 2], "strides": [2, 2]},
    ),
    "Conv, grouped": (
        "Conv", (noise(2, 4, 7, 6), noise(6, 2, 3, 2), noise(6)), 11,
        {"group": 2, "dilations": [2, 1], "pads": [1, 0, 2, 1], "strides": [1, 2]},
    ),
    "DeformConv": (
        "DeformConv",
        (noise(2, 4, 7, 6), noise(6, 2, 3, 2), noise(2, 24, 4, 6, seed=1), noise(6),
         positive(2, 12, 4, 6)), 19,
        {"group": 2, "offset_group": 2, "pads": [1, 0, 2, 1], "strides": [2, 1]},
    ),
    "ConstantOfShape, by default": ("ConstantOfShape", (np.int64([2, 3]),), 11, {}),
    "Gelu": ("Gelu", (X,), 17, {"domain": "com.microsoft"}),
    "FastGelu": ("FastGelu", (X, noise(4)), 17, {"domain": "com.microsoft"}),
    "QuickGelu": ("QuickGelu", (X,), 17, {"domain": "com.microsoft"}),
    "FusedMatMul": (
        "FusedMatMul", (X, noise(2, 5, 4)), 17,
        {"transB": 1, "alpha": 0.5, "domain": "com.microsoft"},
    ),
    "SkipLayerNormalization": (
        "SkipLayerNormalization", (X, noise(2, 3, 4, seed=1), noise(4), noise(4)), 17,
        {"domain": "com.microsoft"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_operators_of_older_opsets_and_of_others_are_what_onnx_runtime_computes(name):
    operator, arrays, opset, attributes = OLD[name]
    model, inputs = one_node(operator, *arrays, opset=opset, **attributes)
    found = find_oracle(model, [inputs], 1)
    assert found.problem == ""
    assert not found.by_runtime, "the operator's own definition must do"


@pytest.mark.parametrize(
    ("direction", "lengths"),
    list(itertools.product(("forward", "reverse", "bidirectional"), (None, [5, 3]))),
)
@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_operators_are_what_onnx_runtime_computes(operator, gates, direction, lengths):
    compute_modes, hidden = 2 if direction == "bidirectional" else 1, 6
    arrays = [
        noise(5, 2, 4), noise(compute_modes, gates * hidden, 4, seed=1),
        noise(compute_modes, gates * hidden, hidden, seed=2), noise(compute_modes, 2 * gates *
        hidden, seed=3),
        None if lengths is None else np.int32(lengths), noise(compute_modes, 2, hidden, seed=4),
    ]  # fmt: skip
    more = {"linear_before_reset": 1} if operator == "GRU" else {}
    model, inputs = one_node(
        operator, *arrays, opset=14, count=2, hidden_size=hidden, direction=direction,
        **more,
    )  # fmt: skip
    found = find_oracle(model, [inputs], 1)
    assert (found.problem, found.by_runtime) == ("", frozenset())


@pytest.mark.parametrize(
    "name", ["Softmax", "BatchNormalization 7", "BatchNormalization 9", "Hardmax", "LogSoftmax"]
)
def test_without_the_definitions_another_function_is_found_out(name, monkeypatch):
    """The negative control: with what onnx.reference believes, no such oracle is accepted."""
    operator, arrays, opset, attributes = OLD[name]
    model, inputs = one_node(operator, *arrays, opset=opset, **attributes)
    monkeypatch.setattr(older_operators, "DEFINITIONS", {})
    found = find_oracle(model, [inputs], 1)
    assert found.problem or found.by_runtime == {("", operator)}
    assert "kernels" in found.basis or "allclose" in found.basis


def test_a_definition_that_is_slightly_wrong_is_not_believed(monkeypatch):
    def wrong(x, scale, bias, mean, variance, epsilon=1e-5, **_):
        per_channel = (-1, 1)
        s, b, m, v = (one.reshape(per_channel) for one in (scale, bias, mean, variance))
        return s * (x - m) / np.sqrt(v + 1.001 * epsilon) + b

    entry = older_operators.Version(7, 13, wrong)
    monkeypatch.setitem(older_operators.DEFINITIONS, ("", "BatchNormalization"), (entry,))
    operator, arrays, opset, attributes = OLD["BatchNormalization 9"]
    model, inputs = one_node(operator, *arrays, opset=opset, **attributes)
    assert find_oracle(model, [inputs], 1).by_runtime == {("", "BatchNormalization")}


def test_what_nothing_computes_in_float64_is_judged_by_allclose_and_says_so():
    scale, zero = np.float32(0.1), np.int8(0)
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    back = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])
    model = graph_of(
        [node, back], {"x": X}, {"y": TensorProto.FLOAT}, opset=13,
        weights={"s": np.asarray(scale), "z": np.asarray(zero)},
    )  # fmt: skip
    found = find_oracle(model, [{"x": X}], 1)
    assert "QuantizeLinear" in found.problem
    assert found.basis.startswith("judged by allclose")


def test_a_subgraph_and_a_function_know_the_history_too():
    softmax = helper.make_node("Softmax", ["x"], ["s"], axis=1)
    inner = helper.make_graph(
        [softmax], "then", [], [helper.make_tensor_value_info("s", TensorProto.FLOAT, None)]
    )
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    model = graph_of(
        [branch], {"x": X}, {"y": TensorProto.FLOAT}, opset=11, weights={"c": np.array(True)}
    )
    assert find_oracle(model, [{"x": X}], 1).problem == ""
    function = helper.make_function(
        "mine", "F", ["x"], ["s"], [softmax], [helper.make_opsetid("", 11)]
    )
    call = helper.make_node("F", ["x"], ["y"], domain="mine")
    model = graph_of([call], {"x": X}, {"y": TensorProto.FLOAT}, opset=11, domains=["mine"])
    model.functions.append(function)
    assert find_oracle(model, [{"x": X}], 1).problem == ""


def test_small_sigmoids_are_off_by_the_approximation_and_no_other_function():
    model, inputs = one_node("Sigmoid", noise(2, 8) - 14, opset=13)
    assert find_oracle(model, [inputs], 1).by_runtime == frozenset()


def test_small_sigmoids_within_a_subgraph_too_and_what_differs_there_is_reported(monkeypatch):
    def branching(operator, **attributes):
        inner = helper.make_node(operator, ["x"], ["s"], **attributes)
        body = helper.make_graph(
            [inner], "body", [], [helper.make_tensor_value_info("s", TensorProto.FLOAT, None)]
        )
        node = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body, name="fork")
        x = noise(2, 8) - 14
        weights = {"c": np.array(True)}
        return find_oracle(
            graph_of([node], {"x": x}, {"y": TensorProto.FLOAT}, opset=13, weights=weights),
            [{"x": x}], 1,
        )  # fmt: skip

    assert branching("Sigmoid").problem == ""
    wrong = (older_operators.Version(1, 99, lambda x: np.abs(1.01 * x)),)
    monkeypatch.setitem(older_operators.DEFINITIONS, ("", "Abs"), wrong)
    assert "If 'fork': differs from ONNX Runtime" in branching("Abs").problem


def test_the_logarithm_of_a_softmax_stays_finite_in_float64():
    x = np.array([[0.0, 2000.0]])
    model, _ = one_node("LogSoftmax", x.astype(np.float32), opset=13)
    with np.errstate(divide="ignore"):
        (plain,) = ReferenceEvaluator(doubled(model)).run(None, {"i0": x})
    assert np.isneginf(plain[0, 0])
    assert evaluator_of(doubled(model)).run(None, {"i0": x})[0][0, 0] == -2000.0


def test_replicas_round_weights_and_nothing_that_shapes_the_computation(tmp_path):
    weights = {
        "w": noise(4, 4),
        "two": np.float32([2.0]),
        "low": np.float32(-1),
        "scalar": np.float32(3),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Pow", ["m", "two"], ["p"]),
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(noise(4), "k")),
        helper.make_node("Add", ["p", "k"], ["a"]),
        helper.make_node("Mul", ["a", "scalar"], ["y"]),
    ]
    model = graph_of(nodes, {"x": noise(2, 4)}, {"y": TensorProto.FLOAT}, opset=13, weights=weights)
    assert set(read_weights(model)) == {"w", "k"}
    before = onnx.ModelProto()
    before.CopyFrom(model)
    round_otherwise(model, "replica-1")
    old, new = read_weights(before), read_weights(model)
    assert all((old[name] != new[name]).any() for name in old)
    kept = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert (kept["two"], kept["scalar"]) == (2, 3)
    path = tmp_path / "m.onnx"
    onnx.save(before, path)
    assert np.isfinite(open_at(path, "replica-1", 1)({"x": noise(2, 4)})[0]).all()


def test_replicas_round_what_lies_at_a_half_up_and_down(tmp_path):
    x = np.array([0.5, 1.5, 0.4, -2.5], np.float32)
    scale, zero = np.float32(1.0), np.int8(0)
    quantised = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"])
    model = graph_of(
        [quantised], {"x": x}, {"q": TensorProto.INT8}, opset=13,
        weights={"scale": scale, "zero": zero},
    )  # fmt: skip
    onnx.save(model, tmp_path / "q.onnx")
    found = [
        open_at(tmp_path / "q.onnx", mode, 1)({"x": x})[0].tolist()
        for mode in ("float32", "replica-1", "replica-2")
    ]
    assert found == [[0, 2, 0, -2], [1, 2, 0, -3], [0, 1, 0, -2]]


@pytest.mark.parametrize(
    ("operator", "opset"),
    [("Sigmoid", 13), ("Tanh", 13), ("Elu", 13), ("Selu", 13), ("Celu", 13), ("Softplus", 13),
     ("Mish", 18), ("Elu", 8), ("Exp", 13)],
)  # fmt: skip
def test_a_replica_errs_in_approximated_functions_by_their_bounds_alone(tmp_path, operator, opset):
    path, x = tmp_path / "m.onnx", np.float32([[-3.0, -0.5, 0.25, 2.0]])
    nodes = [helper.make_node(operator, ["x"], ["y"])]
    onnx.save(graph_of(nodes, {"x": x}, {"y": TensorProto.FLOAT}, opset=opset), path)
    bounds = shipped("approximation")
    plain = open_at(path, "replica-1", 1)({"x": x})[0]
    moved = open_at(path, "replica-1", 1, approximation=bounds)({"x": x})[0]
    most = max(bounds.values()) * 2.0**-23 * 2.0 * np.maximum(np.abs(plain), 1.0)
    assert (moved != plain).any()
    assert (np.abs(moved - plain) <= most).all()
    half = open_at(path, "float16 replica-1", 1, approximation=bounds)({"x": x})[0]
    assert np.abs(half - plain).max() <= 2.0**-9 * np.abs(plain).max()


def test_functions_inside_a_subgraph_err_too(tmp_path):
    body = helper.make_graph(
        [helper.make_node("Sigmoid", ["x"], ["inner"])],
        "then",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    nodes = [helper.make_node("If", ["yes"], ["y"], then_branch=body, else_branch=body)]
    x = np.float32([[-9.0, 1.0]])
    model = graph_of(
        nodes, {"x": x}, {"y": TensorProto.FLOAT}, opset=13, weights={"yes": np.array(True)}
    )
    onnx.save(model, tmp_path / "m.onnx")
    answers = [
        open_at(tmp_path / "m.onnx", "replica-1", 1, approximation=bounds)({"x": x})[0]
        for bounds in (None, shipped("approximation"))
    ]
    assert (answers[0] != answers[1]).any()


def test_the_largest_number_stays_finite_in_a_replica():
    largest = np.full(4, np.finfo(np.float32).min)
    model = graph_of(
        [helper.make_node("Add", ["x", "m"], ["y"])], {"x": noise(2, 4)},
        {"y": TensorProto.FLOAT}, opset=13, weights={"m": largest},
    )  # fmt: skip
    for replica in ("replica-1", "replica-2", "replica-3"):
        round_otherwise(model, replica)
    assert np.isfinite(read_weights(model)["m"]).all()


def test_an_operator_is_run_by_onnx_runtime_in_the_dtype_of_its_inputs():
    model, inputs = one_node("Softmax", X, opset=13)
    evaluator = evaluator_of(doubled(model), {("", "Softmax")})
    (found,) = evaluator.run(None, {"i0": inputs["i0"].astype(np.float64)})
    (narrow,) = open_session(model.SerializeToString()).run(None, inputs)
    assert found.dtype == np.float64
    assert 0 < np.abs(found - narrow).max() < 1e-6


def test_normalisations_and_dead_weights_reach_the_audit():
    weights = {"g": C, "b": C, "m": C, "v": positive(3), "dead": noise(4), "w": noise(4, 5)}
    nodes = [
        helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["n"], epsilon=0.5),
        helper.make_node("MatMul", ["n", "w"], ["y"]),
        helper.make_node("Add", ["n", "dead"], ["nobody"]),
    ]
    model = graph_of(nodes, {"x": X}, {"y": TensorProto.FLOAT}, opset=13, weights=weights)
    (record,) = batch_norms_of(model, weights)
    names = {"gamma": "g", "beta": "b", "mean": "m", "variance": "v"}
    assert record == {**names, "epsilon": 0.5}
    assert unused_of(model, weights) == ["dead"]


def test_erf_is_computed_in_float64():
    node = helper.make_node("Erf", ["x"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["n"]) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:]))
    (answer,) = evaluator_of(model).run(None, {"x": np.linspace(-3.0, 3.0, 7) / 7.0})
    assert (answer != answer.astype(np.float32)).any()
