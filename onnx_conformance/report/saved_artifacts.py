"""``--save-onnx``: the artifacts of a run under readable names, with a manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from onnx_conformance.core.documents import CaseEntry, ResultsDocument
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.files import write_whole
from onnx_conformance.report.document import proved

MANIFEST = "manifest.json"
OPTION = "--save-onnx"
SCHEMA = 1  # of the manifest


def save_artifacts(document: ResultsDocument, folder: Path) -> None:
    """Copy each judged case's artifact to ``folder``; every file appears whole or not at all.

    A single file becomes ``<artifact>.onnx``; one with external data a folder of its own,
    because the graph names its data file.

    Raises:
        UsageError: the folder cannot be written, or an artifact is no longer what was judged.
    """
    cases = {}
    for case in document["cases"]:
        if not case["artifact_files"]:
            continue
        name = case["id"].removesuffix(f"-{case['provider']}").replace(":", "_").replace("/", "_")
        saved = _save(case, folder, name)
        cases[case["id"]] = {
            "file": next(iter(saved)),
            "files": list(saved),
            "sha256": list(saved.values()),
            "opset_requested": case["opset_requested"],
            "opset": case["opset"],
            "verdict": case["verdict"],
            "proved": proved(case),
            "option": case["option"],
            "versions": document["environment"]["versions"],
        }
    manifest = {"schema": SCHEMA, "cases": cases}
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=1).encode(), OPTION)


def _save(case: CaseEntry, folder: Path, name: str) -> dict[str, str]:
    """The saved files, relative to ``folder``, with their digests; the main file first."""
    home, files, saved = Path(case["artifact"] or "").parent, case["artifact_files"], {}
    for file in files:
        target = f"{name}/{file}" if len(files) > 1 else f"{name}.onnx"
        data = (home / file).read_bytes()
        saved[target] = hashlib.sha256(data).hexdigest()
        if file == files[0] and saved[target] != case["artifact_sha256"]:
            raise UsageError(
                f"{OPTION}: {home / file} changed since it was judged; run again, and leave the "
                "cache alone meanwhile"
            )
        write_whole(folder / target, data, OPTION)
    return saved
