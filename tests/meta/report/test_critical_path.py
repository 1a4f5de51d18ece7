"""The critical path: the jobs of the case that would end last with a process for each case."""

import pytest

from onnx_conformance.report import terminal
from onnx_conformance.report.critical_path import critical_path
from tests.meta.sample_document import make_case, make_document

ROUTES = ("torch_torchscript", "torch_dynamo")


def document_of(jobs, *models):
    cases = [make_case(model, route, 18) for model in models for route in ROUTES]
    document = make_document(cases)
    document["time"]["jobs"] = jobs
    return document


JOBS = {
    "torch": {"import": 3.0},
    "simple_net": {"build": 1.0, "native": 2.0, "oracle": 4.0},
    "simple_net-torch_torchscript-opset18": {"export": 1.0},
    "simple_net-torch_dynamo-opset18": {"export": 9.0},
    "simple_net-torch_torchscript-opset18-cpu": {"runtime": 1.0, "checks": 2.0},
    "simple_net-torch_dynamo-opset18-cpu": {"runtime": 1.0, "checks": 1.0},
}


def test_it_is_of_the_case_whose_jobs_take_longest():
    path = critical_path(document_of(JOBS, "simple_net"))
    assert path.seconds == 3.0 + 1.0 + 9.0 + 6.0 + 1.0
    assert str(path) == (
        "simple_net-torch_dynamo-opset18-cpu: "
        "import 3.0 → build 1.0 → export 9.0 → references 6.0 → checks 1.0 = 20.0 s"
    )


def test_answers_count_where_they_take_longer_than_the_references():
    slow = {"simple_net-torch_torchscript-opset18-cpu": {"runtime": 30.0, "checks": 2.0}}
    path = critical_path(document_of({**JOBS, **slow}, "simple_net"))
    assert path.jobs["answers"] == 30.0
    assert "references" not in path.jobs
    assert path.seconds == 3.0 + 1.0 + 1.0 + 30.0 + 2.0


def test_verdicts_of_earlier_runs_are_not_on_it():
    document = document_of(JOBS, "simple_net")
    for case in document["cases"]:
        case["resumed"] = "2026-01-01"
    assert critical_path(document) is None


@pytest.mark.parametrize(("models", "lines"), [(("simple_net",), 0), (("simple_net", "net"), 1)])
def test_it_is_told_where_models_share_a_run(models, lines):
    assert len(terminal.longest(document_of(JOBS, *models))) == lines
