"""Two runs of the suite for a tool, one to certify and one to time, with their output shown."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from onnx_conformance.cli.run import USAGE_ERROR, pytest_arguments
from onnx_conformance.core.documents import ResultsDocument
from onnx_conformance.core.errors import ConformanceError, UsageError
from onnx_conformance.perf.latency.latency_document import LatencyDocument
from onnx_conformance.report.document import PROVED_NOTHING

FINISHED_STATUSES = (0, 1, PROVED_NOTHING)  # after which the documents say what happened


def run_checks(folder: Path, options: Sequence[str]) -> ResultsDocument:
    """The results document of a certification; it and its page are left in ``folder``."""
    pages = _pages(folder, "report", "report.html", "results.json")
    run_suite(pytest_arguments([*pages, *options]), folder / "results.json")
    text = (folder / "results.json").read_text(encoding="utf-8")
    return cast("ResultsDocument", json.loads(text))


def time(folder: Path, options: Sequence[str]) -> LatencyDocument:
    """The latency document of what ``options`` select; it and its page are left in ``folder``."""
    pages = _pages(folder, "latency", "latency.html", "latency.json")
    words = ["--benchmark-only", *pages, *options]
    run_suite(pytest_arguments(words, ["test_latency.py"]), folder / "latency.json")
    text = (folder / "latency.json").read_text(encoding="utf-8")
    return LatencyDocument.from_json(json.loads(text))


def _pages(folder: Path, name: str, page: str, data: str) -> list[str]:
    return [f"--{name}-html={folder / page}", f"--{name}-json={folder / data}"]


def run_suite(arguments: Sequence[str], target: Path) -> None:
    """Run pytest, which writes a document to ``target``.

    Raises:
        UsageError: pytest refuses an option, in its words, or they select nothing.
        ConformanceError: it ended early, or wrote nothing.
    """
    before = _written(target)
    command = [sys.executable, "-m", "pytest", *arguments]
    ran = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    if ran.returncode == USAGE_ERROR:
        raise UsageError(complaint(ran.stderr))
    sys.stderr.write(ran.stderr)
    fresh = _written(target) not in (None, before)  # an earlier run's is not true now
    if ran.returncode == PROVED_NOTHING and not fresh:
        raise UsageError("these options select no test")
    if ran.returncode not in FINISHED_STATUSES or not fresh:
        raise ConformanceError(
            f"pytest ended with status {ran.returncode}; its output above says why"
        )


def _written(target: Path) -> int | None:
    """When a file was written, in ns; None if it is not there."""
    return target.stat().st_mtime_ns if target.is_file() else None


def complaint(error_text: str) -> str:
    r"""pytest's complaint about the command line, out of its whole output.

    >>> complaint("ERROR: usage: x [options]\nx: error: unrecognized arguments: --nope\n")
    'unrecognized arguments: --nope'
    >>> complaint("ERROR: unknown model 'nope'\n\n")
    "unknown model 'nope'"
    """
    lines = [line.strip() for line in error_text.splitlines() if line.strip()]
    exact = [line.partition("error: ")[2] for line in lines if ": error: " in line]
    plain = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return next(iter([*exact, *plain, *lines]), "pytest refused its options without a message")
