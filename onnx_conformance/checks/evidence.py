"""Evidence: collects the results of each conformance test, which cannot pass without one."""

from __future__ import annotations

import re
import unittest
from collections.abc import Sequence
from dataclasses import replace

from onnx_conformance.checks.registry import CHECKS
from onnx_conformance.checks.verdict import UNANSWERED
from onnx_conformance.core.case import Case
from onnx_conformance.core.documents import CheckRow
from onnx_conformance.core.errors import ConformanceError, StageFailure
from onnx_conformance.core.results import NOT_APPLICABLE, SKIPPED, CheckResult, as_edge
from onnx_conformance.core.settings import EdgeCases
from onnx_conformance.run.known_failures import KnownFailure, find_known_failure, operators_of
from onnx_conformance.run.subject import Subject

# What structure_problem says of answers under other names, or more or fewer of them.
OTHER_OUTPUTS = re.compile(r"outputs are \[.*\], expected \[.*\]")
# A tensor that is of another structure than the specification's, as checks word it.
MISSHAPEN = re.compile(r"\b(?P<tensor>(?:input|output) '[^']*') has (?:shape|dtype|size)\b")


class ConformanceFailure(ConformanceError, AssertionError):
    """A check's verdict is red; ``result`` says why."""

    def __init__(self, subject: Subject, result: CheckResult) -> None:
        super().__init__(f"{subject.case.id}: {result.reason}")
        self.subject = subject
        self.result = result


class Inconclusive(unittest.SkipTest):
    """A check could not judge; pytest and Hypothesis both know this as a skip."""


class Evidence:
    """Collects the results of the test that runs now; one for a run."""

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
        if result.outcome == SKIPPED:
            raise Inconclusive(result.reason)
        if result.outcome == NOT_APPLICABLE:
            raise Inconclusive(f"not applicable: {result.reason}")
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
        """The case's test that told of this cause before; None if ``test`` is the first.

        One cause is one red row: a stage that failed, or a session that gives no outputs or others
        than the model's, in the same words but for their numbers, or an output of another
        structure. A check's verdict is otherwise always its own test's, and every case has a red
        test of its own.
        """
        cause = _cause(failure)
        if cause is None:
            return None
        known = self._broken.setdefault((case.id, cause), test)
        return None if known == test else known


def _cause(failure: ConformanceError) -> str | None:
    """What other tests of the case may fail for, too; None for a verdict on what was answered."""
    if isinstance(failure, StageFailure):
        return re.sub(r"\d+", "#", failure.reason)
    if not isinstance(failure, ConformanceFailure):
        return None
    name, reason = failure.result.name, failure.result.reason
    if name not in CHECKS or not CHECKS[name].deployed:
        return None
    misshapen = MISSHAPEN.search(reason)
    if misshapen:
        return misshapen["tensor"]
    match = UNANSWERED.search(reason) or OTHER_OUTPUTS.search(reason)
    return re.sub(r"\d+", "#", reason[match.start() :]) if match else None


def edge_finding(
    failure: ConformanceError, check: str, edge_cases: EdgeCases, known: str = ""
) -> CheckResult | None:
    """The failure as an edge finding; None where it is red.

    Only the verdict of an edge-case check is one: neither a stage that failed while it ran, nor
    another check's verdict that its test handed in.

    Args:
        check: the check that the test was to run.
        edge_cases: what ``--edge-cases`` says.
        known: the known upstream failure that explains it, if one does.
    """
    if edge_cases == "fail" or not isinstance(failure, ConformanceFailure):
        return None
    is_edge = failure.result.name == check and CHECKS[check].edge
    return as_edge(failure.result, known) if is_edge else None


def excused(
    subject: Subject,
    check: str,
    failure: ConformanceError,
    known_failures: Sequence[KnownFailure],
    edge_cases: EdgeCases,
) -> CheckResult | None:
    """The failure of a check as an edge finding or a known failure; None where it is red."""
    entry = find_known_failure(known_failures, subject.case, check, operators_of(subject))
    known = str(entry) if entry is not None and entry.explains(failure) else ""
    edge = edge_finding(failure, check, edge_cases, known)
    if edge is not None:
        return edge
    return CheckResult(check, "known_failure", known) if known else None


def check_row(case: Case, name: str, result: CheckResult | None, seconds: float) -> CheckRow:
    """A row of the report, as plain data that xdist can carry."""
    row = result.row() if result is not None else CheckResult(name, "error", "").row()
    return {**row, "case": case.as_row(), "seconds": seconds}
