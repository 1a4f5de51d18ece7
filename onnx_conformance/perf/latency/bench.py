"""The bench: contenders of a model, certified, rehearsed, warmed, and timed side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.budget import worst_score
from onnx_conformance.core.errors import ConformanceError, StageFailure, WorkerError
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.perf.latency.certification import Certificates
from onnx_conformance.perf.latency.contenders import Contender
from onnx_conformance.perf.latency.interleave import interleave
from onnx_conformance.perf.latency.ratios import paired_ratio
from onnx_conformance.perf.latency.timed_call import CallSpec, pinned_call, timed_reference
from onnx_conformance.perf.latency.timed_sessions import TimedSession, TimedSessions
from onnx_conformance.perf.latency.timing_rows import CallFacts, MeasuredRow
from onnx_conformance.perf.options import PerfRun
from onnx_conformance.run.run_workers import RunWorkers

WARM_SECONDS = 2.0  # a call that has not settled by then is timed as it is, and the row says so
LEAST_ROUNDS, MOST_ROUNDS = 7, 60


@dataclass(frozen=True)
class ReadyContender:
    """A contender in its timed session, called once, and right."""

    contender: Contender
    timed_session: TimedSession
    facts: CallFacts


@dataclass
class TimedGroup:
    """One model at one batch size: a row a contender, or the reason why it has none."""

    rows: dict[Contender, MeasuredRow] = field(default_factory=dict)
    failures: dict[Contender, ConformanceError] = field(default_factory=dict)


class Bench:
    """The timings of a run. A group is measured once, when its first row is asked for."""

    def __init__(self, run: PerfRun, workers: RunWorkers, certificates: Certificates) -> None:
        self._run = run
        self._workers = workers
        self._certificates = certificates
        self._timed_sessions = TimedSessions(run, workers)
        self.groups: dict[tuple[str, int], TimedGroup] = {}

    def close(self) -> None:
        """End every timed worker."""
        self._timed_sessions.close()

    def row(self, contender: Contender, contenders: Sequence[Contender], batch: int) -> MeasuredRow:
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

    def _measure(self, contenders: Sequence[Contender], batch: int) -> TimedGroup:
        group, model = TimedGroup(), resolve_model(contenders[0].model)
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
        self._workers.quiesce()
        if ready_contenders:
            self._time(group, ready_contenders, batch)
        return group

    def _enter(self, model: ModelSpec, contender: Contender, batch: int) -> ReadyContender:
        """Open a contender and call it once; its answer must be right."""
        case = contender.case
        certificate = self._certificates.of(case) if case is not None else None
        timed_session = self._timed_sessions.of(model, contender)
        worker, opened = timed_session.worker, timed_session.opened
        call = self._call(model, contender, batch)
        worker.call("memory", reset=True)
        first = timed_session.rehearse(call, self._run.tolerances)
        loaded = first.load_seconds if opened.load_seconds is None else opened.load_seconds
        facts = CallFacts(
            score=self._score(call, contender.call, batch, first.outputs),
            compared=first.compared,
            load_seconds=loaded,
            first_seconds=first.first_seconds,
            memory_before_mib=opened.memory_before_mib,
            memory_after_mib=worker.call("memory")["resident"],
            placement=opened.placement,
            threads=worker.threads,
            affinity=worker.affinity,
            artifact_bytes=opened.artifact_bytes,
        )
        if case is not None and certificate is not None:
            edge = (f"edge finding in {finding}" for finding in certificate.edge)
            facts = replace(
                facts,
                certificate=str(certificate),
                beyond=(*certificate.known_edge, *edge),
                graph_level=case.graph_level or self._run.settings.graph_level,
            )
        return ReadyContender(contender, timed_session, facts)

    def _call(self, model: ModelSpec, contender: Contender, batch: int) -> CallSpec:
        return pinned_call(
            model,
            contender.judged_as,
            self._workers.reference,
            label=contender.label,
            who=contender.label,
            form=contender.form,
            batch=batch,
            seed=self._run.settings.seed,
            call=contender.call,
        )

    def _score(self, call: CallSpec, phase: str, batch: int, outputs: Outputs) -> float:
        """How far the answer is off, in float32's noise floors whatever its class of precision."""
        floor = self._run.tolerances.defaults["error_budget"]["floor_ulp"]
        of, seed = self._workers.reference, self._run.settings.seed
        reference = timed_reference(call.model, seed, batch, of, call=phase)
        return worst_score(reference, outputs, call.model.outputs, floor).value

    def _time(
        self, group: TimedGroup, ready_contenders: Sequence[ReadyContender], batch: int
    ) -> None:
        warm = [
            one.timed_session.warm(one.contender.label, WARM_SECONDS) for one in ready_contenders
        ]
        times = interleave(
            [call.block for call in warm],
            seconds=self._run.timing.seconds,
            least=LEAST_ROUNDS,
            most=MOST_ROUNDS,
            seed=self._run.settings.seed,
        )
        for one, call in zip(ready_contenders, warm, strict=True):
            worker, contender = one.timed_session.worker, one.contender
            memory = worker.call("memory")
            facts = replace(
                one.facts,
                warmup_calls=call.calls,
                settled=call.settled,
                memory_peak_mib=memory["peak"],
                gpu_mib=memory["gpu"],
            )
            calls, rounds = times.calls[contender.label], times.rounds[contender.label]
            over = times.rounds.get(contender.compared_with.label)
            speedup = None
            if over is not None and contender != contender.compared_with:
                speedup = paired_ratio(over, rounds)
            group.rows[contender] = MeasuredRow(contender, batch, calls, rounds, speedup, facts)
            worker.call("forget", label=contender.label)
