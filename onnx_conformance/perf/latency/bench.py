"""The bench: contenders of a model, certified, rehearsed, warmed, and timed side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.budget import Reference, worst_score
from onnx_conformance.core.comparison import Outputs
from onnx_conformance.core.errors import ConformanceError, StageFailure, WorkerError
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.perf.latency.certification import Certificates
from onnx_conformance.perf.latency.contenders import Contender
from onnx_conformance.perf.latency.interleave import Block, interleave
from onnx_conformance.perf.latency.rows import Row, make_row
from onnx_conformance.perf.latency.timed_inputs import timed_inputs, timed_reference
from onnx_conformance.perf.latency.timed_sessions import (
    CallSpec,
    TimedSession,
    TimedSessions,
    noise_floor_of_timed,
)
from onnx_conformance.perf.run import PerfRun
from onnx_conformance.session.conformance_session import ConformanceSession
from onnx_conformance.session.noise_floor import PLAIN, NoiseFloor

WARM_SECONDS = 2.0  # a call that has not settled by then is timed as it is, and the row says so
LEAST_ROUNDS, MOST_ROUNDS = 7, 60


@dataclass(frozen=True)
class ReadyContender:
    """A contender in its timed session, called once, and right."""

    contender: Contender
    timed_session: TimedSession
    facts: dict[str, Any]


@dataclass
class Group:
    """One model at one batch size: a row a contender, or the reason why it has none."""

    rows: dict[Contender, Row] = field(default_factory=dict)
    failures: dict[Contender, ConformanceError] = field(default_factory=dict)


class Bench:
    """One for a session. A group is measured once, when its first row is asked for."""

    def __init__(
        self, run: PerfRun, conformance_session: ConformanceSession, certificates: Certificates
    ) -> None:
        self._run = run
        self._conformance_session = conformance_session
        self._certificates = certificates
        self._timed_sessions = TimedSessions(run, conformance_session)
        self.groups: dict[tuple[str, int], Group] = {}

    def close(self) -> None:
        """End every timed worker."""
        self._timed_sessions.close()

    def row(self, contender: Contender, contenders: Sequence[Contender], batch: int) -> Row:
        """The row of a contender, timed beside ``contenders``, all of its model.

        Raises:
            ConformanceError: why it has none: red, absent, or a wrong answer.
        """
        key = (contender.model, batch)
        if key not in self.groups:
            self.groups[key] = self._measure(contenders, batch)
        group = self.groups[key]
        if contender in group.failures:
            raise group.failures[contender]
        return group.rows[contender]

    def _measure(self, contenders: Sequence[Contender], batch: int) -> Group:
        group, model = Group(), resolve_model(contenders[0].model)
        self._timed_sessions.leave(model)
        self._certificates.ensure(
            contender.case for contender in contenders if contender.case is not None
        )
        ready_contenders: list[ReadyContender] = []
        for contender in contenders:
            try:
                ready_contenders.append(self._enter(model, contender, batch))
            except WorkerError as error:
                group.failures[contender] = StageFailure("timing", contender.label, str(error))
            except ConformanceError as failure:
                group.failures[contender] = failure
        self._conformance_session.quiesce()
        if ready_contenders:
            self._time(group, ready_contenders, batch)
        return group

    def _enter(self, model: ModelSpec, contender: Contender, batch: int) -> ReadyContender:
        """Open a contender and call it once; its answer must be right."""
        told: dict[str, Any] = {}
        if contender.case is not None:
            certificate = self._certificates.of(contender.case)
            edge = [f"edge finding in {finding}" for finding in certificate.edge]
            told = {"certificate": str(certificate), "beyond": [*certificate.known_edge, *edge]}
        timed_session = self._timed_sessions.of(model, contender)
        call = self._call(model, contender, batch)
        timed_session.worker.call("memory", reset=True)
        rehearsed = timed_session.rehearse(call, self._run.tolerances)
        facts = {
            "score": self._score(call, batch, rehearsed.outputs),
            "compared": rehearsed.compared,
            "load_seconds": rehearsed.load_seconds,
            **timed_session.facts,
            **told,
            "first_seconds": rehearsed.first_seconds,
            "memory_after_mib": timed_session.worker.call("memory")["resident"],
            "threads": timed_session.worker.threads,
            "affinity": timed_session.worker.affinity,
        }
        return ReadyContender(contender, timed_session, facts)

    def _call(self, model: ModelSpec, contender: Contender, batch: int) -> CallSpec:
        reference = self._reference(model, batch, noise_floor_of_timed(contender.judged_as))
        inputs = timed_inputs(model, self._run.settings.seed, batch)
        label, case = contender.label, contender.judged_as
        return CallSpec(model, label, label, contender.form, inputs, reference, case)

    def _reference(self, model: ModelSpec, batch: int, noise_floor: NoiseFloor) -> Reference:
        of = self._conformance_session.reference
        return timed_reference(model, self._run.settings.seed, batch, of, noise_floor)

    def _score(self, call: CallSpec, batch: int, outputs: Outputs) -> float:
        """How far the answer is off, in float32's noise floors whatever its class of precision."""
        floor = self._run.tolerances.defaults["error_budget"]["floor_ulp"]
        reference = self._reference(call.model, batch, PLAIN)
        return worst_score(reference, outputs, call.model.outputs, floor).value

    def _time(self, group: Group, ready_contenders: Sequence[ReadyContender], batch: int) -> None:
        blocks = [self._warm(ready_contender) for ready_contender in ready_contenders]
        found = interleave(
            blocks,
            seconds=self._run.timing.seconds,
            least=LEAST_ROUNDS,
            most=MOST_ROUNDS,
            seed=self._run.settings.seed,
        )
        timed = {ready_contender.contender for ready_contender in ready_contenders}
        for ready_contender in ready_contenders:
            memory = ready_contender.timed_session.worker.call("memory")
            facts = {
                **ready_contender.facts,
                "memory_peak_mib": memory["peak"],
                "gpu_mib": memory["gpu"],
            }
            over = ready_contender.contender.compared_with
            reference = over.label if over in timed else None
            group.rows[ready_contender.contender] = make_row(
                ready_contender.contender, batch, found, reference, facts
            )
            ready_contender.timed_session.worker.call(
                "forget", label=ready_contender.contender.label
            )

    def _warm(self, ready_contender: ReadyContender) -> Block:
        warm = ready_contender.timed_session.warm(ready_contender.contender.label, WARM_SECONDS)
        ready_contender.facts.update(warmup_calls=warm.calls, settled=warm.settled)
        return warm.block
