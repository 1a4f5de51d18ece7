"""Repro bundles: one directory for each failure, which repeats it without the suite.

``python reproduce.py`` inside one needs numpy and onnxruntime only, and says by its exit status
whether the failure is still there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from onnx_conformance.checks.evidence import ConformanceFailure
from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.errors import ConformanceError, StageFailure
from onnx_conformance.core.files import PACKAGE
from onnx_conformance.core.project import project
from onnx_conformance.diagnose.divergence import Divergence
from onnx_conformance.diagnose.messages import failure_message
from onnx_conformance.diagnose.subgraph import write_arrays, write_subgraph
from onnx_conformance.inputs.batch_layout import BatchLayout, FileNames, file_layout
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.cache_keys import environment
from onnx_conformance.run.run_record import Run
from onnx_conformance.run.runtime_side import session_request
from onnx_conformance.run.subject import Artifact, Subject, libraries_of

SCRIPT = Path(__file__).with_name("reproduce.py")
NAME_LIMIT = 180  # a file system's limit is 255 bytes; the hash and ".partial" come on top


def write_bundle(
    run: Run, command: str, error: ConformanceError, divergence: Divergence | None = None
) -> Path | None:
    """Write the bundle of a failed test, which ``command`` repeats, in place of an older one.

    With a divergence, the few nodes that fail alone are in it too.

    None if the error is of another kind, or if the bundle cannot be written, which must not lose
    the verdict.
    """
    fill: Callable[[Path], None]
    if isinstance(error, ConformanceFailure):
        name = f"{error.subject.case.id}-{error.result.name}"
        fill = partial(_fill_from_check, run, command, error, divergence)
    elif isinstance(error, StageFailure):
        name = f"{error.subject}-{error.stage}"
        fill = partial(_fill_from_stage, run, command, error)
    else:
        return None
    safe = re.sub(r"[^\w.+-]+", "_", name)[:NAME_LIMIT]
    tail = hashlib.sha256(command.encode()).hexdigest()[:8]
    folder = run.repro_dir / f"{safe}-{tail}"
    try:
        _replace(folder, fill)
    except OSError as problem:
        logging.getLogger(__name__).warning("cannot write the bundle %s: %s", folder, problem)
        return None
    return folder


def _replace(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a directory beside ``folder`` and rename it into place: whole or not at all."""
    fresh, old = (
        folder.with_name(f".{folder.name}.{os.getpid()}.{state}") for state in ("partial", "old")
    )
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        fill(fresh)
        with suppress(FileNotFoundError):
            folder.rename(old)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _fill_from_stage(run: Run, command: str, error: StageFailure, folder: Path) -> None:
    """Write what a worker said at the stage that failed, and under which versions."""
    text = f"{error}\n\n{error.details}\n\nreproduce: {command}\n"
    _write_text(folder / "failure.txt", scrub(text, _roots(run)))
    _write_json(folder / "versions.json", environment())


def _fill_from_check(
    run: Run,
    command: str,
    error: ConformanceFailure,
    divergence: Divergence | None,
    folder: Path,
) -> None:
    """Write the file, the inputs, both answers and the script of a check that failed."""
    subject, replay = error.subject, error.result.reproduction
    artifact, roots = _artifact_of(subject), _roots(run)
    if artifact is not None:
        roots[str(artifact.path.parent)] = "<artifact>"
    message = failure_message(subject.case, error, command, None)
    _write_text(folder / "failure.txt", scrub(message, roots) + "\n")
    _write_json(folder / "versions.json", environment())
    record: dict[str, Any] = {
        "case": subject.case.id,
        "check": error.result.name,
        "reason": scrub(error.result.reason, roots),
        "inputs": error.result.inputs,
        "score": error.result.score,
        "budget": error.result.budget,
        "command": scrub(command, roots),
        "judge": None,
    }
    if artifact is not None:
        _link_files(artifact, folder)
        if replay is not None:
            record |= _session_of(run, subject, artifact, replay.graph_level)
            record |= {"judge": replay.judge, "sized": list(subject.model.sized)}
            record["calls"] = _layout(subject, artifact).plan(_samples(replay.inputs))
    if divergence is not None:
        write_subgraph(divergence, folder, libraries_of(subject.case, run.settings))
    _write_json(folder / "case.json", record)
    shutil.copyfile(SCRIPT, folder / SCRIPT.name)
    if replay is not None:
        fed = replay.inputs if artifact is None else _fed(subject, artifact, replay.inputs)
        arrays = {"inputs": fed, "expected": replay.expected, "got": replay.got}
        for name, outputs in arrays.items():
            if outputs is not None:
                write_arrays(folder / f"{name}.npz", outputs)


def _fed(subject: Subject, artifact: Artifact, inputs: Outputs) -> Outputs:
    """The inputs as they are fed: as ``CALL/NAME`` where the samples take several calls."""
    layout, samples = _layout(subject, artifact), _samples(inputs)
    if not layout.plan(samples):
        return layout.names.to_file(samples)
    calls = enumerate(layout.calls(samples))
    return {f"{place}/{name}": array for place, call in calls for name, array in call.items()}


def _layout(subject: Subject, artifact: Artifact) -> BatchLayout:
    """How the file takes samples, under the spec's names: ``reproduce.py`` gives the file's."""
    layout = file_layout(subject.model, artifact.facts)
    return replace(layout, names=FileNames(halves=layout.names.halves))


def _samples(inputs: Outputs) -> Inputs:
    return inputs if isinstance(inputs, Inputs) else Inputs(inputs)


def _session_of(run: Run, subject: Subject, artifact: Artifact, graph_level: str) -> dict[str, Any]:
    """What ``reproduce.py`` needs to open the session and feed it as the suite did."""
    request = session_request(subject.case, artifact, graph_level or subject.graph_level)
    names = FileNames.of(subject.model, artifact.facts)
    return {
        "inputs": names.inputs,
        "outputs": names.outputs,
        "model": artifact.path.name,
        "sha256": artifact.sha256,
        "provider": request["provider"],
        "provider_options": request["provider_options"],
        "graph_level": request["graph_level"],
        "threads": run.settings.threads,
        "custom_op_libraries": libraries_of(subject.case, run.settings),
        "dtypes": {spec.name: spec.held for spec in subject.model.judged},
    }


def _artifact_of(subject: Subject) -> Artifact | None:
    """The artifact, or None where the export failed too (a check may not need the file)."""
    try:
        return subject.artifact
    except ConformanceError:
        return None


def _link_files(artifact: Artifact, folder: Path) -> None:
    """The artifact under its own names, because a graph names its data files.

    Hard links where that is possible: a large model may fail many checks. Data files are copied,
    because onnx refuses to load weights from a file that has several links.
    """
    home = artifact.path.parent
    for source in artifact.files:
        name = source.relative_to(home) if source.is_relative_to(home) else Path(source.name)
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source != artifact.path:
            shutil.copyfile(source, target)
            continue
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "replace"))


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    _write_text(path, json.dumps(data, indent=1) + "\n")


def _roots(run: Run) -> dict[str, str]:
    """This machine's directories, and what a bundle calls them."""
    named: list[tuple[str | Path, str]] = [
        (PACKAGE.parent, "<suite>"),
        (project().folder, "<project>"),
        (run.settings.cache_dir, "<cache>"),
        (run.repro_dir, "<repro>"),
        (sys.prefix, "<venv>"),
        (sys.base_prefix, "<python>"),
        (tempfile.gettempdir(), "<tmp>"),
    ]
    with suppress(RuntimeError):  # an account without a home
        named.append((Path.home(), "~"))
    absolute = [(Path(place).absolute(), name) for place, name in named]
    return {
        str(form): name
        for place, name in reversed(absolute)
        for form in (place, place.resolve())
        if len(form.parts) > 1  # not the root itself
    }


def scrub(text: str, roots: dict[str, str]) -> str:
    """The text without this machine's paths, so that a bundle can be sent to others.

    Known directories become words; of other files in a traceback the tail stays. Nothing else
    that begins with a slash is touched, because ONNX nodes are called ``/layer1/conv1/Conv``.
    """
    for place in sorted(roots, key=len, reverse=True):
        pattern = rf"(?<![\w.>~/\\-]){re.escape(place)}(?![\w.-])"
        text = re.sub(pattern, roots[place], text)
    return re.sub(r'(?<=File ")[^"\n]+(?=")', lambda found: _tail(found[0]), text)


def _tail(path: str) -> str:
    """What follows ``site-packages`` in an absolute path, or else its last part."""
    pure = PureWindowsPath(path) if "\\" in path else PurePosixPath(path)
    if not pure.is_absolute():
        return path
    parts = pure.parts
    start = parts.index("site-packages") if "site-packages" in parts else len(parts) - 1
    return "/".join(("…", *parts[start:]))
