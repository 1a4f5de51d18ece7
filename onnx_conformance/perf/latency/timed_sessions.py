"""Timed sessions: opened, called once, judged and warmed before a call of theirs is timed.

Native's forms share their framework's worker, which runs one at a time anyway. A session has a
worker of its own, so that its memory is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnx_conformance.catalog.frameworks import ON_CUDA
from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.case import Case
from onnx_conformance.core.documents import Placement
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.settings import level_of
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import Tolerances
from onnx_conformance.core.worker_messages import RunResult
from onnx_conformance.inputs.batch_layout import BatchLayout, file_layout, native_layout
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.perf.latency.contenders import Contender
from onnx_conformance.perf.latency.interleave import Block, plan_block
from onnx_conformance.perf.latency.suspended_worker import SuspendedWorker
from onnx_conformance.perf.latency.timed_call import CallSpec, InvalidTiming, judge_timed
from onnx_conformance.perf.latency.timing_rows import NodePlacement
from onnx_conformance.perf.options import PerfRun
from onnx_conformance.run.run_workers import RunWorkers
from onnx_conformance.run.runtime_side import answer_of_calls, session_request
from onnx_conformance.run.subject import Artifact, libraries_of


@dataclass(frozen=True)
class FirstCall:
    """The first call of a timed call, which was right.

    Args:
        outputs: under the spec's names, a row for each sample.
        compared: elements.
        load_seconds, first_seconds: to prepare the call, and for the call itself.
    """

    outputs: Outputs
    compared: int
    load_seconds: float
    first_seconds: float


@dataclass(frozen=True)
class WarmCall:
    """A timed call that is warm, or that did not settle in time, and its block."""

    block: Block
    calls: int
    settled: bool


@dataclass(frozen=True)
class OpeningFacts:
    """What is known of a timed session before its first call.

    Args:
        memory_before_mib: of its process, before it was opened.
        load_seconds: to open it; None of native, which is loaded with its first call.
        artifact_bytes: of its file with all data; None of native.
    """

    memory_before_mib: float
    placement: NodePlacement
    load_seconds: float | None = None
    artifact_bytes: int | None = None

    @property
    def nodes(self) -> Placement:
        """The nodes of a session's graph: provider -> operator -> how many."""
        return {name: dict(of) for name, of in self.placement.items() if not isinstance(of, str)}


@dataclass(frozen=True)
class TimedSession:
    """A worker, and how the contender is asked for there.

    Args:
        request: the arguments of the worker's ``rehearse`` beside form and inputs.
        layout: how the contender takes samples, and what it calls inputs and outputs.
    """

    worker: SuspendedWorker
    request: Mapping[str, Any]
    layout: BatchLayout
    opened: OpeningFacts

    def inputs(self, inputs: Inputs) -> Inputs:
        """One call's arrays, as the contender takes them."""
        return self.layout.calls(inputs)[0]

    def rehearse(self, call: CallSpec, tolerances: Tolerances) -> FirstCall:
        """Call it once; what it answers must be right.

        Raises:
            InvalidTiming: it is not.
            CapabilityMissing: its file takes another number of samples a call.
        """
        group, samples = self.layout.group, call.inputs.samples
        if group not in (0, samples):
            raise CapabilityMissing(
                f"{call.who}: its file takes {group} sample(s) a call and not {samples}; time it "
                f"with --batch-size {group}"
            )
        inputs = self.inputs(call.inputs)
        found = self.worker.call(
            "rehearse", label=call.label, form=call.form, inputs=inputs, **self.request
        )
        ran: list[RunResult] = [{"outputs": found["outputs"]}]
        outputs = answer_of_calls(call.model, self.layout, call.inputs, ran).outputs or {}
        judged = judge_timed(call, outputs, tolerances)
        return FirstCall(outputs, judged.elements, found["prepare_seconds"], found["first_seconds"])

    def warm(self, label: str, seconds: float) -> WarmCall:
        """Repeat a rehearsed call until its times have settled, for ``seconds`` at most."""
        found = self.worker.call("warm", label=label, seconds=seconds)
        block = plan_block(self.worker, label, found["seconds"])
        return WarmCall(block, found["calls"], found["settled"])


class TimedSessions:
    """The timed sessions of a run. Workers live as long as their model is timed."""

    def __init__(self, run: PerfRun, workers: RunWorkers) -> None:
        self._run = run
        self._workers = workers
        self._native: dict[str, SuspendedWorker] = {}
        self._sessions: dict[Case, TimedSession] = {}

    def of(self, model: ModelSpec, contender: Contender) -> TimedSession:
        """The timed session of a contender, opened when it is first asked for."""
        if contender.case is None:
            return self._native_timed_session(model, contender.form)
        if contender.case not in self._sessions:
            self._sessions[contender.case] = self._runtime_timed_session(contender.case)
        return self._sessions[contender.case]

    def leave(self, model: ModelSpec) -> None:
        """End the sessions of other models and the other framework's worker."""
        for case in [case for case in self._sessions if case.model != model.name]:
            self._sessions.pop(case).worker.close()
        for framework in [name for name in self._native if name != model.framework]:
            self._native.pop(framework).close()

    def close(self) -> None:
        """End every worker."""
        for worker in [
            *self._native.values(),
            *(timed_session.worker for timed_session in self._sessions.values()),
        ]:
            worker.close()

    def _native_timed_session(self, model: ModelSpec, form: str) -> TimedSession:
        if model.framework not in self._native:
            self._native[model.framework] = timed_worker(self._run, model.framework)
        worker = self._native[model.framework]
        memory = worker.call("memory", reset=True)
        device = "cuda" if form in ON_CUDA.values() else "cpu"
        placement = {f"{model.framework} on {device}": "the whole model"}
        return TimedSession(
            worker,
            {"request": self._workers.native_request(model)},
            native_layout(model),
            OpeningFacts(memory["resident"], placement),
        )

    def _runtime_timed_session(self, case: Case) -> TimedSession:
        artifact = self._workers.artifact(case)
        settings = self._run.settings
        worker = timed_worker(self._run, "onnxruntime", PROVIDERS[case.provider].process())
        libraries = libraries_of(case, settings)
        return open_timed_session(worker, case, artifact, level_of(case, settings), libraries)


def timed_worker(run: PerfRun, kind: str, spec: str | None = None) -> SuspendedWorker:
    """A fresh worker on the processors that the run times on.

    Args:
        spec: execnet's name of its process; None for this environment.
    """
    settings = run.settings
    return SuspendedWorker(
        kind, threads=settings.threads, cpus=run.timing.cpus, limit=settings.limit, spec=spec
    )


def open_timed_session(
    worker: SuspendedWorker,
    case: Case,
    artifact: Artifact,
    level: str,
    libraries: list[str] | None = None,
) -> TimedSession:
    """Open a case's session in a fresh worker.

    Args:
        level: ONNX Runtime's name of the graph optimization level.
        libraries: with custom operators, as ``custom_op_libraries`` of a session.

    Raises:
        InvalidTiming: the session placed no node on the case's provider.
    """
    session = session_request(case, artifact, level)
    session["custom_op_libraries"] = libraries or []
    before = worker.call("memory", reset=True)["resident"]
    info = worker.call("open", session=session)
    provider = PROVIDERS[case.provider].ort_name
    if not info["placement"].get(provider):
        worker.close()
        raise InvalidTiming(f"{case.id}: {provider} runs no node, so the time would not be its own")
    layout = file_layout(resolve_model(case.model), artifact.facts)
    opened = OpeningFacts(before, info["placement"], info["seconds"], artifact.facts["bytes"])
    return TimedSession(worker, {"session": session}, layout, opened)
