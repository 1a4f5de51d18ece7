"""The page of a gate, made from its data: ``--gate-html``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnx_conformance.core.files import write_whole
from onnx_conformance.report.pages import page

OPTION = "--gate-html"
LEAST_SPAN = 0.05  # of the axis on either side of 1, so that noise does not fill it


def write(document: dict[str, Any], path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        UsageError: the file cannot be written.
    """
    write_whole(path, render(document).encode(), OPTION)


def render(document: dict[str, Any]) -> str:
    """The page of what ``--gate-json`` holds."""
    cases = document["cases"]
    found = [case[key] for case in cases for key in ("ratio", "low", "high")]
    found += [1 + case["threshold"] for case in cases]
    ratios = [ratio for ratio in found if ratio is not None]
    low = min([1 - LEAST_SPAN, *ratios])
    high = max([1 + LEAST_SPAN, *ratios])
    context = {
        **document,
        "low": low,
        "high": high,
        "red": document["exit_status"] != 0,
        "headline": _headline(document),
    }
    return page("gate.html.j2", context, factor=_factor, figure=_figure, place=_place(low, high))


def _headline(document: dict[str, Any]) -> str:
    slower = sum(case["verdict"] == "slower" for case in document["cases"])
    if slower:
        return f"{slower} of {len(document['cases'])} cases slower than the baseline"
    if document["exit_status"] == 0:
        return "No worse than the baseline"
    return "Worse than the baseline, or not compared"


def _factor(ratio: float | None) -> str:
    return "?" if ratio is None else f"{ratio:.3f}×"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}"


def _place(low: float, high: float) -> Callable[[float | None], float]:
    """Where a ratio lies on the axis, in percent; an open end lies at its edge."""

    def place(ratio: float | None) -> float:
        return 100.0 if ratio is None else round(100 * (ratio - low) / (high - low), 1)

    return place
