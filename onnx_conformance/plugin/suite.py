"""The conformance suite as a pytest plugin: its modules, and what a conformance test asks for.

Only the suite's own conftest.py loads it, no entry point does: it adds no options, hooks or
fixtures to the tests of other projects.

From ``pytest --model X`` to a row of the matrix, module by module:

1. ``options`` adds the options. ``configuration`` reads them when pytest starts: models, files and
   providers from elsewhere are registered (``registration``), then one frozen record says what is
   asked for (``run_options``). ``state`` has the keys under which pytest's stash keeps it.
2. ``collection`` gives each test marked ``@pytest.mark.check(NAME)`` the cases that its check is
   for, sorts the tests by case, and submits to the workers what they will need, less what
   ``--resume`` takes from earlier runs (``kept_verdicts``, ``run_basis``).
3. ``outcome`` runs a test: ``subject`` and ``evidence`` below go in, and it passes only if a
   check's result came out. A failure is an edge finding, a known failure, or red; a red one is
   localised, bundled and worded. The test's report gets the row.
4. ``collector`` takes the rows out of the reports, in one process or from those of pytest-xdist
   (``distribution`` says which process gets which case), shows them by case (``progress``), and at
   the end makes the document that all reports are drawn from (the package ``report``).

``latency_tests`` and ``gate_tests`` do the same for timings (the package ``perf``);
``typed_command`` tells the command that the user typed, for messages.
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
    """The case of this test, judged by the run's workers."""
    tolerances = request.config.stash[RUN].tolerances
    return LiveSubject(request.param, run_workers(request.config), tolerances)


@pytest.fixture(scope="session")
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """Where a test hands in its result: ``evidence(subject, check_...(subject))``."""
    return request.config.stash[EVIDENCE]
