"""The two sides of a gated case: its artifact of today, and that of the baseline."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onnx_conformance.core.errors import CapabilityMissing, EngineError
from onnx_conformance.core.settings import level_of
from onnx_conformance.core.spec import Case
from onnx_conformance.perf.gate.baseline import BaselineCase
from onnx_conformance.perf.gate.outcomes import Worse
from onnx_conformance.perf.latency.certification import judge_timed, timed_rule
from onnx_conformance.perf.latency.interleave import Turn, plan_turn
from onnx_conformance.perf.latency.suspended_worker import Host
from onnx_conformance.perf.latency.timed_inputs import timed_feed, timed_reference
from onnx_conformance.perf.latency.timed_sessions import Seat, open_seat
from onnx_conformance.perf.run import PerfRun
from onnx_conformance.session.external_artifacts import read_given
from onnx_conformance.session.live_subject import LiveSubject
from onnx_conformance.session.noise_floor import yardstick_of
from onnx_conformance.session.subject import Artifact, libraries_of

WARM_SECONDS = 1.0


@dataclass(frozen=True)
class Side:
    """One side of a case.

    Args:
        name: ``baseline`` or ``candidate``.
        kind: of engine; ``spec``: execnet's word for its process, None for this environment.
        form: how its session is called (:mod:`onnx_conformance.workers.onnxruntime.timing`).
    """

    name: str
    artifact: Artifact
    kind: str
    spec: str | None
    form: str = "plain"


class Players:
    """Opens hosts and sessions for the sides of one case, and readies them to be timed."""

    def __init__(self, run: PerfRun, subject: LiveSubject, batch: int) -> None:
        self._run = run
        self._subject = subject
        self._batch = batch

    @property
    def case(self) -> Case:
        """The case that is gated."""
        return self._subject.case

    def host(self, side: Side) -> Host:
        """A fresh process for a side."""
        settings = self._run.settings
        return Host(
            side.kind,
            threads=settings.threads,
            cpus=self._run.timing.cpus,
            limit=settings.limit,
            spec=side.spec,
        )

    def seat(self, host: Host, side: Side) -> Seat:
        """The side's session, opened in a host.

        Raises:
            Worse: its environment cannot open it.
        """
        level = level_of(self.case, self._run.settings)
        try:
            libraries = libraries_of(self.case, self._run.settings)
            return open_seat(host, self.case, side.artifact, level, libraries)
        except CapabilityMissing as lack:
            raise Worse(f"{self.case.id}: the {side.name} cannot be opened: {lack}") from lack
        except EngineError as error:
            where = f", hosted by {side.spec}," if side.spec else ""
            raise Worse(
                f"{self.case.id}: the {side.name}{where} cannot be opened: {error}"
            ) from error

    def rehearse(self, seat: Seat, side: Side) -> None:
        """Call the side once; what it answers must be right.

        Raises:
            NoResult: it is not.
        """
        model, seed = self._subject.model, self._subject.seed
        feed = seat.feed(timed_feed(model, seed, self._batch))
        rehearsed = seat.host.rehearse(side.name, side.form, feed, **seat.what)
        outputs = {seat.name(name): array for name, array in rehearsed["outputs"].items()}
        known, yardstick = self._subject.workbench.reference, yardstick_of(self.case)
        reference = timed_reference(model, seed, self._batch, known, yardstick)
        rule = timed_rule(self._subject.tolerances, self.case)
        judge_timed(model, reference, outputs, rule, f"{self.case.id}, {side.name}")

    def turn(self, host: Host, side: Side) -> tuple[Turn, Seat]:
        """Open, rehearse and warm a side in a host."""
        seat = self.seat(host, side)
        self.rehearse(seat, side)
        warmup = host.call("warm", label=side.name, seconds=WARM_SECONDS)
        return plan_turn(host, side.name, warmup["seconds"]), seat


def baseline_artifact(case: Case, kept: BaselineCase) -> Artifact:
    """The baseline's file, inspected as it is now.

    Raises:
        Worse: its digests are not those of the manifest: it changed since it was read.
        StageFailure: it cannot be read.
    """
    given = replace(case, artifact=str(kept.files[0]), label=f"{case.artifact_id} (baseline)")
    artifact = read_given(given)
    if artifact.sha256 != kept.sha256:
        raise Worse(f"{case.id}: the baseline's {kept.files[0].name} is not what was kept")
    return artifact
