"""A file written whole or not at all: staged beside its place, judged there, moved or deleted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.onnx_file import inspect, load_model
from onnx_conformance.run.subject import Artifact


class UnwritablePlace(UsageError):
    """The place that the user named cannot be written, so there is no verdict."""


@dataclass(frozen=True)
class StagedFile:
    """An artifact in a hidden folder beside the place that it is meant for."""

    artifact: Artifact
    target: Path

    def place(self) -> None:
        """Move the files into place, the graph last: until then an older one stays whole.

        Raises:
            UnwritablePlace: a file cannot be moved, or changed since it was staged.
        """
        digests = tuple(file_digest(file) for file in self.artifact.files)
        if digests != self.artifact.sha256:
            raise UnwritablePlace(f"{self.artifact.path} changed since it was judged; run again")
        try:
            for file in reversed(self.artifact.files):
                file.replace(self.target.parent / file.name)
        except OSError as error:
            raise _unwritable(self.target, error) from error


@contextmanager
def staged(artifact: Artifact, target: Path) -> Iterator[StagedFile]:
    """Copy an artifact beside ``target``, under its name; what is not placed is removed.

    Weights outside of the graph get a name with their digest, so that no file of another model,
    or of an older version of this one, is overwritten.

    Raises:
        UnwritablePlace: the folder cannot be written.
    """
    folder = target.with_name(f".{target.name}.{os.getpid()}.staged")
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = _copy(artifact, folder / target.name)
        except OSError as error:
            raise _unwritable(target, error) from error
        facts = inspect(path)
        files = tuple(folder / name for name in facts["files"])
        yield StagedFile(Artifact(path, files, tuple(map(file_digest, files)), facts), target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy(artifact: Artifact, path: Path) -> Path:
    """The graph at ``path``; its data files, if it has any, beside it."""
    if len(artifact.files) == 1:
        shutil.copyfile(artifact.path, path)
        return path
    names = {}
    for file, digest in zip(artifact.files[1:], artifact.sha256[1:], strict=True):
        name = f"{path.stem}-{digest[:8]}.data"
        names[str(file.relative_to(artifact.path.parent))] = name
        shutil.copyfile(file, path.with_name(name))
    model = load_model(artifact.path, weights=False)
    _rename(model, names)
    path.write_bytes(model.SerializeToString())
    return path


def _rename(model: onnx.ModelProto, names: dict[str, str]) -> None:
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = names[entry.value]


def _unwritable(target: Path, error: OSError) -> UnwritablePlace:
    reason = error.strerror or str(error)
    return UnwritablePlace(
        f"OUT: cannot write {target} ({reason}); name a place that can be written"
    )
