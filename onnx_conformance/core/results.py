"""The result of a check: an outcome, its reason, and how many elements were compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypedDict, Unpack, cast

from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.documents import AnswerRule, CheckRow, DivergenceFacts

Outcome = Literal["passed", "failed", "skipped", "not_applicable", "edge", "known_failure", "error"]
SKIPPED, NOT_APPLICABLE = "skipped", "not_applicable"
UNNAMED = ""  # until the registry names a check's result
UNJUDGED = (SKIPPED, NOT_APPLICABLE)  # neither a pass nor a failure


@dataclass(frozen=True)
class Reproduction:
    """The run that failed, as arrays: what a repro bundle needs to judge it without the suite.

    Args:
        inputs: those of the session, under the spec's names.
        judge: how to judge its answer, as plain data (:mod:`onnx_conformance.diagnose.reproduce`).
        expected: what the answer was compared with, if with anything: oracle or native.
        got: the answer, if there was one.
        graph_level: of the session, in ONNX Runtime's words, where not the case's own.
    """

    inputs: Outputs
    judge: AnswerRule
    expected: Outputs | None = None
    got: Outputs | None = None
    graph_level: str = ""


@dataclass(frozen=True)
class CheckResult:
    """The verdict of one check, with its evidence.

    Args:
        name: the check's; :func:`onnx_conformance.checks.registry.register_check` sets it.
        compared: how many elements (or facts) were compared; a pass with 0 is no pass.
        score, budget: for checks that measure: what was measured and what is allowed.
        reason: one line: what is wrong, or on what the pass rests.
        details: further lines for the failure message.
        statistics: figures that inform and never decide.
        inputs: the recipe, for checks that run one.
        divergence: of a failure that was localised, the node that introduces the error
            (:class:`onnx_conformance.diagnose.divergence.Divergence` as plain data).
        reproduction: for a failure on inputs; arrays, so no part of ``row()``.
    """

    name: str
    outcome: Outcome
    reason: str
    compared: int = 0
    score: float | None = None
    budget: float | None = None
    details: tuple[str, ...] = ()
    statistics: dict[str, Any] = field(default_factory=dict)
    inputs: str | None = None
    divergence: DivergenceFacts | None = None
    reproduction: Reproduction | None = field(default=None, repr=False, compare=False)

    @property
    def passed(self) -> bool:
        """Whether the check passed."""
        return self.outcome == "passed" and self.compared > 0

    def row(self) -> CheckRow:
        """As plain data, for JSON."""
        row = asdict(replace(self, reproduction=None))
        del row["reproduction"]
        return cast("CheckRow", row)


class ResultFields(TypedDict, total=False):
    """What a result holds beside name, outcome, reason and count: see :class:`CheckResult`."""

    score: float | None
    budget: float | None
    details: tuple[str, ...]
    statistics: dict[str, Any]
    inputs: str | None
    reproduction: Reproduction | None


def passed(reason: str, *, compared: int, **evidence: Unpack[ResultFields]) -> CheckResult:
    """A pass; without anything compared it comes out as a failure."""
    if compared <= 0:
        return failed(f"nothing was compared ({reason})", **evidence)
    return CheckResult(UNNAMED, "passed", reason, compared, **evidence)


def failed(reason: str, *, compared: int = 0, **evidence: Unpack[ResultFields]) -> CheckResult:
    """A failure, with the reason in one line."""
    return CheckResult(UNNAMED, "failed", reason, compared, **evidence)


def skipped(reason: str) -> CheckResult:
    """A check that could not judge, for a named reason; its case is incomplete without it."""
    return CheckResult(UNNAMED, "skipped", reason)


def undecided(reason: str, *, compared: int, **evidence: Unpack[ResultFields]) -> CheckResult:
    """A check that judged and cannot tell; its case is incomplete, and no certificate rests on it.

    Args:
        compared: on how much it looked, at least 1.
    """
    return CheckResult(UNNAMED, "skipped", reason, max(1, compared), **evidence)


def not_applicable(reason: str) -> CheckResult:
    """A check that has nothing to judge on such a model, whatever was done: nothing is required."""
    return CheckResult(UNNAMED, "not_applicable", reason)


def as_edge(result: CheckResult, known: str = "") -> CheckResult:
    """The failure of an edge-case check as a finding that is reported and decides nothing.

    Args:
        known: the known upstream failure that explains it, if one does.
    """
    reason = f"{result.reason} (known upstream: {known})" if known else result.reason
    return replace(result, outcome="edge", reason=reason, reproduction=None)
