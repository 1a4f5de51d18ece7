"""The native side of a run: models, artifacts and samples, as futures.

A framework's work runs in its own worker queue in the order in which it is submitted, so a later
job may use an earlier one's result without waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import numpy as np

from onnx_conformance.catalog.exporters import EXPORTERS
from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.catalog.variants import VARIANTS
from onnx_conformance.core.arrays import read_arrays
from onnx_conformance.core.case import Case, DerivedCase, ExternalCase
from onnx_conformance.core.documents import FileFacts
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.extras import require_modules
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.native_constants import Constant, read_constants
from onnx_conformance.core.native_request import Description, NativeRequest
from onnx_conformance.core.onnx_file import inspect
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.spec import ModelSpec, Preprocessing
from onnx_conformance.core.store import CacheEntry, Store
from onnx_conformance.inputs.batch_layout import file_layout
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.inputs.samples import calibration_inputs, user_inputs
from onnx_conformance.run import cache_keys
from onnx_conformance.run.external_artifacts import read_external_artifact
from onnx_conformance.run.subject import Artifact, NativeWeights, libraries_of
from onnx_conformance.run.user_models import refuse_edited
from onnx_conformance.run.worker_queue import WorkerQueue, WorkerQueues

VARIANT_BACKEND = "onnx_conformance.workers.variants:VariantBackend"
WEIGHTS = "weights.npz"
# of some frameworks' descriptions
OPTIONAL_FACTS = ("batch_statistics", "constant_outputs", "declared", "complaint")
MODEL_FILE = "model.onnx"
SAMPLE = "sample.npy"


class NativeSide:
    """Makes each thing once, or reads it from the store."""

    def __init__(self, settings: Settings, store: Store, queues: WorkerQueues) -> None:
        self.artifacts: dict[str, Future[Artifact]] = {}
        self._settings = settings
        self._store = store
        self._queues = queues
        self.models: dict[str, Future[CacheEntry]] = {}
        self._samples: dict[str, Future[CacheEntry]] = {}
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")

    def queue(self, model: ModelSpec) -> WorkerQueue:
        """The worker queue of the model's framework."""
        return self._queues.get(model.framework, model.framework)

    def close(self) -> None:
        """Close the weights' files."""
        self._reader.shutdown(wait=False, cancel_futures=True)

    # -- models and artifacts --------------------------------------------------------------

    def model(self, model: ModelSpec) -> Future[CacheEntry]:
        """The model's entry: its weights and their description."""
        if model.name not in self.models:
            queue = self.queue(model)
            self.models[model.name] = queue.submit(lambda: self._prepare(queue, model))
        return self.models[model.name]

    def _prepare(self, queue: WorkerQueue, model: ModelSpec) -> CacheEntry:
        module = FRAMEWORKS[model.framework].module
        require_modules(model.framework, module)

        def build(directory: Path) -> dict[str, Any]:
            request = native_request(model, directory / WEIGHTS, self._settings)
            description: Description = queue.call("build", model.name, "prepare", request=request)
            refuse_edited(model.name)
            return dict(description)

        return self._store.get_or_build(
            "models", cache_keys.model_key(model, self._settings), build
        )

    def artifact(self, case: Case) -> Future[Artifact]:
        """The case's artifact, which cases on other providers share."""
        if isinstance(case, ExternalCase) and case.artifact_id not in self.artifacts:
            self.artifacts[case.artifact_id] = self._reader.submit(
                read_external_artifact, case, self._queues
            )
        if isinstance(case, DerivedCase) and case.artifact_id not in self.artifacts:
            plain = self.artifact(case.exported)
            queue = self._queues.get("variants", VARIANT_BACKEND)
            self.artifacts[case.artifact_id] = queue.after(plain, partial(self._vary, queue, case))
        if case.artifact_id not in self.artifacts:
            model = resolve_model(case.model)
            queue, entry = self.queue(model), self.model(model)
            self.artifacts[case.artifact_id] = queue.submit(
                lambda: self._export(queue, case, model, entry.result())
            )
        return self.artifacts[case.artifact_id]

    def _export(
        self, queue: WorkerQueue, case: Case, model: ModelSpec, weights: CacheEntry
    ) -> Artifact:
        exporter = EXPORTERS[case.exporter]

        def write(path: Path) -> None:
            queue.call(
                "export",
                case.artifact_id,
                "export",
                request=native_request(model, weights.path / WEIGHTS, self._settings),
                function=exporter.function,
                opset=case.opset,
                options=asdict(case.options),
                path=str(path),
            )
            refuse_edited(model.name)

        key = cache_keys.artifact_key(
            case, exporter, cache_keys.model_key(model, self._settings), weights.facts["digest"]
        )
        return self._written(case, key, write, by="route")

    def _vary(self, queue: WorkerQueue, case: DerivedCase, source: Artifact) -> Artifact:
        """The case's variant of an exported file."""
        variant = VARIANTS[case.variant]
        input_sets = self._calibration(case) if variant.calibrated else None
        libraries = libraries_of(case, self._settings)
        layout = file_layout(resolve_model(case.model), source.facts)
        calls = None if input_sets is None else layout.smallest_calls(input_sets)

        def write(path: Path) -> None:
            queue.call(
                "export",
                case.artifact_id,
                "make",
                function=variant.function,
                needs=variant.needs,
                source=str(source.path),
                target=str(path),
                calibration=calls,
                libraries=libraries,
            )

        key = cache_keys.variant_key(
            variant, source.sha256, libraries, [inputs.digest for inputs in input_sets or ()]
        )
        return self._written(case, key, write, by="variant")

    def _written(self, case: Case, key: str, write: Callable[[Path], None], *, by: str) -> Artifact:
        """The artifact under a key, written where it is not kept.

        Raises:
            StageFailure: no file was written.
        """

        def build(directory: Path) -> dict[str, Any]:
            path = directory / MODEL_FILE
            write(path)
            if not path.is_file():
                raise StageFailure("export", case.artifact_id, f"the {by} wrote no file")
            return dict(inspect(path))

        entry = self._store.get_or_build("artifacts", key, build)
        files = tuple(entry.path / name for name in entry.facts["files"])
        sha256 = tuple(entry.digests[name] for name in entry.facts["files"])
        return Artifact(files[0], files, sha256, cast("FileFacts", entry.facts))

    def _calibration(self, case: Case) -> list[Inputs]:
        """The user's inputs, or else those of the model's task or spec."""
        model, settings = resolve_model(case.model), self._settings
        if settings.calibration_data:
            return user_inputs(model, Path(settings.calibration_data))
        return calibration_inputs(model, settings.seed)

    # -- photographs ---------------------------------------------------------------------------

    def sample(self, photograph: Path, preprocessing: Preprocessing) -> Future[CacheEntry]:
        """torchvision's sample of a photograph, as an entry."""
        key = cache_keys.photograph_key(file_digest(photograph), preprocessing)
        if key not in self._samples:
            queue = self._queues.get("torch", "torch")

            def build(directory: Path) -> dict[str, Any]:
                paths, how = [str(photograph)], asdict(preprocessing)
                what = f"photograph {photograph.name}"
                samples = queue.call("native", what, "preprocess", paths=paths, preprocessing=how)
                np.save(directory / SAMPLE, samples[0])
                return {}

            self._samples[key] = queue.submit(
                lambda: self._store.get_or_build("photographs", key, build)
            )
        return self._samples[key]


def native_request(model: ModelSpec, weights: Path, settings: Settings) -> NativeRequest:
    """What the run asks of a model's worker, with the file of its weights."""
    pretrained = settings.weights == "pretrained"
    return NativeRequest(model, str(weights), pretrained, settings.seed, settings.approximation)


def read_weights(entry: CacheEntry) -> NativeWeights:
    """The tensors of a model's entry."""
    arrays = read_arrays(entry.path / WEIGHTS)
    facts = entry.facts
    unused, names = tuple(facts["unused"]), tuple(facts["names"])
    values = read_constants(entry.path / WEIGHTS)
    constants = tuple(
        Constant(
            record["name"],
            tuple(record["operands"]),
            tuple(record["copies"]),
            record["used"],
            *values.get(record["name"], (None, None)),
        )
        for record in facts.get("constants", [])
    )
    optional = {key: facts[key] for key in OPTIONAL_FACTS if key in facts}
    return NativeWeights(arrays, facts["batch_norms"], unused, names, constants, **optional)


Item = TypeVar("Item")
T = TypeVar("T")
FutureItem = tuple[Future[list[T]], int]


class Memo(Generic[T]):
    """A memo of results computed as lists: key -> future of the list, and the place in it."""

    def __init__(self) -> None:
        self._parts: dict[Hashable, FutureItem[T]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._parts

    def __getitem__(self, key: Hashable) -> FutureItem[T]:
        return self._parts[key]

    def add(
        self, items: Mapping[Hashable, Item], submit: Callable[[list[Item]], Future[list[T]]]
    ) -> None:
        """Submit the ``items`` that were not submitted before, as one list."""
        new = {key: item for key, item in items.items() if key not in self._parts}
        if new:
            future = submit(list(new.values()))
            self._parts |= {key: (future, place) for place, key in enumerate(new)}
