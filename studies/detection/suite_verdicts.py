"""The suite's verdicts on a folder of files, from a run in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studies.detection.bases import FILES

ROOT = Path(__file__).resolve().parents[2]
RED = ("failed", "error")
LOOK = 0.5  # seconds between two looks at how far it is


@dataclass(frozen=True)
class Verdict:
    """What the suite said of a file.

    Args:
        outcome: ``passed``, ``failed``, ``known_failure``, ``skipped`` or, where the report has no
            such case, ``absent``.
        complete: every required check was run.
        checks: those that were red.
        reason: of the first of them.
        edge: the checks with an edge finding, which decides nothing.
    """

    outcome: str
    complete: bool = False
    checks: tuple[str, ...] = ()
    reason: str = ""
    score: float | None = None
    edge: tuple[str, ...] = ()


@dataclass
class SuiteRun:
    """A finished run: verdicts by path, and how long it took."""

    seconds: float
    command: str
    verdicts: dict[Path, Verdict] = field(default_factory=dict)

    def verdict(self, path: Path) -> Verdict:
        """The verdict on a file; ``absent`` if the report does not know it."""
        return self.verdicts.get(path.resolve(), Verdict("absent"))


def run_suite(
    model: str, folder: Path, work: Path, cache_dir: Path, progress: Callable[[int], None]
) -> SuiteRun:
    """Certify every ONNX file below ``folder`` against ``model``, with the suite's defaults.

    Args:
        work: where the run's reports and its output go.
        progress: told now and then how many cases are done.

    Raises:
        RuntimeError: the run ended without a report.
    """
    results, log = work / "results.json", work / "output.txt"
    command = [sys.executable, "-m", "pytest", "tests", "--ignore=tests/meta"]
    command += [f"--model={model}", f"--artifact={folder}", "--first-finding", "--provider=cpu"]
    command += [f"--models-from={file}" for file, names in FILES.items() if model in names]
    command += ["--expect-dynamic"]  # the corpus counts a frozen axis as a fault
    command += [f"--report-json={results}", f"--report-html={work / 'report.html'}"]
    command += [f"--cache-dir={cache_dir}", "--bundles=0", "--no-localize"]
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("PYTEST_")}
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            time.sleep(LOOK)
            progress(_done(log))
    if process.returncode not in (0, 1, 5) or not results.is_file():
        end = log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"the suite ended with status {process.returncode}:\n{end}")
    run = SuiteRun(time.monotonic() - started, " ".join(["pytest", *command[3:]]))
    run.verdicts = read_verdicts(json.loads(results.read_text()))
    return run


def read_verdicts(document: dict[str, Any]) -> dict[Path, Verdict]:
    """The verdicts in a report, by the resolved path of the file."""
    return {Path(case["artifact"]).resolve(): _verdict(case) for case in document["cases"]}


def _verdict(case: dict[str, Any]) -> Verdict:
    red = [row for row in case["checks"] if row["outcome"] in RED]
    names = tuple(dict.fromkeys(row["name"] for row in red))
    rows = red or [row for row in case["checks"] if row["outcome"] == "skipped"]
    reason = str(rows[0]["reason"]) if rows else ""
    edge = tuple(case.get("edge", ()))
    return Verdict(case["verdict"], case["complete"], names, reason, case["worst_score"], edge)


def _done(log: Path) -> int:
    """How many cases the suite's own progress has told of."""
    lines = re.findall(r"^\[ *(\d+)/\d+\]", log.read_text(errors="replace"), re.MULTILINE)
    return int(lines[-1]) if lines else 0
