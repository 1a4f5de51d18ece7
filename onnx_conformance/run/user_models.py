"""User models: registered before cases are chosen, from files, pointers and ONNX files."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.models import MODELS, Pointer, read_pointer
from onnx_conformance.core.errors import (
    ConformanceError,
    StageFailure,
    UsageError,
    WorkerDied,
    WorkerError,
)
from onnx_conformance.core.files import PROGRAM, file_digest
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.text import resembling
from onnx_conformance.core.worker_messages import DescribedModels
from onnx_conformance.run.external_artifacts import labelled
from onnx_conformance.run.file_folder import FileFolder
from onnx_conformance.run.worker_client import ProcessWorkerClient

# How torchvision's sources register a model, with its decorators.
REGISTERED = re.compile(r"^@register_model\([^)]*\)\n(?:@[^\n]*\n)*def (\w+)\(", re.MULTILINE)
BACKEND = "onnx_conformance.workers.user_model.backend:UserModelBackend"


@dataclass(frozen=True)
class _Look:
    """How a worker is to look at users' models.

    Args:
        limit: seconds that one answer may take.
        wanted: the models of a file that are asked for; none for all.
    """

    weights: str
    seed: int
    limit: float
    wanted: Sequence[str] = ()

    def at(self, place: str | Pointer, worker: ProcessWorkerClient) -> DescribedModels:
        """What a worker answers about the models of a file, or about the one of a pointer.

        Raises:
            UsageError: it refuses, ends or takes longer.
        """
        try:
            described: DescribedModels = worker.call(
                "describe",
                self.limit,
                files=[place] if isinstance(place, str) else [],
                pointers=[] if isinstance(place, str) else [place],
                wanted=list(self.wanted),
                weights=self.weights,
                seed=self.seed,
            )
        except WorkerDied as error:
            name = place if isinstance(place, str) else place.name
            raise UsageError(f"while reading {name}: {error}") from error
        except WorkerError as error:
            said = error.message if error.kind == UsageError.__name__ else str(error)
            raise UsageError(" ".join(said.split())) from error
        except ConformanceError as error:
            raise UsageError(str(error)) from error
        refused = {name: " ".join(why.split()) for name, why in described["refused"].items()}
        return {**described, "refused": refused}


def adopt(
    files: Iterable[str],
    models: Iterable[str],
    *,
    against: str = "",
    weights: str = "calibrated",
    seed: int = 0,
    limit: float = 300.0,
    refused: dict[str, str] | None = None,
    artifact: FileFolder | None = None,
    reference: FileFolder | None = None,
) -> tuple[str, ...]:
    """Register the models of users' files, and those that pointers among ``models`` name.

    Args:
        files: Python files or modules with ``@register_model`` functions.
        models: as ``--model`` names them; plain names may be of the files or of ours.
        against: an ONNX file in the native model's place, or a folder of them, each in that of its
            namesake; then they alone are chosen.
        refused: is given the reasons of refused models by name, if other models are left; without
            it, the first refusal is raised.
        artifact: the files that the one model's parts are judged by.
        reference: files that belong together, in the native model's place.

    Returns:
        The chosen models' names, in order: those asked for, or else all of the files. Those that
        were refused are not among them.

    Raises:
        UsageError: one sentence on what is wrong with the files, models or their specs.
    """
    look = _Look(weights, seed, limit)
    if against:
        return _described_files(_references(against, reference), look, refused)
    parts = artifact.pointers(next(iter(models))) if artifact else []
    if parts:
        return _described_files(parts, look, None)
    asked, sources = list(dict.fromkeys(models)), [_source(file) for file in files]
    pointers = {name: read_pointer(name) for name in asked if name not in MODELS}
    named = [name for name in asked if name not in MODELS and pointers.get(name) is None]
    new = [pointer for pointer in pointers.values() if pointer and pointer.name not in MODELS]
    plain = [name for name in named if not name.startswith("torchvision:")]
    places: list[str | Pointer] = [*(sources if plain or not asked else []), *new]
    found = _found(places, replace(look, wanted=plain))
    found.refused |= _unknown_classifiers(named)
    unknown = [name for name in plain if name not in MODELS and name not in found.refused]
    _refuse_unknown(unknown, files, found.declared)
    named_so = [pointer.name if (pointer := pointers.get(name)) else name for name in asked]
    chosen = tuple(name for name in named_so or found.models if name not in found.refused)
    if found.refused and (refused is None or not chosen):
        raise UsageError(next(iter(found.refused.values())))
    if refused is not None:
        refused.update(found.refused)
    return chosen


@dataclass
class _Adopted:
    """Models that were registered, all that files declare, and why others were refused."""

    models: list[str] = field(default_factory=list)
    declared: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def _found(places: Sequence[str | Pointer], look: _Look) -> _Adopted:
    """Register what stands at each place, seen in a process of its own, with its own framework."""
    found, imported = _Adopted(), dict[tuple[str, str], str]()
    for place in places:
        try:
            with closing(ProcessWorkerClient(BACKEND)) as worker:
                described = look.at(place, worker)
        except UsageError as error:
            if isinstance(place, str):  # a file that cannot be read is no single model
                raise
            found.refused[place.name] = str(error)
            continue
        found.declared += described["names"]
        found.refused.update(described["refused"])
        modules = described["modules"]
        for spec in described["specs"]:
            _refuse_namesakes(imported, spec.framework, modules)
            remember(spec.name, [*modules.values(), *(path for path, _ in spec.reads)])
            found.models.append(_registered(spec).name)
    return found


def _references(against: str, folder: FileFolder | None) -> list[Pointer]:
    """Pointers to a reference file, or to each file of a folder and to those called in a row."""
    path = Path(against)
    if path.is_file() and not path.name.endswith(".onnx"):
        raise UsageError(f"--against {against}: must be an .onnx file or a folder of them")
    pointers = [
        Pointer(f"{label}.onnx" if path.is_dir() else file.name, str(file.absolute()), "file")
        for label, file in labelled((against,), "--against").items()
    ]
    chains = folder.chains if folder else ()
    return pointers + [Pointer(path.name, str(path), "file") for path in chains]


def _described_files(
    pointers: list[Pointer], look: _Look, refused: dict[str, str] | None
) -> tuple[str, ...]:
    """The models that pointers to files and to their parts name, but refused ones."""
    specs: list[ModelSpec] = []
    reasons: dict[str, str] = {}
    with closing(ProcessWorkerClient(BACKEND)) as worker:  # it starts again after one that ends it
        for pointer in pointers:
            try:
                specs += look.at(pointer, worker)["specs"]
            except UsageError as error:
                reasons[pointer.name] = str(error)
    if reasons and (refused is None or not specs):
        raise UsageError(next(iter(reasons.values())))
    if refused is not None:
        refused.update(reasons)
    for spec in specs:
        remember(spec.name, [])
    return tuple(_registered(spec).name for spec in specs)


def _source(file: str) -> str:
    if not file.endswith(".py") and "/" not in file:
        return file  # a module
    path = Path(file)
    if path.is_file() and not file.endswith(".py"):
        raise UsageError(f"--models-from {file}: must be a .py file, or a module")
    if not path.is_file():
        kind = "a folder; name the Python file in it" if path.is_dir() else "no such file"
        where = (
            "" if path.is_absolute() else f" in {Path.cwd()}; from elsewhere, give its whole path"
        )
        raise UsageError(
            f"--models-from {file}: {kind}{where} ('{PROGRAM} new-model my_net' writes one)"
        )
    return str(path.absolute())


def _refuse_unknown(names: list[str], files: Iterable[str], declared: list[str]) -> None:
    """Refuse a name that is neither this suite's nor in the user's files; the error lists those."""
    others = sorted(set(MODELS) - set(declared))
    if names and declared:
        raise UsageError(
            f"unknown model '{names[0]}'; known in {', '.join(files)}: {', '.join(declared)}"
            + (f"; of the suite: {', '.join(others)}" if others else "")
        )


def _unknown_classifiers(names: Iterable[str]) -> dict[str, str]:
    """Why ``torchvision:NAME`` is refused, by name: torchvision's sources register no such model.

    They are read and not imported, which takes seconds; nothing is refused where there are none.
    """
    asked = [name for name in names if name.startswith("torchvision:")]
    found = importlib.util.find_spec("torchvision") if asked else None
    folders = [Path(one) / "models" for one in (found and found.submodule_search_locations) or ()]
    sources = [path.read_text() for folder in folders for path in folder.glob("*.py")]
    known = {name for source in sources for name in REGISTERED.findall(source)}
    members = {name: name.partition(":")[2] for name in asked}
    return {
        name: f"torchvision has no model '{member}'{resembling(member, known)}"
        for name, member in members.items()
        if known and member not in known
    }


def _refuse_namesakes(
    imported: dict[tuple[str, str], str], framework: str, modules: dict[str, str]
) -> None:
    """Refuse modules of the same name from several files: a worker would use the first for both.

    Args:
        imported: files by framework and module, of the models before; these are added.
    """
    for name, path in modules.items():
        first = imported.setdefault((framework, name), path)
        if first != path:
            raise UsageError(
                f"two models import a module called '{name}', from {first} and {path}; "
                "rename one, or certify them in two runs"
            )


def _registered(spec: ModelSpec) -> ModelSpec:
    if spec.name in MODELS and MODELS[spec.name] == spec:
        return spec
    return MODELS.register(spec.name, spec)


_SEEN: dict[str, dict[Path, str]] = {}


def adopted_data() -> list[dict[str, Any]]:
    """The models that were adopted here, for another process to register without a look."""
    return [
        {"spec": MODELS[name], "sources": {str(p): d for p, d in seen.items()}}
        for name, seen in _SEEN.items()
        if name in MODELS
    ]


def adopt_data(models: Iterable[dict[str, Any]]) -> None:
    """Register what another process has looked at: its :func:`adopted_data`."""
    for model in models:
        spec = _registered(model["spec"])
        _SEEN[spec.name] = {Path(path): digest for path, digest in model["sources"].items()}


def remember(model: str, sources: Iterable[str]) -> None:
    """Record the content of the files behind a model."""
    _SEEN[model] = {path: _digest(path) for path in map(Path, sources)}


def refuse_edited(model: str) -> None:
    """Refuse a model of which a file was edited since the run looked at it.

    Raises:
        StageFailure: one of them was edited.
    """
    for path, digest in _SEEN.get(model, {}).items():
        if _digest(path) != digest:
            reason = f"{path} was edited during the run; run again"
            raise StageFailure("build", model, reason)


def _digest(path: Path) -> str:
    return file_digest(path) if path.is_file() else ""
