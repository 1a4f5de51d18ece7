"""The terminal: a matrix that fits, figures that read alone, one line for what is absent."""

from types import SimpleNamespace

import pytest
from rich.console import Console

from onnx_conformance.catalog.exporters import judged_packages
from onnx_conformance.core.case import Case
from onnx_conformance.core.settings import Settings
from onnx_conformance.diagnose import messages
from onnx_conformance.diagnose.messages import summary_line
from onnx_conformance.report import terminal
from onnx_conformance.report.columns import cell_of
from onnx_conformance.report.next_step import next_step
from tests.meta.sample_document import fail, full_run, make_case, make_document

EXTRA = {"complete": True, "decibels": None, "missing": {}, "edge": [], "precision": "float32"}


def header_of(monkeypatch, *cases, trained=False):
    """A run's header where every package is installed, for models that differ as given."""
    versions = {"versions": dict.fromkeys(judged_packages(), "1")}
    spec = SimpleNamespace(framework="torch", trained=trained)
    monkeypatch.setattr(messages, "environment", lambda: versions)
    monkeypatch.setattr(messages, "resolve_model", lambda name: spec)
    run = SimpleNamespace(settings=Settings(), cases=cases, refused=(), notes=())
    return "\n".join(messages.header(run, cases, "default"))


def test_the_header_lists_what_the_run_uses(monkeypatch):
    of_torch = Case("m", "torch_dynamo", 18, "cpu")
    text = header_of(monkeypatch, of_torch)
    assert "judged: torch 1, onnx 1, onnxruntime 1" in text
    assert "keras" not in text
    assert "tensorflow" not in text
    assert "tf2onnx 1" in header_of(monkeypatch, of_torch, Case("m", "tf2onnx_function", 18, "cpu"))


@pytest.mark.parametrize(
    ("trained", "words"), [(False, "calibrated weights"), (True, "weights as built")]
)
def test_the_header_says_whose_weights_are_judged(monkeypatch, trained, words):
    case = Case("m", "torch_dynamo", 18, "cpu")
    assert f", {words}, profile" in header_of(monkeypatch, case, trained=trained)


def judged(cases, verdict="passed"):
    document = make_document([{"option": False, **EXTRA, **case} for case in cases], verdict)
    document["totals"] |= {"judged": len(cases), "edge": 0}
    return document


def text_of(document):
    return terminal.render(terminal.matrix(document), width=100, color=False)


def test_of_thousands_that_did_not_pass_the_failed_ones_are_shown():
    cases = [make_case(f"m{number:04}", "torch_dynamo", 18) for number in range(1000)]
    cases = [{**case, "complete": number < 100} for number, case in enumerate(cases)]
    cases[950] = fail(cases[950], "error_budget", 41.3)
    text = text_of(judged(cases, "red"))
    assert "(100 cases that passed and 500 that did not are not shown)" in " ".join(text.split())
    assert "m0950" in text
    assert len(text.splitlines()) < 410


def test_export_options_that_passed_share_a_row():
    plain = make_case("m", "torch_dynamo", 18)
    options = [make_case("m", f"torch_dynamo+{name}", 18, option=True) for name in "abc"]
    red = make_case("m", "torch_dynamo+d", 18, option=True, verdict="failed", worst_score=9.0)
    text = text_of(judged([plain, *options, red]))
    assert "export options" in text
    assert "✓ 3 passed" in text
    assert "torch_dynamo+a" not in text
    assert "torch_dynamo+d" in text


@pytest.mark.parametrize("providers", [1, 3, 12])
def test_no_line_is_longer_than_100(providers):
    names = ["cpu", "cuda", "tensorrt", "openvino", "cuda_tf32", "tensorrt_fp16"] * 2
    cases = [
        make_case("a_model_with_a_long_name", "tf2onnx_saved_model", opset, f"{name}{place}")
        for place, name in enumerate(names[:providers])
        for opset in (14, 18)
    ]
    table = terminal.matrix(judged(cases))
    assert Console(width=1000).measure(table).maximum <= 100
    text = text_of(judged(cases))
    assert all(case["provider"] in text for case in cases)
    assert text.count("✓") == len(cases)


def test_a_long_name_does_not_cut_the_verdict():
    cases = [
        make_case(f"test_{'long_' * 12}{n}.onnx", f"test_{'long_' * 12}{n}", 18) for n in range(3)
    ]
    text = text_of(judged(cases))
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("✓ 1× ≤ 4×") == 3


def test_what_holds_for_several_files_is_printed_once():
    same, other = "judged against float64", "its inputs were understood as"
    cases = [
        {**make_case(f"m{n}.onnx", "m", 18), "basis": same, "notes": [f"{other} {n}"]}
        for n in range(20)
    ]
    lines = terminal.bases(judged(cases))
    assert sum(same in line for line in lines) == 1
    assert 1 < len(lines) < 20
    assert terminal.bases(judged(cases[:1]))[0] == f"m0.onnx: {same}"


@pytest.mark.parametrize(
    ("score", "expected_text"),
    [(0.857, "0.86× ≤ 4×"), (41.3, "41× > 4×"), (321_987.0, "320,000× > 4×"), ("inf", "∞× > 4×")],
)
def test_a_score_says_whether_it_is_within(score, expected_text):
    case = make_case("m", "torch_dynamo", 18, worst_score=score, **EXTRA)
    assert cell_of(case)[1] == expected_text


def test_a_case_that_failed_within_its_budget_names_the_check():
    """A score within what is allowed, beside the mark of a failure, would tell nothing."""
    case = fail(make_case("m", "torch_dynamo", 18, **EXTRA), "interface", 9.0)
    assert cell_of(case | {"worst_score": 0.49}) == ("✗", "interface (0.49× ≤ 4×)")
    assert cell_of(case | {"worst_score": None}) == ("✗", "interface")
    assert cell_of(case | {"worst_score": 41.3}) == ("✗", "41× > 4×")


def test_absent_providers_are_one_line_and_other_reasons_are_reported():
    document = full_run()
    document["totals"]["judged"] = 19
    (line,) = terminal.absences(document)
    assert line.startswith("not run: cuda (")
    assert "cannot be loaded" not in line
    document["totals"]["judged"] = 0  # nothing else was judged: the reason is what is wanted
    (line,) = terminal.absences(document)
    assert "cannot be loaded" in line
    document["run"]["sentence"] += f" --require cuda: ... ({line.split(': ', 2)[2]})"
    assert not terminal.absences(document)  # the closing sentence says it


def test_the_legend_explains_the_figures_that_are_shown():
    (line,) = terminal.legend(judged([make_case("m", "torch_dynamo", 18, base=0.9)]))
    assert line == (
        "0.9× ≤ 4×: the worst error is 0.9 times float32's own rounding error on that model and "
        "inputs; 4 times is allowed"
    )


def test_a_failure_s_one_line_has_cause_and_command():
    case = fail(make_case("m", "torch_dynamo", 18), "allclose", 7.5)
    message = next(c["message"] for c in case["checks"] if c["name"] == "allclose")
    line = summary_line(message)
    assert "\n" not in line
    assert "differs from native torch; budget: error 7.5x" in line
    assert line.endswith("--model m")


def test_one_line_says_how_much_is_not_close_where_there_is_no_noise_floor():
    message = "c: output 'y' is not close to native\n  mismatched: 3 of 8 elements (37.5 %)"
    line = summary_line(message)
    assert line == "c: output 'y' is not close to native; mismatched: 3 of 8 elements (37.5 %)"


def test_the_next_step_repeats_the_first_failure():
    case = fail(make_case("m", "torch_dynamo", 18), "allclose", 7.5)
    assert next_step(judged([case], "red"), "").startswith("pytest 'tests/test_function.py")


def test_the_next_step_of_an_incomplete_run_runs_the_rest():
    case = make_case("m", "torch_dynamo", 18, **EXTRA | {"complete": False})
    shown = next_step(judged([case | {"missing": {"rows": ""}}], "incomplete"), "run m")
    assert shown.startswith("run m   # all checks")
