"""What the reference artifact itself declares or breaks is not held against its rewrite."""

from dataclasses import replace
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto, helper

from onnx_conformance.catalog.exporters import EXPORTERS, EXTERNAL
from onnx_conformance.checks.structure import check_checker, check_interface
from onnx_conformance.core.case import Case, ExternalCase
from onnx_conformance.core.onnx_file import complaint_of, load_model
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.run.subject import NativeWeights

CASE = Case("m", "torch_torchscript", 18, "cpu")
EXTERNAL_CASE = ExternalCase("m", EXTERNAL.name, None, "cpu", path="m.onnx", label="m")
X, Y = TensorSpec("x", ("batch", 6)), TensorSpec("y", ("batch", 6))


def saved(folder, *, operator="Relu", width=6, opset=18):
    """A file of one node whose output's declared width may be wrong."""
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("x", 6), ("y", width))
    ]
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [6], [1.5] * 6)
    names = ["x", "scale"] if "Normalization" in operator else ["x"]
    node = helper.make_node(operator, names, ["y"])
    graph = helper.make_graph([node], "graph", tensors[:1], tensors[1:], [scale])
    path = folder / f"{operator}{width}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), path)
    return path


def checked(path, complaint, exporter=EXTERNAL, case=EXTERNAL_CASE):
    artifact = SimpleNamespace(path=path, facts={"nodes": {"Relu": 1}})
    weights = NativeWeights({}, [], complaint=complaint)
    return check_checker(
        SimpleNamespace(artifact=artifact, weights=weights, exporter=exporter, case=case)
    )


def test_the_same_complaint_as_of_the_reference_is_reported_and_not_red(tmp_path):
    wrong = saved(tmp_path, width=5)
    complaint = complaint_of(wrong)
    assert complaint
    assert checked(wrong, complaint).passed
    assert complaint in checked(wrong, complaint).reason


def test_another_complaint_than_the_references_is_red(tmp_path):
    complaint = complaint_of(saved(tmp_path, width=5))
    assert checked(saved(tmp_path, operator="NoSuch"), complaint).outcome == "failed"
    assert checked(saved(tmp_path, width=5), "").outcome == "failed"


@pytest.mark.parametrize("operator", ["LayerNormalization", "SimplifiedLayerNormalization"])
def test_what_the_optimiser_writes_is_valid_of_external_artifacts_alone(tmp_path, operator):
    path = saved(tmp_path, operator=operator, opset=12)
    found = checked(path, "")
    assert found.passed
    assert f"but for {operator}" in found.reason
    assert checked(path, "", EXPORTERS["torch_dynamo"]).outcome == "failed"


def reversed_nodes(path):
    """A file of two nodes, the second of which stands first."""
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 6]) for name in "xy"
    ]
    nodes = [helper.make_node("Relu", ["h"], ["y"]), helper.make_node("Neg", ["x"], ["h"])]
    graph = helper.make_graph(nodes, "graph", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def test_nodes_in_another_order_are_told_of_files_in_half_precision_and_read_in_order(tmp_path):
    path, half = reversed_nodes(tmp_path / "m.onnx"), replace(EXTERNAL_CASE, precision="float16")
    found = checked(path, "", case=half)
    assert found.passed
    assert "topological_sort" in found.reason
    assert checked(path, "").outcome == "failed"
    assert checked(path, "", EXPORTERS["torch_dynamo"], half).outcome == "failed"
    assert [node.op_type for node in load_model(path).graph.node] == ["Neg", "Relu"]
    broken = onnx.load(path)
    broken.graph.node[0].op_type = "NoSuch"
    onnx.save(broken, path)
    assert checked(path, "", case=half).outcome == "failed"


def test_wrong_types_of_values_inside_are_told_and_those_of_outputs_red(tmp_path):
    path = reversed_nodes(tmp_path / "m.onnx")
    model = load_model(path)
    wrong = helper.make_tensor_value_info("h", TensorProto.FLOAT16, ["batch", 6])
    model.graph.value_info.append(wrong)
    onnx.save(model, path)
    assert "value_info" in checked(path, "").reason
    assert checked(path, "").passed
    assert checked(path, "", EXPORTERS["torch_dynamo"]).outcome == "failed"
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, path)
    assert checked(path, "").outcome == "failed"


def interface(framework, *, shape=("batch", 6), dtype="float32", declared=None):
    """The verdict on the declared output of a file beside a model of a framework."""
    graph_input = {"name": "x", "dtype": "float32", "shape": ["batch", 6]}
    facts = {
        "inputs": [graph_input],
        "outputs": [{"name": "y", "dtype": dtype, "shape": list(shape)}],
        "producer": "",
    }
    subject = SimpleNamespace(
        case=CASE,
        model=ModelSpec("m", framework, (X,), (Y,), ""),
        exporter=EXPORTERS["torch_torchscript"],
        artifact=SimpleNamespace(facts=facts),
        weights=NativeWeights({}, [], declared={} if declared is None else {"y": list(declared)}),
    )
    return check_interface(subject)


def test_a_shape_is_wrong_unless_the_reference_declares_it_too():
    assert interface("onnx", shape=("batch", 5)).outcome == "failed"
    assert interface("onnx", shape=("batch", 5), declared=("batch", 5)).outcome == "passed"
    assert interface("onnx", shape=("batch", 4), declared=("batch", 5)).outcome == "failed"


@pytest.mark.parametrize(
    ("framework", "dtype", "outcome"),
    [
        ("python", "float64", "passed"),
        ("python", "int64", "failed"),
        ("torch", "float64", "failed"),
    ],
)
def test_another_width_is_right_of_plain_callables_alone(framework, dtype, outcome):
    assert interface(framework, dtype=dtype).outcome == outcome


def test_a_column_where_a_row_is_wanted_is_told_with_what_to_write():
    assert "reshape(-1, 1)" in interface("python", shape=("batch", 6, 1)).reason
    assert "reshape" not in interface("python", shape=("batch", 6, 2)).reason


def ordered(
    inputs,
    outputs,
    exporter,
    shape=("batch", 6),
    declared=("batch", 6),
    dtype="float32",
    half=False,
):
    """The verdict on a file that lists inputs and outputs in these orders; the model: a, b."""
    one = {"dtype": dtype, "shape": list(shape)}
    sides = {"inputs": inputs, "outputs": outputs}
    facts = {side: [{**one, "name": name} for name in names] for side, names in sides.items()}
    specs = {name: TensorSpec(name, declared) for name in "abyz"}
    case = EXTERNAL_CASE if exporter is EXTERNAL else CASE
    subject = SimpleNamespace(
        case=replace(case, precision="float16") if half else case,
        model=ModelSpec("m", "torch", (specs["a"], specs["b"]), (specs["y"], specs["z"]), ""),
        exporter=exporter,
        artifact=SimpleNamespace(facts={**facts, "producer": ""}),
        weights=NativeWeights({}, []),
    )
    return check_interface(subject)


def test_inputs_in_another_order_are_told():
    found = ordered("ba", "yz", EXTERNAL)
    assert found.passed
    assert "inputs in the order ['b', 'a']" in found.reason
    assert ordered("ba", "yz", EXPORTERS["keras_export"]).passed  # it sorts those of a dict


def test_outputs_in_another_order_are_red_because_callers_take_them_by_place():
    found = ordered("ab", "zy", EXTERNAL)
    assert found.outcome == "failed"
    assert "run(None, inputs) hands them out by place" in found.reason


def test_what_a_file_of_another_interface_needs_is_told():
    turned = ordered("ab", "yz", EXTERNAL, ("batch", 3, 10, 10), ("batch", 10, 10, 3)).reason
    assert "has size 3 at axis 1, expected 10; its axes stand in another order" in turned
    assert "another order" not in ordered("ab", "yz", EXTERNAL, ("batch", 7)).reason
    assert "expected 2: ['y', 'z']; give both the same" in ordered("ab", "yzw", EXTERNAL).reason


def test_a_file_judged_in_half_precision_may_take_and_give_its_numbers_so():
    found = ordered("ab", "yz", EXTERNAL, dtype="float16", half=True)
    assert found.passed
    assert "input 'a' is float16: callers convert it" in found.reason
    assert ordered("ab", "yz", EXTERNAL, dtype="float16").outcome == "failed"
    assert ordered("ab", "yz", EXTERNAL, dtype="float64", half=True).outcome == "failed"
    exported = EXPORTERS["torch_dynamo"]
    assert ordered("ab", "yz", exported, dtype="float16", half=True).outcome == "failed"
