"""Where files are, and how they are written: whole or not at all."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from onnx_conformance.core.errors import UsageError

PACKAGE = Path(__file__).resolve().parents[1]
SUITE = PACKAGE / "suite"  # the conformance tests, where the package was installed from a wheel
INSTALLED = SUITE.is_dir()
PROGRAM = "onnx-conformance" if INSTALLED else "python -m onnx_conformance"  # as messages name it


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


def write_whole(path: Path, data: bytes, option: str) -> None:
    """Write ``data`` beside ``path`` and rename it into place; folders are made as needed.

    Raises:
        UsageError: the file cannot be written; ``option`` is what the user gave its name by.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise UsageError(
            f"{option}: cannot write {path} ({reason}); name a place that can be written"
        ) from error


def write_json(path: Path, document: Any, option: str) -> None:
    """Write plain data as JSON, whole or not at all; it may hold neither NaN nor infinity.

    Raises:
        UsageError: as :func:`write_whole`.
    """
    write_whole(path, json.dumps(document, indent=1, allow_nan=False).encode(), option)
