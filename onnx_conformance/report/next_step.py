"""What to type after a run: one line that its verdict leads to."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from onnx_conformance.catalog.exporters import EXPORTERS
from onnx_conformance.core.documents import CaseEntry, CheckRow, ResultsDocument
from onnx_conformance.core.files import PROGRAM, in_checkout, program
from onnx_conformance.report.columns import RED_OUTCOMES, incomplete

RUN = f"{PROGRAM} run"


def next_step(document: ResultsDocument, whole_run: str) -> str:
    """The command to type next, and what it is for.

    Args:
        document: the results document of the run.
        whole_run: the command that runs every check of it.
    """
    cases = document["cases"]
    for case in cases:
        for check in case["checks"]:
            if check["outcome"] in RED_OUTCOMES:
                return f"{command_of(check)}   # repeats the first failure alone"
    verdict = document["run"]["verdict"]
    if verdict == "red":
        return "fix what the lines above name, and repeat the command"
    if verdict == "incomplete":
        return _of_incomplete(cases, whole_run)
    if not document["totals"]["judged"]:
        return f"{_tool('providers')}   # what this machine can run"
    if document["totals"]["edge"]:
        return "repeat with --edge-cases=fail   (if a deployed model may meet such inputs)"
    return f"repeat with --save-onnx=DIR to keep the files, or {_tool('bench')} to time them"


def _tool(name: str) -> str:
    return f"make {name}" if in_checkout() else shlex.join([*program(), name])


def command_of(check: CheckRow) -> str:
    """The command that runs a failed check again, as its message says it."""
    for line in str(check.get("message") or "").splitlines():
        label, _, command = line.strip().partition(": ")
        if label == "reproduce":
            return command
    return shlex.join(["pytest", check["nodeid"]]) if check.get("nodeid") else ""


def case_command(case: CaseEntry, models_from: Iterable[str]) -> str:
    """The command that judges a case again; empty for files that exist and for export options."""
    if case["exporter"] not in EXPORTERS or case["option"]:
        return ""
    words = [case["model"], *(f"--models-from={file}" for file in models_from)]
    words += ["--exporter", case["exporter"], "--provider", case["provider"]]
    words += ["--opset", str(case["opset_requested"])] if case["opset_requested"] else []
    return f"{RUN} {shlex.join(words)}"


def _of_incomplete(cases: list[CaseEntry], whole_run: str) -> str:
    """Checks that were not selected can be run; those that could not decide have a reason."""
    lacking = [case for case in cases if incomplete(case)]
    if not all(all(case["missing"].values()) for case in lacking):
        return f"{whole_run}   # all checks, without -k, -m or the name of a test"
    return "the reasons above say what each check needs (docs/reading-a-failure.md)"
