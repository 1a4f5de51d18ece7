"""The conformance suite as a pytest plugin: its modules, and what a conformance test asks for.

Only the suite's own conftest.py loads it, no entry point does: it adds no options, hooks or
fixtures to the tests of other projects.
"""

from __future__ import annotations

import pytest

from onnx_conformance.checks.evidence import Evidence
from onnx_conformance.plugin.state import EVIDENCE, RUN, run_workers
from onnx_conformance.run.live_subject import LiveSubject

pytest_plugins = (
    "onnx_conformance.plugin.configuration",
    "onnx_conformance.plugin.collection",
    "onnx_conformance.plugin.outcome",
    "onnx_conformance.plugin.latency_tests",
    "onnx_conformance.plugin.gate_tests",
)


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest) -> LiveSubject:
    """The case of this test, in the run's RunWorkers."""
    tolerances = request.config.stash[RUN].tolerances
    return LiveSubject(request.param, run_workers(request.config), tolerances)


@pytest.fixture(scope="session")
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """Where a test hands in its result: ``evidence(subject, check_...(subject))``."""
    return request.config.stash[EVIDENCE]
