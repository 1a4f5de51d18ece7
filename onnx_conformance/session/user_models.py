"""User models: registered before cases are chosen, from files, pointers and ONNX files."""

from __future__ import annotations

from collections.abc import Iterable
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
from onnx_conformance.core.files import PROGRAM
from onnx_conformance.core.spec import ModelSpec, spec_as_data, spec_from_data
from onnx_conformance.core.store import file_digest
from onnx_conformance.session.external_artifacts import labelled
from onnx_conformance.session.file_folder import FileFolder
from onnx_conformance.session.worker_client import ProcessWorkerClient

BACKEND = "onnx_conformance.workers.user_model.backend:UserModelBackend"


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
    if against:
        return _reference_files(against, reference, weights, seed, limit, refused)
    parts = artifact.pointers(next(iter(models))) if artifact else []
    if parts:
        return _described_files(parts, weights, seed, limit, None)
    asked, sources = list(dict.fromkeys(models)), [_source(file) for file in files]
    pointers = {name: read_pointer(name) for name in asked if name not in MODELS}
    named = [name for name in asked if name not in MODELS and pointers.get(name) is None]
    new = [pointer for pointer in pointers.values() if pointer and pointer.name not in MODELS]
    plain = [name for name in named if not name.startswith("torchvision:")]
    looks: list[tuple[list[str], list[Pointer]]] = []
    looks += [([source], []) for source in sources if plain or not asked]
    looks += [([], [pointer]) for pointer in new]
    found: list[str] = []
    declared: list[str] = []
    imported: dict[tuple[str, str], str] = {}
    left_out: dict[str, str] = {}
    for files_of, pointers_of in looks:  # each in a process of its own, with its own framework
        try:
            specs, modules, names, reasons = _described(
                files_of, pointers_of, plain, weights, seed, limit
            )
        except UsageError as error:
            if not pointers_of:  # a file that cannot be read is no single model
                raise
            left_out[pointers_of[0].name] = str(error)
            continue
        declared += names
        left_out.update(reasons)
        _refuse_namesakes(imported, {spec.framework for spec in specs}, modules)
        for spec in specs:
            remember(spec.name, [*modules.values(), *(path for path, _ in spec.reads)])
            found.append(_registered(spec).name)
    unknown = [name for name in plain if name not in MODELS and name not in left_out]
    _refuse_unknown(unknown, files, declared)
    named_so = [pointer.name if (pointer := pointers.get(name)) else name for name in asked]
    chosen = tuple(name for name in named_so or found if name not in left_out)
    if left_out and (refused is None or not chosen):
        raise UsageError(next(iter(left_out.values())))
    if refused is not None:
        refused.update(left_out)
    return chosen


def _reference_files(
    against: str,
    folder: FileFolder | None,
    weights: str,
    seed: int,
    limit: float,
    refused: dict[str, str] | None,
) -> tuple[str, ...]:
    """The models that stand for a reference file, or for each file of a folder but refused ones."""
    path = Path(against)
    if path.is_file() and not path.name.endswith(".onnx"):
        raise UsageError(f"--against {against}: must be an .onnx file or a folder of them")
    pointers = [
        Pointer(f"{label}.onnx" if path.is_dir() else file.name, str(file.absolute()), "file")
        for label, file in labelled((against,), "--against").items()
    ]
    chains = folder.chains if folder else ()
    pointers += [Pointer(path.name, str(path), "file") for path in chains]
    return _described_files(pointers, weights, seed, limit, refused)


def _described_files(
    pointers: list[Pointer],
    weights: str,
    seed: int,
    limit: float,
    refused: dict[str, str] | None,
) -> tuple[str, ...]:
    """The models that pointers to files and to their parts name, but refused ones."""
    specs, _, _, reasons = _described([], pointers, [], weights, seed, limit)
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


def _refuse_namesakes(
    imported: dict[tuple[str, str], str], frameworks: set[str], modules: dict[str, str]
) -> None:
    """Refuse modules of the same name from several files: a worker would use the first for both.

    Args:
        imported: files by framework and module, of the models before; these are added.
    """
    for place in ((framework, name) for framework in frameworks for name in modules):
        first = imported.setdefault(place, modules[place[1]])
        if first != modules[place[1]]:
            raise UsageError(
                f"two models import a module called '{place[1]}', from {first} and "
                f"{modules[place[1]]}; rename one, or certify them in two runs"
            )


def _registered(spec: ModelSpec) -> ModelSpec:
    if spec.name in MODELS and MODELS[spec.name] == spec:
        return spec
    return MODELS.register(spec.name, spec)


def _described(
    files: list[str],
    pointers: list[Pointer],
    wanted: list[str],
    weights: str,
    seed: int,
    limit: float,
) -> tuple[list[ModelSpec], dict[str, str], list[str], dict[str, str]]:
    """The specs, and what was found beside them.

    Returns:
        The specs, the files of the user's modules behind them, all names that these register,
        and why models were refused.
    """
    worker = ProcessWorkerClient(BACKEND)
    try:
        data: list[dict[str, Any]] = worker.call(
            "describe",
            limit,
            files=files,
            pointers=[pointer.as_data() for pointer in pointers],
            wanted=wanted,
            weights=weights,
            seed=seed,
        )
        modules: dict[str, str] = worker.call("modules", limit)
        names: list[str] = worker.call("names", limit)
        refused: dict[str, str] = worker.call("refused", limit)
    except WorkerDied as error:
        what = ", ".join([*files, *(pointer.name for pointer in pointers)])
        raise UsageError(f"while reading {what}: {error}") from error
    except WorkerError as error:
        said = error.message if error.kind == UsageError.__name__ else str(error)
        raise UsageError(" ".join(said.split())) from error
    except ConformanceError as error:
        raise UsageError(str(error)) from error
    finally:
        worker.close()
    reasons = {name: " ".join(reason.split()) for name, reason in refused.items()}
    return [spec_from_data(one) for one in data], modules, names, reasons


_SEEN: dict[str, dict[Path, str]] = {}


def adopted_data() -> list[dict[str, Any]]:
    """The models that were adopted here, as another process can register them without a look."""
    return [
        {"spec": spec_as_data(MODELS[name]), "sources": {str(p): d for p, d in seen.items()}}
        for name, seen in _SEEN.items()
        if name in MODELS
    ]


def adopt_data(models: Iterable[dict[str, Any]]) -> None:
    """Register what another process has looked at: its :func:`adopted_data`."""
    for model in models:
        spec = _registered(spec_from_data(model["spec"]))
        _SEEN[spec.name] = {Path(path): digest for path, digest in model["sources"].items()}


def remember(model: str, sources: Iterable[str]) -> None:
    """Record the content of the files behind a model."""
    _SEEN[model] = {path: _digest(path) for path in map(Path, sources)}


def refuse_edited(model: str) -> None:
    """Do nothing while the files behind a model are as they were.

    Raises:
        StageFailure: one of them was edited.
    """
    for path, digest in _SEEN.get(model, {}).items():
        if _digest(path) != digest:
            reason = f"{path} was edited during the run; run again"
            raise StageFailure("build", model, reason)


def _digest(path: Path) -> str:
    return file_digest(path) if path.is_file() else ""
