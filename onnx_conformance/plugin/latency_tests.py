"""pytest hooks and fixtures of the latency tests: rows, the bench, minimum speed-ups."""

from __future__ import annotations

import pytest

from onnx_conformance.core.errors import CapabilityMissing, UsageError
from onnx_conformance.core.extras import require_modules
from onnx_conformance.perf.latency.bench import Bench
from onnx_conformance.perf.latency.latency_report import LatencyReport
from onnx_conformance.perf.latency.pytest_benchmark import CompareGuard
from onnx_conformance.perf.latency.row_requests import (
    RowRequest,
    TimedRow,
    requested_rows,
    required_rows,
)
from onnx_conformance.plugin.state import RUN, certificates, run_workers

REQUESTED_ROWS = pytest.StashKey[list[RowRequest]]()
REQUIRED_ROWS = pytest.StashKey[list[RowRequest]]()
BENCH = pytest.StashKey[Bench]()


def pytest_configure(config: pytest.Config) -> None:
    """Choose the rows before anything starts; none unless timings were asked for."""
    run = config.stash[RUN]
    try:
        if run.timing.wanted:
            require_modules("timing", "pytest_benchmark", "scipy")
        config.stash[REQUESTED_ROWS] = list(requested_rows(run)) if run.timing.wanted else []
        config.stash[REQUIRED_ROWS] = list(required_rows(run)) if run.timing.wanted else []
    except (CapabilityMissing, UsageError) as error:
        raise pytest.UsageError(str(error)) from error
    if not config.pluginmanager.has_plugin("benchmark"):
        config.addinivalue_line("markers", "benchmark: of pytest-benchmark, which is not installed")
    if config.option.help:
        return
    config.pluginmanager.register(CompareGuard(config, run), "compare-guard")
    if run.timing.wanted:
        report = LatencyReport(
            lambda: config.stash[BENCH].groups if BENCH in config.stash else {}, run
        )
        config.pluginmanager.register(report, "latency-report")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each row of the table."""
    if not metafunc.definition.get_closest_marker("latency"):
        return
    name, key = (
        ("timed", REQUESTED_ROWS)
        if "timed" in metafunc.fixturenames
        else ("required", REQUIRED_ROWS)
    )
    rows = metafunc.config.stash[key]
    metafunc.parametrize(name, rows, ids=lambda row: row.id, indirect=True)


def bench(config: pytest.Config) -> Bench:
    """The run's bench, made when a row is first needed."""
    if BENCH not in config.stash:
        config.stash[BENCH] = Bench(config.stash[RUN], run_workers(config), certificates(config))
        config.add_cleanup(config.stash[BENCH].close)
    return config.stash[BENCH]


@pytest.fixture
def timed(request: pytest.FixtureRequest) -> TimedRow:
    """A row to time, on the run's bench."""
    return TimedRow(request.param, bench(request.config))


@pytest.fixture
def required(request: pytest.FixtureRequest) -> TimedRow:
    """A row whose speed-up must reach a minimum."""
    return TimedRow(request.param, bench(request.config))
