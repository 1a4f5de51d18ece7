"""The page of a gate: slower cases in sight, open intervals no error, hostile names harmless."""

import pytest

from onnx_conformance.perf.gate import gate_page


def document_of(*cases, status=0):
    return {
        "schema": 1,
        "exit_status": status,
        "sentence": "what was found",
        "environment": {
            "versions": {"onnx": "1"},
            "python": "3",
            "platform": "p",
            "processor": "c",
        },
        "cases": list(cases),
        "not_compared": {"gone batch 1": "cuda is absent"},
        "left_out": ["old-cpu"],
    }


def case_of(verdict="not slower", ratio=1.003, low=0.991, high=1.014, name="m-cpu"):
    figures = {"score": {"outcome": "ok", "baseline": 1.0, "candidate": 1.1, "sentence": "fine"}}
    return {
        "case": name,
        "batch": 1,
        "verdict": verdict,
        "threshold": 0.1,
        "ratio": ratio,
        "low": low,
        "high": high,
        "pairs": 10,
        "smallest_effect": 1.049,
        "reason": "",
        "figures": figures,
    }


def test_a_slower_case_is_in_the_headline():
    page = gate_page.render(document_of(case_of("slower", 1.2, 1.15, 1.25), case_of(), status=1))
    assert "✗ 1 of 2 cases slower than the baseline" in page
    assert "1.200×" in page


def test_a_pass_says_what_it_would_have_shown():
    page = gate_page.render(document_of(case_of()))
    assert "✓ No worse than the baseline" in page
    assert "4.9 %" in page
    assert "cuda is absent" in page
    assert "old-cpu" in page


@pytest.mark.parametrize("missing", ["low", "high", "smallest_effect"])
def test_what_is_not_known_is_no_error(missing):
    page = gate_page.render(document_of(case_of("undecided") | {missing: None}))
    assert "None" not in page


def test_a_gate_of_nothing_is_not_green():
    page = gate_page.render(document_of(status=1))
    assert "No case was compared." in page
    assert "✗ Worse than the baseline, or not compared" in page


def test_a_name_is_text():
    page = gate_page.render(document_of(case_of(name="<script>alert(1)</script>")))
    assert "<script>" not in page
