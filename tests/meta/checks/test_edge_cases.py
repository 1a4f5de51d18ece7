"""Edge cases are judged and reported; they affect the verdict only where that is asked for."""

from types import SimpleNamespace

import numpy as np
import pytest

from onnx_conformance.api import CaseVerdict, Certification
from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.checks.evidence import (
    ConformanceFailure,
    Evidence,
    Inconclusive,
    edge_finding,
)
from onnx_conformance.checks.registry import CHECKS
from onnx_conformance.checks.verdict import refusal_of, unanswered, unless_refused
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import StageFailure, WorkerDied, WorkerEnded
from onnx_conformance.core.results import CheckResult, as_edge
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.inputs.families import malformed, non_finite
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.report import html, markdown, terminal
from onnx_conformance.report.columns import PROVED, cell_of, kind_of
from onnx_conformance.run.subject import Answer
from tests.meta.running import ORDINARY, run_suite
from tests.meta.sample_document import make_case, make_document

pytestmark = pytest.mark.slow

CASE = Case("simple_net", "torch_torchscript", 14, "cpu")
EDGE = ("nonfinite", "denormals", "empty_batch")
FEED = Inputs({"x": np.zeros((2, 3), np.float32)})


def subject(refusal=None):
    return SimpleNamespace(
        case=CASE, model=resolve_model("simple_net"), native_refusal=lambda inputs: refusal
    )


def failure_of(check):
    return ConformanceFailure(subject(), CheckResult(check, "failed", "it is wrong"))


def test_the_edge_checks_are_these_and_no_others():
    assert {check.name for check in CHECKS.values() if check.edge} == set(EDGE)
    assert not any(check.deployed for check in CHECKS.values() if check.edge)


@pytest.mark.parametrize("name", list(CHECKS))
def test_only_the_verdict_of_an_edge_check_is_an_edge_finding(name):
    found = edge_finding(failure_of(name), name, "report")
    assert (found is not None) == (name in EDGE)
    assert edge_finding(failure_of(name), name, "fail") is None


def test_nothing_else_hides_behind_an_edge_check():
    """Neither another check's verdict in its test, nor a stage that failed while it ran."""
    assert edge_finding(failure_of("error_budget"), "nonfinite", "report") is None
    broken = StageFailure("export", "it", "it broke")
    assert edge_finding(broken, "nonfinite", "report") is None


def test_an_edge_finding_tells_what_is_known_of_it():
    found = edge_finding(failure_of("nonfinite"), "nonfinite", "report", "Relu drops NaN")
    assert found.outcome == "edge"
    assert not found.passed
    assert found.reason == "it is wrong (known upstream: Relu drops NaN)"


# -- what does not apply ----------------------------------------------------------------------


def native_that_ends_by(error):
    def refuses(inputs):
        raise StageFailure("native", "it", "exit status -6") from error("Died", "in 'run'")

    return SimpleNamespace(native_refusal=refuses)


def test_native_whose_process_ends_refuses_and_one_that_was_killed_does_not():
    assert refusal_of(native_that_ends_by(WorkerEnded), FEED) == "its process ends (exit status -6)"
    with pytest.raises(StageFailure):
        refusal_of(native_that_ends_by(WorkerDied), FEED)


def test_what_native_refuses_does_not_apply_and_says_why():
    def judge(one):
        raise StageFailure("native", "it", "ValueError: Input X contains NaN")

    found = unless_refused(subject("Input X contains NaN"), FEED, judge)
    assert found.outcome == "not_applicable"
    assert not found.passed
    assert found.reason == "the native model refuses such inputs: Input X contains NaN"


@pytest.mark.parametrize(
    ("stage", "refusal"), [("native", None), ("export", "no"), ("runtime", "no")]
)
def test_another_failure_is_no_refusal(stage, refusal):
    def judge(one):
        raise StageFailure(stage, "it", "it broke")

    with pytest.raises(StageFailure):
        unless_refused(subject(refusal), FEED, judge)


def test_a_test_whose_check_does_not_apply_ends_there():
    with pytest.raises(Inconclusive, match="not applicable: no NaN"):
        Evidence()(subject(), CheckResult("nonfinite", "not_applicable", "no NaN"))


PARTICULAR = """
import torch

from onnx_conformance import TensorSpec, register_model


class Net(torch.nn.Module):
    def __init__(self, largest):
        super().__init__()
        self.layer, self.largest = torch.nn.Linear(6, 4), largest

    def forward(self, x):
        if not torch.jit.is_tracing() and bool(x.abs().max() > self.largest):
            raise ValueError("too large")
        return self.layer(x)


@register_model("up_to_1000", inputs=[TensorSpec("x", ("batch", 6))])
def up_to_1000():
    return Net(1000.0)


@register_model("up_to_12", inputs=[TensorSpec("x", ("batch", 6))])
def up_to_12():
    return Net(12.0)
"""


def test_inputs_that_native_refuses_spoil_no_others(tmp_path):
    """Those far from ordinary ones do not apply; where it refuses these, the model is refused."""
    (tmp_path / "particular.py").write_text(PARTICULAR)
    run = run_suite(
        tmp_path,
        *("tests/test_function.py", "-k", "liveness or pinned or rows or allclose"),
        *(f"--models-from={tmp_path / 'particular.py'}", "--exporter=torch_torchscript"),
        *("--opset=14", "--provider=cpu", "--no-localize", "--bundles=0"),
    )
    rows = {
        case["model"]: [(row["outcome"], row["reason"]) for row in case["checks"]]
        for case in run.document["cases"]
    }
    outcomes = [outcome for outcome, _ in rows["up_to_1000"]]
    assert set(outcomes) == {"passed", "not_applicable"}, rows["up_to_1000"]
    assert any("refuses such inputs: ValueError: too large" in why for _, why in rows["up_to_1000"])
    assert "model 'up_to_12' refuses what its spec describes" in run.text
    assert run.status != 0


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(None, "InvalidArgument: rank 3"), "the session refused the inputs: Invalid"),
        (Answer(None, "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : x"), "refused the inputs"),
        (Answer(None, "RuntimeException: Reshape"), "the session failed on the inputs: Runtime"),
        (Answer(None, "worker died", died=True), "the runtime's process ended on these inputs: "),
        (Answer(None, " "), "the session gave no outputs, and no reason"),
    ],
)
def test_only_a_refusal_is_called_one(answer, message):
    assert message in unanswered(answer)


# -- inputs of low rank -----------------------------------------------------------------------


def model_of(*shapes):
    inputs = tuple(TensorSpec(f"x{place}", shape) for place, shape in enumerate(shapes))
    return ModelSpec("m", "torch", inputs, inputs, "m:f")


def test_malformed_inputs_of_a_vector_are_arrays():
    flaws = malformed(model_of(("batch",)), 0)
    assert flaws["rank"].inputs["x0"].shape == ()
    assert isinstance(flaws["rank"].inputs["x0"], np.ndarray)
    assert "size" not in flaws
    assert all(flaw.inputs.digest for flaw in flaws.values())


def test_the_rank_of_a_scalar_is_never_wrong():
    assert malformed(model_of((), ("batch", 3)), 0)["rank"].inputs["x1"].shape == (3,)
    assert "rank" not in malformed(model_of(()), 0)


def test_a_vector_is_made_non_finite_in_place():
    found = non_finite(model_of(("batch",)), 0).inputs["x0"]
    assert np.isnan(found[0])
    assert np.isposinf(found[1])
    assert np.isneginf(found[2])
    assert np.isfinite(found[3])


# -- told everywhere --------------------------------------------------------------------------


@pytest.fixture
def with_edge():
    case = make_case("m", "torch_dynamo", 18)
    for check in case["checks"]:
        if check["name"] == "nonfinite":
            check |= {"outcome": "edge", "reason": "NaN came out as 0.5", "compared": 0}
    more = {"complete": True, "edge": ["nonfinite"], "missing": {}, "decibels": None}
    return case | more


def test_the_cell_keeps_its_verdict_and_has_a_mark(with_edge):
    assert kind_of(with_edge) == PROVED
    assert cell_of(with_edge) == ("✓", "1× ≤ 4× ◇")


def test_terminal_page_and_markdown_tell_it(with_edge):
    document = make_document([with_edge])
    assert any("edge finding in nonfinite: NaN came" in line for line in terminal.edges(document))
    page = html.render(document)
    assert "◇" in page
    assert "NaN came out as 0.5" in page
    text = markdown.render(document)
    assert "✓ 1× ≤ 4× ◇" in text
    assert "### Edge findings, not part of the verdict" in text
    assert "1 case (nonfinite): NaN came out as 0.5" in text


def test_the_api_tells_it_too_and_is_proved():
    edge = as_edge(CheckResult("nonfinite", "failed", "NaN came out as 0.5"))
    right = CheckResult("error_budget", "passed", "within budget", compared=3)
    found = CaseVerdict(CASE, (right, edge, CheckResult("refusal", "not_applicable", "no size")))
    assert found.verdict == "passed"
    assert Certification((found,)).proved
    assert "◇ edge finding in nonfinite: NaN came out as 0.5" in str(found)
    assert not Certification((CaseVerdict(CASE, (edge,)),)).proved


# -- whole runs -------------------------------------------------------------------------------

ONE = (
    *ORDINARY,
    "--model=simple_net",
    "--exporter=torch_torchscript",
    "--opset=14",
    "--provider=cpu",
)


def test_a_model_whose_nan_is_lost_is_proved_with_an_edge_finding(tmp_path, pytestconfig):
    cache = f"--cache-dir={pytestconfig.getoption('cache_dir')}"
    run = run_suite(tmp_path, *ONE, cache, plugin="nan_losers")
    assert run.status == 0, run.text
    (case,) = run.document["cases"]
    assert (case["verdict"], case["complete"], case["edge"]) == ("passed", True, ["nonfinite"])
    assert run.outcomes()["nonfinite"] == {"edge"}
    strict = run_suite(tmp_path, *ONE, cache, "--edge-cases=fail", plugin="nan_losers")
    assert strict.status == 1
    assert strict.outcomes()["nonfinite"] == {"failed"}


def test_a_pass_is_a_pass():
    assert edge_finding(StageFailure("load", "it", "x"), "denormals", "report") is None
    assert CheckResult("nonfinite", "passed", "as it should be", compared=1).passed
