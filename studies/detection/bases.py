"""The right conversions that mutants are made from: every route's artifact of every model."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from onnx_conformance.catalog.exporters import EXPORTERS
from onnx_conformance.catalog.models import MODELS, resolve_model
from onnx_conformance.core.case import Case, ExportOptions
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.store import Store
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.run_workers import RunWorkers
from onnx_conformance.run.selection import Selection, select_cases
from onnx_conformance.run.user_models import adopt

CLEAN = "clean.onnx"
SMALL_MODELS = Path(__file__).parents[1] / "small_models.py"
MEMORY_MODELS = Path(__file__).parents[1] / "wild" / "memory_models.py"
MEMORY = (
    "llama_like",
    "qwen_like",
    "gpt2_like",
    "t5_decoder_like",
    "whisper_decoder_like",
    "vad_like",
)
SMALL = (
    "tokens",
    "maps",
    "labels",
    "scores",
    "masked",
    "pairs",
    "voice",
    "step",
    "decoder",
    "three",
    "boxes",
)
FILES = {SMALL_MODELS: SMALL, MEMORY_MODELS: MEMORY}  # of models that are not this suite's own
FAMILIES_OF_SMALL = (
    "sizes", "slots and state", "cache and positions", "harmless: slots and state"
)  # fmt: skip


def adopt_small_models(names: Iterable[str]) -> None:
    """Register those of the names that :data:`FILES` have."""
    wanted = [name for name in names if name not in MODELS]
    for file, known in FILES.items():
        if small := [name for name in wanted if name in known]:
            adopt([str(file)], small)


@dataclass(frozen=True)
class Base:
    """A right conversion.

    Args:
        folder: holds a copy of it, :data:`CLEAN`, and later its mutants.
        opset: the one that was asked for.
    """

    model: str
    name: str
    folder: Path
    opset: int

    @property
    def clean(self) -> Path:
        return self.folder / CLEAN


@dataclass(frozen=True)
class Bases:
    """A model's bases, and the routes that have none, with the reason."""

    found: tuple[Base, ...]
    absent: dict[str, str]


@contextmanager
def open_workers(cache_dir: Path) -> Iterator[RunWorkers]:
    """The suite's own machinery, with its default settings."""
    settings = Settings(cache_dir=cache_dir)
    workers = RunWorkers(settings, Store(cache_dir), Clock())
    try:
        yield workers
    finally:
        workers.close()


def find_bases(
    workers: RunWorkers, model: str, folder: Path, routes: tuple[str, ...] = ()
) -> Bases:
    """Export ``model`` by every route (or by ``routes``) at its conservative opset.

    An export without constant folding is a base of its own where it holds operators that the
    folded one of the same route does not, such as BatchNormalization.
    """
    found: list[Base] = []
    absent: dict[str, str] = {}
    for case in _plain_cases(model):
        if routes and case.route not in routes:
            continue
        try:
            artifact = workers.artifact(case)
        except StageFailure as failure:
            absent[case.artifact_id] = str(failure)
            continue
        found.append(_copy(case, artifact.path, folder))
        if "constant_folding" not in EXPORTERS[case.exporter].options:
            continue
        unfolded = replace(case, options=ExportOptions(constant_folding=False))
        other = workers.artifact(unfolded)
        if set(other.facts["nodes"]) - set(artifact.facts["nodes"]) - {"Constant", "Identity"}:
            found.append(_copy(unfolded, other.path, folder))
    return Bases(tuple(found), absent)


def _plain_cases(model: str) -> Iterator[Case]:
    """Its cases at each route's conservative opset, on the CPU."""
    for case in select_cases(Selection(models=(model,), providers=("cpu",))):
        if case.opset == EXPORTERS[case.exporter].conservative:
            yield case


def _copy(case: Case, source: Path, folder: Path) -> Base:
    name = f"{case.route}-opset{case.opset}"
    base = Base(case.model, name, folder / name, case.opset)
    base.folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, base.clean)
    return base


def takes_images(model: str) -> bool:
    """Whether an input has a batch, two sides and channels."""
    return any(len(tensor.shape) == 4 for tensor in resolve_model(model).inputs)
