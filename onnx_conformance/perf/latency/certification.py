"""Certificates of what is timed, and the timed call's outputs against the error budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from onnx_conformance.checks.certificate import Certificate, holds_certificate, issue_certificate
from onnx_conformance.core.budget import Reference, worst_score
from onnx_conformance.core.comparison import Outputs, nonfinite_problem, structure_problem
from onnx_conformance.core.errors import CapabilityMissing, ConformanceError, StageFailure
from onnx_conformance.core.spec import Case, ModelSpec
from onnx_conformance.core.store import Store
from onnx_conformance.core.tolerances import INT8, Tolerances
from onnx_conformance.perf.run import PerfRun
from onnx_conformance.session.conformance_session import ConformanceSession
from onnx_conformance.session.known_failures import EXPORT, find
from onnx_conformance.session.live_subject import LiveSubject
from onnx_conformance.session.noise_floor import PLAIN, NoiseFloor, noise_floor_of

NOISE = "least_db"


class NoResult(ConformanceError):
    """A time that counts for nothing, because what was timed is not the model."""


class NotProved(ConformanceError):
    """A case with a known upstream failure, so that it is not timed."""


@dataclass(frozen=True)
class Right:
    """What a timed call's outputs were found to be worth.

    Args:
        score: the worst error in noise floors; :mod:`onnx_conformance.perf.latency.bench` tells it
        in float32's.
        compared: elements.
    """

    score: float
    compared: int


def timed_rule(tolerances: Tolerances, case: Case | None) -> dict[str, float]:
    """The figures that a timed call must meet: int8's noise, else the error budget.

    Args:
        case: None for native.
    """
    if case is None:
        return tolerances.defaults["error_budget"]
    check = "sqnr" if case.precision == INT8 else "error_budget"
    return tolerances.rule(check, case).figures


def noise_floor_of_timed(case: Case | None) -> NoiseFloor:
    """What a timed call is measured by.

    Args:
        case: None for native.
    """
    return PLAIN if case is None else noise_floor_of(case)


def judge_timed(
    model: ModelSpec, reference: Reference, outputs: Outputs, rule: dict[str, float], who: str
) -> Right:
    """Judge the outputs of the very call that is timed.

    Args:
        reference: by :func:`noise_floor_of_timed`.

    Raises:
        NoResult: they are not within the error budget; a fast wrong answer is no result.
    """
    problem = structure_problem(reference.native, outputs) or nonfinite_problem(
        reference.native, outputs
    )
    if problem:
        raise NoResult(f"{who}: a wrong answer is no result, however fast: {problem}")
    compared = sum(array.size for array in outputs.values())
    settled = reference.settled(outputs, rule.get("tie_factor", 0.0))
    score = worst_score(reference, settled, model.outputs, rule.get("floor_ulp", 0.0))
    if NOISE in rule:
        noise = _decibels(model, reference.native, outputs)
        if not noise >= rule[NOISE]:
            raise NoResult(
                f"{who}: a wrong answer is no result, however fast: {noise:.1f} dB of signal to "
                f"quantisation noise, wanted {rule[NOISE]:g}"
            )
        return Right(score.value, compared)
    if not score.value <= rule["factor"]:
        raise NoResult(
            f"{who}: a wrong answer is no result, however fast: {score}; "
            f"allowed {rule['factor']:g}x"
        )
    return Right(score.value, compared)


def _decibels(model: ModelSpec, native: Outputs, outputs: Outputs) -> float:
    """Signal over noise of the noisiest output: 10 log10 (sum x² / sum (x - y)²).

    Of whole numbers and truth values: over the share that differs.
    """
    found = [np.inf]
    for spec in model.outputs:
        exact = native[spec.name].astype(np.float64)
        if spec.floating:
            noise = float(np.square(outputs[spec.name] - exact).sum())
            signal = float(np.square(exact).sum())
        else:
            noise, signal = float((outputs[spec.name] != exact).sum()), float(exact.size)
        found.append(10.0 * np.log10(signal / noise) if noise and signal else np.inf)
    return float(min(found))


# The input families of the checks that every case requires, computed side by side.
FAMILIES = (
    "pinned", "sizes", "rows", "batches", "repeat", "non_finite", "denormal", "empty", "malformed",
    "typical", "unoptimised",
)  # fmt: skip


class Certificates:
    """One for a session; a case is certified once."""

    def __init__(self, run: PerfRun, conformance_session: ConformanceSession, store: Store) -> None:
        self._run = run
        self._conformance_session = conformance_session
        self._store = store
        self._found: dict[Case, Certificate | ConformanceError] = {}

    def of(self, case: Case) -> Certificate:
        """The certificate of a case, which :meth:`ensure` was asked for before.

        Raises:
            ConformanceError: the case is red or cannot run here.
        """
        found = self._found[case]
        if isinstance(found, ConformanceError):
            raise found
        return found

    def ensure(self, cases: Iterable[Case]) -> None:
        """Certify those of ``cases`` that were not; afterwards no worker works."""
        new = [case for case in dict.fromkeys(cases) if case not in self._found]
        subjects = {case: self._subject(case) for case in new if self._usable(case)}
        pending = {case: set(FAMILIES) for case in subjects if not self._known(subjects[case])}
        self._conformance_session.plan(pending)
        for case, subject in subjects.items():
            try:
                self._found[case] = issue_certificate(
                    subject, self._run.settings, self._store, self._run.known_failures
                )
            except ConformanceError as failure:
                self._found[case] = self._as_known(case, failure)
        self._conformance_session.quiesce()

    def _as_known(self, case: Case, failure: ConformanceError) -> ConformanceError:
        """A failed export that was foretold, in the words of its entry."""
        known = find(self._run.known_failures, case, EXPORT)
        if known is not None and known.explains(failure):
            return NotProved(f"{case.id} did not pass every check: {known}")
        return failure

    def _usable(self, case: Case) -> bool:
        probe = self._conformance_session.probe(case.provider)
        if probe.broken:
            self._found[case] = StageFailure("probe", case.provider, probe.words)
        elif not probe.usable:
            self._found[case] = CapabilityMissing(f"{case.provider}: {probe.words}")
        return probe.usable

    def _known(self, subject: LiveSubject) -> bool:
        try:
            known = self._run.known_failures
            return holds_certificate(subject, self._run.settings, self._store, known)
        except ConformanceError:
            return False  # its export failed: certify tells of it

    def _subject(self, case: Case) -> LiveSubject:
        return LiveSubject(case, self._conformance_session, self._run.tolerances)
