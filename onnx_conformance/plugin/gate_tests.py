"""pytest hooks and fixtures of the gate tests: their cases, their order, the baseline.

Its modules import scipy, which takes half a second, so functions import them when needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import CapabilityMissing, UsageError
from onnx_conformance.core.extras import require_modules
from onnx_conformance.perf.gate.rules import METRICS
from onnx_conformance.perf.latency.timed_call import sizes_of_calls
from onnx_conformance.plugin.state import RUN, certificates, gpu_mark, run_workers

if TYPE_CHECKING:
    from onnx_conformance.perf.gate.gate import Gate

GATE: pytest.StashKey[Gate] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Read baseline and rules before anything starts."""
    run = config.stash[RUN]
    if run.gate is None or config.option.help:
        return
    try:
        require_modules("timing", "scipy")
        from onnx_conformance.perf.gate.gate import Gate
        from onnx_conformance.perf.gate.gate_report import GateReport

        config.stash[GATE] = Gate(run, lambda: (run_workers(config), certificates(config)))
    except (CapabilityMissing, UsageError) as error:
        raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(GateReport(config.stash[GATE], run), "gate-report")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The cases to gate; none without a baseline."""
    if not metafunc.definition.get_closest_marker("gate"):
        return
    run = metafunc.config.stash[RUN]
    if "gated" in metafunc.fixturenames:
        cases = [
            pytest.param((case, batch), id=f"{case.id}-b{batch}", marks=gpu_mark(case))
            for case in run.cases
            for batch in sizes_of_calls(
                resolve_model(case.model), run.gate.batch_sizes if run.gate else ()
            )
        ]
        metafunc.parametrize("gated", cases, indirect=True)
    if "metric" in metafunc.fixturenames:
        metafunc.parametrize("metric", METRICS)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    """Sort the tests by case: those of a case share its measurements."""
    yield
    if config.stash[RUN].gate:
        items.sort(key=_order)


def _order(item: pytest.Item) -> tuple[int, str]:
    """Sort the tests by case, with the test of the whole run first, because it costs nothing."""
    if not hasattr(item, "callspec"):
        return (0, "")
    case, batch = item.callspec.params["gated"]
    cases = item.config.stash[RUN].cases
    return (1 + cases.index(case), f"{batch:06}")


@pytest.fixture
def gated(request: pytest.FixtureRequest) -> tuple[Case, int]:
    """A case and its batch size."""
    found: tuple[Case, int] = request.param
    return found


@pytest.fixture
def gate(request: pytest.FixtureRequest) -> Gate:
    """The run's gate."""
    return request.config.stash[GATE]
