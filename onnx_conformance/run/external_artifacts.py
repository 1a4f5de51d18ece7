"""External artifacts: ONNX files that exist already, whoever made them: found, named and read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from onnx_conformance.core.case import ExternalCase
from onnx_conformance.core.documents import TensorFacts
from onnx_conformance.core.errors import Stage, StageFailure, UsageError, WorkerDied, WorkerError
from onnx_conformance.core.text import one_line, printable
from onnx_conformance.core.worker_messages import ReadFile
from onnx_conformance.run.subject import Artifact, libraries_of
from onnx_conformance.run.worker_queue import WorkerQueues

MANIFEST = "manifest.json"  # what --save-onnx leaves beside its files
SUFFIX = ".onnx"


def labelled(artifacts: tuple[str, ...], option: str = "--artifact") -> dict[str, Path]:
    """The files by the name in their case's id; those of a folder, sorted.

    Args:
        option: which names them, for messages.

    Raises:
        UsageError: a path that is not there, a folder without ONNX files, or two equal names.
    """
    found: dict[str, Path] = {}
    for argument in artifacts:
        path = Path(argument)
        if path.is_dir():
            files = sorted(_models_in(path))
            if not files:
                raise UsageError(f"{option} {argument}: the folder has no .onnx file")
        elif path.exists():
            files = [path]
        else:
            raise UsageError(f"{option} {argument}: no such file or folder")
        for file in files:
            label = printable(str(file.relative_to(path) if path.is_dir() else file.name))
            label = label[: -len(SUFFIX)] if label.lower().endswith(SUFFIX) else label
            if found.setdefault(label, file) != file:
                raise UsageError(
                    f"{option}: {printable(str(found[label]))} and {printable(str(file))} have "
                    "the same name; rename one, or give the folder that holds both"
                )
    return found


def _models_in(folder: Path) -> Iterator[Path]:
    """The ONNX files of a folder at any depth, in linked folders too: none is silently left out.

    A folder that is called like a file and holds none is one of them, which cannot be read. A
    folder that is reached by several links is walked once: links may form circles.
    """
    walked: set[Path] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place).resolve()
        if here in walked:
            folders.clear()
            continue
        walked.add(here)
        found = [Path(place, name) for name in names if name.lower().endswith(SUFFIX)]
        yield from found
        if place.lower().endswith(SUFFIX) and Path(place) != folder and not (found or folders):
            yield Path(place)


def asked_opset(path: Path, label: str) -> int | None:
    """The opset that was asked for by a saved artifact's manifest or label, if either names one."""
    try:
        entries = json.loads((path.parent / MANIFEST).read_text())
        cases = entries["cases"] if "schema" in entries else entries  # older ones have no schema
        named_so = [entry for entry in cases.values() if entry["file"] == path.name]
        saved = [entry["opset_requested"] for entry in named_so if entry["opset_requested"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        saved = []  # no manifest of ours
    named = re.findall(r"opset(\d+)", label)
    return next((int(number) for number in [*saved, *named]), None)


READ_STAGE: Stage = "read"


def read_external_artifact(case: ExternalCase, queues: WorkerQueues) -> Artifact:
    """The external artifact of a case.

    Args:
        queues: the run's, whose settings say what the file may ask for.

    Raises:
        StageFailure: the file, or one that it names, cannot be read, is not an ONNX model, or asks
            for more than the limits allow.
    """
    path, settings = Path(case.path).absolute(), queues.settings
    limits, libraries = settings.limits, libraries_of(case, settings)
    queue = queues.get("reader", "reader", limit=min(limits.seconds, settings.limit))
    asked = {"path": str(path), "limits": limits.as_dict(), "libraries": bool(libraries)}
    try:
        found: ReadFile = queue.submit(
            lambda: queue.call(READ_STAGE, case.label, "read", **asked)
        ).result()
    except StageFailure as failure:
        reason = f"{printable(str(path))} {_problem(failure.__cause__)}"
        raise StageFailure(READ_STAGE, case.label, reason) from failure
    files = tuple(path.parent / name for name in found["facts"]["files"])
    return Artifact(path, files, tuple(found["sha256"]), found["facts"])


def _problem(error: BaseException | None) -> str:
    """The message after the file's name: the cause, and what to do."""
    if isinstance(error, WorkerDied):
        return (
            f"cannot be read: its reader ended ({one_line(error.message)}); do not use it, or "
            "raise --artifact-limit seconds=N"
        )
    assert isinstance(error, WorkerError)
    if error.kind == "Refused":
        return error.message
    if error.kind == "UsageError":  # of the facts, which name the file themselves
        return f"cannot be read: {one_line(error.message)}"
    if error.kind == "MemoryError":
        return (
            "needs more memory to read than is allowed; do not use it, or raise "
            "--artifact-limit memory_mb=N"
        )
    return f"cannot be read ({error.kind}: {one_line(error.message)}); export it again"


# What exporters call inputs and outputs that nobody named, by the producer that the file names.
MADE_UP = {
    "pytorch": r"\d+|input\.\d+|x(\.\d+)?|args?_?\d+(_\d+)?|onnx::\w+_\d+",
    "tf2onnx": r"Identity(_\d+)?(:\d+)?|\w+:\d+|output_\d+|input_\d+|args_\d+|keras_tensor(_\d+)?",
}


def chosen_by_exporter(tensor: TensorFacts, producer: str, native: Collection[str]) -> bool:
    """Whether the exporter chose a name, so that another name breaks no promise.

    Args:
        tensor: an input or output as :func:`onnx_conformance.core.onnx_file.inspect` describes it.
        producer: who says to have made the file; nothing is known of the names of others.
        native: what the native model calls its inputs, outputs and layers.
    """
    name = tensor["name"]
    pattern = next((MADE_UP[known] for known in MADE_UP if producer.startswith(known)), None)
    if pattern is None or name in native or re.fullmatch(pattern, name):
        return True
    return tensor.get("node") == f"node_{name}"  # torch.export's values are named so
