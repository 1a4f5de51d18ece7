"""Rows and documents of timings that were never measured."""

from dataclasses import replace

from onnx_conformance.perf.latency.latency_document import LatencyDocument, TimingSettings
from onnx_conformance.perf.latency.timing_rows import CallFacts, CallTimes, LatencyRow

AROUND = {"versions": {}, "python": "3", "platform": "p", "processor": "q"}
SETTINGS = TimingSettings(1, [0], "all", 1.0, 0, "calibrated")
FACTS = CallFacts(
    score=1.0,
    compared=4,
    load_seconds=0.1,
    first_seconds=0.1,
    memory_before_mib=1.0,
    memory_after_mib=2.0,
    placement={"torch on cpu": "the whole model"},
    threads=1,
    affinity=[0],
    memory_peak_mib=100.0,
)


def row_of(case, p50=1.0, rounds=(1.0,), speedup=None, score=1.0):
    """A row of a case; of native where it is None."""
    times = CallTimes(4, p50, None, p50, p50, p50, p50, p50, 1 / p50)
    facts, box = replace(FACTS, score=score), [p50] * 5
    label, number = case or "native-eager", len(rounds)
    return LatencyRow(
        "m",
        1,
        label,
        "plain",
        case,
        "",
        times,
        facts,
        number,
        speedup,
        None,
        None,
        box,
        list(rounds),
    )


def document_of(rows=(), absent=(), exit_status=0):
    return LatencyDocument(
        "pytest", "now", exit_status, AROUND, SETTINGS, tuple(rows), tuple(absent)
    )
