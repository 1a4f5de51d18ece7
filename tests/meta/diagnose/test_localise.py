"""Localisation names the node that introduces an error, on real workers and small models."""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx_conformance.checks.controls import edited
from onnx_conformance.core.artifact_graph import ArtifactGraph
from onnx_conformance.core.case import Case
from onnx_conformance.core.tolerances import Rule
from onnx_conformance.core.traces import measure_noise_floors, relative_errors, save
from onnx_conformance.diagnose.alignment import Aligner
from onnx_conformance.diagnose.localisation import localise
from onnx_conformance.diagnose.peers import layer_of
from onnx_conformance.diagnose.root_cause import RootCause, Suspect
from onnx_conformance.diagnose.subgraph import write_subgraph
from onnx_conformance.diagnose.traced_file import first_wrong, optimised_file
from onnx_conformance.inputs.families import materialise
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.run.native_traces import NativeTrace, layouts

pytestmark = pytest.mark.slow

RULE = Rule({"factor": 4.0, "floor_ulp": 4.0}, "this test")
TORCH = Case("simple_net", "torch_torchscript", 14, "cpu")
DYNAMO = Case("simple_net", "torch_dynamo", 18, "cpu")
KERAS = Case("keras_sequential", "tf2onnx_function", 18, "cpu")
NATIVE_EXPORT = Case("keras_sequential", "keras_export", 18, "cpu")


def inputs_of(subject, batch=2):
    return materialise(Recipe("normal", batch=batch, seed=3), subject.model)


def nodes_of(model, *operators):
    return [node for node in model.graph.node if node.op_type in operators]


def one_weight_doubled(model):
    """In the first layer: the largest element of the first matrix."""
    first = nodes_of(model, "Gemm", "MatMul")[0]
    tensor = next(t for t in model.graph.initializer if t.name == first.input[1])
    array = numpy_helper.to_array(tensor).copy()
    array.flat[np.abs(array).argmax()] *= 2
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def relu_became_identity(model):
    nodes_of(model, "Relu")[0].op_type = "Identity"


def relu_bypassed(model):
    relu = nodes_of(model, "Relu")[0]
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == relu.output[0]:
                node.input[place] = relu.input[0]
    model.graph.node.remove(relu)


def last_node_scaled(model):
    """The result of the file's last node times 1.01, in a node of its own."""
    name = model.graph.output[0].name
    last = next(node for node in model.graph.node if name in node.output)
    last.output[0] = "before"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1.01), "factor"))
    node = helper.make_node("Mul", ["before", "factor"], [name], name="scaling")
    model.graph.node.append(node)


@pytest.mark.parametrize("case", [TORCH, DYNAMO, KERAS, NATIVE_EXPORT], ids=lambda case: case.id)
@pytest.mark.parametrize(
    ("edit", "operators"),
    [
        (one_weight_doubled, {"Gemm", "MatMul"}),
        (relu_became_identity, {"Identity"}),
        (relu_bypassed, {"Gemm", "MatMul"}),
        (last_node_scaled, {"Mul"}),
    ],
)
def test_the_node_that_introduces_the_error_is_named(right_of, case, edit, operators, tmp_path):
    wrong = edited(right_of(case), tmp_path, edit)
    found = localise(wrong, inputs_of(wrong), RULE)
    assert found is not None
    assert found.kind == "conversion"
    assert found.operator in operators
    assert found.after is None or found.after.noise_floors > RULE["factor"]
    assert found.node in found.text
    assert json.dumps(found.as_dict())


def test_native_module_and_operator_are_reported(right_of, tmp_path):
    found = localise(
        edited(right_of(TORCH), tmp_path, one_weight_doubled), inputs_of(right_of(TORCH)), RULE
    )
    assert (found.native.operator, found.native.module) == ("addmm", "0")
    assert found.before.noise_floors <= 1
    assert found.passed_on == 2
    assert found.readers


def test_keras_layer_is_reported(right_of, tmp_path):
    wrong = edited(right_of(KERAS), tmp_path, one_weight_doubled)
    assert localise(wrong, inputs_of(wrong), RULE).native.module == "dense"


def test_what_is_missing_is_reported(right_of, tmp_path):
    wrong = edited(right_of(TORCH), tmp_path, relu_bypassed)
    found = localise(wrong, inputs_of(wrong), RULE)
    assert [place.operator for place in found.missing] == ["relu"]
    assert "not found before it" in found.text


def test_a_right_file_has_no_divergence(right_of):
    right = right_of(TORCH)
    found = localise(right, inputs_of(right), RULE)
    assert found.kind == "none"
    assert "no node leaves the budget" in found.text
    assert found.subgraph is None


def test_two_faults_are_counted(right_of, tmp_path):
    def both(model):
        one_weight_doubled(model)
        last_node_scaled(model)

    wrong = edited(right_of(TORCH), tmp_path, both)
    assert localise(wrong, inputs_of(wrong), RULE).operator == "Gemm"


@pytest.mark.parametrize("case", [TORCH, KERAS], ids=lambda case: case.id)
def test_the_subgraph_fails_alone(right_of, case, tmp_path):
    wrong = edited(right_of(case), tmp_path, one_weight_doubled)
    found = localise(wrong, inputs_of(wrong), RULE)
    assert len(found.subgraph.nodes) <= 5
    assert write_subgraph(found, tmp_path)
    onnx.checker.check_model(onnx.load(tmp_path / "subgraph.onnx"))
    command = [sys.executable, "subgraph.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 1, ran.stdout
    assert "STILL WRONG" in ran.stdout


def test_a_fixed_subgraph_no_longer_fails(right_of, tmp_path):
    right = right_of(TORCH)
    wrong = edited(right, tmp_path, one_weight_doubled)
    write_subgraph(localise(wrong, inputs_of(wrong), RULE), tmp_path)
    mended = onnx.load(tmp_path / "subgraph.onnx")
    intact = {t.name: t for t in onnx.load(right.artifact.path).graph.initializer}
    for tensor in mended.graph.initializer:
        tensor.CopyFrom(intact[tensor.name])
    onnx.save(mended, tmp_path / "subgraph.onnx")
    ran = subprocess.run([sys.executable, "subgraph.py"], cwd=tmp_path, capture_output=True)
    assert ran.returncode == 0, ran.stdout


def test_optimisation_is_distinguished_from_the_file(right_of, tmp_path, monkeypatch):
    """No level of ONNX Runtime errs here, so one is made to."""
    right = right_of(TORCH)
    workers = right.workers
    answers = workers.answers

    def skewed(case, input_sets, *, level="", **arguments):
        found = answers(case, input_sets, level=level, **arguments)
        if level not in ("enable_extended", "enable_layout", "enable_all"):
            return found
        factor = np.float32(1.01)
        return [
            replace(one, outputs={n: a * factor for n, a in one.outputs.items()}) for one in found
        ]

    monkeypatch.setattr(workers, "answers", skewed)
    assert first_wrong(right, inputs_of(right)) == "enable_extended"
    path = optimised_file(right, "enable_extended", tmp_path)
    assert ArtifactGraph(path).data_nodes


def test_the_first_wrong_level_is_none_where_none_errs(right_of):
    right = right_of(TORCH)
    assert first_wrong(right, inputs_of(right)) is None


# -- without workers ------------------------------------------------------------------------


def native_of(folder, *tensors):
    """A native trace: (operator, inputs, array) each."""
    records = []
    for place, (operator, inputs, array) in enumerate(tensors):
        record = save(folder, f"native-{place}.npy", array)
        text = {"operator": operator, "module": "", "source": "", "inputs": inputs}
        flags = {"weighted": False, "derived": False}
        records.append({**record, **text, **flags, "noise_rms": 0.0, "noise_max": 0.0})
    return NativeTrace(records, folder)


def aligned(folder, native, nodes, arrays):
    """An aligner of a graph ``x`` -> nodes, whose tensors are ``arrays``."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "graph",
        [value("x", onnx.TensorProto.FLOAT, None)],
        [value(nodes[-1].output[0], onnx.TensorProto.FLOAT, None)],
    )
    onnx.save(helper.make_model(graph), folder / "model.onnx")
    traced = {n: save(folder, f"artifact-{p}.npy", a) for p, (n, a) in enumerate(arrays.items())}
    aligner = Aligner(native, traced, folder, RULE)
    aligner.align(ArtifactGraph(folder / "model.onnx"))
    return aligner


def test_tensors_are_aligned_across_layouts(tmp_path):
    x = np.random.default_rng(0).standard_normal((2, 5, 4, 3)).astype(np.float32)
    native = native_of(tmp_path, ("input", [], x))
    node = helper.make_node("Transpose", ["x"], ["y"], perm=[0, 3, 1, 2])
    found = aligned(tmp_path, native, [node], {"x": x, "y": np.moveaxis(x, -1, 1)})
    assert found.matches("y")[0].native == 0
    assert found.matches("y")[0].moved


def test_a_tensor_transposed_otherwise_is_not_explained(tmp_path):
    x = np.random.default_rng(0).standard_normal((2, 5, 5, 3)).astype(np.float32)
    native = native_of(tmp_path, ("input", [], x))
    node = helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 1, 3])
    assert not aligned(tmp_path, native, [node], {"x": x, "y": x.swapaxes(1, 2)}).matches("y")


def test_flattening_the_other_layout_is_not_explained(tmp_path):
    x = np.random.default_rng(0).standard_normal((2, 5, 4, 3)).astype(np.float32)
    native = native_of(tmp_path, ("input", [], x))
    node = helper.make_node("Flatten", ["x"], ["y"])
    wrong = np.moveaxis(x, -1, 1).reshape(2, -1)
    assert not aligned(tmp_path, native, [node], {"x": x, "y": wrong}).matches("y")
    assert aligned(tmp_path, native, [node], {"x": x, "y": x.reshape(2, -1)}).matches("y")


def test_what_native_made_earlier_explains_nothing_later(tmp_path):
    x = np.random.default_rng(0).standard_normal((2, 7)).astype(np.float32)
    native = native_of(tmp_path, ("input", [], x), ("neg", [0], -x), ("exp", [1], np.exp(-x)))
    nodes = [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Neg", ["y"], ["z"])]
    found = aligned(tmp_path, native, nodes, {"x": x, "y": -x, "z": x})
    assert found.matches("y")
    assert not found.matches("z")


def test_nan_must_stand_in_place():
    exact = np.array([1.0, np.nan, np.inf])
    assert relative_errors(exact, exact) == (0.0, 0.0)
    assert relative_errors(exact, np.array([1.0, 2.0, np.inf])) == (np.inf, np.inf)
    assert relative_errors(exact, np.array([np.nan, np.nan, np.inf])) == (np.inf, np.inf)


def test_noise_floors_are_the_worst_of_the_compute_modes(tmp_path):
    x = np.ones((2, 3), np.float32)
    record = native_of(tmp_path, ("input", [], x)).records[0]
    measure_noise_floors(tmp_path, [record], [x * np.float32(1.5)])
    measure_noise_floors(tmp_path, [record], [x * np.float32(1.25)])
    assert record["noise_rms"] == record["noise_max"] == 0.5


def test_layouts_keep_the_number_of_elements():
    wanted = np.arange(24.0).reshape(1, 2, 3, 4)
    assert all(a.shape == (1, 4, 2, 3) for a, _ in layouts(wanted, (1, 4, 2, 3)))
    assert not list(layouts(wanted, (5, 5)))


@pytest.mark.parametrize(
    ("weight", "module"),
    [("layer1.conv.weight", "layer1.conv"), ("net/Conv1/kernel", "Conv1"), ("weight", "")],
)
def test_module_of_a_weight(weight, module):
    assert layer_of(weight) == module


def test_sizes_are_no_data(tmp_path):
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Reshape", ["x", "n"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [value("x", onnx.TensorProto.FLOAT, None)],
        [value("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([0]), "zero")],
    )
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    found = ArtifactGraph(tmp_path / "model.onnx")
    assert [node.operator for node in found.data_nodes] == ["Reshape"]


def test_no_node_is_named_that_the_wrong_output_does_not_depend_on(tmp_path):
    """Two outputs read one product: its kind is never native's, so a later node is named."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Tanh", ["square"], ["right"]),
        helper.make_node("Relu", ["square"], ["wrong"]),
    ]
    of = {name: helper.make_tensor_value_info(name, 1, [2]) for name in ("x", "right", "wrong")}
    graph = helper.make_graph(nodes, "two", [of["x"]], [of["right"], of["wrong"]])
    onnx.save(helper.make_model(graph), tmp_path / "two.onnx")
    cause = RootCause.__new__(RootCause)
    cause.graph, cause.good = ArtifactGraph(tmp_path / "two.onnx"), set()
    cause._peers = SimpleNamespace(
        never_explained=lambda node: node.operator == "Mul", is_unlike_its_kind=lambda node: False
    )
    cause._ownership = SimpleNamespace(reads_damaged=lambda node: False)
    cause._decide = lambda node, within: Suspect(cause._further(node, within)[0])
    named = {name: cause.suspects([name])[0].node.operator for name in ("right", "wrong")}
    assert named == {"right": "Tanh", "wrong": "Relu"}
