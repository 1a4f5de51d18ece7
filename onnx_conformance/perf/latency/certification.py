"""Certificates of what is timed: a case that did not pass every check is not."""

from __future__ import annotations

from collections.abc import Iterable

from onnx_conformance.checks.certificate import Certificate, holds_certificate, issue_certificate
from onnx_conformance.checks.registry import families_of
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import CapabilityMissing, ConformanceError, StageFailure
from onnx_conformance.perf.options import PerfRun
from onnx_conformance.run.known_failures import EXPORT, find_known_failure
from onnx_conformance.run.live_subject import LiveSubject
from onnx_conformance.run.run_workers import RunWorkers


class NotCertified(ConformanceError):
    """A case with a known upstream failure, so that it is not timed."""


class Certificates:
    """The certificates of a run; a case is certified once."""

    def __init__(self, run: PerfRun, workers: RunWorkers) -> None:
        self._run = run
        self._workers = workers
        self._store = workers.store
        self._found: dict[Case, Certificate | ConformanceError] = {}

    def of(self, case: Case) -> Certificate:
        """The certificate of a case, which :meth:`ensure` was asked for before.

        Raises:
            ConformanceError: the case is red or cannot run here.
        """
        found = self._found[case]
        if isinstance(found, ConformanceError):
            raise found
        if not found.may_be_timed:
            raise NotCertified(f"{case.id} did not pass every check: {'; '.join(found.known)}")
        return found

    def ensure(self, cases: Iterable[Case]) -> None:
        """Certify those of ``cases`` that were not, and wait until every worker is idle."""
        new = [case for case in dict.fromkeys(cases) if case not in self._found]
        subjects = {case: self._subject(case) for case in new if self._usable(case)}
        self._workers.plan(
            {
                case: families_of(subject.model, case, drawn=False)
                for case, subject in subjects.items()
                if not self._is_held(subject)
            }
        )
        for case, subject in subjects.items():
            try:
                self._found[case] = issue_certificate(
                    subject, self._run.settings, self._store, self._run.known_failures
                )
            except ConformanceError as failure:
                self._found[case] = self._as_known(case, failure)
        self._workers.quiesce()

    def _as_known(self, case: Case, failure: ConformanceError) -> ConformanceError:
        """A failed export as the known failure that expects it, where one does."""
        known = find_known_failure(self._run.known_failures, case, EXPORT)
        if known is not None and known.explains(failure):
            return NotCertified(f"{case.id} did not pass every check: {known}")
        return failure

    def _usable(self, case: Case) -> bool:
        probe = self._workers.probe(case.provider)
        if probe.broken:
            self._found[case] = StageFailure("probe", case.provider, probe.sentence)
        elif not probe.usable:
            self._found[case] = CapabilityMissing(f"{case.provider}: {probe.sentence}")
        return probe.usable

    def _is_held(self, subject: LiveSubject) -> bool:
        try:
            known = self._run.known_failures
            return holds_certificate(subject, self._run.settings, self._store, known)
        except ConformanceError:
            return False  # its export failed: certify tells of it

    def _subject(self, case: Case) -> LiveSubject:
        return LiveSubject(case, self._workers, self._run.tolerances)
