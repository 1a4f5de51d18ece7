"""The timings as one plain document, for ``--latency-json``, the table and the page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnx_conformance.catalog.frameworks import EAGER
from onnx_conformance.core.errors import CapabilityMissing, ConformanceError
from onnx_conformance.core.files import write_whole
from onnx_conformance.perf.latency.bench import Group
from onnx_conformance.perf.latency.certification import NotProved
from onnx_conformance.perf.latency.contenders import Contender
from onnx_conformance.perf.latency.ratios import Ratio, paired_ratio
from onnx_conformance.perf.latency.rows import Row
from onnx_conformance.perf.run import PerfRun
from onnx_conformance.session.cache_keys import environment

SCHEMA = 1
OPTION = "--latency-json"
TIMED_NOTHING = 5  # as a run that reached no verdict
NOTHING = "timed nothing: timings were asked for, but no row has one"
BOX = (5, 25, 50, 75, 95)  # percentiles of the calls, in the order of ``box_seconds``
JUDGED = ("torch", "tensorflow", "tensorflow-cpu", "keras", "onnxruntime", "onnxruntime-gpu")

Groups = Mapping[tuple[str, int], Group]


def make_document(
    run: PerfRun, groups: Groups, *, command: str, started: str, exit_status: int
) -> dict[str, Any]:
    """Rows with their figures, and the reasons of those that have none.

    Seconds and MiB throughout; ``round_seconds`` pair the rows of a group by their index.
    """
    rows = [entry for group in groups.values() for entry in group_rows(group)]
    absent = [
        entry for (_, batch), group in groups.items() for entry in group_absences(batch, group)
    ]
    settings = {
        "threads": run.settings.threads,
        "affinity": list(run.timing.cpus),
        "graph_level": run.settings.graph_level,
        "seconds_a_group": run.timing.seconds,
        "seed": run.settings.seed,
        "weights": run.settings.weights,
    }
    document = {
        "schema": SCHEMA,
        "command": command,
        "started": started,
        "exit_status": exit_status,
        "environment": environment(),
        "settings": settings,
        "rows": rows,
        "absent": absent,
    }
    return {**document, "sentence": sentence(document)}


def group_rows(group: Group) -> list[dict[str, Any]]:
    """The rows of a group as plain data, each with its speed-up over the fastest native form."""
    rows = list(group.rows.values())
    natives = [row for row in rows if row.contender.case is None]
    fastest = min(natives, key=lambda row: float(np.median(row.rounds)), default=None)
    return [_entry(row, fastest) for row in rows]


def group_absences(batch: int, group: Group) -> list[dict[str, Any]]:
    """Why contenders of a group have no row: ``red``, ``skipped`` or a ``known failure``."""
    return [_absence(contender, batch, failure) for contender, failure in group.failures.items()]


def over_fastest(row: Row, fastest: Row | None) -> Ratio | None:
    """The paired ratio of the fastest native form's time to a row of ONNX Runtime."""
    if fastest is None or row.contender.case is None:
        return None
    if fastest.contender.form == EAGER:
        return row.speedup
    return paired_ratio(fastest.rounds, row.rounds)


def _entry(row: Row, fastest: Row | None) -> dict[str, Any]:
    figures = row.extra_info()
    del figures["versions"], figures["processor"]  # once, under environment
    ratio = over_fastest(row, fastest)
    return {
        "label": row.contender.label,
        "group": row.group,
        **figures,
        "fastest_native": fastest.contender.form if fastest and ratio else None,
        "over_fastest": ratio.as_dict() if ratio else None,
        "box_seconds": np.percentile(row.seconds, BOX).tolist(),
        "round_seconds": row.rounds.tolist(),
    }


def _absence(contender: Contender, batch: int, failure: ConformanceError) -> dict[str, Any]:
    kinds = {CapabilityMissing: "skipped", NotProved: "known failure"}
    kind = next((word for known, word in kinds.items() if isinstance(failure, known)), "red")
    return {
        "model": contender.model,
        "batch": batch,
        "label": contender.label,
        "outcome": kind,
        "reason": " ".join(str(failure).split()),
    }


def verdict_on(ratio: Mapping[str, Any] | None) -> str:
    """One word: ``faster``, ``slower``, or ``open`` where the interval holds 1; else ``""``."""
    if ratio is None:
        return ""
    if ratio["holds_1"]:
        return "open"
    return "faster" if ratio["low"] > 1 else "slower"


def reasons(absent: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    """(outcome, reason, rows) of what has no result, each reason once, red ones first."""
    counts = Counter((entry["outcome"], entry["reason"]) for entry in absent)
    listed = [(outcome, reason, number) for (outcome, reason), number in counts.items()]
    return sorted(listed, key=lambda entry: entry[0] != "red")


def beyond(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Of each timed place, what it gets wrong on inputs that no timed call has."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for reason in row.get("beyond", ()):
            found.setdefault(reason, {})[row["label"]] = None
    return [
        f"timed, but fails on edge cases: {', '.join(labels)}: {reason}"
        for reason, labels in found.items()
    ]


def sentence(document: Mapping[str, Any]) -> str:
    """What happened, then under which circumstances."""
    rows, settings = document["rows"], document["settings"]
    red = sum(entry["outcome"] == "red" for entry in document["absent"])
    tail = f"; {red} red" if red else ""
    if not rows:
        return f"{NOTHING}{tail}"
    found = Counter(
        verdict_on(row["speedup"]) for row in rows if row["case"] and row["speedup"] is not None
    )
    shown = found["faster"] + found["slower"]
    versions = document["environment"]["versions"]
    judged = ", ".join(f"{name} {versions[name]}" for name in JUDGED if name in versions)
    cpus = ", ".join(map(str, settings["affinity"])) or "any"
    return (
        f"{len(rows)} rows timed, {red} failed; ONNX Runtime against native eager: "
        f"{shown} of {found.total()} differ ({found['faster']} faster, {found['slower']} slower); "
        f"{settings['threads']} thread(s) on processor {cpus}, graph level "
        f"{settings['graph_level']}, {judged}"
    )


def write_json(document: dict[str, Any], path: Path) -> None:
    """Write the document, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    write_whole(path, json.dumps(document, indent=1, allow_nan=False).encode(), OPTION)
