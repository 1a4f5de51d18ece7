"""pytest-benchmark is given the worker's seconds, all of them and nothing else."""

import json
import subprocess
import sys

import numpy as np
import pytest

from onnx_conformance.perf.latency.contenders import Contender
from onnx_conformance.perf.latency.pytest_benchmark import CLOCK
from onnx_conformance.perf.latency.ratios import Ratio
from onnx_conformance.perf.latency.timing_rows import MeasuredRow
from tests.meta.perf.latency_rows import FACTS
from tests.meta.running import ROOT, environment_of_a_run

pytestmark = pytest.mark.slow

SECONDS = (0.25, 0.5, 0.125, 1e-6, 3.0)
ROW = MeasuredRow(
    Contender("simple_net", "eager"),
    batch=4,
    seconds=np.array(SECONDS),
    rounds=np.array([0.25, 0.5]),
    speedup=Ratio(1.5, 1.4, 1.6),
    facts=FACTS,
)
SAMPLE = """
import pytest
from onnx_conformance.core.errors import ConformanceError
from onnx_conformance.perf.latency.pytest_benchmark import CLOCK, play_back
from tests.meta.perf.test_timing_replay import ROW

def refuse():
    raise ConformanceError("a wrong answer is no result")

@pytest.mark.benchmark(timer=CLOCK.read)
@pytest.mark.parametrize("measure", [lambda: ROW, refuse], ids=["right", "wrong"])
def test_latency(measure, benchmark):
    play_back(measure, benchmark)
"""


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    """A run of the sample; warnings are errors there as in the suite."""
    folder = tmp_path_factory.mktemp("replayed")
    (folder / "test_sample.py").write_text(SAMPLE)
    results = folder / "benchmark.json"
    command = (
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error"),
        *(f"--rootdir={folder}", "-o", f"pythonpath={ROOT}", f"--benchmark-json={results}"),
        # The sample imports its row from this file, whose mark is unknown in that folder.
        *("-o", "markers=slow"),
        str(folder / "test_sample.py"),
    )
    run = subprocess.run(
        command,
        cwd=folder,
        env=environment_of_a_run(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return run.stdout + run.stderr, json.loads(results.read_text())["benchmarks"]


def test_rows_of_a_run_are_the_engines(replayed):
    text, (row,) = replayed
    assert row["stats"]["data"] == pytest.approx(SECONDS, abs=1e-9)
    assert row["stats"]["rounds"] == len(SECONDS)
    assert row["group"] == "simple_net batch 4"
    assert row["extra_info"]["p50"] == pytest.approx(0.25)
    assert row["extra_info"]["samples_per_second"] == pytest.approx(16)
    assert row["extra_info"]["placement"] == {"torch on cpu": "the whole model"}
    assert row["extra_info"]["speedup"]["ratio"] == 1.5


def test_a_failure_leaves_no_row_and_no_further_warning(replayed):
    text, rows = replayed
    assert [row["param"] for row in rows] == ["right"]
    assert "1 failed, 1 passed" in text, text
    assert "a wrong answer is no result" in text
    assert "arning" not in text, text


def test_the_clock_stands_still_by_itself():
    before = CLOCK.read()
    assert CLOCK.read() == before
    CLOCK.advance(2.0)
    assert CLOCK.read() == pytest.approx(before + 2.0)
