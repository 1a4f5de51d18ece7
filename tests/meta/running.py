"""Run the real suite in a process of its own, as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema

from tests.meta.fork_server import SERVERS, SUPPORTED

ROOT = Path(__file__).resolve().parents[2]
CACHE = "CONFORMANCE_TEST_CACHE"  # the folder that conftest.py makes for a session of tests
SCHEMA = ROOT / "onnx_conformance" / "report" / "results.schema.json"

LONGEST = 600  # seconds of a run

# What every small model is judged by.
ORDINARY = tuple(f"tests/test_{part}.py" for part in ("structure", "function", "robustness"))


class SuiteRun:
    """A finished run: its exit status, what it printed, and its results as data."""

    def __init__(self, finished: subprocess.CompletedProcess[str], results: Path) -> None:
        self.status = finished.returncode
        self.text = finished.stdout + finished.stderr
        self.results = results

    @property
    def document(self) -> dict[str, Any]:
        """The results, which every run writes as its schema says."""
        document: dict[str, Any] = json.loads(self.results.read_text())
        jsonschema.validate(document, json.loads(SCHEMA.read_text()))
        return document

    def outcomes(self) -> dict[str, set[str]]:
        """Check -> its outcomes over all cases."""
        found: dict[str, set[str]] = {}
        for case in self.document["cases"]:
            for row in case["checks"]:
                found.setdefault(row["name"], set()).add(row["outcome"])
        return found


def run_suite(
    folder: Path, *arguments: str, plugin: str | None = None, page: bool = False
) -> SuiteRun:
    """``python -m pytest`` on ``arguments``; ``results.json`` is in ``folder``.

    A page, ``report.html``, takes a processor second to draw: ``page`` asks for one.

    All runs of a session of these tests share one cache, so that a model that several of them
    certify is exported once. A run with a plugin, which may falsify what is cached, has one of its
    own in ``folder``, and so have those of a study; ``arguments`` may name another. In a session of
    these tests runs are forked (:mod:`tests.meta.fork_server`).
    """
    results = folder / "results.json"
    words = ["-p", f"tests.meta.plugins.{plugin}"] if plugin else []
    options = [
        f"--report-json={results}",
        f"--report-html={folder / 'report.html' if page else ''}",
    ]
    if not any(argument.startswith(("--cache-dir", "--no-cache")) for argument in arguments):
        shared = None if plugin else os.environ.get(CACHE)
        options.append(f"--cache-dir={shared or folder / 'cache'}")
    words += [*options, *arguments]
    environment = environment_of_a_run()
    if CACHE in os.environ and SUPPORTED:
        return SuiteRun(SERVERS.run(words, ROOT, environment, LONGEST), results)
    command = [sys.executable, "-m", "pytest", *words]
    finished = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    return SuiteRun(finished, results)


def judged_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The cases of a document without what two runs of the same differ in: times and places."""
    return [
        {**case, "artifact": None, "checks": [{**row, "seconds": None} for row in case["checks"]]}
        for case in document["cases"]
    ]


def environment_of_a_run() -> dict[str, str]:
    """What the run inherits: nothing of the outer pytest, and no sign of a CI.

    Under ``CI`` or ``BUILD_NUMBER`` pytest prints its summary's lines in full, so that words
    told once would be found twice.
    """
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("PYTEST_") and key not in ("CI", "BUILD_NUMBER")
    }
