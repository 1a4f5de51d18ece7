"""The reader of external artifacts, in a process that a malicious file may crash or fill."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from onnx_conformance.core.errors import Refused
from onnx_conformance.core.file_roles import BRANCH, CALLS_OF_MERGED, MERGED, NEXT, chains
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.onnx_file import facts_of
from onnx_conformance.core.settings import MB, Limits
from onnx_conformance.core.text import hidden
from onnx_conformance.core.worker_messages import ReadFile
from onnx_conformance.workers.reader.graph import refuse_graph
from onnx_conformance.workers.reader.tensors import refuse_data, refuse_sizes
from onnx_conformance.workers.server import limited_memory

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
    (b"ORTM", "ONNX Runtime's own ORT format; give the ONNX file that it was made of"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program or library"),
)
ORTM_AT = 4  # flatbuffers keep their mark behind the first offset
TOO_DEEP = "MaxDepth"  # upb's word for messages in messages


class ReaderBackend:
    """Reads one file a call."""

    def __init__(self, threads: int) -> None:
        self._threads = threads  # none of its work has several

    def read(self, path: str, limits: dict[str, float], libraries: bool) -> ReadFile:
        """The facts of a file (as :func:`core.onnx_file.inspect`) and the digests of its files.

        The judge reads the same bytes again in its own process, and so do the checks: this call
        shows that parser and checker survive them.

        Raises:
            Refused: the file is not to be judged.
            MemoryError: it takes more memory than allowed.
        """
        allowed, file = Limits(**limits), Path(path)
        try:
            refuse_file(file, allowed)
            with limited_memory(allowed.memory((file,))):
                model = _parsed(file)
                refuse_graph(model, allowed, libraries=libraries)
                refuse_sizes(model, allowed)
                refuse_data(file, model, allowed)
                facts = facts_of(file, model)
                del model
                _check(file)
        except OSError as error:
            raise Refused(f"cannot be read ({error.strerror or error}); fix its place") from error
        files = [file.parent / name for name in facts["files"]]
        return {"facts": facts, "sha256": [file_digest(each) for each in files]}

    def compose(
        self, files: dict[str, list[str]], folder: str, limits: dict[str, float]
    ) -> dict[str, Any]:
        """Write files that belong together as one graph into ``folder``; see :mod:`.composition`.

        And a merged decoder as what it is at its first call, and at later ones.

        Args:
            files: label and path by role.

        Returns:
            The names of the inputs of the files, and of those that were made of a merged decoder,
            both by label; and why the files do not fit together, in one sentence, or nothing.

        Raises:
            Refused: one is not to be judged.
        """
        from onnx_conformance.workers.reader.composition import compose, one_call

        inputs, made, problem = {}, {}, ""
        for label, path in files.values():
            try:
                facts = self.read(path, limits, libraries=True)["facts"]
            except Refused as refused:
                raise Refused(f"{label} {refused}") from refused
            inputs[label] = [one["name"] for one in facts["inputs"]]
        paths = {role: (label, Path(path)) for role, (label, path) in files.items()}
        rows = chains({role: label for role, (label, _) in files.items()})
        with limited_memory(Limits(**limits).memory(tuple(path for _, path in paths.values()))):
            try:
                for name, parts in rows.items():
                    compose({part: paths[part] for part in parts}, Path(folder, f"{name}.onnx"))
            except Refused as refused:
                problem = str(refused)
            if MERGED in paths and BRANCH in inputs[paths[MERGED][0]]:
                label = Path(paths[MERGED][0]).name
                for calls, role in CALLS_OF_MERGED.items():
                    target = Path(folder, f"{label}_{calls}.onnx")
                    made[target.stem] = one_call(*paths[MERGED], target, later=role == NEXT)
        return {"inputs": inputs, "made": made, "problem": problem}


def _parsed(path: Path) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        if TOO_DEEP in str(error):
            raise Refused(
                "is not a readable ONNX model: its graphs are nested deeper than protobuf "
                "allows; write it flatter"
            ) from error
        raise Refused(f"is not an ONNX model: {what_it_is(path)}; {COPY_AGAIN}") from error
    if not model.HasField("graph") or not model.graph.output:
        cause = "its graph names none" if model.HasField("graph") else what_it_is(path)
        raise Refused(f"is not an ONNX model with outputs: {cause}; {COPY_AGAIN}")
    return model


def _check(path: Path) -> None:
    """Run the checker, because it may crash the process; its findings are left to the checks."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever it says, the check 'checker' hears again
        pass


# -- the format of a file --------------------------------------------------------------------------


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
