"""Errors of the suite's own are told as such; one cause is one red row."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis.errors import Unsatisfiable

from onnx_conformance.checks.evidence import ConformanceFailure, Evidence
from onnx_conformance.checks.verdict import _excess, _relative
from onnx_conformance.core.budget import Score
from onnx_conformance.core.case import Case
from onnx_conformance.core.comparison import structure_problem
from onnx_conformance.core.errors import StageFailure, UsageError, attempted, internal_error, where
from onnx_conformance.core.results import CheckResult
from onnx_conformance.core.tolerances import Rule
from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

CASE = Case("simple_net", "torch_torchscript", 14, "cpu")


def raised(work):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any kind
        work()
    return caught.value


def test_what_the_suite_s_own_code_raises_is_an_internal_error():
    error = raised(lambda: structure_problem({"x": None}, {"x": np.zeros(1)}))
    text = internal_error(error, "allclose")
    assert text.startswith("internal error in check allclose: AttributeError: 'NoneType' object")
    assert text.endswith("this is a fault of the suite: please report")
    assert any("comparison.py" in place for place in where(error))


def test_what_others_raise_is_not():
    assert internal_error(raised(lambda: int("a test's own line")), "allclose") is None
    assert internal_error(Unsatisfiable("0 inputs"), "allclose") is None


def test_an_error_on_purpose_is_reported_in_its_own_words():
    assert internal_error(UsageError("unknown model 'x'"), "allclose") == "unknown model 'x'"
    assert where(UsageError("x")) == []


def test_work_that_no_verdict_rests_on_may_fail():
    assert attempted(lambda: 3, "count") == 3
    assert attempted(lambda: 1 // 0, "divide") is None


def test_an_internal_error_is_red_and_the_run_goes_on(tmp_path, pytestconfig):
    run = run_suite(
        tmp_path,
        "tests/test_function.py",
        "--model=simple_net",
        "--exporter=torch_torchscript",
        "--opset=14",
        "--provider=cpu",
        f"--cache-dir={pytestconfig.getoption('cache_dir')}",
        plugin="broken_check",
    )
    assert run.status == 1
    assert "Traceback" not in run.text
    (reason,) = {
        row["reason"]
        for case in run.document["cases"]
        for row in case["checks"]
        if row["name"] == "top5"
    }
    assert reason.startswith("internal error in check top5: ValueError")
    outcomes = run.outcomes()
    assert outcomes["top5"] == {"error"}
    assert outcomes["determinism"] == {"passed"}


# -- one cause is one red row -----------------------------------------------------------------


def failure(check, reason):
    return ConformanceFailure(SimpleNamespace(case=CASE), CheckResult(check, "failed", reason))


def test_one_cause_is_red_once_whatever_its_numbers():
    evidence = Evidence()
    message = "the session failed on the inputs: Reshape of {%d,3}"
    assert evidence.first_report(failure("error_budget", message % 4), CASE, "a") is None
    assert evidence.first_report(failure("error_budget", message % 1), CASE, "b") == "a"
    alone = failure("batch_invariance", f"at batch 8, {message % 8}")
    assert evidence.first_report(alone, CASE, "c") == "a"
    other = failure("allclose", "the session failed on the inputs: Conv")
    assert evidence.first_report(other, CASE, "d") is None
    assert evidence.first_report(failure("error_budget", message % 4), CASE, "a") is None


def test_outputs_of_other_names_are_red_once():
    evidence = Evidence()
    told = structure_problem({"y": np.zeros(2)}, {"y": np.zeros(2), "z": np.zeros(2)})
    assert evidence.first_report(failure("error_budget", told), CASE, "a") is None
    assert evidence.first_report(failure("allclose", f"at batch 1, {told}"), CASE, "b") == "a"


def test_a_stage_is_red_once_at_whichever_precision_it_failed():
    evidence = Evidence()
    for stage, test, before in (("oracle", "a", None), ("native", "b", "a")):
        failed_stage = StageFailure(stage, f"m ({stage})", "ValueError: 3 is not 4")
        assert evidence.first_report(failed_stage, CASE, test) == before


def test_an_output_of_another_shape_is_red_once():
    evidence = Evidence()
    told = "output 'y' has shape ['batch'], expected ['batch', 1]"
    assert evidence.first_report(failure("interface", told), CASE, "a") is None
    answered = "output 'y' has shape (4,), expected (4, 1)"
    assert evidence.first_report(failure("error_budget", answered), CASE, "b") == "a"
    sizes = failure("sizes", f"at 9 of 9 inputs: batch=5: {answered}")
    assert evidence.first_report(sizes, CASE, "c") == "a"
    other = failure("error_budget", answered.replace("'y'", "'z'"))
    assert evidence.first_report(other, CASE, "d") is None


def test_verdicts_on_answers_and_edge_cases_are_always_their_own():
    evidence = Evidence()
    for test in "ab":
        wrong = failure("error_budget", "output 'output' differs from native torch")
        assert evidence.first_report(wrong, CASE, test) is None
        edge = failure("empty_batch", "the session failed on the inputs: Reshape")
        assert evidence.first_report(edge, CASE, test) is None


@pytest.mark.parametrize(
    ("expected", "got", "message"),
    [
        (2.0, 3.0, "rel 0.5"),
        (0.0, 1e-3, "rel meaningless: 0 is expected, up to rounding"),
        (1e-300, 0.77, "rel meaningless: 0 is expected, up to rounding"),
        (-1e-4, 1e-4, "rel 2"),
    ],
)
def test_a_relative_error_is_a_number_that_means_something(expected, got, message):
    assert _relative(expected, got, 5.0) == message


@pytest.mark.parametrize(
    ("norm", "value", "message"),
    [
        (
            "share",
            np.inf,
            "budget: whole numbers and truth values must be equal; 25 % of sam",
        ),
        ("rms", np.inf, "budget: error without bound beside the float32 noise floor, allowed 4x"),
        ("rms", 12.5, "budget: error 12.5x the float32 noise floor, allowed 4x (rms norm of the"),
    ],
)
def test_a_budget_that_is_exceeded_is_reported_in_numbers(norm, value, message):
    score = Score(value, "output", 1, norm, "values", 0.25, 0.0)
    assert _excess(score, Rule({"factor": 4.0}, "tolerances.yaml: defaults")).startswith(message)
