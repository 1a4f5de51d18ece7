"""The format of a file before it is parsed, and why a parser may have refused it."""

from __future__ import annotations

import stat
from pathlib import Path

from onnx_conformance.core.errors import Refused
from onnx_conformance.core.settings import MB, Limits
from onnx_conformance.core.text import hidden

COPY_AGAIN = "export or copy it again"
HEAD = 512
# How other formats begin; a model's first byte is mostly 0x08, its IR version.
MAGICS = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"PK\x03\x04", "a ZIP archive (a PyTorch checkpoint or a .keras file is one)"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89HDF", "an HDF5 file (old Keras weights are)"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file with 'git lfs pull'"),
    (b"ORTM", "ONNX Runtime's own ORT format"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program or library"),
)
ORTM_AT = 4  # flatbuffers keep their mark behind the first offset


def refuse_file(path: Path, limits: Limits) -> None:
    """Check the file without reading it.

    Raises:
        Refused: it is no regular file, is empty or too large, or has a name that cannot be shown.
    """
    if hidden(str(path)) or ("\\" in str(path) and not path.exists()):  # given as escapes
        raise Refused("has a name with characters that cannot be shown; rename it")
    mode = path.stat()
    if not stat.S_ISREG(mode.st_mode):
        kind = "a folder" if stat.S_ISDIR(mode.st_mode) else "a pipe or a device"
        raise Refused(f"is not a file but {kind}; name an ONNX file")
    if mode.st_size == 0:
        raise Refused(f"is not an ONNX model with outputs: it is empty; {COPY_AGAIN}")
    if mode.st_size > limits.file_mb * MB:
        raise Refused(
            f"takes {mode.st_size / MB:,.0f} MB, but only {limits.file_mb:,g} are allowed; keep "
            "its weights in external data, or raise --artifact-limit file_mb=N"
        )


def what_it_is(path: Path) -> str:
    """Why a file that no parser accepts may not be a model, judged by its first bytes."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head.strip(b"\0"):
        return "it begins with zeros alone, as in an interrupted download"
    for magic, name in MAGICS:
        if head.startswith(magic) or head[ORTM_AT:].startswith(magic) and magic == b"ORTM":
            return f"it is {name}"
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a page of HTML or XML, as a failed download leaves it"
    if text.startswith((b"{", b"[")):
        return "it is JSON"
    return "it has another format, is cut short or is damaged"
