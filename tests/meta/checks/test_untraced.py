"""Weights that could not be found into the file: when inputs may judge them, and when not."""

from collections import Counter
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_conformance.checks import initializers
from onnx_conformance.checks.initializers import check_initializers
from onnx_conformance.checks.structure import check_inference_mode
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.results import CheckResult
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.report.document import case_verdict, is_complete
from onnx_conformance.run.subject import NativeWeights
from tests.meta.plain_subject import TOLERANCES

RNG = np.random.default_rng(4)
FIRST, SECOND = (RNG.normal(size=(6, 6)).astype(np.float32) for _ in range(2))
NATIVE = {"a.weight": FIRST, "b.weight": SECOND}
RIGHT = CheckResult("initializers", "passed", "within budget", compared=5, score=0.8, budget=4.0)


def written(path, nodes, stored):
    graph_input = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6])
    taken = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 6])
    tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    onnx.save(
        helper.make_model(helper.make_graph(nodes, "g", [graph_input], [taken], tensors)), path
    )


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """The verdict on a file that holds one product for two native factors."""

    def verdict(
        stored=None, *, seen=1.0, answer=RIGHT, precision="float32", native=None, oracle=True
    ):
        kept = {"w": FIRST @ SECOND} if stored is None else stored
        written(
            tmp_path / "m.onnx",
            [helper.make_node("MatMul", ["x", next(iter(kept), "x")], ["y"])],
            kept,
        )

        def influence(names, input_sets, least):
            if isinstance(seen, Exception):
                raise seen
            return dict.fromkeys(names, 1.0) | {names[-1]: seen}

        monkeypatch.setattr(initializers, "judge", lambda *_: answer)
        spec = TensorSpec("x", ("batch", 6))
        return check_initializers(
            SimpleNamespace(
                case=Case("m", "given", 18, "cpu", precision=precision, file_precision=precision),
                artifact=SimpleNamespace(path=tmp_path / "m.onnx"),
                tolerances=TOLERANCES,
                weights=NativeWeights(NATIVE if native is None else native, []),
                model=SimpleNamespace(inputs=(spec,), axes=(), oracle=oracle),
                seed=0,
                influence=influence,
            )
        )

    return verdict


def test_inputs_that_see_every_element_and_are_answered_rightly_may_judge(judge):
    result = judge()
    assert result.passed
    assert "'a.weight', 'b.weight' could not be found" in result.reason
    assert "judged by inputs alone" in result.reason
    assert result.statistics == {"untraced": ["a.weight", "b.weight"]}


def test_rows_that_no_input_asks_for_are_judged_by_nobody(judge):
    result = judge(seen=0.4)
    assert result.outcome == "failed"
    assert "depend on 40% of the elements of 'b.weight'" in result.reason


def test_an_answer_without_margin_judges_nothing(judge):
    tight = CheckResult(
        "initializers", "passed", "within budget", compared=5, score=3.0, budget=4.0
    )
    assert "takes 75% of the error budget" in judge(answer=tight).reason
    wrong = CheckResult("initializers", "failed", "output 'y' differs from native torch")
    assert "differs from native torch" in judge(answer=wrong).reason


def test_nor_do_coarse_answers_nor_models_without_oracle_nor_frameworks_without_gradients(judge):
    assert (
        judge({"w": (FIRST @ SECOND).astype(np.float16)}, precision="float16").outcome == "failed"
    )
    assert judge(oracle=False).outcome == "failed"
    result = judge(seen=StageFailure("native", "m", "no gradient"))
    assert result.outcome == "failed"
    assert "is not known (no gradient)" in result.reason


def test_a_harmed_copy_beside_them_is_red_whatever_inputs_say(judge):
    wrong = FIRST.copy()
    wrong[2, 3] *= -1
    assert judge({"w": wrong, "v": FIRST @ SECOND}).outcome == "failed"
    assert judge({"w": FIRST}).outcome == "failed"  # nothing could hold the other


def test_a_model_without_floating_weights_has_nothing_to_audit(judge):
    for native in ({}, {"counter": np.array(3)}, {"empty": np.zeros((0, 4), np.float32)}):
        result = judge(native=native)
        assert result.outcome == "not_applicable"
        assert "no floating-point weights" in result.reason


def test_weights_all_of_which_may_be_absent_are_facts_too(judge):
    result = judge({}, native={"norm.weight": np.ones(6, np.float32)})
    assert result.passed
    assert result.compared == 1


def test_what_does_not_apply_leaves_a_case_complete_and_what_was_skipped_does_not():
    case = Case("simple_net+static", "torch_dynamo", 18, "cpu")
    assert case_verdict(["passed", "not_applicable"]) == "passed"
    assert case_verdict(["not_applicable"]) == "skipped"
    rows = [{"name": "initializers", "outcome": "passed"}]
    for result, complete in (
        (CheckResult("canary", "not_applicable", "why"), True),
        (CheckResult("canary", "skipped", "why"), False),
    ):
        row = {"name": result.name, "outcome": result.outcome, "reason": result.reason}
        assert _complete(case, [*rows, row]) is complete
        assert not result.passed


def _complete(case, rows):
    required_tests = Counter(initializers=1, canary=1)
    with patch("onnx_conformance.report.document.required_tests", lambda *_, **__: required_tests):
        return is_complete(case, rows, ordinary=True)


# -- training mode -------------------------------------------------------------------------------


def normalised(value, out):
    outputs = [out, "mean", "variance"]
    names = [value, "gamma", "beta", "m", "v"]
    return helper.make_node("BatchNormalization", names, outputs, name="bn", training_mode=1)


@pytest.mark.parametrize(
    ("reached", "own", "right"), [(False, 0, True), (True, 0, False), (True, 1, True)]
)
def test_training_mode_is_arithmetic_where_no_input_reaches_it_or_native_does_it(
    tmp_path, reached, own, right
):
    stored = {name: np.ones(6, np.float32) for name in ("gamma", "beta", "m", "v")} | {"w": FIRST}
    if reached:
        nodes = [normalised("x", "h"), helper.make_node("MatMul", ["h", "w"], ["y"])]
    else:
        nodes = [normalised("w", "h"), helper.make_node("MatMul", ["x", "h"], ["y"])]
    written(tmp_path / "m.onnx", nodes, stored)
    subject = SimpleNamespace(
        artifact=SimpleNamespace(path=tmp_path / "m.onnx"),
        weights=NativeWeights({}, [], batch_statistics=own),
    )
    result = check_inference_mode(subject)
    assert result.passed is right
    assert right or "'bn' is in training mode" in result.reason
