"""Runs over time: ``--history DIR`` keeps each run, and draws what changed between them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_conformance.catalog.exporters import judged_packages
from onnx_conformance.core.documents import CaseEntry, ResultsDocument
from onnx_conformance.core.errors import CapabilityMissing, UsageError
from onnx_conformance.core.files import refuse_unwritable, write_json, write_whole
from onnx_conformance.report.columns import FAILED, cell_of, kind_of
from onnx_conformance.report.history_plot import trend
from onnx_conformance.report.pages import page

if TYPE_CHECKING:
    from markupsafe import Markup

OPTION = "--history"
SCHEMA = 1
MOST_RUNS = 12  # runs on the page, the latest
SCORE_CHANGE = 1.5  # how many times larger or smaller a score is marked
RUNTIMES = re.compile(r"onnxruntime(?:-\w+)?")


@dataclass(frozen=True)
class Point:
    """One case in one run.

    Args:
        kind: its verdict; ``incomplete`` where only some of the required checks passed.
        text: the mark and the score, as in the matrix.
        score: the worst score over what is allowed; None where nothing was scored.
        speed: time over the baseline's with the ends of its interval, where a gate ran.
    """

    kind: str
    text: str
    score: float | None
    speed: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class KeptRun:
    """A run that was kept.

    Args:
        started: as ISO 8601 in UTC.
        verdict: of the run as a whole.
        versions: of the packages that are judged or make what is.
        cases: by id.
    """

    started: str
    verdict: str
    versions: dict[str, str]
    cases: dict[str, Point]

    def to_json(self) -> dict[str, Any]:
        """The run as a file of the folder has it."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> KeptRun:
        """The run of a file.

        Raises:
            KeyError, TypeError, AttributeError: it is no such file.
        """
        if data["schema"] != SCHEMA:
            raise KeyError("schema")
        cases = {name: Point(**point) for name, point in data["cases"].items()}
        return cls(data["started"], data["verdict"], data["versions"], cases)


def now() -> str:
    """The time as ``started`` has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def keep(document: ResultsDocument, folder: Path) -> None:
    """Add the run of a results document; raises as :func:`add`."""
    run, versions = document["run"], document["environment"]["versions"]
    cases = {case["id"]: _point(case) for case in document["cases"] if case["verdict"] != "skipped"}
    add(KeptRun(run["started"], run["verdict"], versions, cases), folder)


def add(run: KeptRun, folder: Path) -> None:
    """Add a run to the folder and draw its page anew: ``index.html``.

    Raises:
        UsageError: the folder cannot be written, it contains a file that is not a kept run, or
            the page needs a package that is absent.
    """
    versions = {name: version for name, version in run.versions.items() if of_run(name)}
    run = replace(run, versions=versions)
    try:
        text = render([*read(folder), run])
    except CapabilityMissing as missing:
        raise UsageError(f"{OPTION}: {missing}") from missing
    name = re.sub(r"[^0-9T]", "", run.started.partition("+")[0])
    write_json(folder / f"{name}.json", run.to_json(), OPTION)
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
    return package in judged_packages() or RUNTIMES.fullmatch(package) is not None


def _point(case: CaseEntry) -> Point:
    mark, score = cell_of(case)
    share = inf
    if case["worst_score"] is not None and case["budget"]:
        share = float(case["worst_score"]) / float(case["budget"])
    return Point(kind_of(case), f"{mark} {score}".strip(), share if share < inf else None)


def read(folder: Path) -> list[KeptRun]:
    """The runs of a folder.

    Raises:
        UsageError: a file is not a run of this schema.
    """
    runs = []
    for path in sorted(folder.glob("*.json")):
        try:
            runs.append(KeptRun.from_json(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{OPTION}: {path} is not a run that {OPTION} kept; name a folder for runs alone"
            ) from error
    return runs


def render(runs: list[KeptRun]) -> str:
    """The page of the latest runs."""
    shown = sorted(runs, key=lambda run: run.started)[-MOST_RUNS:]
    names = dict.fromkeys(name for run in shown for name in run.cases)
    before: Iterable[KeptRun | None] = [None, *shown[:-1]]
    heads = [
        {"run": run, "changes": changes(old, run)} for old, run in zip(before, shown, strict=True)
    ]
    context = {
        "runs": heads[::-1],  # the newest first
        "rows": [{"name": name, "cells": cells(shown, name)[::-1]} for name in names],
        "plot": _plot(shown, list(names)),
        "total": len(runs),
        "last": shown[-1] if shown else None,
        "changed": SCORE_CHANGE,
    }
    return page("history.html.j2", context)


def _plot(runs: list[KeptRun], names: list[str]) -> Markup | None:
    """Score and speed from run to run; None for a single run."""
    if len(runs) < 2:
        return None
    lines = [(name, cells(runs, name)) for name in names]
    changed = [[], *(changes(old, new) for old, new in pairwise(runs))]
    return trend(lines, [run.started[5:10] for run in runs], changed)


def changes(old: KeptRun | None, new: KeptRun) -> list[str]:
    """The versions that differ from the run before."""
    if old is None:
        return [f"{name} {version}" for name, version in new.versions.items()]
    names = dict.fromkeys([*old.versions, *new.versions])
    return [
        f"{name} {old.versions.get(name, 'absent')} → {new.versions.get(name, 'absent')}"
        for name in names
        if old.versions.get(name) != new.versions.get(name)
    ]


@dataclass(frozen=True)
class HistoryCell:
    """A case in one run of the page, and whether it differs from the last run that judged it."""

    point: Point
    changed: bool

    @property
    def failed(self) -> bool:
        """Whether the case failed in that run."""
        return self.point.kind == FAILED


def cells(runs: list[KeptRun], name: str) -> list[HistoryCell | None]:
    """A case run by run; None where it was not judged."""
    found: list[HistoryCell | None] = []
    before: Point | None = None
    for run in runs:
        point = run.cases.get(name)
        changed = point is not None and before is not None and differs(before, point)
        found.append(None if point is None else HistoryCell(point, changed))
        before = point or before
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
    return high > SCORE_CHANGE * low
