"""Folders of files that belong together: which part each is, and all of them as one graph."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.models import Pointer, read_pointer
from onnx_conformance.core.errors import UsageError, WorkerDied, WorkerError
from onnx_conformance.core.file_roles import TOGETHER, roles
from onnx_conformance.core.settings import Limits
from onnx_conformance.core.store import Store, file_digest, key_of
from onnx_conformance.core.text import one_line
from onnx_conformance.session.cache_keys import source_digest
from onnx_conformance.session.external_artifacts import SUFFIX, labelled
from onnx_conformance.session.worker_client import ProcessWorkerClient

READER = "onnx_conformance.workers.reader.backend:ReaderBackend"
POOLS = ("hf", "hf-tiny")  # of pointers whose parts are known by the files' roles


@dataclass(frozen=True)
class FileFolder:
    """Files that belong together, or one file.

    Args:
        roles: label by role (:mod:`onnx_conformance.core.file_roles`); none of one file.
        inputs: what each takes, by label.
        together: the file in which all are called in a row.
    """

    roles: Mapping[str, str]
    inputs: Mapping[str, tuple[str, ...]]
    together: Path | None = None

    def parts_of(self, model: str) -> list[Pointer]:
        """The parts of a model that the files stand for; none where it has no known ones."""
        pointer = read_pointer(model)
        if pointer is None or pointer.pool not in POOLS or ",part=" in pointer.member:
            return []
        if self.together is None:
            names = " ".join(*self.inputs.values())
            return [Pointer(pointer.name, pointer.pool, f"{pointer.member},inputs={names}")]
        asked = {label: f"{role},inputs={' '.join(self.inputs[label])}"
                 for role, label in self.roles.items()}  # fmt: skip
        return [
            Pointer(f"{pointer.name}/{label}", pointer.pool, f"{pointer.member},part={part}")
            for label, part in {**asked, TOGETHER: TOGETHER}.items()
        ]


def folder_of(
    places: tuple[str, ...], option: str, limits: Limits, cache: Path | None
) -> FileFolder | None:
    """The files of a folder by their roles, or the one file there is; None of others.

    Args:
        option: which names the folder, for messages.
        cache: where the composed file is kept; None for a folder that goes with the process.

    Raises:
        UsageError: a file cannot be read, or they do not fit together.
    """
    if len(places) != 1:
        return None
    files = labelled(places, option)
    known = roles(files)
    if len(files) == 1:
        known = {"": next(iter(files))}
    if not known:
        return None
    named = {role: [label, str(files[label].absolute())] for role, label in known.items()}

    def build(directory: Path) -> dict[str, Any]:
        target = str(directory / f"{TOGETHER}{SUFFIX}") if len(named) > 1 else ""
        return {"inputs": _composed(named, target, limits, f"{option} {places[0]}")}

    digests = {label: file_digest(files[label]) for label in known.values()}
    key = key_of(files=digests, roles=known, code=source_digest())
    try:
        entry = Store(cache or _passing()).get_or_build("together", key, build)
    except UsageError:
        if len(named) == 1:
            return None  # its case says what is wrong with it
        raise
    inputs = {label: tuple(names) for label, names in entry.facts["inputs"].items()}
    if len(named) == 1:
        return FileFolder({}, inputs)
    return FileFolder(known, inputs, entry.path / f"{TOGETHER}{SUFFIX}")


def _composed(
    files: Mapping[str, list[str]], target: str, limits: Limits, what: str
) -> dict[str, list[str]]:
    worker = ProcessWorkerClient(READER)
    try:
        found: dict[str, list[str]] = worker.call(
            "compose", limits.seconds, files=files, target=target, limits=limits.as_dict()
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
