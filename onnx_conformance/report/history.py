"""Runs over time: ``--history DIR`` keeps each run, and draws what changed between them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_conformance.core.documents import CaseEntry, ResultsDocument
from onnx_conformance.core.errors import CapabilityMissing, UsageError
from onnx_conformance.core.files import refuse_unwritable, write_whole
from onnx_conformance.report.document import cell_of, kind_of
from onnx_conformance.report.history_plot import Mark, trend
from onnx_conformance.report.pages import page

if TYPE_CHECKING:
    from markupsafe import Markup

OPTION = "--history"
SCHEMA = 1
SHOWN = 12  # runs on the page, the latest
CHANGED = 1.5  # how many times larger or smaller a score is marked
JUDGED = ("torch", "tensorflow", "tensorflow-cpu", "keras", "tf2onnx", "onnx", "onnxscript")
RUNTIMES = re.compile(r"onnxruntime(?:-\w+)?")


@dataclass(frozen=True)
class Point:
    """One case in one run.

    Args:
        kind: its verdict; ``incomplete`` where only some of the required checks passed.
        text: the mark and the score, as in the matrix.
        score: the worst score over what is allowed; None where nothing was scored.
        speed: time over the baseline's with its interval, where a gate ran; else None.
    """

    kind: str
    text: str
    score: float | None
    speed: list[float] | None = None


@dataclass(frozen=True)
class Kept:
    """A run that was kept."""

    started: str
    verdict: str
    versions: dict[str, str]
    cases: dict[str, Point]


def keep(document: ResultsDocument, folder: Path) -> None:
    """Add a run to the folder and draw its page anew: ``index.html``.

    Args:
        document: the results document.

    Raises:
        UsageError: the folder cannot be written, it contains a file that is not a kept run, or
            the page needs a package that is absent.
    """
    cases = {case["id"]: _point(case) for case in document["cases"] if case["verdict"] != "skipped"}
    run = document["run"]
    _add(folder, run["started"], run["verdict"], document["environment"]["versions"], cases)


def keep_gate(document: dict[str, Any], folder: Path) -> None:
    """Add what a gate measured for each case at its smallest batch.

    Args:
        document: what ``--gate-json`` holds.

    Raises:
        UsageError: as of :func:`keep`.
    """
    cases = {}
    for case in sorted(document["cases"], key=lambda case: -case["batch"]):
        kind = "failed" if case["verdict"] == "slower" else "passed"
        speed = [case["ratio"], case["low"], case["high"]]
        point = {"kind": kind, "text": case["verdict"], "score": None}
        cases[case["case"]] = point | {"speed": None if None in speed else speed}
    verdict = "red" if document["exit_status"] else "passed"
    started = datetime.now(UTC).isoformat(timespec="seconds")
    _add(folder, started, verdict, document["environment"]["versions"], cases)


def _add(
    folder: Path, started: str, verdict: str, versions: dict[str, str], cases: dict[str, Any]
) -> None:
    data = {
        "schema": SCHEMA,
        "started": started,
        "verdict": verdict,
        "versions": {name: version for name, version in versions.items() if of_run(name)},
        "cases": cases,
    }
    try:
        text = render([*read(folder), _kept(data)])
    except CapabilityMissing as missing:
        raise UsageError(f"{OPTION}: {missing}") from missing
    name = re.sub(r"[^0-9T]", "", started.partition("+")[0])
    write_whole(folder / f"{name}.json", json.dumps(data, indent=1).encode(), OPTION)
    write_whole(folder / "index.html", text.encode(), OPTION)


def refuse_unusable(folder: Path) -> None:
    """Check before a long run that the folder can be used.

    Raises:
        UsageError: as of :func:`keep`.
    """
    read(folder)
    refuse_unwritable(folder / "index.html", OPTION)


def of_run(package: str) -> bool:
    """Whether the package's version belongs to what is judged."""
    return package in JUDGED or RUNTIMES.fullmatch(package) is not None


def _point(case: CaseEntry) -> dict[str, Any]:
    mark, score = cell_of(case)
    share = None
    if case["worst_score"] is not None and case["budget"]:
        share = float(case["worst_score"]) / float(case["budget"])
    finite = share is not None and share < float("inf")
    return {
        "kind": kind_of(case),
        "text": f"{mark} {score}".strip(),
        "score": share if finite else None,
    }


def read(folder: Path) -> list[Kept]:
    """The runs of a folder.

    Raises:
        UsageError: a file is not a run of this schema.
    """
    runs = []
    for path in sorted(folder.glob("*.json")):
        try:
            runs.append(_kept(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{OPTION}: {path} is not a run that {OPTION} kept; name a folder for runs alone"
            ) from error
    return runs


def _kept(data: dict[str, Any]) -> Kept:
    if data["schema"] != SCHEMA:
        raise KeyError("schema")
    cases = {name: Point(**point) for name, point in data["cases"].items()}
    return Kept(data["started"], data["verdict"], data["versions"], cases)


def render(runs: list[Kept]) -> str:
    """The page of the latest runs."""
    shown = sorted(runs, key=lambda run: run.started)[-SHOWN:]
    names = dict.fromkeys(name for run in shown for name in run.cases)
    before: Iterable[Kept | None] = [None, *shown[:-1]]
    heads = [
        {"run": run, "changes": changes(old, run)} for old, run in zip(before, shown, strict=True)
    ]
    context = {
        "runs": heads[::-1],  # the newest first
        "rows": [{"name": name, "cells": cells(shown, name)[::-1]} for name in names],
        "plot": _plot(shown, list(names), [each["changes"] for each in heads]),
        "total": len(runs),
        "last": shown[-1] if shown else None,
        "changed": CHANGED,
    }
    return page("history.html.j2", context)


def _plot(runs: list[Kept], names: list[str], changed: list[Any]) -> Markup | None:
    """Score and speed from run to run; None for a single run."""
    if len(runs) < 2:
        return None
    lines = [(name, _marks(cells(runs, name))) for name in names]
    return trend(lines, [run.started[5:10] for run in runs], changed)


def _marks(row: list[dict[str, Any] | None]) -> list[Mark]:
    found = []
    for place, cell in enumerate(row):
        if cell is not None:
            point: Point = cell["point"]
            ends = None if point.speed is None else (point.speed[0], point.speed[1], point.speed[2])
            failed = point.kind == "failed"
            found.append(Mark(place, point.score, ends, failed, cell["changed"]))
    return found


def changes(old: Kept | None, new: Kept) -> list[str]:
    """The versions that differ from the run before."""
    if old is None:
        return [f"{name} {version}" for name, version in new.versions.items()]
    names = dict.fromkeys([*old.versions, *new.versions])
    return [
        f"{name} {old.versions.get(name, 'absent')} → {new.versions.get(name, 'absent')}"
        for name in names
        if old.versions.get(name) != new.versions.get(name)
    ]


def cells(runs: list[Kept], name: str) -> list[dict[str, Any] | None]:
    """A case run by run; a cell is marked where it differs from the last one that was judged."""
    found: list[dict[str, Any] | None] = []
    before: Point | None = None
    for run in runs:
        point = run.cases.get(name)
        if point is None:
            found.append(None)
            continue
        found.append({"point": point, "changed": before is not None and differs(before, point)})
        before = point
    return found


def differs(old: Point, new: Point) -> bool:
    """Whether the verdict changed, the score changed much, or the speed is shown to differ."""
    if old.kind != new.kind:
        return True
    if new.speed is not None and not new.speed[1] <= 1.0 <= new.speed[2]:
        return True
    if old.score is None or new.score is None:
        return False
    low, high = sorted((old.score, new.score))
    return high > CHANGED * low
