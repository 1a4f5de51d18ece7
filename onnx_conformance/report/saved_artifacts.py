"""The artifacts that ``--save-onnx`` keeps, and their manifest: written, and read as a baseline."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_conformance.core.documents import CaseEntry, ResultsDocument
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.files import write_json, write_whole
from onnx_conformance.report.columns import passed_every_check

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
            "proved": passed_every_check(case),
            "option": case["option"],
            "versions": document["environment"]["versions"],
        }
    manifest = {"schema": SCHEMA, "cases": cases}
    write_json(folder / MANIFEST, manifest, OPTION)


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


GATE = "--gate"
NAME_A_FOLDER = "give the folder of artifacts that --save-onnx kept"
KEEP_ANEW = "keep the baseline anew with --save-onnx"
# Of the manifest's entry of a case: each key, and the types of its value.
FIELDS: dict[str, tuple[type, ...]] = {
    "file": (str,),
    "files": (list,),
    "sha256": (list,),
    "opset_requested": (int, type(None)),
    "opset": (int, type(None)),
    "verdict": (str,),
    "proved": (bool,),
    "option": (bool,),
    "versions": (dict,),
}


class UncertifiedBaseline(UsageError):
    """A case of the baseline was red, skipped or incomplete: nothing may be gated by it."""


@dataclass(frozen=True)
class BaselineCase:
    """One artifact of the baseline.

    Args:
        files: absolute paths; the main file first, then its external data.
        sha256: of each file, in the same order.
        verdict: of the run that kept it, such as ``passed``.
        certified: whether it passed every required check.
        option: whether a test of an export option brought it, beside the cases of a run.
        versions: of the packages that made and judged it.
    """

    id: str
    files: tuple[Path, ...]
    sha256: tuple[str, ...]
    opset_requested: int | None
    opset: int | None
    verdict: str
    certified: bool
    option: bool
    versions: dict[str, str]


@dataclass(frozen=True)
class Baseline:
    """A baseline whose every file is there, and is what the manifest says."""

    folder: Path
    cases: dict[str, BaselineCase]

    def certified_case(self, case_id: str) -> BaselineCase:
        """The case, if the baseline has it and it passed every check there.

        Raises:
            UncertifiedBaseline: it did not pass every check.
            UsageError: the baseline does not have it.
        """
        case = self.cases.get(case_id)
        if case is None:
            raise UsageError(
                f"{GATE}: {self.folder} has no case '{case_id}', which is new or was renamed; "
                f"{KEEP_ANEW}"
            )
        if not case.certified:
            how = "incomplete" if case.verdict == "passed" else f"as {case.verdict}"
            raise UncertifiedBaseline(
                f"{GATE}: the baseline of {case_id} was judged {how}, so nothing is compared "
                f"with it; {KEEP_ANEW} from a run in which it passes"
            )
        return case


def read_baseline(folder: Path) -> Baseline:
    """Read the manifest and check every file against it.

    Raises:
        UsageError: no such folder, no manifest, another schema, no case, or a file that is missing,
            changed or outside of the folder. One bad entry refuses the whole baseline.
    """
    root = folder.absolute()
    found = _manifest(root)
    cases = {name: _case(root, name, entry) for name, entry in found.items()}
    for case in cases.values():
        for path, sha256 in zip(case.files, case.sha256, strict=True):
            _check_file(root, case.id, path, sha256)
    return Baseline(root, cases)


def _manifest(root: Path) -> dict[str, Any]:
    if root.is_file():
        raise UsageError(_about_a_file(root))
    if not root.is_dir():
        raise UsageError(f"{GATE}: there is no {root}; {NAME_A_FOLDER}")
    path = root / MANIFEST
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(f"{GATE}: {root} has no {MANIFEST}; {NAME_A_FOLDER}") from error
    except OSError as error:
        raise UsageError(f"{GATE}: cannot read {path} ({error.strerror}); {KEEP_ANEW}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{GATE}: {path} is not JSON ({error}); {KEEP_ANEW}") from error
    if not isinstance(found, dict) or type(found.get("schema")) is not int:
        raise UsageError(f"{GATE}: {path} has no schema, so another tool wrote it; {KEEP_ANEW}")
    if found["schema"] != SCHEMA:
        raise UsageError(
            f"{GATE}: {path} has schema {found['schema']}, this suite reads {SCHEMA}; {KEEP_ANEW}"
        )
    cases = found.get("cases")
    if not isinstance(cases, dict):
        raise UsageError(f"{GATE}: {path} has no mapping 'cases'; {KEEP_ANEW}")
    if not cases:
        raise UsageError(f"{GATE}: {path} lists no case, so it has nothing to compare; {KEEP_ANEW}")
    return cases


def _about_a_file(path: Path) -> str:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and "benchmarks" in found:
        return (
            f"{GATE}: {path} holds times of another run, and times of two runs cannot be "
            f"compared; {NAME_A_FOLDER}"
        )
    return f"{GATE}: {path} is a file; {NAME_A_FOLDER}"


def _case(root: Path, name: str, entry: Any) -> BaselineCase:
    where = f"{GATE}: {root / MANIFEST}, case '{name}'"
    if not isinstance(entry, dict):
        raise UsageError(f"{where}: the entry is not a mapping; {KEEP_ANEW}")
    for key, kinds in FIELDS.items():
        if key not in entry:
            raise UsageError(f"{where}: '{key}' is missing; {KEEP_ANEW}")
        if not isinstance(entry[key], kinds) or isinstance(entry[key], bool) != (bool in kinds):
            raise UsageError(f"{where}: '{key}' must not be {entry[key]!r}; {KEEP_ANEW}")
    files, sha256 = entry["files"], entry["sha256"]
    texts = [*files, *sha256, *entry["versions"].values()]
    if not files or len(files) != len(sha256) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f"{where}: 'sha256' must have one digest for each of 'files'; {KEEP_ANEW}")
    if files[0] != entry["file"] or len(set(files)) < len(files):
        raise UsageError(
            f"{where}: 'files' must begin with 'file' and name none twice; {KEEP_ANEW}"
        )
    return BaselineCase(
        name,
        tuple(root / file for file in files),
        tuple(sha256),
        entry["opset_requested"],
        entry["opset"],
        entry["verdict"],
        entry["proved"],
        entry["option"],
        entry["versions"],
    )


def _check_file(root: Path, case_id: str, path: Path, sha256: str) -> None:
    about = f"{GATE}: {path}, the baseline of {case_id},"
    try:
        inside = path.resolve().is_relative_to(root.resolve())
        if inside:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise UsageError(f"{about} is missing; {KEEP_ANEW}") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{about} cannot be read ({error}); {KEEP_ANEW}") from error
    if not inside:
        raise UsageError(f"{about} lies outside of the folder; {KEEP_ANEW}")
    if found != sha256:
        raise UsageError(f"{about} changed since it was kept (other sha256); {KEEP_ANEW}")
