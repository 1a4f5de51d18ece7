"""The workers of a run, and what they make: artifacts, sessions, references, answers, each once.

Whatever is asked for is submitted to its worker's queue once and handed out as a future's result.
``plan`` submits ahead what the selected tests will need, in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import numpy as np

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.catalog.providers import CPU, PROVIDERS
from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.case import Case, ExternalCase
from onnx_conformance.core.documents import CaseFacts, ProbeFacts
from onnx_conformance.core.errors import CapabilityMissing, StageFailure
from onnx_conformance.core.native_request import NativeRequest
from onnx_conformance.core.settings import LEVELS, Settings
from onnx_conformance.core.spec import ModelSpec, Preprocessing
from onnx_conformance.core.store import Store
from onnx_conformance.core.traces import NativeTensorRecord, TensorRecord
from onnx_conformance.inputs.families import InputPlan, plan_of
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.external_artifacts import read_external_artifact
from onnx_conformance.run.native_side import (
    SAMPLE,
    WEIGHTS,
    NativeSide,
    native_request,
    read_weights,
)
from onnx_conformance.run.noise_floor import FLOAT32_NOISE_FLOOR, NoiseFloor, noise_floor_of
from onnx_conformance.run.probe import ProbeResult
from onnx_conformance.run.references import NativeAnswers
from onnx_conformance.run.runtime_side import RuntimeSide
from onnx_conformance.run.subject import Answer, Artifact, NativeWeights, SessionInfo
from onnx_conformance.run.worker_queue import WorkerQueues

T = TypeVar("T")

REFUSABLE_FAMILIES = ("empty", "malformed")  # families that a session may refuse


class RunWorkers:
    """What the workers of a run make. Its methods wait, except ``plan`` and ``known_*``."""

    def __init__(self, settings: Settings, store: Store, clock: Clock) -> None:
        self.settings = settings
        self.store = store
        self._clock = clock
        self._queues = WorkerQueues(settings, clock)
        self._native = NativeSide(settings, store, self._queues)
        self._answers = NativeAnswers(settings, store, self._native)
        self._runtime = RuntimeSide(self._queues, clock, settings)

    def close(self) -> None:
        """End every worker."""
        self._native.close()
        self._queues.close()

    @property
    def oracle_runs(self) -> int:
        """How many inputs the oracles computed in this run."""
        return self._answers.oracle_runs

    def probe(self, provider: str) -> ProbeResult:
        """Whether a provider works here, and if not, why."""
        return self._clock.wait(self._runtime.probe(provider), self._runtime.queue(provider).name)

    def artifact(self, case: Case) -> Artifact:
        """The exported file."""
        return self._clock.wait(self._native.artifact(case), resolve_model(case.model).framework)

    def session(self, case: Case, artifact: Artifact | None = None) -> SessionInfo:
        """Facts on the session of the case, or of another file."""
        found = self._runtime.session(case, artifact or self._native.artifact(case))
        return self._clock.wait(found, self._runtime.queue(case.provider).name)

    def weights(self, model: ModelSpec) -> NativeWeights:
        """The native model's tensors."""
        return read_weights(self._clock.wait(self._native.model(model), model.framework))

    def reference(
        self, model: ModelSpec, inputs: Inputs, noise_floor: NoiseFloor = FLOAT32_NOISE_FLOOR
    ) -> Reference:
        """Oracle and native on inputs, with the compute modes of a class of precision.

        Raises:
            StageFailure: native fails on these inputs, or one of its compute modes does.
        """
        [found] = self._references(model, [inputs], noise_floor)
        if isinstance(found, StageFailure):
            raise found
        return found

    def references(
        self,
        model: ModelSpec,
        input_sets: Sequence[Inputs],
        noise_floor: NoiseFloor = FLOAT32_NOISE_FLOOR,
    ) -> list[Reference | str]:
        """References of several inputs, computed together; the reason where native refuses."""
        found = self._references(model, input_sets, noise_floor)
        return [one.reason if isinstance(one, StageFailure) else one for one in found]

    def _references(
        self, model: ModelSpec, input_sets: Sequence[Inputs], noise_floor: NoiseFloor
    ) -> list[Reference | StageFailure]:
        self._answers.submit_references(model, input_sets, noise_floor)
        keys = [(model.name, inputs.digest, noise_floor) for inputs in input_sets]
        parts = [self._answers.references[key] for key in keys]
        return [self._clock.wait(future, model.framework)[place] for future, place in parts]

    def native(self, model: ModelSpec, inputs: Inputs) -> Outputs:
        """Native's answer to inputs in float32."""
        if (model.name, inputs.digest, FLOAT32_NOISE_FLOOR) in self._answers.references:
            return self.reference(model, inputs).native
        self._answers.submit_answers(model, [inputs])
        future, place = self._answers.answers[(model.name, inputs.digest)]
        return self._clock.wait(future, model.framework)[place]

    def native_refusal(self, model: ModelSpec, inputs: Inputs) -> str | None:
        """Why the native model refuses inputs, or None if it answers."""
        refusal = self._clock.wait(self._answers.refusal(model, inputs), model.framework)
        return refusal.reason if refusal else None

    def influence(
        self, model: ModelSpec, names: list[str], input_sets: list[Inputs], least: float
    ) -> dict[str, float]:
        """The share of each native tensor's elements that affects the outputs on these inputs."""
        found = self._answers.influence(model, names, input_sets, least)
        return self._clock.wait(found, model.framework)

    def preprocess(self, photograph: Path, preprocessing: Preprocessing) -> Array:
        """torchvision's sample of a photograph, ``(3, crop, crop)``."""
        entry = self._clock.wait(self._native.sample(photograph, preprocessing), "torch")
        sample: Array = np.load(entry.path / SAMPLE)
        return sample

    def read(self, case: ExternalCase) -> Artifact:
        """The external artifact of a case, read anew under this run's limits.

        Raises:
            StageFailure: it cannot be read, or asks for more than the limits allow.
        """
        return read_external_artifact(case, self._queues)

    def answers(
        self,
        case: Case,
        input_sets: Sequence[Inputs],
        *,
        artifact: Artifact | None = None,
        repeat: int = 0,
        level: str = "",
    ) -> list[Answer]:
        """The runtime's answers to inputs, asked for together.

        Args:
            artifact: another file than the case's own.
            repeat: counts runs of the same inputs.
            level: a graph optimization level, at which the CPU provider answers; empty for the
                case's own session.
        """
        file = artifact or self._native.artifact(case)
        parts = self._runtime.submit(case, file, input_sets, repeat=repeat, level=level)
        queue = self._runtime.queue(CPU.name if level else case.provider).name
        return [_without_failure(self._clock.wait(future, queue)[place]) for future, place in parts]

    # -- traces, for localisation ------------------------------------------------------------

    def native_trace(
        self, model: ModelSpec, inputs: Inputs, folder: Path
    ) -> list[NativeTensorRecord]:
        """Every intermediate tensor of native."""
        return self._clock.wait(self._answers.trace(model, inputs, folder), model.framework)

    def artifact_trace(
        self, case: Case, path: Path, inputs: Inputs, names: list[str], folder: Path
    ) -> dict[str, TensorRecord]:
        """Records of tensors of a file, by name, as its nodes compute them unoptimised."""
        traced = self._runtime.trace(case, path, inputs, names, folder)
        return self._clock.wait(traced, self._runtime.queue("cpu").name)

    def optimise(self, case: Case, path: Path, level: str, target: Path) -> None:
        """Write a file as ONNX Runtime rewrites it at a graph level."""
        written = self._runtime.optimise(case, path, level, target)
        self._clock.wait(written, self._runtime.queue("cpu").name)

    def quiesce(self) -> None:
        """Wait until every worker is idle, so that a measurement has the machine to itself."""
        self._queues.quiesce()

    # -- without waiting -----------------------------------------------------------------------

    def known_facts(self, case: Case) -> CaseFacts:
        """The facts on a case's artifact and session that are known by now."""
        facts: CaseFacts = {"cpu_fallback": self.settings.cpu_fallback}
        artifact = _ready(self._native.artifacts.get(case.artifact_id))
        if artifact is not None:
            facts["artifact"] = artifact.facts
            facts["path"] = str(artifact.path)
            facts["sha256"] = artifact.sha256[0]
        session = _ready(self._runtime.sessions.get(case.id))
        if session is not None:
            facts["placement"] = session.placement
            facts["placed"] = {
                "nodes": session.share_of_nodes,
                "work": session.share_of_work,
                "work_unknown": session.work.unknown if session.work else "",
            }
        return facts

    def known_files(self, case: Case) -> dict[str, str]:
        """Path -> SHA-256 of its artifact and of its model's weights; empty until it is made."""
        artifact = _ready(self._native.artifacts.get(case.artifact_id))
        entry = _ready(self._native.models.get(case.model))
        if artifact is None or entry is None:
            return {}
        digests = zip(artifact.files, artifact.sha256, strict=True)
        found = {str(path): digest for path, digest in digests}
        return {**found, str(entry.path / WEIGHTS): entry.digests[WEIGHTS]}

    def known_probes(self) -> dict[str, ProbeFacts]:
        """The probes that have been made so far."""
        found = {name: _ready(future) for name, future in self._runtime.probes.items()}
        return {name: result.as_facts() for name, result in found.items() if result is not None}

    def native_request(self, model: ModelSpec) -> NativeRequest:
        """The native model as a request to another worker."""
        entry = self._clock.wait(self._native.model(model), model.framework)
        return native_request(model, entry.path / WEIGHTS, self.settings)

    def plan(self, needs: dict[Case, set[str]]) -> None:
        """Submit what the selected cases will need: for each case, its input families.

        Exports of a model go before its references, so that the runtime has work early. GPUs are
        probed meanwhile.
        """
        for provider in {case.provider for case in needs if PROVIDERS[case.provider].gpu}:
            self._runtime.probe(provider)
        by_model: dict[str, list[Case]] = {}
        for case in needs:
            by_model.setdefault(case.model, []).append(case)
        for name, cases in by_model.items():
            model = resolve_model(name)
            for case in cases:
                if not (isinstance(case, ExternalCase) and self.settings.first_finding):
                    self._native.artifact(case)
            families = sorted({family for case in cases for family in needs[case]})
            plans = {family: self._input_sets(family, model) for family in families}
            self._plan_native(model, InputPlan.of(plans.values()), _planned(cases))
            for case in cases:
                wanted = [plans[family] for family in sorted(needs[case], key=_risky_last)]
                self._plan_runtime(case, InputPlan.of(wanted))
        self._plan_beside_gpus(needs)

    def _input_sets(self, family: str, model: ModelSpec) -> InputPlan:
        return plan_of(family, model, self.settings.seed, self.settings.examples)

    def _plan_beside_gpus(self, needs: dict[Case, set[str]]) -> None:
        """Native in the classes and on the devices of GPU cases whose provider works.

        All inputs of a model together: made anew for each of them, the compute modes of native
        cost minutes.
        """
        wanted: dict[tuple[str, NoiseFloor], set[str]] = {}
        for case, families in needs.items():
            if PROVIDERS[case.provider].gpu and self.probe(case.provider).usable:
                wanted.setdefault((case.model, noise_floor_of(case)), set()).update(families)
        for (name, noise_floor), families in wanted.items():
            model = resolve_model(name)
            plan = InputPlan.of([self._input_sets(family, model) for family in sorted(families)])
            self._plan_references(model, plan, noise_floor)

    def _plan_native(
        self, model: ModelSpec, plan: InputPlan, noise_floors: Iterable[NoiseFloor]
    ) -> None:
        for noise_floor in (FLOAT32_NOISE_FLOOR, *noise_floors):
            self._plan_references(model, plan, noise_floor)
        self._answers.submit_answers(model, plan.native)
        for inputs in plan.attempts:
            self._answers.refusal(model, inputs)

    def _plan_references(self, model: ModelSpec, plan: InputPlan, noise_floor: NoiseFloor) -> None:
        for input_sets in (plan.reference, plan.sweep, plan.native_sweep):
            self._answers.submit_references(model, input_sets, noise_floor)

    def _plan_runtime(self, case: Case, plan: InputPlan) -> None:
        if PROVIDERS[case.provider].gpu or self.settings.first_finding:
            return  # a GPU's session may take minutes to build, a red case ends early: when asked
        runtime, artifact = self._runtime, self._native.artifact(case)
        runtime.session(case, artifact)
        runtime.submit(case, artifact, (*plan.reference, *plan.native, *plan.sweep, *plan.runtime))
        runtime.submit(case, artifact, plan.repeats, repeat=1)
        runtime.submit(case, artifact, plan.unoptimised, level=LEVELS["disabled"])


def _planned(cases: Iterable[Case]) -> list[NoiseFloor]:
    """The noise floors of the cases; those of a GPU wait for its probe."""
    known = [noise_floor_of(case) for case in cases if not PROVIDERS[case.provider].gpu]
    return list(dict.fromkeys(known))


def _without_failure(answer: Answer) -> Answer:
    """The answer, if one was given; where nobody was asked there is no verdict."""
    if answer.missing:
        raise CapabilityMissing(answer.missing)
    return answer


def _ready(future: Future[T] | None) -> T | None:
    """The future's result, if it has one by now."""
    if future is None or not future.done() or future.cancelled() or future.exception():
        return None
    return future.result()


def _risky_last(family: str) -> tuple[bool, str]:
    """Put inputs that a session may refuse last: some providers answer wrongly afterwards."""
    return family in REFUSABLE_FAMILIES, family
