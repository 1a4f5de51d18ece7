"""Where files are, and how they are written: whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from onnx_conformance.core.errors import UsageError

PACKAGE = Path(__file__).resolve().parents[1]
SUITE = PACKAGE / "suite"  # the conformance tests, where the package was installed from a wheel
INSTALLED = SUITE.is_dir()
PROGRAM = "onnx-conformance" if INSTALLED else "python -m onnx_conformance"  # as messages name it
# The environment variable by which `onnx-conformance run` tells pytest the command of every check.
WHOLE_RUN = "ONNX_CONFORMANCE_WHOLE_RUN"
LEVELS = 4  # of a JSON document that are in lines: those of results.json down to a check's row
TYPED = "ONNX_CONFORMANCE_TYPED"  # likewise: the command as it was typed


def program() -> list[str]:
    """The words that start this program from the working directory, which no PATH need hold."""
    python = Path(sys.executable)
    script = python.with_name("onnx-conformance")
    if INSTALLED and script.is_file():
        return [_reached(script, script.name)]
    return [_reached(python, "python"), "-m", "onnx_conformance"]


def pytest_program() -> str:
    """The word that starts this environment's pytest from the working directory."""
    return _reached(Path(sys.executable).with_name("pytest"), "pytest")


def in_checkout() -> bool:
    """Whether the working directory is this project's checkout, where its Makefile is."""
    return not INSTALLED and Path.cwd() == PACKAGE.parent


def _reached(file: Path, name: str) -> str:
    """``name``, where it starts ``file``; else the path of it, relative if it lies below."""
    found = shutil.which(name)
    if found is not None and Path(found).parent == file.parent:
        return name
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


def shipped(name: str) -> Path:
    """A file that a wheel keeps inside the package and a checkout beside it."""
    return PACKAGE / name if INSTALLED else PACKAGE.with_name(name)


TOLERANCES = shipped("tolerances.yaml")


def refuse_unwritable(path: Path, option: str) -> None:
    """Find out before a long run, not after it.

    Raises:
        UsageError: as :func:`write_whole` would.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.writable")
    write_whole(scratch, b"", option)
    scratch.unlink()


def remove_earlier(files: Mapping[str, Path | None]) -> None:
    """Remove the reports of an earlier run, which are not true now.

    Args:
        files: by the options that name them; None where one is not asked for.

    Raises:
        UsageError: one cannot be written.
    """
    for option, path in files.items():
        if path is not None:
            refuse_unwritable(path, option)
            path.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, data: bytes | Iterable[bytes], option: str) -> None:
    """Write data, or its pieces, beside ``path`` and rename it into place; folders are made.

    Raises:
        UsageError: the file cannot be written; ``option`` is what the user gave its name by.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise UsageError(
            f"{option}: cannot write {path} ({reason}); name a place that can be written"
        ) from error


def write_json(path: Path, document: Any, option: str) -> None:
    """Write plain data as JSON, whole or not at all; NaN and infinity as text.

    Raises:
        UsageError: as :func:`write_whole`.
    """
    write_whole(path, (piece.encode() for piece in _json(document)), option)


def _json(value: Any, levels: int = LEVELS, line: str = "\n ") -> Iterator[str]:
    """The JSON of plain data in pieces: the text of 20,000 cases is never held as a whole.

    Args:
        levels: of lists and mappings whose entries have lines of their own.
        line: what begins such a line.
    """
    if not (levels and value and isinstance(value, (Mapping, list, tuple))):
        yield _compact(value)
        return
    named = isinstance(value, Mapping)
    opened, closed = "{}" if named else "[]"
    entries = value.items() if isinstance(value, Mapping) else enumerate(value)
    for name, item in entries:
        yield f"{opened}{line}{json.dumps(name)}: " if named else f"{opened}{line}"
        yield from _json(item, levels - 1, f"{line} ")
        opened = ","
    yield f"{line[:-1]}{closed}"


def _compact(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:  # the copy is only made where it is needed
        return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    """The data with NaN and infinity as text: JSON has no word for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
