"""External artifacts: ONNX files that exist already, whoever made them, as cases."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from onnx_conformance.catalog.exporters import EXPORTERS, EXTERNAL
from onnx_conformance.catalog.models import MODELS, resolve_model
from onnx_conformance.catalog.providers import DEFAULT_PROVIDERS, PROVIDERS, coarser
from onnx_conformance.core.case import ExternalCase
from onnx_conformance.core.documents import TensorFacts
from onnx_conformance.core.errors import StageFailure, UsageError, WorkerDied, WorkerError
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.store import file_digest
from onnx_conformance.core.text import one_line, printable
from onnx_conformance.core.tolerances import FLOAT32
from onnx_conformance.core.worker_messages import ReadFile
from onnx_conformance.run.subject import Artifact, libraries_of
from onnx_conformance.run.worker_queue import WorkerQueues

MANIFEST = "manifest.json"  # what --save-onnx leaves beside its files
SUFFIX = ".onnx"


def external_cases(
    artifacts: tuple[str, ...],
    models: tuple[str, ...],
    exporters: tuple[str, ...],
    opsets: tuple[int, ...],
    providers: tuple[str, ...],
    precision: str = "",
    against: str = "",
    chains: tuple[str, ...] = (),
) -> list[ExternalCase]:
    """One case for each file and provider; files are parsed later, and fail then.

    Args:
        precision: the class that the files compute in; empty for float32.
        against: the reference file or folder; of a folder, ``models`` are the files that can be
            references, and what is to be judged by another one is left out.
        chains: files in which those of the reference folder are called in a row.

    The opset that is asked of a file is ``--opset``, or else what a manifest beside it or its own
    name says.

    Raises:
        UsageError: not one model, several opsets or exporters, no file, or one without namesake.
    """
    found, of_label = _judged(artifacts, models, (against, *chains))
    for axis, chosen in (("exporter", exporters), ("opset", opsets)):
        if len(chosen) > 1:
            raise UsageError(f"--artifact takes at most one --{axis}: the one of the export")
    exporter = EXPORTERS[exporters[0]].name if exporters else EXTERNAL.name
    names = [PROVIDERS[name].name for name in providers or DEFAULT_PROVIDERS]
    for label, path in found.items():
        _refuse_source_of(of_label[label], path)
    return [
        ExternalCase(
            of_label[label].name,
            exporter,
            opsets[0] if opsets else asked_opset(path, label),
            provider,
            precision=coarser(asked, PROVIDERS[provider].precision),
            file_precision=asked,
            path=printable(str(path)),  # one that cannot be shown is a red case of no file
            label=label,
        )
        for label, path in found.items()
        for asked in [precision or FLOAT32]
        for provider in dict.fromkeys(names)
    ]


def _judged(
    artifacts: tuple[str, ...], models: tuple[str, ...], references: tuple[str, ...]
) -> tuple[dict[str, Path], dict[str, ModelSpec]]:
    """The files, and the model that each is judged by: the one, or its namesake.

    Args:
        references: files and folders in the native model's place; the first is empty for none.
    """
    against = references[0]
    found = labelled(artifacts) if models else {}
    if against and Path(against).is_dir():
        known = {label: f"{label}{SUFFIX}" for label in labelled(references, "--against")}
        _refuse_alone(found, known, artifacts, against)
        judged = {label: path for label, path in found.items() if known[label] in models}
        return judged, {label: resolve_model(known[label]) for label in judged}
    if len(models) == 1:
        return found, dict.fromkeys(found, resolve_model(models[0]))
    named = {label: one for label in found for one in models if f"/{one}".endswith(f"/{label}")}
    if len(named) < len(found) or not models:
        raise UsageError(
            "--artifact needs the one model that the files were made from: --model=NAME, "
            "--models-from=FILE.py or, to compare two files, --against=FILE.onnx"
            + (f"; known models: {', '.join(every)}" if (every := models or [*MODELS]) else "")
            + ("; or name one model after each file" if len(models) > 1 else "")
        )
    return found, {label: resolve_model(name) for label, name in named.items()}


def _refuse_alone(
    found: dict[str, Path], known: dict[str, str], artifacts: tuple[str, ...], against: str
) -> None:
    """Refuse a file without a namesake, on either side."""
    files = ", ".join(f"{label}{SUFFIX}" for label in known)
    for label, path in found.items():
        if label not in known:
            raise UsageError(
                f"--artifact: {printable(str(path))} has no namesake in --against {against}, which "
                f"holds {files}; call files that belong together alike, or name the files to judge "
                "one by one"
            )
    missing = [label for label in known if label not in found]
    if missing and any(Path(one).is_dir() for one in artifacts):
        raise UsageError(
            f"--artifact {' '.join(artifacts)} lacks {missing[0]}{SUFFIX}, which --against "
            f"{against} holds; export it too, or name the files to judge one by one"
        )


def _refuse_source_of(model: ModelSpec, path: Path) -> None:
    """Refuse a model that reads the judged file, which would be compared with itself.

    Raises:
        UsageError: the builder of the model, or its calls, open the file.
    """
    known = {digest: read for read, digest in model.reads}
    if not known or model.framework == "onnx":
        return
    with contextlib.suppress(OSError):
        digest = file_digest(path)
        if digest in known:
            raise UsageError(
                f"--artifact {printable(str(path))}: model '{model.name}' itself reads this "
                f"file ({known[digest]}), so it would be compared with itself; give the model "
                "that the file was exported from, or compare two files: --against=OTHER.onnx"
            )


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


STAGE = "read"


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
            lambda: queue.call(STAGE, case.label, "read", **asked)
        ).result()
    except StageFailure as failure:
        reason = f"{printable(str(path))} {_problem(failure.__cause__)}"
        raise StageFailure(STAGE, case.label, reason) from failure
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
