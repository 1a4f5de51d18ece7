"""Evidence: where each conformance test hands in its results; without any it does not pass."""

from __future__ import annotations

import unittest
from dataclasses import replace
from typing import Any

from onnx_conformance.core.errors import ConformanceError, StageFailure
from onnx_conformance.core.results import UNJUDGED, CheckResult
from onnx_conformance.core.spec import Case
from onnx_conformance.session.subject import Subject


class ConformanceFailure(ConformanceError, AssertionError):
    """A check's verdict is red; ``result`` says why."""

    def __init__(self, subject: Subject, result: CheckResult) -> None:
        super().__init__(f"{subject.case.id}: {result.reason}")
        self.subject = subject
        self.result = result


class Inconclusive(unittest.SkipTest):
    """A check could not judge; pytest and Hypothesis both know this as a skip."""


class Evidence:
    """Collects the results of the test that runs now; one for a session."""

    def __init__(self) -> None:
        self._results: list[CheckResult] = []
        self._broken: dict[tuple[str, str], str] = {}

    def begin(self) -> None:
        """A new test starts."""
        self._results = []

    def __call__(self, subject: Subject, result: CheckResult) -> None:
        """Record a result.

        Raises:
            ConformanceFailure: the result is no pass.
            Inconclusive: the check says that it could not judge, or does not apply.
        """
        self._results.append(result)
        if result.outcome in UNJUDGED:
            raise Inconclusive(result.reason)
        if not result.passed:
            raise ConformanceFailure(subject, result)

    def amend(self, result: CheckResult) -> None:
        """Put a result that more is known of in place of the last."""
        self._results[-1:] = [result]

    @property
    def recorded(self) -> bool:
        """Whether the running test recorded a result that compared something."""
        return any(result.compared > 0 or not result.passed for result in self._results)

    @property
    def unheeded(self) -> CheckResult | None:
        """A result that is no pass, in a test that went on as if it were one."""
        return next((result for result in self._results if not result.passed), None)

    def summary(self) -> CheckResult | None:
        """One result for the whole test: the worst of its passes, or its last failure.

        Hypothesis runs a test many times; after shrinking, the last run is the smallest failure.
        """
        if not self._results:
            return None
        last = self._results[-1]
        if not last.passed:
            return last
        worst = max(self._results, key=lambda result: result.score or 0.0)
        return replace(worst, compared=sum(result.compared for result in self._results))

    def first_report(self, failure: ConformanceError, case: Case, test: str) -> str | None:
        """The case's test that reported this stage's failure before; None if ``test`` is the first.

        A check's verdict is always its own test's, and every case has a red test of its own.
        """
        if not isinstance(failure, StageFailure):
            return None
        known = self._broken.setdefault((case.id, str(failure)), test)
        return None if known == test else known


def check_row(case: Case, name: str, result: CheckResult | None, seconds: float) -> dict[str, Any]:
    """A row of the report, as plain data that xdist can carry."""
    row = result.row() if result is not None else CheckResult(name, "error", "").row()
    return {**row, "case": case.as_row(), "seconds": seconds}
