"""The gate's document and page: slower cases in sight, open intervals no error, names harmless."""

import json
import math

import pytest

from onnx_conformance.core.case import Case
from onnx_conformance.perf.gate.gate_document import GateDocument, GateResult, render
from onnx_conformance.perf.gate.rules import MetricVerdict, load_rules
from onnx_conformance.perf.gate.sequential_test import Decision, PairedSamples

AROUND = {"versions": {"onnx": "1"}, "python": "3", "platform": "p", "processor": "c"}


def document_of(*results, status=0):
    plan = load_rules().timing
    absent = {"gone batch 1": "cuda is absent"}
    return GateDocument(plan, AROUND, results, absent, ("old-cpu",), exit_status=status)


def result_of(verdict="not slower", name="m", batch=1, **changes):
    figures = {"low": 0.991, "high": 1.014, "smallest_effect": 1.049} | changes
    decision = Decision(verdict, ratio=figures.pop("ratio", 1.003), pairs=10, **figures)
    score = MetricVerdict("score", "ok", 1.0, 1.1, "fine")
    case, samples = Case(name, "e", 18, "cpu"), PairedSamples((1.0,), (1.0,), decision, 0.1)
    return GateResult(case, batch, samples, {"score": score})


def test_a_slower_case_is_in_the_headline():
    slow = result_of("slower", ratio=1.2, low=1.15, high=1.25)
    page = render(document_of(slow, result_of(), status=1))
    assert "✗ 1 of 2 cases slower than the baseline" in page
    assert "1.200×" in page


def test_a_pass_says_what_it_would_have_shown():
    page = render(document_of(result_of()))
    assert "✓ No worse than the baseline" in page
    assert "4.9 %" in page
    assert "cuda is absent" in page
    assert "old-cpu" in page


@pytest.mark.parametrize("missing", ["high", "smallest_effect"])
def test_what_is_not_known_is_no_error(missing):
    document = document_of(result_of("undecided", **{missing: math.inf}))
    page = render(document)
    assert "None" not in page
    assert "inf" not in page.replace("info", "")
    (case,) = json.loads(json.dumps(document.to_json(), allow_nan=False))["cases"]
    assert case[missing] is None


def test_a_gate_of_nothing_is_not_green():
    document = document_of(status=1)
    assert document.red
    page = render(document)
    assert "No case was compared." in page
    assert "✗ Worse than the baseline, or not compared" in page


def test_a_name_is_text():
    page = render(document_of(result_of(name="<script>alert(1)</script>")))
    assert "<script>" not in page


def test_the_history_keeps_the_smallest_batch():
    open_end = result_of("undecided", batch=8, high=math.inf)
    kept = document_of(result_of(), open_end).kept_run()
    assert [point.speed for point in kept.cases.values()] == [(1.003, 0.991, 1.014)]


def test_markdown_has_a_row_a_case():
    text = document_of(result_of("slower"), status=1).markdown()
    assert "❌ slower | 1.003 &#91;0.991, 1.014&#93; | 10 | ✅ |" in text
