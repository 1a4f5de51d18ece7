"""The bench: rivals of a model, certified, rehearsed, warmed, and timed side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.budget import worst_score
from onnx_conformance.core.comparison import Array
from onnx_conformance.core.errors import ConformanceError, EngineError, StageFailure
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.perf.latency.certification import (
    Certificates,
    NotProved,
    Right,
    judge_timed,
    timed_rule,
    yardstick_of_timed,
)
from onnx_conformance.perf.latency.contenders import Rival
from onnx_conformance.perf.latency.interleave import Turn, interleave, plan_turn
from onnx_conformance.perf.latency.rows import Row, make_row
from onnx_conformance.perf.latency.timed_inputs import timed_feed, timed_reference
from onnx_conformance.perf.latency.timed_sessions import Seat, Seats
from onnx_conformance.perf.run import PerfRun
from onnx_conformance.session.conformance_session import Workbench
from onnx_conformance.session.noise_floor import PLAIN

WARM_SECONDS = 2.0  # a call that has not settled by then is timed as it is, and the row says so
LEAST_ROUNDS, MOST_ROUNDS = 7, 60


@dataclass(frozen=True)
class Entrant:
    """A rival in its seat, rehearsed and right."""

    rival: Rival
    seat: Seat
    right: Right
    facts: dict[str, Any]


@dataclass
class Group:
    """One model at one batch size: a row a rival, or the reason why it has none."""

    rows: dict[Rival, Row] = field(default_factory=dict)
    failures: dict[Rival, ConformanceError] = field(default_factory=dict)


class Bench:
    """One for a session. A group is measured once, when its first row is asked for."""

    def __init__(self, run: PerfRun, workbench: Workbench, certificates: Certificates) -> None:
        self._run = run
        self._workbench = workbench
        self._certificates = certificates
        self._seats = Seats(run, workbench)
        self.groups: dict[tuple[str, int], Group] = {}

    def close(self) -> None:
        """End every timed engine."""
        self._seats.close()

    def row(self, rival: Rival, rivals: Sequence[Rival], batch: int) -> Row:
        """The row of a rival, timed beside ``rivals``, all of its model.

        Raises:
            ConformanceError: why it has none: red, absent, or a wrong answer.
        """
        key = (rival.model, batch)
        if key not in self.groups:
            self.groups[key] = self._measure(rivals, batch)
        group = self.groups[key]
        if rival in group.failures:
            raise group.failures[rival]
        return group.rows[rival]

    def _measure(self, rivals: Sequence[Rival], batch: int) -> Group:
        group, model = Group(), resolve_model(rivals[0].model)
        self._seats.leave(model)
        self._certificates.ensure(rival.case for rival in rivals if rival.case is not None)
        entrants: list[Entrant] = []
        for rival in rivals:
            try:
                entrants.append(self._enter(model, rival, batch))
            except EngineError as error:
                group.failures[rival] = StageFailure("timing", rival.label, str(error))
            except ConformanceError as failure:
                group.failures[rival] = failure
        self._workbench.quiesce()
        if entrants:
            self._time(group, entrants, batch)
        return group

    def _enter(self, model: ModelSpec, rival: Rival, batch: int) -> Entrant:
        """Seat a rival and call it once; what it answers must be right."""
        told: dict[str, Any] = {}
        if rival.case is not None:
            certificate = self._certificates.of(rival.case)
            if not certificate.ordinary:
                raise NotProved(f"{rival.case.id} is not proved: {'; '.join(certificate.known)}")
            told = {"certificate": str(certificate), "beyond": list(certificate.beyond)}
        seat = self._seats.of(model, rival)
        seed = self._run.settings.seed
        feed = seat.feed(timed_feed(model, seed, batch))
        seat.host.call("memory", reset=True)
        rehearsed = seat.host.rehearse(rival.label, rival.form, feed, **seat.what)
        outputs = {seat.name(name): array for name, array in rehearsed["outputs"].items()}
        right = self._judged(model, rival, batch, outputs)
        facts = {
            "load_seconds": rehearsed["prepare_seconds"],
            **seat.facts,
            **told,
            "first_seconds": rehearsed["first_seconds"],
            "memory_after_mib": seat.host.call("memory")["resident"],
            "threads": seat.host.threads,
            "affinity": seat.host.affinity,
        }
        return Entrant(rival, seat, right, facts)

    def _judged(
        self, model: ModelSpec, rival: Rival, batch: int, outputs: dict[str, Array]
    ) -> Right:
        """Judged in its class of precision; the error is told in float32's, so that all compare."""
        seed, tolerances = self._run.settings.seed, self._run.tolerances
        references = [
            timed_reference(model, seed, batch, self._workbench.reference, yardstick)
            for yardstick in (yardstick_of_timed(rival.judged_as), PLAIN)
        ]
        rule = timed_rule(tolerances, rival.judged_as)
        right = judge_timed(model, references[0], outputs, rule, rival.label)
        floor = tolerances.defaults["error_budget"]["floor_ulp"]
        told = worst_score(references[1], outputs, model.outputs, floor)
        return replace(right, score=told.value)

    def _time(self, group: Group, entrants: Sequence[Entrant], batch: int) -> None:
        turns = [self._warm(entrant) for entrant in entrants]
        found = interleave(
            turns,
            seconds=self._run.timing.seconds,
            least=LEAST_ROUNDS,
            most=MOST_ROUNDS,
            seed=self._run.settings.seed,
        )
        timed = {entrant.rival for entrant in entrants}
        for entrant in entrants:
            memory = entrant.seat.host.call("memory")
            facts = {**entrant.facts, "memory_peak_mib": memory["peak"], "gpu_mib": memory["gpu"]}
            over = entrant.rival.compared_with
            reference = over.label if over in timed else None
            group.rows[entrant.rival] = make_row(
                entrant.rival, batch, found, reference, facts, entrant.right
            )
            entrant.seat.host.call("forget", label=entrant.rival.label)

    def _warm(self, entrant: Entrant) -> Turn:
        host, label = entrant.seat.host, entrant.rival.label
        warmup = host.call("warm", label=label, seconds=WARM_SECONDS)
        entrant.facts.update(warmup_calls=warmup["calls"], settled=warmup["settled"])
        return plan_turn(host, label, warmup["seconds"])
