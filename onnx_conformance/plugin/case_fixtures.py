"""What a conformance test asks for: its case, and where its result goes."""

from __future__ import annotations

import pytest

from onnx_conformance.checks.evidence import Evidence
from onnx_conformance.plugin.state import EVIDENCE, RUN, conformance_session
from onnx_conformance.session.live_subject import LiveSubject


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest) -> LiveSubject:
    """The case of this test, in the run's ConformanceSession."""
    tolerances = request.config.stash[RUN].tolerances
    return LiveSubject(request.param, conformance_session(request.config), tolerances)


@pytest.fixture(scope="session")
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """Where a test hands in its result: ``evidence(subject, check_...(subject))``."""
    return request.config.stash[EVIDENCE]
