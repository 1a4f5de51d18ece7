"""The page of timings: ``--latency-html``, one self-contained file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from onnx_conformance.core.files import write_whole
from onnx_conformance.perf.latency import latency_plots
from onnx_conformance.perf.latency.latency_document import reasons, verdict_on
from onnx_conformance.perf.latency.latency_table import LEGEND, milliseconds, placement, rate, told
from onnx_conformance.report.pages import page

OPTION = "--latency-html"


def write(document: dict[str, Any], path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    write_whole(path, render(document).encode(), OPTION)


def render(document: dict[str, Any]) -> str:
    """The page of a document (:mod:`onnx_conformance.perf.latency.latency_document`)."""
    return page(
        "latency.html.j2",
        view(document),
        milliseconds=milliseconds,
        placement=placement,
        rate=rate,
        told=told,
        verdict_on=verdict_on,
    )


def view(document: dict[str, Any]) -> dict[str, Any]:
    """What the template shows, worked out."""
    rows = document["rows"]
    models = dict.fromkeys(row["model"] for row in rows)
    verdict, headline = _headline(document)
    return {
        **document,
        "verdict": verdict,
        "headline": headline,
        "legend": LEGEND,
        "reasons": reasons(document["absent"]),
        "red": any(entry["outcome"] == "red" for entry in document["absent"]),
        "rows": [{**row, "first": _first(rows, place)} for place, row in enumerate(rows)],
        "models": [
            {
                "name": name,
                "anchor": f"model-{place}",
                "speedups": latency_plots.speedups(own, f"s{place}"),
                "latencies": latency_plots.latencies(own, f"l{place}"),
            }
            for place, name in enumerate(models)
            for own in [[row for row in rows if row["model"] == name]]
        ],
    }


def _headline(document: dict[str, Any]) -> tuple[str, str]:
    """The look of the verdict and its words."""
    rows = document["rows"]
    if not rows:
        return "failed", "Timed nothing"
    found = Counter(verdict_on(row["speedup"]) for row in rows if row["case"])
    words = f"ONNX Runtime: {found['faster']} faster, {found['slower']} slower"
    words += f", {found['open']} not shown to differ" if found["open"] else ""
    if document["exit_status"]:
        return "failed", f"✗ The run failed. {words}"
    return "passed", words


def _first(rows: list[dict[str, Any]], place: int) -> bool:
    return place == 0 or rows[place - 1]["group"] != rows[place]["group"]
