"""Failures where a code host shows them: GitHub's annotations, SARIF, GitLab's code quality."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from onnx_conformance.core.documents import ResultsDocument
from onnx_conformance.core.files import write_json
from onnx_conformance.diagnose.messages import summary_line
from onnx_conformance.report.columns import RED_OUTCOMES

SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
MOST_ANNOTATIONS = 10  # that GitHub shows of a step


@dataclass(frozen=True)
class Annotation:
    """A failed check of a case.

    Args:
        check, case: their names.
        text: one line: what differs, by how much, where first, and how to repeat it.
        file: the path at which a code host shows it.
    """

    check: str
    case: str
    text: str
    file: str


def findings(document: ResultsDocument) -> Iterator[Annotation]:
    """The failed checks of a results document.

    A finding is shown at the file with the model, where ``--models-from`` named one file, else at
    the test.
    """
    models: list[str] = document["run"].get("models_from") or []
    file = models[0] if len(models) == 1 and Path(models[0]).is_file() else ""
    for case in document["cases"]:
        for check in case["checks"]:
            if check["outcome"] in RED_OUTCOMES:
                text = summary_line(check.get("message") or f"{case['id']}: {check['reason']}")
                test = str(check.get("nodeid") or "").partition("::")[0]
                yield Annotation(check["name"], case["id"], text, _relative(file or test))


def _relative(path: str) -> str:
    """The path relative to the working folder, if it lies inside: hosts know no other paths."""
    whole = Path(path).absolute()
    here = Path.cwd()
    return whole.relative_to(here).as_posix() if whole.is_relative_to(here) else path


def github(document: ResultsDocument) -> list[str]:
    """Workflow commands, one line a finding; none outside GitHub Actions."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return []
    return [
        f"::error file={_property(found.file)},"
        f"title={_property(f'{found.check}: {found.case}')}::{_data(found.text)}"
        for found in [*findings(document)][:MOST_ANNOTATIONS]
    ]


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def write_sarif(document: ResultsDocument, path: Path) -> None:
    """Write SARIF 2.1.0, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    found = [*findings(document)]
    rules = [{"id": name} for name in dict.fromkeys(finding.check for finding in found)]
    driver = {"name": "onnx-conformance", "version": _version(), "rules": rules}
    log = {
        "$schema": SARIF,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": [_result(f) for f in found]}],
    }
    write_json(path, log, "--report-sarif")


def _result(found: Annotation) -> dict[str, Any]:
    place = {"artifactLocation": {"uri": found.file}, "region": {"startLine": 1}}
    return {
        "ruleId": found.check,
        "level": "error",
        "message": {"text": found.text},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"caseAndCheck/v1": _fingerprint(found)},
    }


def write_code_quality(document: ResultsDocument, path: Path) -> None:
    """Write GitLab's code quality report, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    entries = [
        {
            "description": found.text,
            "check_name": found.check,
            "fingerprint": _fingerprint(found),
            "severity": "critical",
            "location": {"path": found.file, "lines": {"begin": 1}},
        }
        for found in findings(document)
    ]
    write_json(path, entries, "--report-codequality")


def _fingerprint(found: Annotation) -> str:
    """The same for the same check of the same case, whatever its figures."""
    return hashlib.sha256(f"{found.case} {found.check}".encode()).hexdigest()


def _version() -> str:
    try:
        return version("onnx-conformance")
    except PackageNotFoundError:  # a checkout
        return "0"
