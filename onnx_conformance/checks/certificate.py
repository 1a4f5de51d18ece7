"""A certificate: the record that a case passed its required checks; timing asks for it.

A verdict is cached by everything it rests on, so a file that was certified before costs nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.checks.evidence import ConformanceFailure, excused
from onnx_conformance.checks.registry import CHECKS, required_checks
from onnx_conformance.core.case import Case
from onnx_conformance.core.custom_operators import library_digest
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.results import SKIPPED, UNJUDGED
from onnx_conformance.core.settings import EdgeCases, Settings, level_of
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.store import Store, key_of
from onnx_conformance.core.tolerances import Tolerances
from onnx_conformance.core.worker_messages import pack
from onnx_conformance.inputs.sweep_plan import FILE as FIGURES_OF_SWEEPS
from onnx_conformance.inputs.tasks import TASKS
from onnx_conformance.run import cache_keys
from onnx_conformance.run.answers_client import ANSWERS
from onnx_conformance.run.cache_keys import source_digest
from onnx_conformance.run.known_failures import KnownFailure
from onnx_conformance.run.recorded_answers import FILES
from onnx_conformance.run.subject import Subject, libraries_of

BUDGET = "error_budget"


@dataclass(frozen=True)
class Certificate:
    """The record of the checks that a case passed.

    Args:
        checks: how many results it rests on.
        compared: elements and facts.
        score: the worst error, in float32 noise floors (:mod:`onnx_conformance.core.budget`).
        known: reasons of known upstream failures, or of checks that could not tell; the case did
            not pass then.
        known_edge: reasons of those on edge cases alone; the case did not pass either, but may be
            timed.
        edge: findings on edge cases, as ``check: reason``; they do not affect the verdict.
    """

    checks: int
    compared: int
    score: float
    known: tuple[str, ...] = ()
    known_edge: tuple[str, ...] = ()
    edge: tuple[str, ...] = ()

    @property
    def proof(self) -> bool:
        """Whether every required check was passed."""
        return self.may_be_timed and not self.known_edge

    @property
    def may_be_timed(self) -> bool:
        """Whether every required check was passed but for edge cases."""
        return not self.known and self.compared > 0

    def __str__(self) -> str:
        summary = f"{self.checks} checks passed"
        summary += (
            f", worst {self.score:.2f} noise floors" if self.score else ""
        )  # int8 has no budget
        return "; ".join(
            [
                summary,
                *(f"known failure on edge cases: {b}" for b in self.known_edge),
                *(f"edge finding in {finding}" for finding in self.edge),
            ]
        )


def issue_certificate(
    subject: Subject, settings: Settings, store: Store, known: tuple[KnownFailure, ...]
) -> Certificate:
    """Run every check that a case requires, or read the verdict of an earlier run.

    Raises:
        ConformanceFailure: the first that is red.
        StageFailure: the artifact or its session could not be made.
    """
    key = _key(subject, settings, known)

    def judge(directory: Path) -> dict[str, Any]:
        return asdict(_judge(subject, known, settings.edge_cases))

    facts = store.get_or_build("verdicts", key, judge).facts
    return Certificate(
        facts["checks"],
        facts["compared"],
        facts["score"],
        tuple(facts["known"]),
        tuple(facts["known_edge"]),
        tuple(facts["edge"]),
    )


def holds_certificate(
    subject: Subject, settings: Settings, store: Store, known: tuple[KnownFailure, ...]
) -> bool:
    """Whether an earlier run's verdict is at hand."""
    return store.peek("verdicts", _key(subject, settings, known)) is not None


def _judge(subject: Subject, known: tuple[KnownFailure, ...], edge_cases: EdgeCases) -> Certificate:
    checks, compared, score = 0, 0, 0.0
    findings: dict[str, None] = {}
    reasons: dict[bool, dict[str, None]] = {True: {}, False: {}}  # by Check.deployed
    for test in required_checks(subject.model, subject.case, subject.seed, drawn=False):
        check, result = test.check, test.run(subject)
        failure = None if result.passed else ConformanceFailure(subject, result)
        if result.outcome == SKIPPED and result.compared:  # looked, and could not tell
            reasons[check.deployed][f"{check.name}: {result.reason}"] = None
        if result.outcome in UNJUDGED:
            continue
        if failure is not None:
            excuse = excused(subject, check.name, failure, known, edge_cases)
            if excuse is None:
                raise failure
            if excuse.outcome == "edge":
                findings[f"{check.name}: {excuse.reason}"] = None
            else:
                reasons[check.deployed][excuse.reason] = None
            continue
        checks, compared = checks + 1, compared + result.compared
        if check.name == BUDGET:
            score = max(score, result.score or 0.0)
    return Certificate(
        checks, compared, score, tuple(reasons[True]), tuple(reasons[False]), tuple(findings)
    )


def _key(subject: Subject, settings: Settings, known: tuple[KnownFailure, ...]) -> str:
    """Content key of a verdict: the file, the case, the rules, the code and the versions."""
    basis = basis_of(subject.case, subject.model, subject.tolerances, settings, known)
    return key_of(artifact=subject.artifact.sha256, **basis)


def basis_of(
    case: Case,
    model: ModelSpec,
    tolerances: Tolerances,
    settings: Settings,
    known: tuple[KnownFailure, ...],
) -> dict[str, Any]:
    """What a case's verdict rests on beside its artifact, as parts of a content key."""
    provider = PROVIDERS[case.provider]
    library = Path(provider.library)
    return {
        "model": cache_keys.model_key(model, settings),
        "spec": pack(model),
        "case": case.id,
        "opset": case.opset,
        # an external artifact's id has none of them
        "precision": [case.precision, case.file_precision, case.by_model],
        "provider": asdict(provider),
        "library": file_digest(library) if library.is_file() else None,
        "answers": _recorded(provider.host),
        "task": model.task and TASKS[model.task].digest,
        "custom": [(name, library_digest(name)) for name in libraries_of(case, settings)],
        "overrides": provider.overridden(os.environ),
        "min_placement": settings.min_placement,
        "edge_cases": settings.edge_cases,
        "expect_dynamic": settings.expect_dynamic,
        "cpu_fallback": settings.cpu_fallback,
        "threads": settings.threads,
        "graph_level": level_of(case, settings),
        "approximation": settings.approximation,
        "rules": [tolerances.path.read_text(), FIGURES_OF_SWEEPS.read_text()],
        "known": [asdict(entry) for entry in known],
        "code": source_digest(*_judges()),
        "environment": json.dumps(cache_keys.environment(), sort_keys=True),
    }


def _recorded(host: str) -> list[str]:
    """Digests of the recorded answers of a provider on another machine; none of any other."""
    if not host.startswith(ANSWERS):
        return []
    folder = Path(host.removeprefix(ANSWERS))
    return [file_digest(folder / name) for name in FILES]


def _judges() -> tuple[str, ...]:
    """The modules of the checks: those that a plugin brought lie outside of the package."""
    return tuple(sorted({check.function.__module__ for check in CHECKS.values()}))
