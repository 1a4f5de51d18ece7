"""Which variant to ship: red ones are never an answer, and what is slower says so."""

import json
from dataclasses import replace

import pytest

from onnx_conformance.cli import suite_runs
from onnx_conformance.cli import variants as tool
from onnx_conformance.cli.console import guarded
from onnx_conformance.cli.variants import main, table
from onnx_conformance.core.project import Project
from onnx_conformance.perf.latency.ratios import Ratio
from onnx_conformance.perf.variant_choice import (
    PLAIN_EXPORT,
    VariantsDocument,
    front,
    join,
    recommendation,
    slower,
)
from onnx_conformance.perf.variants_page import render
from tests.meta.perf.latency_rows import document_of, row_of

ROUNDS = [1.0, 1.1, 1.2, 0.9]


def case(name, verdict="passed", *, complete=True, reason=""):
    outcome = {"passed": "passed", "failed": "failed"}[verdict]
    checks = [{"name": "error_budget", "outcome": outcome, "reason": "differs"}]
    if reason:
        checks.append({"name": "task", "outcome": "skipped", "reason": reason, "statistics": {}})
    return {
        "id": f"m-route{name}-opset18-cpu",
        "exporter": f"route{name}",
        "option": False,
        "precision": "float16" if name == "~half" else "float32",
        "verdict": verdict,
        "complete": complete,
        "missing": {},
        "checks": checks,
        "decibels": None,
        "worst_score": 1.0,
        "budget": 4.0,
        "artifact_bytes": 1000,
    }


def row(name, speed, error):
    rounds = [(1 + 0.01 * place) / speed * one for place, one in enumerate(ROUNDS)]
    speedup = Ratio(speed, 0.9 * speed, 1.1 * speed)
    return row_of(f"m-route{name}-opset18-cpu", 1 / speed, rounds, speedup, error)


@pytest.fixture
def variants():
    results = {
        "cases": [
            case(""),
            case("~fast"),
            case("~slow"),
            case("~wrong", "failed"),
            case("~unjudged", complete=False, reason="latency only: no data are known"),
            case("~half", complete=False, reason="no float64 oracle"),
            {**case("+static_batch"), "option": True},
        ]
    }
    rows = [
        row("", 2.0, 1.0),
        row("~fast", 3.0, 10.0),
        row("~slow", 1.5, 5.0),
        row("~wrong", 9.0, 0.1),
        row("~unjudged", 6.0, 100.0),
        row("~half", 7.0, 0.1),
    ]
    return join(results, [*rows, row_of(None)])


def test_the_front_holds_no_red_and_no_beaten_one(variants):
    assert [one.name for one in front(variants, 1)] == ["unjudged", "fast", PLAIN_EXPORT]


def test_verdicts_are_reported_with_reasons(variants):
    verdicts_of = {one.name: (one.verdict, one.reason) for one in variants}
    assert verdicts_of["wrong"] == ("failed", "differs")
    assert verdicts_of["unjudged"] == ("latency only", "no data are known")
    assert verdicts_of["half"] == ("incomplete", "no float64 oracle")
    assert verdicts_of[PLAIN_EXPORT] == ("passed", "")


def test_a_score_names_the_class_whose_noise_floor_it_counts_in(variants):
    verdicts_of = {one.name: one.error for one in variants}
    assert verdicts_of["half"] == "1× ≤ 4× (float16)"
    assert verdicts_of["fast"] == "1× ≤ 4×"


def test_an_export_option_is_no_variant(variants):
    assert [one.name for one in variants].count(PLAIN_EXPORT) == 1


def test_the_answer_names_the_proved_one_before_the_unjudged(variants):
    said = recommendation(variants, 1)
    assert said.index("fast is the fastest that passed every check, 3.00") < said.index(
        "unjudged is faster"
    )
    assert "its accuracy is not judged" in said


def test_what_is_not_shown_to_beat_the_export_is_not_the_answer(variants):
    """The plain file is simpler, and of no processor."""
    sound = [one for one in variants if one.name in (PLAIN_EXPORT, "fast")]
    [timed] = sound[1].timed
    level = replace(timed, over_plain=Ratio(1.01, 0.99, 1.03))
    said = recommendation([sound[0], replace(sound[1], timed=(level,))], 1)
    assert said.startswith("batch 1: fp32, 2.00")
    assert said.endswith("no variant that passed is shown to be faster")


def test_what_the_fastest_is_not_shown_to_beat_is_named(variants):
    fast = next(one for one in variants if one.name == "fast")
    twin = replace(fast, name="twin", timed=(replace(fast.timed[0], error=1e3),))
    said = recommendation([*variants, twin], 1)
    assert "fast is the fastest that passed every check, 3.00" in said
    assert "; not shown to be slower: twin" in said


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ({"accuracy_loss": {"high": 0.0066, "samples": 797}}, "loses at most 0.7% of 797"),
        ({"agreement": {"low": 0.985, "samples": 400}}, "agrees on 98.5% of 400, or more"),
    ],
)
def test_what_int8_loses_stands_in_the_table(statistics, message):
    judged = case("~int8_static")
    judged["checks"].append(
        {"name": "task", "outcome": "passed", "reason": "", "statistics": statistics}
    )
    [one] = join({"cases": [judged]}, [])  # type: ignore[typeddict-item]
    assert one.decides == message
    assert message in [cell for column in table("m", [1], [one]).columns for cell in column.cells]


def test_nothing_timed_is_no_answer(variants):
    assert recommendation(variants, 16) == "batch 16: no variant that passes was timed"


def test_what_is_slower_than_the_export_says_so(variants):
    slow = {one.name for one in variants if slower(one.at(1))}
    assert slow == {"slow"}


def test_the_table_holds_every_variant_and_grows_downwards_with_batch_sizes(variants):
    one, two = table("m", [1], variants), table("m", [1, 8], variants)
    assert one.row_count == two.row_count == len(variants)
    assert len(one.columns) == len(two.columns)


def test_the_page_shows_every_variant_and_draws_the_sound_ones(variants):
    document = VariantsDocument("m", "", document_of().around, (1,), tuple(variants))
    page = render(document)
    assert json.loads(json.dumps(document.to_json()))["variants"][0]["error"] == variants[0].error
    assert all(f"<td>{one.name}</td>" in page for one in variants)
    assert page.count("<svg") == 1
    assert "slower than fp32" in page
    assert "A variant failed" in page


@pytest.mark.parametrize(
    ("certified", "timed", "wanted"),
    [(0, 0, 0), (1, 0, 1), (0, 1, 1), (5, 0, 5), (0, 5, 5), (5, 1, 1)],
)
def test_a_run_that_is_red_without_a_red_variant_is_no_success(
    tmp_path, monkeypatch, certified, timed, wanted
):
    """``--require cuda`` and ``--require-speedup`` make a run red, and no case."""
    verdict = "proved nothing" if certified == 5 else "passed"
    judged = {"cases": [case("")], "run": {"exit_status": certified, "verdict": verdict}}
    latency = document_of([row("", 2.0, 1.0)], exit_status=timed)
    monkeypatch.setattr(suite_runs, "run_checks", lambda folder, options: judged)
    monkeypatch.setattr(suite_runs, "time", lambda folder, options: latency)
    monkeypatch.setattr(tool, "project", lambda: Project(tmp_path))
    assert main(["simple_net"]) == wanted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), "unknown model 'nope'"),
        (("simple_net", "--variant=nope"), "unknown variant 'nope'; known:"),
        ((), "the following arguments are required: model"),
        (
            ("mine", "--models-from=examples/none.py"),
            "--models-from examples/none.py: no such file",
        ),
        (("simple_net", "--variant=fp16", "--batch-size=0"), "--batch-size 0: must be at least 1"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, message):
    assert guarded("variants", lambda: main(arguments)) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert message in line
