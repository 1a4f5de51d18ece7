"""The report of timings: what was timed, what was not and why, and that nothing is red."""

import json

import numpy as np
import pytest

from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.perf.latency.bench import Group
from onnx_conformance.perf.latency.certification import NotProved
from onnx_conformance.perf.latency.contenders import Contender
from onnx_conformance.perf.latency.latency_document import (
    beyond,
    group_absences,
    group_rows,
    reasons,
    sentence,
    verdict_on,
)
from onnx_conformance.perf.latency.latency_page import render
from onnx_conformance.perf.latency.latency_table import milliseconds, placement, told
from onnx_conformance.perf.latency.ratios import paired_ratio
from onnx_conformance.perf.latency.rows import Row
from onnx_conformance.perf.latency.timed_sessions import NoResult
from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

EAGER, LAST = Contender("net", "eager"), Contender("net", "channels_last")
FACTS = {"model": "net", "case": None, "placement": {"torch on cpu": "the whole model"}}
FACTS |= {"memory_peak_mib": 10.0, "first_seconds": 0.1}


class Session(Contender):
    label = "<b>route</b>"


def make_group(factor):
    """Eager at about 1 s, channels_last at 0.9 of it, and a session ``factor`` times as fast."""
    noise = np.random.default_rng(0).uniform(0.95, 1.05, (3, 20))
    eager, last, session = np.array([[1.0], [0.9], [1.0 / factor]]) * noise
    own = Session("net", "plain", case="a case")
    rows = {
        EAGER: Row(EAGER, 4, eager, eager, None, FACTS),
        LAST: Row(LAST, 4, last, last, paired_ratio(eager, last), FACTS),
        own: Row(own, 4, session, session, paired_ratio(eager, session), {**FACTS, "case": "c"}),
    }
    return Group(rows)


def make_document(group, exit_status=0):
    return {
        "command": "pytest",
        "started": "now",
        "exit_status": exit_status,
        "environment": {"versions": {}, "python": "3", "platform": "p", "processor": "q"},
        "settings": {
            "threads": 1, "affinity": [0], "graph_level": "all", "seconds_a_group": 1.0,
            "seed": 0, "weights": "calibrated",
        },
        "rows": group_rows(group),
        "absent": group_absences(4, group),
        "sentence": "a sentence",
    }  # fmt: skip


def test_a_session_is_compared_with_the_fastest_native_form():
    row = group_rows(make_group(2.0))[-1]
    assert row["fastest_native"] == "channels_last"
    assert row["speedup"]["ratio"] == pytest.approx(2.0, rel=0.1)
    assert row["over_fastest"]["ratio"] == pytest.approx(1.8, rel=0.1)


@pytest.mark.parametrize(("factor", "word"), [(2.0, "faster"), (0.5, "slower"), (1.0, "open")])
def test_a_speedup_is_shown_only_where_its_interval_leaves_1(factor, word):
    speedup = group_rows(make_group(factor))[-1]["speedup"]
    assert verdict_on(speedup) == word
    assert told(speedup).endswith(" =") == (word == "open")


def test_the_sentence_counts_what_was_shown():
    assert sentence(make_document(make_group(2.0))).startswith(
        "3 rows timed, 0 failed; ONNX Runtime against native eager: 1 of 1 differ"
    )
    assert " 0 of 1 speed-ups" in sentence(make_document(make_group(1.0)))


def test_each_reason_is_reported_once_and_red_ones_first():
    group = Group(
        failures={
            EAGER: CapabilityMissing("no device"),
            LAST: CapabilityMissing("no device"),
            Contender("net", "compile"): NoResult("wrong"),
            Contender("net", "cuda"): NotProved("known"),
        }
    )
    assert reasons(group_absences(1, group)) == [
        ("red", "wrong", 1),
        ("skipped", "no device", 2),
        ("known failure", "known", 1),
    ]
    assert sentence(make_document(group)).startswith("timed nothing")


def test_what_is_known_to_fail_beyond_a_timed_call_is_reported_once():
    rows = [{"label": "a-openvino", "beyond": ["of NaN"]}, {"label": "a-cpu"}]
    told_of = "timed, but fails on edge cases: a-openvino: of NaN"
    assert beyond([*rows, *rows]) == [told_of]


def test_figures_have_units_and_no_exponents():
    assert [milliseconds(value) for value in (5.2e-6, 0.0981, 2.0)] == ["5.2 us", "98.1 ms", "2 s"]
    placed = {"CPUExecutionProvider": {"Gemm": 2, "Relu": 1}, "CUDAExecutionProvider": {"Conv": 9}}
    assert placement(placed) == "CPU 3, CUDA 9"


def test_the_page_is_self_contained_and_takes_hostile_names():
    group = make_group(2.0)
    group.failures[Contender("net", "cuda")] = NoResult("<script>alert(1)</script>")
    text = render(make_document(group, exit_status=1))
    assert "<script" not in text
    assert "<b>route" not in text
    assert "The run failed" in text
    assert text.count("<svg") == 2
    assert "src=" not in text


def test_the_page_of_nothing_says_so():
    assert "<h1>Timed nothing</h1>" in render(make_document(Group()))


@pytest.fixture
def timed(tmp_path):
    def run(*arguments):
        files = [f"--latency-json={tmp_path / 'l.json'}", f"--latency-html={tmp_path / 'l.html'}"]
        return run_suite(
            tmp_path, "tests/test_latency.py", "--model=simple_net", "--batch-size=1",
            "--bench-seconds=0.2", *files, *arguments,
        )  # fmt: skip

    return run


def test_a_run_writes_line_table_data_and_page(timed, tmp_path):
    run = timed("--provider=cpu", "--exporter=torch_torchscript", "--benchmark-only")
    assert run.status == 0, run.text
    assert "\nsimple_net batch 1: native-eager " in run.text
    assert "2 rows timed, 0 red" in run.text
    document = json.loads((tmp_path / "l.json").read_text())
    assert [row["label"] for row in document["rows"]] == [
        "native-eager",
        "torch_torchscript-opset23-cpu",
    ]
    assert all(row["placement"] and len(row["round_seconds"]) > 1 for row in document["rows"])
    assert (tmp_path / "l.html").is_file()


def test_a_run_that_timed_nothing_is_red_and_leaves_no_old_page(timed, tmp_path):
    (tmp_path / "l.html").write_text("of yesterday")
    run = timed("--provider=cpu", "--benchmark-skip")
    assert run.status == 5, run.text
    assert "timed nothing" in run.text
    assert "Timed nothing" in (tmp_path / "l.html").read_text()


def test_a_page_that_cannot_be_written_is_reported_before_the_run(timed):
    run = timed("--provider=cpu", "--latency-html=/dev/null/l.html")
    assert run.status == pytest.ExitCode.USAGE_ERROR, run.text
    assert "--latency-html: cannot write" in run.text
