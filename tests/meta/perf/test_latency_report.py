"""The report of timings: what was timed, what was not and why, and that nothing is red."""

import json
from dataclasses import replace

import numpy as np
import pytest

from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.perf.latency.bench import TimedGroup
from onnx_conformance.perf.latency.certification import NotCertified
from onnx_conformance.perf.latency.contenders import Contender
from onnx_conformance.perf.latency.latency_document import LatencyDocument, absences_of, rows_of
from onnx_conformance.perf.latency.latency_page import render
from onnx_conformance.perf.latency.latency_table import milliseconds, placement, ratio_text
from onnx_conformance.perf.latency.ratios import paired_ratio
from onnx_conformance.perf.latency.timed_call import InvalidTiming
from onnx_conformance.perf.latency.timing_rows import MeasuredRow
from tests.meta.perf.latency_rows import FACTS, document_of, row_of
from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

EAGER, LAST = Contender("net", "eager"), Contender("net", "channels_last")
OWN = Contender("net", "plain", Case("net", "<b>route</b>", 18, "cpu"))


def make_group(factor):
    """Eager at about 1 s, channels_last at 0.9 of it, and a session ``factor`` times as fast."""
    noise = np.random.default_rng(0).uniform(0.95, 1.05, (3, 20))
    eager, last, session = np.array([[1.0], [0.9], [1.0 / factor]]) * noise
    rows = {
        EAGER: MeasuredRow(EAGER, 4, eager, eager, None, FACTS),
        LAST: MeasuredRow(LAST, 4, last, last, paired_ratio(eager, last), FACTS),
        OWN: MeasuredRow(OWN, 4, session, session, paired_ratio(eager, session), FACTS),
    }
    return TimedGroup(rows)


def make_document(group, exit_status=0):
    groups = {("net", 4): group}
    return document_of(rows_of(groups), absences_of(groups), exit_status)


def test_a_session_is_compared_with_the_fastest_native_form():
    row = make_document(make_group(2.0)).rows[-1]
    assert row.fastest_native == "channels_last"
    assert row.speedup.value == pytest.approx(2.0, rel=0.1)
    assert row.over_fastest.value == pytest.approx(1.8, rel=0.1)


@pytest.mark.parametrize(("factor", "word"), [(2.0, "faster"), (0.5, "slower"), (1.0, "open")])
def test_a_speedup_is_shown_only_where_its_interval_leaves_1(factor, word):
    speedup = make_document(make_group(factor)).rows[-1].speedup
    assert speedup.verdict == word
    assert ratio_text(speedup).endswith(" =") == (word == "open")


def test_the_sentence_counts_what_was_shown():
    assert make_document(make_group(2.0)).sentence.startswith(
        "3 rows timed, 0 red; 1 of 1 speed-ups of ONNX Runtime over native eager shown"
    )
    assert " 0 of 1 speed-ups" in make_document(make_group(1.0)).sentence


def test_what_is_written_is_read_back():
    document = make_document(make_group(2.0))
    written = json.loads(json.dumps(document.to_json(), allow_nan=False))
    assert LatencyDocument.from_json(written).to_json() == written
    native, own = written["rows"][0], written["rows"][-1]
    assert native["label"] == "native-eager"
    assert own["speedup"].keys() == {"ratio", "low", "high", "holds_1"}
    assert {"graph_level", "certificate"} <= own.keys() - native.keys()


def test_each_reason_is_reported_once_and_red_ones_first():
    group = TimedGroup(
        failures={
            EAGER: CapabilityMissing("no device"),
            LAST: CapabilityMissing("no device"),
            Contender("net", "compile"): InvalidTiming("wrong"),
            Contender("net", "cuda"): NotCertified("known"),
        }
    )
    document = make_document(group)
    assert document.reasons == [
        ("red", "wrong", 1),
        ("skipped", "no device", 2),
        ("known failure", "known", 1),
    ]
    assert document.sentence.startswith("timed nothing")


def test_what_is_known_to_fail_beyond_a_timed_call_is_reported_once():
    openvino = replace(row_of("a-openvino"), facts=replace(FACTS, beyond=("of NaN",)))
    told_of = "timed, but fails on edge cases: a-openvino: of NaN"
    assert document_of([openvino, row_of("a-cpu"), openvino]).beyond == [told_of]


def test_figures_have_units_and_no_exponents():
    assert [milliseconds(value) for value in (5.2e-6, 0.0981, 2.0)] == ["5.2 us", "98.1 ms", "2 s"]
    placed = {"CPUExecutionProvider": {"Gemm": 2, "Relu": 1}, "CUDAExecutionProvider": {"Conv": 9}}
    assert placement(placed) == "CPU 3, CUDA 9"


def test_the_page_is_self_contained_and_takes_hostile_names():
    group = make_group(2.0)
    group.failures[Contender("net", "cuda")] = InvalidTiming("<script>alert(1)</script>")
    text = render(make_document(group, exit_status=1))
    assert "<script" not in text
    assert "<b>route" not in text
    assert "The run failed" in text
    assert text.count("<svg") == 2
    assert "src=" not in text


def test_the_page_of_nothing_says_so():
    assert "<h1>Timed nothing</h1>" in render(make_document(TimedGroup()))


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
