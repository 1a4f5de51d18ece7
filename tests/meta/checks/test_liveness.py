"""How much the outputs of the native model must move before comparing them shows anything."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper

from onnx_conformance.checks.function import check_liveness
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.run.subject import DecidingTensor
from tests.meta.plain_subject import CASE, plain_subject, wide_model


def subject_of(computes, moved):
    """A model whose outputs move by ``moved`` errors of the class that its own code computes in."""
    error = 2.0**-11 if computes == "float16" else 2.0**-20

    def reference(inputs):
        exact = 1.0 + moved * error * np.tanh(inputs["x"].astype(np.float64))
        return Reference({"y": exact}, {"y": exact + error}, ({"y": exact - error},))

    return plain_subject(
        replace(wide_model(8), computes=computes),
        reference,
        case=replace(CASE, precision=computes),
        weights=SimpleNamespace(constant_outputs=()),
    )


@pytest.mark.parametrize(
    ("computes", "moved", "outcome"),
    [
        ("float32", 20_000, "passed"),
        ("float32", 600, "failed"),
        ("float16", 600, "passed"),  # a half of the output's size: it cannot move by 1000
        ("float16", 20, "failed"),
    ],
)
def test_a_model_in_half_precision_moves_by_fewer_of_its_errors(computes, moved, outcome):
    assert check_liveness(subject_of(computes, moved)).outcome == outcome


def a_file(folder, operator):
    """``y = label of the numbers h``, by a position or by a threshold."""
    made = {
        "ArgMax": helper.make_node("ArgMax", ["h"], ["chosen"], axis=1, keepdims=0),
        "Greater": helper.make_node("Greater", ["h", "threshold"], ["chosen"]),
    }[operator]
    nodes = [
        helper.make_node("Neg", ["x"], ["h"]),
        made,
        helper.make_node("Cast", ["chosen"], ["y"], to=onnx.TensorProto.INT64),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.INT64, ["batch"])],
        [helper.make_tensor("threshold", onnx.TensorProto.FLOAT, [], [100.0])],
    )
    onnx.save(helper.make_model(graph), folder / "m.onnx")
    return folder / "m.onnx"


@pytest.mark.parametrize(
    ("operator", "error", "moved", "outcome"),
    [
        ("ArgMax", 1e-7, 1.0, "passed"),
        ("ArgMax", 1e-2, 1.0, "failed"),  # it is another tensor
        ("ArgMax", 1e-7, 1e-6, "failed"),  # it does not move either
        ("Greater", 1e-7, 1.0, "failed"),  # whatever the threshold, the same answer
    ],
)
def test_a_label_that_never_changes_is_a_position_among_what_moves(
    tmp_path, operator, error, moved, outcome
):
    subject = subject_of("float32", 0)
    label = np.full((1,), 4)
    specs = (TensorSpec("y", ("batch",), "int64"),)
    subject.model = ModelSpec("m", "torch", subject.model.inputs, specs, "")

    def at_rest(inputs):
        labels = {"y": np.repeat(label, len(inputs["x"]))}
        return Reference(labels, labels, (labels,))

    subject.plain_reference = at_rest
    subject.artifact = SimpleNamespace(path=a_file(tmp_path, operator))
    subject.deciding = lambda inputs: [
        DecidingTensor("h", "Neg", "neg", error, 1e-7, 1.0 + moved * np.tanh(inputs["x"]))
    ]
    assert check_liveness(subject).outcome == outcome
