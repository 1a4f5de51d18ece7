"""A gate run: the two sides of a gated case, baseline and candidate, opened and warmed up."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import CapabilityMissing, WorkerError
from onnx_conformance.core.settings import level_of
from onnx_conformance.perf.gate.baseline import BaselineCase
from onnx_conformance.perf.gate.outcomes import Worse
from onnx_conformance.perf.latency.interleave import Block
from onnx_conformance.perf.latency.suspended_worker import SuspendedWorker
from onnx_conformance.perf.latency.timed_inputs import timed_inputs, timed_reference
from onnx_conformance.perf.latency.timed_sessions import (
    CallSpec,
    TimedSession,
    open_timed_session,
    timed_worker,
)
from onnx_conformance.perf.run import PerfRun
from onnx_conformance.session.conformance_session import ConformanceSession
from onnx_conformance.session.live_subject import LiveSubject
from onnx_conformance.session.noise_floor import noise_floor_of
from onnx_conformance.session.subject import Artifact, libraries_of

WARM_SECONDS = 1.0


@dataclass(frozen=True)
class GateEntry:
    """One side of a case.

    Args:
        name: ``baseline`` or ``candidate``.
        kind: of worker; ``spec``: execnet's name of its process, None for this environment.
        form: how its session is called (:mod:`onnx_conformance.workers.onnxruntime.timing`).
    """

    name: str
    artifact: Artifact
    kind: str
    spec: str | None
    form: str = "plain"


class GateRun:
    """Opens workers and sessions for the sides of one case, and readies them to be timed."""

    def __init__(self, run: PerfRun, subject: LiveSubject, batch: int) -> None:
        self._run = run
        self._subject = subject
        self._batch = batch

    @property
    def case(self) -> Case:
        """The case that is gated."""
        return self._subject.case

    def worker(self, entry: GateEntry) -> SuspendedWorker:
        """A fresh process for a side."""
        return timed_worker(self._run, entry.kind, entry.spec)

    def timed_session(self, worker: SuspendedWorker, entry: GateEntry) -> TimedSession:
        """The side's session, opened in a worker.

        Raises:
            Worse: its environment cannot open it.
        """
        level = level_of(self.case, self._run.settings)
        try:
            libraries = libraries_of(self.case, self._run.settings)
            return open_timed_session(worker, self.case, entry.artifact, level, libraries)
        except CapabilityMissing as lack:
            raise Worse(f"{self.case.id}: the {entry.name} cannot be opened: {lack}") from lack
        except WorkerError as error:
            where = f", hosted by {entry.spec}," if entry.spec else ""
            raise Worse(
                f"{self.case.id}: the {entry.name}{where} cannot be opened: {error}"
            ) from error

    def rehearse(self, timed_session: TimedSession, entry: GateEntry) -> None:
        """Call the side once; what it answers must be right.

        Raises:
            NoResult: it is not.
        """
        timed_session.rehearse(self._call(entry), self._subject.tolerances)

    def _call(self, entry: GateEntry) -> CallSpec:
        model, seed = self._subject.model, self._subject.seed
        known, noise_floor = self._subject.conformance_session.reference, noise_floor_of(self.case)
        return CallSpec(
            model,
            entry.name,
            f"{self.case.id}, {entry.name}",
            entry.form,
            timed_inputs(model, seed, self._batch),
            timed_reference(model, seed, self._batch, known, noise_floor),
            self.case,
        )

    def block(self, worker: SuspendedWorker, entry: GateEntry) -> tuple[Block, TimedSession]:
        """Open, rehearse and warm up a side in a worker."""
        timed_session = self.timed_session(worker, entry)
        self.rehearse(timed_session, entry)
        return timed_session.warm(entry.name, WARM_SECONDS).block, timed_session


def baseline_artifact(
    case: Case, kept: BaselineCase, conformance_session: ConformanceSession
) -> Artifact:
    """The baseline's file, inspected as it is now, under the limits of the session.

    Raises:
        Worse: its digests are not those of the manifest: it changed since it was read.
        StageFailure: it cannot be read, or asks for more than ``--artifact-limit`` and
            ``--call-limit`` allow.
    """
    given = case.external(str(kept.files[0]), f"{case.artifact_id} (baseline)")
    artifact = conformance_session.read(given)
    if artifact.sha256 != kept.sha256:
        raise Worse(
            f"{case.id}: the baseline's {kept.files[0].name} changed since it was kept; keep it "
            "anew with --save-onnx"
        )
    return artifact
