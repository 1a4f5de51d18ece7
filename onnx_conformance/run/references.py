"""References as futures: oracle, compute modes of the noise floor, float32 alone, refusals.

Each answer is computed once, in the worker queue of the model's framework, or read from the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from onnx_conformance.core.arrays import Arrays, Outputs, read_arrays
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.compute_modes import FLOAT32, FLOAT64, REFERENCE_MODES, REPLICAS
from onnx_conformance.core.errors import CapabilityMissing, Stage, StageFailure
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.store import CacheEntry, Store, key_of
from onnx_conformance.core.ties import OpenPlaces, answered, choices_in
from onnx_conformance.core.traces import NativeTensorRecord
from onnx_conformance.inputs.batch_layout import BatchLayout, native_layout
from onnx_conformance.inputs.loops import Loop
from onnx_conformance.inputs.padding import open_by_error
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run import cache_keys
from onnx_conformance.run.native_side import WEIGHTS, Memo, NativeSide, native_request, read_weights
from onnx_conformance.run.noise_floor import FLOAT32_NOISE_FLOOR, NoiseFloor
from onnx_conformance.run.oracle_check import oracle_problem
from onnx_conformance.run.user_models import refuse_edited
from onnx_conformance.run.worker_queue import WorkerQueue

OUTPUTS = "outputs.npz"

ByMode = dict[str, Arrays]
T = TypeVar("T")


@dataclass(frozen=True)
class _Native:
    """A native model whose weights are there, and the queue of the worker that computes it."""

    queue: WorkerQueue
    model: ModelSpec
    weights: CacheEntry
    settings: Settings

    def call(self, stage: Stage, what: str, method: str, **arguments: Any) -> Any:
        """Call the worker on this model, in the queue's thread."""
        return self.queue.call(
            stage,
            f"{self.model.name} ({what})",
            method,
            request=native_request(self.model, self.weights.path / WEIGHTS, self.settings),
            **arguments,
        )

    def key(self, inputs: Inputs, modes: tuple[str, ...]) -> str:
        """The content key of its outputs on inputs."""
        return cache_keys.outputs_key(
            cache_keys.model_key(self.model, self.settings),
            self.weights.facts["digest"],
            inputs.digest,
            modes,
            self.settings.threads,
            self.settings.approximation,
        )

    def run(self, mode: str, input_sets: list[Inputs]) -> list[Arrays]:
        """The answers as a row for each sample, whatever the model's own layout."""
        layout = native_layout(self.model)
        single = [inputs for inputs in input_sets if not isinstance(inputs, Loop)]
        calls = [call for inputs in single for call in layout.calls(inputs)]
        found = iter(self._answers("run", mode, input_sets=calls) if calls else ())
        return [
            self._loop(mode, layout, inputs)
            if isinstance(inputs, Loop)
            else layout.rows(inputs, list(islice(found, len(layout.calls(inputs)))))
            for inputs in input_sets
        ]

    def _loop(self, mode: str, layout: BatchLayout, loop: Loop) -> Arrays:
        answers = [self._answers("loop", mode, calls=calls) for calls in loop.groups(layout)]
        return loop.rows(layout, answers)

    def _answers(self, method: str, mode: str, **arguments: Any) -> list[Arrays]:
        answers: list[Arrays] = self.call(
            "native" if mode == FLOAT32 else "oracle",
            mode,
            method,
            mode=mode,
            **arguments,
        )
        return [_in_half(self.model, mode, answer) for answer in answers]


class NativeAnswers:
    """Native's answers, computed once for each model and inputs.

    ``oracle_runs`` counts the inputs that were computed in float64.
    """

    def __init__(self, settings: Settings, store: Store, native: NativeSide) -> None:
        self.oracle_runs = 0
        self.references: Memo[Reference | StageFailure] = Memo()
        self.answers: Memo[Outputs] = Memo()
        self._settings = settings
        self._store = store
        self._native = native
        self._refusals: dict[tuple[str, str], Future[StageFailure | None]] = {}
        self._elsewhere: set[str] = set()  # frameworks that compute on the processor alone

    def _submit(self, model: ModelSpec, work: Callable[[_Native], T]) -> Future[T]:
        """Do ``work`` in the queue of the model's worker, once the model is prepared."""
        queue, entry = self._native.queue(model), self._native.model(model)
        return queue.submit(lambda: work(_Native(queue, model, entry.result(), self._settings)))

    def submit_references(
        self,
        model: ModelSpec,
        input_sets: Iterable[Inputs],
        noise_floor: NoiseFloor = FLOAT32_NOISE_FLOOR,
    ) -> None:
        """Oracle and native on each of the inputs, in the compute modes of a class of precision.

        Of inputs that native refuses, its refusal.
        """
        self.references.add(
            {(model.name, inputs.digest, noise_floor): inputs for inputs in input_sets},
            lambda new: self._submit(
                model, lambda native: self._references_of_taken(native, new, noise_floor)
            ),
        )

    def submit_answers(self, model: ModelSpec, input_sets: Iterable[Inputs]) -> None:
        """Native in float32 alone on each of the inputs."""

        def work(native: _Native, new: list[Inputs]) -> list[Outputs]:
            return [answered(row[FLOAT32]) for row in self._outputs(native, new, (FLOAT32,))]

        self.answers.add(
            {(model.name, inputs.digest): inputs for inputs in input_sets},
            lambda new: self._submit(model, lambda native: work(native, new)),
        )

    def refusal(self, model: ModelSpec, inputs: Inputs) -> Future[StageFailure | None]:
        """Native's refusal of inputs, or None if it answers."""
        key = (model.name, inputs.digest)
        if key not in self._refusals:
            self._refusals[key] = self._submit(model, lambda native: self._attempt(native, inputs))
        return self._refusals[key]

    def influence(
        self, model: ModelSpec, names: list[str], input_sets: list[Inputs], least: float
    ) -> Future[dict[str, float]]:
        """The share of each tensor's elements that affects the outputs on these inputs."""
        calls = [call for inputs in input_sets for call in native_layout(model).calls(inputs)]
        return self._ask(model, "native", "influence", names=names, input_sets=calls, least=least)

    def trace(
        self, model: ModelSpec, inputs: Inputs, folder: Path
    ) -> Future[list[NativeTensorRecord]]:
        """Every intermediate tensor in float64, with float32's own error, written to ``folder``."""
        call, modes = native_layout(model).calls(inputs)[0], [FLOAT64, FLOAT32, REPLICAS[0]]
        return self._ask(model, "oracle", "trace", modes=modes, inputs=call, folder=str(folder))

    def _ask(self, model: ModelSpec, stage: Stage, method: str, **arguments: Any) -> Future[Any]:
        """The worker's answer to a question about the model, once the model is prepared."""
        return self._submit(model, lambda native: native.call(stage, method, method, **arguments))

    # -- in the queue's thread -----------------------------------------------------------------

    def _references_of_taken(
        self, native: _Native, input_sets: list[Inputs], noise_floor: NoiseFloor
    ) -> list[Reference | StageFailure]:
        """The references of the inputs that native takes, and its refusals of the others."""
        try:
            return list(self._references(native, input_sets, noise_floor))
        except StageFailure as failure:
            if failure.worker_died:
                raise
            refusals = [self._attempt(native, inputs) for inputs in input_sets]
            if not any(refusals):
                raise
        taken = [inputs for inputs, why in zip(input_sets, refusals, strict=True) if why is None]
        found = iter(self._references(native, taken, noise_floor))
        return [next(found) if why is None else why for why in refusals]

    def _references(
        self, native: _Native, input_sets: list[Inputs], noise_floor: NoiseFloor
    ) -> list[Reference]:
        if not native.model.oracle:
            plain = self._outputs(native, input_sets, (FLOAT32,))
            return [
                self._without_oracle(native.model, inputs, row[FLOAT32])
                for inputs, row in zip(input_sets, plain, strict=True)
            ]
        plain = in_class = self._outputs(native, input_sets, REFERENCE_MODES)
        if noise_floor.precision != FLOAT32:
            in_class = self._outputs(native, input_sets, noise_floor.compute_modes)
        on_device = self._on_device(native, input_sets, noise_floor)
        unit = noise_floor.precision + (f" (on {noise_floor.device} too)" if on_device else "")
        modes = [mode for mode in noise_floor.compute_modes if mode != FLOAT32]
        made = [
            _reference(
                row[FLOAT64],
                row[FLOAT32],
                [*(own[mode] for mode in modes), *on_device[place : place + 1]],
                unit,
            )
            for place, (row, own) in enumerate(zip(plain, in_class, strict=True))
        ]
        factor = self._settings.padding["own_error"]
        return [
            with_open_places(native.model, inputs, reference, factor)
            for inputs, reference in zip(input_sets, made, strict=True)
        ]

    def _without_oracle(self, model: ModelSpec, inputs: Inputs, answer: Arrays) -> Reference:
        """Native takes the oracle's place; its replicas are asked only where they decide."""

        def replicas(native: _Native) -> tuple[Outputs, ...]:
            try:
                [row] = self._outputs(native, [inputs], REPLICAS)
            except StageFailure:
                return ()
            return tuple(answered(row[name]) for name in REPLICAS)

        others = cache(lambda: self._submit(model, replicas).result())
        return replace(_reference(answer, answer, []), alternatives=others)

    def _on_device(
        self, native: _Native, input_sets: list[Inputs], noise_floor: NoiseFloor
    ) -> list[Arrays]:
        """Native on the noise floor's device; empty where its worker has no such device.

        Never cached: a key would have to know the device, its driver and its libraries.
        """
        framework = native.model.framework
        if not noise_floor.device_mode or framework in self._elsewhere:
            return []
        try:
            rows = self._compute(native, input_sets, (noise_floor.device_mode,))
        except CapabilityMissing:
            self._elsewhere.add(framework)
            return []
        return [row[noise_floor.device_mode] for row in rows]

    def _attempt(self, native: _Native, inputs: Inputs) -> StageFailure | None:
        def build(directory: Path) -> dict[str, Any]:
            try:
                self._compute(native, [inputs], (FLOAT32,))
            except StageFailure as refusal:
                if refusal.worker_died:
                    raise  # a crash is no refusal
                refuse_edited(native.model.name)  # nor is that
                return {"said": [refusal.stage, refusal.subject, refusal.reason, refusal.details]}
            return {"said": None}

        key = native.key(inputs, ("attempt",))
        said = self._store.get_or_build("attempts", key, build).facts["said"]
        return StageFailure(*said) if said else None

    def _outputs(
        self, native: _Native, input_sets: Sequence[Inputs], modes: tuple[str, ...]
    ) -> list[ByMode]:
        """Native's answers to inputs in each compute mode, from the store where possible.

        Of several processes that lack the same answers, such as workers of pytest-xdist, one
        computes them and the others wait for it.
        """
        keys = [native.key(inputs, modes) for inputs in input_sets]
        wanted = dict(zip(keys, input_sets, strict=True))
        found = {key: self._store.peek("outputs", key) for key in wanted}
        if None in found.values():
            model_key = cache_keys.model_key(native.model, self._settings)
            work = key_of(model=model_key, modes=modes)
            with self._store.exclusive("outputs", work):
                found |= {
                    key: self._store.peek("outputs", key)
                    for key, entry in found.items()
                    if entry is None
                }
                missing = [key for key, entry in found.items() if entry is None]
                lacking = [wanted[key] for key in missing]
                fresh = self._compute(native, lacking, modes)
                found |= {
                    key: self._store.get_or_build("outputs", key, partial(_write_outputs, row))
                    for key, row in zip(missing, fresh, strict=True)
                }
        rows = {key: _read_outputs(entry) for key, entry in found.items() if entry is not None}
        return [rows[key] for key in keys]

    def _compute(
        self, native: _Native, input_sets: list[Inputs], modes: tuple[str, ...]
    ) -> list[ByMode]:
        if not input_sets:
            return []
        columns = {}
        for mode in modes:
            self.oracle_runs += len(input_sets) if mode == FLOAT64 else 0
            columns[mode] = native.run(mode, input_sets)
        refuse_edited(native.model.name)
        single = [n for n, inputs in enumerate(input_sets) if not isinstance(inputs, Loop)]
        if FLOAT64 in columns and single:
            problem = oracle_problem(
                native.model,
                [input_sets[place] for place in single],
                [columns[FLOAT64][place] for place in single],
                lambda: read_weights(native.weights).arrays,
                lambda inputs: native.run(FLOAT64, [inputs])[0],
            )
            if problem:
                raise StageFailure("oracle", native.model.name, problem)
        return [{mode: columns[mode][place] for mode in modes} for place in range(len(input_sets))]


def _reference(
    oracle: Arrays, native: Arrays, replicas: list[Arrays], unit: str = FLOAT32
) -> Reference:
    choices = choices_in(oracle, [native, *replicas])
    others = tuple(map(answered, replicas))
    return Reference(answered(oracle), answered(native), others, unit, choices)


def with_open_places(
    model: ModelSpec, inputs: Inputs, reference: Reference, factor: float
) -> Reference:
    """The reference with the oracle's numbers in the padded places that native leaves open.

    There they are no error of float32's, which else would excuse errors of the sample's others.
    """
    oracle = reference.oracle
    found = open_by_error(model, inputs, oracle, reference.natives, factor)
    if not found:
        return reference

    def closed(answer: Outputs) -> Outputs:
        return {
            name: np.where(found[name], oracle[name], array).astype(array.dtype)
            if name in found and array.shape == oracle[name].shape
            else array
            for name, array in answer.items()
        }

    opened = {}
    for name, places in found.items():
        known = reference.choices.get(name)
        opened[name] = OpenPlaces(
            places | known.places if isinstance(known, OpenPlaces) else places
        )
    return replace(
        reference,
        native=closed(reference.native),
        replicas=tuple(map(closed, reference.replicas)),
        choices={**reference.choices, **opened},
    )


def _write_outputs(row: ByMode, directory: Path) -> dict[str, Any]:
    flat = {f"{mode}/{n}": array for mode, by in row.items() for n, array in by.items()}
    np.savez(directory / OUTPUTS, **flat)  # type: ignore[arg-type] # its stub's **kwds
    return {}


def _read_outputs(entry: CacheEntry) -> ByMode:
    found: ByMode = {}
    for label, array in read_arrays(entry.path / OUTPUTS).items():
        mode, _, name = label.partition("/")
        found.setdefault(mode, {})[name] = array
    return found


def _in_half(model: ModelSpec, mode: str, answers: Arrays) -> Arrays:
    """Outputs that the model itself gives in float16, which workers hand over as float32."""
    if mode == FLOAT64:
        return answers
    half = {spec.name for spec in model.outputs if spec.dtype == "float16"}
    return {name: a.astype(np.float16) if name in half else a for name, a in answers.items()}
