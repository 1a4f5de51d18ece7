"""Folders of files that belong together: which part each is, and all of them as one graph."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.models import Pointer, read_pointer
from onnx_conformance.core.errors import UsageError, WorkerDied, WorkerError
from onnx_conformance.core.file_roles import (
    CALLS_OF_MERGED,
    MERGED,
    POSITIONS,
    TOGETHER,
    chains,
    roles,
)
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.settings import Limits
from onnx_conformance.core.store import Store, key_of
from onnx_conformance.core.text import one_line, printable
from onnx_conformance.run.cache_keys import source_digest
from onnx_conformance.run.external_artifacts import SUFFIX, labelled
from onnx_conformance.run.worker_client import ProcessWorkerClient

READER = "onnx_conformance.workers.reader.backend:ReaderBackend"
POOLS = ("hf", "hf-tiny")  # of pointers whose parts are known by the files' roles


@dataclass(frozen=True)
class FolderPart:
    """A file that is judged, and which part of a model it stands for.

    Args:
        role: empty for the whole model.
        inputs: what it takes.
    """

    path: Path
    role: str
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileFolder:
    """Files that belong together, or one file.

    Args:
        parts: by label; a merged decoder as its first call and its later ones.
        chains: the files in which all are called in a row.
        others: labels of files whose names tell no role.
        problem: why there are no chains, in one sentence; empty of one file.
    """

    parts: Mapping[str, FolderPart]
    chains: tuple[Path, ...] = ()
    others: tuple[str, ...] = ()
    problem: str = ""

    def pointers(self, model: str) -> list[Pointer]:
        """The parts of a model that the files stand for; none where it has no known ones.

        Raises:
            UsageError: it has, and the files do not fit together, or one's name tells no role.
        """
        pointer = read_pointer(model)
        if pointer is None or pointer.pool not in POOLS or ",part=" in pointer.member:
            return []
        if self.problem:
            raise UsageError(f"--artifact: {self.problem}")
        if self.others:
            raise UsageError(
                f"--artifact: which part of {model} {self.others[0]}{SUFFIX} is, its name does not "
                "tell; take it out of the folder, or judge it alone: --artifact=FILE"
            )
        asked = {
            label: f",part={part.role}" * bool(part.role) + f",inputs={' '.join(part.inputs)}"
            for label, part in self.parts.items()
        }
        if not self.chains:
            return [Pointer(pointer.name, *_member(pointer, one)) for one in asked.values()]
        numbered = any(POSITIONS in part.inputs for part in self.parts.values())
        together = f",part={TOGETHER}" + f",inputs={POSITIONS}" * numbered
        asked |= {path.stem: together for path in self.chains}
        return [
            Pointer(f"{pointer.name}/{label}", *_member(pointer, one))
            for label, one in asked.items()
        ]

    def without_chains(self, problem: str) -> FileFolder:
        """The files one by one, because they do not fit together on either side."""
        return replace(self, chains=(), problem=problem)

    @property
    def judged(self) -> tuple[str, ...]:
        """The files that stand for parts of a model, and the chains."""
        return (*(str(part.path) for part in self.parts.values()), *map(str, self.chains))


def _member(pointer: Pointer, options: str) -> tuple[str, str]:
    return pointer.pool, f"{pointer.member}{options}"


def folder_of(
    places: tuple[str, ...], option: str, limits: Limits, cache: Path | None
) -> FileFolder | None:
    """The files of a folder by their roles, or the one file there is; None of others.

    Args:
        option: which names the folder, for messages.
        cache: where the composed files are kept; None for a folder that goes with the process.

    Raises:
        UsageError: a file cannot be read.
    """
    if len(places) != 1:
        return None
    files = labelled(places, option)
    known = roles(files) if len(files) > 1 else {"": next(iter(files))}
    if not known:
        return None
    named = {role: [label, str(files[label].absolute())] for role, label in known.items()}

    def build(directory: Path) -> dict[str, Any]:
        return _composed(named, str(directory), limits, f"{option} {printable(places[0])}")

    digests = {label: file_digest(files[label]) for label in known.values()}
    key = key_of(files=digests, roles=known, code=source_digest())
    try:
        entry = Store(cache or _passing()).get_or_build("together", key, build)
    except (UsageError, OSError):
        if len(named) == 1:
            return None  # its case says what is wrong with it
        raise
    inputs, made = entry.facts["inputs"], entry.facts["made"]
    parts = {
        label: FolderPart(files[label], role, tuple(inputs[label]))
        for role, label in known.items()
        if not (role == MERGED and made)
    }
    for label, names in made.items():
        role = next(one for calls, one in CALLS_OF_MERGED.items() if label.endswith(calls))
        parts[label] = FolderPart(entry.path / f"{label}{SUFFIX}", role, tuple(names))
    problem = entry.facts["problem"]
    return FileFolder(
        parts,
        () if problem else tuple(entry.path / f"{name}{SUFFIX}" for name in chains(known)),
        tuple(label for label in files if label not in known.values()),
        problem,
    )


def _composed(
    files: Mapping[str, list[str]], folder: str, limits: Limits, what: str
) -> dict[str, Any]:
    worker = ProcessWorkerClient(READER)
    try:
        found: dict[str, Any] = worker.call(
            "compose", limits.seconds, files=files, folder=folder, limits=limits.as_dict()
        )
    except (WorkerDied, WorkerError) as error:
        raise UsageError(f"{what}: {one_line(error.message)}") from error
    finally:
        worker.close()
    return found


def _passing() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="onnx-conformance-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
