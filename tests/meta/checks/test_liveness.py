"""How much the outputs of the native model must move before comparing them shows anything."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper

from onnx_conformance.checks.function import check_error_budget
from onnx_conformance.checks.liveness import check_liveness
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.run.subject import Answer, DecidingTensor
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


def beside(constant, moved, precision="float32", *, oracle=True, exact=()):
    """A model that gives ``constant + moved * tanh(x)``, in a case of a class of precision."""
    rounding = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}

    def reference(unit):
        def answers(inputs):
            right = constant + moved * np.tanh(inputs["x"].astype(np.float64))
            error = constant * rounding[unit] / 2
            native = {"y": (right + error).astype(np.float32)}
            return Reference({"y": right if oracle else native["y"]}, native, (native,), unit)

        return answers

    model = replace(wide_model(8), oracle=oracle, exact=exact)
    return plain_subject(
        model,
        reference(precision if precision in rounding else "float32"),
        plain_reference=reference("float32"),
        case=replace(CASE, precision=precision, by_model=bool(exact)),
        weights=SimpleNamespace(constant_outputs=()),
        **dict.fromkeys(("exporter", "fail_fast", "min_placement", "expect_dynamic")),
        graph_level="all",
    )


@pytest.mark.parametrize(
    ("subject", "outcome"),
    [
        (beside(300.0, 0.2, "float16"), "skipped"),
        (beside(300.0, 0.2, "bfloat16"), "skipped"),
        (beside(300.0, 0.2), "passed"),
        (beside(300.0, 20.0, "float16"), "passed"),
        (beside(1.0, 0.2, "float16"), "passed"),
        (beside(300.0, 0.2, "float16", exact=("y",)), "passed"),  # judged in float32 besides
        (beside(300.0, 0.2, oracle=False), "skipped"),  # allclose takes a constant for it
        (beside(1.0, 0.2, oracle=False), "passed"),
        (beside(300.0, 0.2, "int8"), "passed"),  # whose noise is beside the movement alone
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_movement_that_the_budget_cannot_see_proves_nothing(subject, outcome):
    result = check_liveness(subject)
    assert result.outcome == outcome, result.reason
    if outcome == "skipped":
        assert "change 'y' so little beside its size" in result.reason


@pytest.mark.parametrize(("moved", "outcome"), [(20.0, "passed"), (0.2, "skipped")])
def test_a_mask_that_leaves_out_another_class_in_each_sample_hides_no_movement(moved, outcome):
    found = beside(300.0, moved, "float16")

    def masked(of):
        def answers(inputs):
            rows, out = of(inputs), inputs["x"] > 0.0
            ways = [{"y": np.where(out, -np.inf, way["y"])} for way in (rows.oracle, rows.native)]
            return Reference(ways[0], ways[1], (ways[1],), rows.unit)

        return answers

    found.reference, found.plain_reference = masked(found.reference), masked(found.plain_reference)
    assert check_liveness(found).outcome == outcome


def test_a_constant_passes_the_budget_where_liveness_says_so():
    """Half of a movement that is found cannot be lost unseen; one that is not found can."""
    for moved, found in ((0.2, False), (20.0, True)):
        subject = beside(300.0, moved, "float16")
        subject.run = lambda inputs, repeat=0: Answer({"y": np.full_like(inputs["x"], 300.0)})
        assert check_error_budget(subject, Recipe("normal")).passed is not found


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
