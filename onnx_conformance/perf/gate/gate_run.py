"""A gate run: baseline and candidate of a case, opened, warmed up, and their figures."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.checks.function import check_error_budget
from onnx_conformance.checks.precision import check_sqnr
from onnx_conformance.core.case import Case
from onnx_conformance.core.compute_modes import ULP
from onnx_conformance.core.errors import CapabilityMissing, WorkerError
from onnx_conformance.core.results import UNJUDGED, CheckResult
from onnx_conformance.core.settings import level_of
from onnx_conformance.core.tolerances import INT8
from onnx_conformance.inputs.families import replayed
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.perf.gate.rules import GateFailure
from onnx_conformance.perf.latency.interleave import Block
from onnx_conformance.perf.latency.suspended_worker import SuspendedWorker
from onnx_conformance.perf.latency.timed_call import pinned_call
from onnx_conformance.perf.latency.timed_sessions import (
    TimedSession,
    open_timed_session,
    timed_worker,
)
from onnx_conformance.perf.options import PerfRun
from onnx_conformance.report.saved_artifacts import BaselineCase
from onnx_conformance.run.live_subject import LiveSubject
from onnx_conformance.run.run_workers import RunWorkers
from onnx_conformance.run.runtime_side import answer_of_calls
from onnx_conformance.run.subject import Answer, Artifact, SessionInfo, Subject, libraries_of

WARM_SECONDS = 1.0
OPENINGS = 5  # of which the quickest counts, because noise only adds
MIB = 2**20

Figures = dict[str, float | None]  # by metric


@dataclass(frozen=True)
class GateSide:
    """One side of a case.

    Args:
        name: ``baseline`` or ``candidate``.
        kind: of worker; ``spec``: execnet's name of its process, None for this environment.
        form: how its session is called (:mod:`onnx_conformance.workers.onnxruntime.session_calls`).
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

    def worker(self, side: GateSide) -> SuspendedWorker:
        """A fresh process for a side."""
        return timed_worker(self._run, side.kind, side.spec)

    def timed_session(self, worker: SuspendedWorker, side: GateSide) -> TimedSession:
        """The side's session, opened in a worker.

        Raises:
            GateFailure: its environment cannot open it.
        """
        level = level_of(self.case, self._run.settings)
        try:
            libraries = libraries_of(self.case, self._run.settings)
            return open_timed_session(worker, self.case, side.artifact, level, libraries)
        except CapabilityMissing as lack:
            raise GateFailure(f"{self.case.id}: the {side.name} cannot be opened: {lack}") from lack
        except WorkerError as error:
            where = f", hosted by {side.spec}," if side.spec else ""
            raise GateFailure(
                f"{self.case.id}: the {side.name}{where} cannot be opened: {error}"
            ) from error

    def rehearse(self, timed_session: TimedSession, side: GateSide) -> None:
        """Call the side once; what it answers must be right.

        Raises:
            InvalidTiming: it is not.
        """
        subject = self._subject
        call = pinned_call(
            subject.model,
            self.case,
            subject.workers.reference,
            label=side.name,
            who=f"{self.case.id}, {side.name}",
            form=side.form,
            batch=self._batch,
            seed=subject.seed,
        )
        timed_session.rehearse(call, subject.tolerances)

    def block(self, worker: SuspendedWorker, side: GateSide) -> tuple[Block, TimedSession]:
        """Open, rehearse and warm up a side in a worker."""
        timed_session = self.timed_session(worker, side)
        self.rehearse(timed_session, side)
        return timed_session.warm(side.name, WARM_SECONDS).block, timed_session

    def figures(self, sides: tuple[GateSide, GateSide]) -> list[Figures]:
        """The figures of each side beside its speed: bytes, nodes, noise floors and seconds.

        Both sides do the same work in the same order, each in a fresh process; their sessions are
        opened alternately.
        """
        with ExitStack() as stack:
            timed_sessions, found = [], []
            for side in sides:
                worker = stack.enter_context(closing(self.worker(side)))
                timed_session = self.timed_session(worker, side)
                self.rehearse(timed_session, side)
                timed_sessions.append(timed_session)
                found.append(_of_the_file(side) | {"peak_memory": _peak(timed_session)})
            openings = [[_opening(one) for one in timed_sessions] for _ in range(OPENINGS)]
            for place, (side, one) in enumerate(zip(sides, timed_sessions, strict=True)):
                found[place]["session_creation"] = min(row[place] for row in openings)
                found[place]["score"] = score(_SideSubject(self._subject, side, one), side.name)
        return found


def baseline_artifact(case: Case, kept: BaselineCase, workers: RunWorkers) -> Artifact:
    """The baseline's file, inspected as it is now, under the limits of the run.

    Raises:
        GateFailure: its digests are not those of the manifest: it changed since it was read.
        StageFailure: it cannot be read, or asks for more than ``--artifact-limit`` and
            ``--call-limit`` allow.
    """
    given = case.external(str(kept.files[0]), f"{case.artifact_id} (baseline)")
    artifact = workers.read(given)
    if artifact.sha256 != kept.sha256:
        raise GateFailure(
            f"{case.id}: the baseline's {kept.files[0].name} changed since it was kept; keep it "
            "anew with --save-onnx"
        )
    return artifact


def _of_the_file(side: GateSide) -> Figures:
    facts = side.artifact.facts
    return {
        "artifact_size": float(facts["bytes"]),
        "node_count": float(sum(facts["nodes"].values())),
    }


def _peak(timed_session: TimedSession) -> float:
    """Bytes that the session added at most; the memory of the libraries is not counted."""
    before = float(timed_session.opened.memory_before_mib)
    return max(float(timed_session.worker.call("memory")["peak"]) - before, 0.0) * MIB


def _opening(timed_session: TimedSession) -> float:
    """Seconds of one more creation of the session."""
    return float(timed_session.worker.call("reopen", session=timed_session.request["session"]))


class _SideSubject(LiveSubject):
    """A side as checks see it: its file, and what its own environment answers."""

    def __init__(self, subject: LiveSubject, side: GateSide, timed_session: TimedSession) -> None:
        super().__init__(subject.case, subject.workers, subject.tolerances, side.artifact)
        self._timed_session = timed_session

    @property
    def session(self) -> SessionInfo:
        provider, nodes = PROVIDERS[self.case.provider], self._timed_session.opened.nodes
        return SessionInfo(provider.ort_name, self.artifact.sha256, nodes, (), (), 0.0)

    def run(self, inputs: Inputs, repeat: int = 0) -> Answer:
        return self.runs([inputs])[0]

    def runs(self, input_sets: Sequence[Inputs], level: str = "") -> list[Answer]:
        return [self._answer(inputs) for inputs in input_sets]

    def _answer(self, inputs: Inputs) -> Answer:
        calls, session = self.layout.calls(inputs), self._timed_session
        found = session.worker.call("run", input_sets=calls, **session.request)
        return self._answer_in_native_sizes(
            inputs, answer_of_calls(self.model, self.layout, inputs, found)
        )


def score(subject: Subject, who: str) -> float | None:
    """The worst error on the pinned inputs, in noise floors of the case's class of precision.

    Of int8, which has no budget: the quantisation noise of the noisiest output on typical inputs,
    over its signal, in float32 epsilons (2⁻²³).

    Args:
        who: the side's name in a message.

    Returns:
        None where no inputs could be judged.

    Raises:
        GateFailure: an answer that the check of the same question does not allow.
    """
    if subject.case.precision == INT8:
        result = _allowed(subject, who, check_sqnr(subject))
        decibels = [found["estimate"] for found in result.statistics.values()]
        return float(10 ** (-min(decibels) / 20) / ULP)
    recipes = replayed(subject.model.name, subject.seed).values()
    results = [_allowed(subject, who, check_error_budget(subject, recipe)) for recipe in recipes]
    return max((result.score or 0.0 for result in results if result.passed), default=None)


def _allowed(subject: Subject, who: str, result: CheckResult) -> CheckResult:
    if not result.passed and result.outcome not in UNJUDGED:
        on = f" on {result.inputs}" if result.inputs else ""
        reasons = "; ".join((result.reason, *result.details))
        raise GateFailure(f"{subject.case.id}: the {who} is wrong{on}: {reasons}")
    return result
