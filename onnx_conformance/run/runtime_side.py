"""The runtime side of a run: ONNX Runtime's sessions and answers, as futures.

Each provider has a worker of its own. Its answers are never cached: they are what is judged.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.catalog.providers import CPU, PROVIDERS
from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.case import Case, ExternalCase
from onnx_conformance.core.errors import CapabilityMissing, StageFailure
from onnx_conformance.core.settings import Settings, level_of
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.traces import TensorRecord
from onnx_conformance.core.worker_messages import RunResult, SessionRequest
from onnx_conformance.inputs.batch_layout import BatchLayout, file_layout, is_half_of
from onnx_conformance.inputs.loops import Loop, without_call
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.native_side import FutureItem, Memo
from onnx_conformance.run.probe import FELL_BACK, ProbeResult, probe, write_probe_model
from onnx_conformance.run.runtime_failures import (
    Isolation,
    answered,
    hung,
    lacking,
    lacking_of_machine,
    measure_workload,
    sentence,
    weighed_on,
)
from onnx_conformance.run.subject import Answer, Artifact, SessionInfo, libraries_of
from onnx_conformance.run.worker_queue import WorkerQueue, WorkerQueues


class RuntimeSide:
    """Sessions wait for their artifact; meanwhile the worker queue serves others."""

    def __init__(self, queues: WorkerQueues, clock: Clock, settings: Settings) -> None:
        self.sessions: dict[str, Future[SessionInfo]] = {}
        self.probes: dict[str, Future[ProbeResult]] = {}
        self._answers: Memo[Answer] = Memo()
        self._queues = queues
        self._clock = clock
        self._settings = settings
        self._deadly: dict[str, StageFailure] = {}  # what is not tried again, by case

    def queue(self, provider: str) -> WorkerQueue:
        """The provider's worker queue."""
        process = PROVIDERS[provider].process()
        return self._queues.get(f"onnxruntime-{provider}", "onnxruntime", spec=process)

    def session(self, case: Case, artifact: Future[Artifact] | Artifact) -> Future[SessionInfo]:
        """The facts of a case's session, on its own artifact or on another file."""
        queue = self.queue(case.provider)
        if isinstance(artifact, Artifact):
            return queue.submit(lambda: self._open(queue, case, artifact))
        if case.id not in self.sessions:
            opened = queue.after(artifact, lambda ready: self._open(queue, case, ready))
            self.sessions[case.id] = self._with_work(case, artifact, opened)
        return self.sessions[case.id]

    def _with_work(
        self, case: Case, artifact: Future[Artifact], opened: Future[SessionInfo]
    ) -> Future[SessionInfo]:
        """The session's facts and, where several providers run its nodes, their shares of the work.

        It is measured in a process of its own: profiling must not touch what judges.
        """
        record = PROVIDERS[case.provider]
        if record.ort_name == CPU.ort_name:  # what falls back, falls back to it
            return opened
        name = f"onnxruntime-{case.provider}-profile"
        queue = self._queues.get(name, "onnxruntime", spec=record.process())

        def with_work(info: SessionInfo) -> SessionInfo:
            if info.placement and info.share_of_work is not None:
                return info
            ready, level = artifact.result(), level_of(case, self._settings)
            sample = weighed_on(resolve_model(case.model), self._settings.seed)
            inputs = file_layout(resolve_model(case.model), ready.facts).calls(sample)[0]
            work = measure_workload(queue, case.id, self._request(case, ready, level), inputs)
            return replace(info, work=work, placement=info.placement or work.placement)

        return queue.after(opened, with_work)

    def _open(self, queue: WorkerQueue, case: Case, artifact: Artifact) -> SessionInfo:
        """Open a session, in the worker queue's thread."""
        wanted = self._request(case, artifact, level_of(case, self._settings))
        with self._in_one_sentence(case):
            info = queue.call("runtime", case.id, "open", session=wanted)
        return SessionInfo(
            provider=PROVIDERS[case.provider].ort_name,
            sha256=tuple(info["sha256"]),
            placement=info["placement"],
            inputs=tuple(tensor["name"] for tensor in info["inputs"]),
            outputs=tuple(tensor["name"] for tensor in info["outputs"]),
            seconds=info["seconds"],
        )

    def submit(
        self,
        case: Case,
        artifact: Future[Artifact] | Artifact,
        input_sets: Sequence[Inputs],
        *,
        repeat: int = 0,
        level: str = "",
    ) -> list[FutureItem[Answer]]:
        """Ask for answers, together: of each the future of a list, and its place there.

        Args:
            artifact: the case's own, whose answers are asked for once, or another file.
            repeat: counts runs of the same inputs.
            level: a graph optimization level, at which the CPU provider answers; empty for the
                case's own session.
        """
        queue = self.queue(CPU.name if level else case.provider)
        if isinstance(artifact, Artifact):
            ran = queue.submit(lambda: self._run(queue, case, artifact, input_sets, level))
            return [(ran, place) for place in range(len(input_sets))]

        def work(chosen: list[Inputs]) -> Future[list[Answer]]:
            return queue.after(artifact, lambda ready: self._run(queue, case, ready, chosen, level))

        keys = [(case.id, inputs.digest, repeat, level) for inputs in input_sets]
        self._answers.add(dict(zip(keys, input_sets, strict=True)), work)
        return [self._answers[key] for key in keys]

    def _run(
        self,
        queue: WorkerQueue,
        case: Case,
        artifact: Artifact,
        input_sets: Sequence[Inputs],
        level: str,
    ) -> list[Answer]:
        """Run inputs, in the queue's thread: a row for each sample, under the spec's names."""
        model = resolve_model(case.model)
        layout = file_layout(model, artifact.facts)
        opened = replace(case, provider=CPU.name) if level else case
        session = self._request(opened, artifact, level or level_of(case, self._settings))

        def run(some: list[Inputs]) -> list[RunResult]:
            single = [inputs for inputs in some if not isinstance(inputs, Loop)]
            calls = [call for inputs in single for call in layout.calls(inputs)]
            found = iter(queue.call("runtime", case.id, "run", session=session, input_sets=calls))
            return [
                self._loop(queue, case, session, layout, inputs)
                if isinstance(inputs, Loop)
                else _joined(layout, inputs, list(islice(found, len(layout.calls(inputs)))))
                for inputs in some
            ]

        isolation = Isolation(input_sets, queue.worker.reset)
        with self._in_one_sentence(case):
            for some in isolation:
                try:
                    isolation.ran(run(some))
                except StageFailure as failure:
                    isolation.failed(failure)
        answers = [_as_answer(model, result) for result in isolation.results]
        if not isinstance(case, ExternalCase):
            return answers
        return [replace(one, error=answered(one.error)) if one.error else one for one in answers]

    def _loop(
        self,
        queue: WorkerQueue,
        case: Case,
        session: SessionRequest,
        layout: BatchLayout,
        loop: Loop,
    ) -> RunResult:
        """The result of a loop as one: rows that say their call, or the first error."""
        carries = layout.names.carried(resolve_model(case.model).carries)
        groups: list[list[Outputs]] = []
        for calls in loop.groups(layout):
            results: list[RunResult] = queue.call(
                "runtime", case.id, "loop", session=session, calls=calls, carries=carries
            )
            if "outputs" not in results[-1]:
                last = results[-1]
                return {**last, "error": f"call {len(results)} of {len(calls)}: {last['error']}"}
            groups.append([result["outputs"] for result in results])
        return {"outputs": loop.rows(layout, groups)}

    def _request(self, case: Case, artifact: Artifact, level: str) -> SessionRequest:
        """The request for a session, with the user's libraries and an external artifact's limit."""
        return {
            **session_request(case, artifact, level, self._settings.threads),
            "memory": self._memory(case, artifact.files),
            "allow_cpu_fallback": self._may_fall_back(case),
            "custom_op_libraries": libraries_of(case, self._settings),
        }

    def _may_fall_back(self, case: Case) -> bool:
        """Whether nodes may be left to the CPU provider; for that provider itself always."""
        return self._settings.cpu_fallback or PROVIDERS[case.provider].ort_name == CPU.ort_name

    def _memory(self, case: Case, files: tuple[Path, ...]) -> int:
        """Bytes that a call may use; 0, no limit, for the suite's own exports.

        Nor on a GPU, whose libraries allocate by rules of their own, nor in the judge's process.
        """
        limited = isinstance(case, ExternalCase) and not PROVIDERS[case.provider].gpu
        if not limited or self._settings.in_process:
            return 0
        return self._settings.limits.memory(files)

    @contextmanager
    def _in_one_sentence(self, case: Case) -> Iterator[None]:
        """An external artifact's failure in one sentence; one that ended its worker gets no other.

        Of our own exports, what a custom-operator library would fix; one that hung gets no other
        either, or a provider that hangs would cost the limit for each of its inputs.
        """
        if case.id in self._deadly:
            raise self._deadly[case.id]
        try:
            yield
        except StageFailure as failure:
            lack = lacking_of_machine(failure)
            if lack is not None:
                raise CapabilityMissing(lack) from failure
            if FELL_BACK in failure.reason:
                raise StageFailure("runtime", case.id, _forbidden(case)) from failure
            if not isinstance(case, ExternalCase):
                if hung(failure):
                    self._deadly[case.id] = failure
                lack = lacking(failure, case.model)
                if lack is None:
                    raise
                raise StageFailure("runtime", case.id, lack, failure.details) from failure
            short = StageFailure("runtime", case.id, sentence(failure))
            if failure.worker_died:
                self._deadly[case.id] = short
            raise short from failure

    def trace(
        self, case: Case, path: Path, inputs: Inputs, names: list[str], folder: Path
    ) -> Future[dict[str, TensorRecord]]:
        """Write a file's intermediate tensors to ``folder``; its own nodes run on the CPU.

        Args:
            inputs: under the file's own names.
        """
        queue = self.queue("cpu")
        return queue.submit(
            lambda: queue.call(
                "runtime",
                f"{case.id} (trace)",
                "trace",
                path=str(path),
                inputs=inputs,
                names=names,
                folder=str(folder),
                memory=self._memory(case, (path,)),
                libraries=libraries_of(case, self._settings),
            )
        )

    def optimise(self, case: Case, path: Path, level: str, target: Path) -> Future[None]:
        """Write a file as the CPU provider rewrites it at a level of graph optimisation."""
        queue = self.queue("cpu")
        memory = self._memory(case, (path,))
        wanted = {
            "path": str(path),
            "level": level,
            "target": str(target),
            "memory": memory,
            "libraries": libraries_of(case, self._settings),
        }
        return queue.submit(
            lambda: queue.call("runtime", f"{case.id} ({level})", "optimise", **wanted)
        )

    def probe(self, provider: str) -> Future[ProbeResult]:
        """Whether a provider works here; asked once, in the provider's own process."""
        if provider not in self.probes:
            queue = self.queue(provider)
            self.probes[provider] = queue.submit(lambda: self._probe(queue, provider))
        return self.probes[provider]

    def _probe(self, queue: WorkerQueue, provider: str) -> ProbeResult:
        busy = self._clock.busy(queue.name, "runtime", f"probe of {provider}")
        with tempfile.TemporaryDirectory() as folder, busy:
            path = Path(folder) / "probe.onnx"
            write_probe_model(path)
            result = probe(PROVIDERS[provider], queue.worker, path, self._settings.limit)
        if not result.usable:
            queue.worker.reset()  # a worker that will judge nothing gives its memory back
        return result


def session_request(case: Case, artifact: Artifact, level: str, threads: int = 1) -> SessionRequest:
    """The request for a case's session at a graph level."""
    provider = PROVIDERS[case.provider]
    request: SessionRequest = {
        "files": [str(path) for path in artifact.files],
        "sha256": list(artifact.sha256),
        "provider": provider.ort_name,
        "provider_options": provider.opened_with(threads=threads),
        "graph_level": level,
        "allow_cpu_fallback": True,
    }
    return {**request, "library": provider.library} if provider.library else request


def answer_of_calls(
    model: ModelSpec, layout: BatchLayout, inputs: Inputs, results: list[RunResult]
) -> Answer:
    """The answer to a set of inputs, from the results of the calls that ``layout`` makes of it."""
    return _as_answer(model, _joined(layout, inputs, results))


def _as_answer(model: ModelSpec, result: RunResult) -> Answer:
    if "missing" in result:
        return Answer(None, missing=result["missing"])
    if "error" in result:
        return Answer(None, result["error"], died="died" in result)
    return Answer(_in_width(model, result["outputs"]))


def _in_width(model: ModelSpec, outputs: Outputs) -> Outputs:
    """The outputs in the spec's dtypes, where an artifact may give another width.

    It may give float16 for float32 in that class of precision: the check ``interface`` judges it.
    """
    specs = {spec.name: spec for spec in model.outputs}

    def widened(name: str, array: Array) -> Array:
        spec = specs.get(without_call(name))
        if spec is None:
            return array
        loose = model.loosely_typed and array.dtype.kind == np.dtype(spec.dtype).kind
        fits = loose or is_half_of(spec, str(array.dtype))
        return array.astype(spec.dtype) if fits else array

    return {name: widened(name, array) for name, array in outputs.items()}


def _joined(layout: BatchLayout, inputs: Inputs, results: list[RunResult]) -> RunResult:
    """The results of a set's calls as one: a row for each sample, or the first error."""
    refused = next((result for result in results if "outputs" not in result), None)
    if refused is not None:
        return refused
    return {"outputs": layout.rows(inputs, [result["outputs"] for result in results])}


def _forbidden(case: Case) -> str:
    return (
        f"{PROVIDERS[case.provider].ort_name} leaves nodes to the CPU, which --no-cpu-fallback "
        "forbids; leave the option out to see these nodes in the check placement"
    )
