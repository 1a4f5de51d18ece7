"""Latency: native beside ONNX Runtime, certified, interleaved, in processes of their own.

Not run unless timings are asked for (``make bench``, ``--benchmark-only``).
"""

import pytest

from onnx_conformance.perf.latency.pytest_benchmark import CLOCK, play_back


@pytest.mark.latency
@pytest.mark.benchmark(timer=CLOCK.read)
def test_latency(timed, benchmark):
    play_back(timed.row, benchmark)


@pytest.mark.latency
def test_required_speedup(required):
    required.check_speedup()
