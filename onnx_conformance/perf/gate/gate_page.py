"""The page of a gate: ``--gate-html``."""

from __future__ import annotations

import math

from onnx_conformance.perf.gate.gate_document import GateDocument
from onnx_conformance.report.pages import page

LEAST_SPAN = 0.05  # of the axis on either side of 1, so that noise does not fill it


def render(document: GateDocument) -> str:
    """The page, self-contained."""
    decisions = [found.decision for found in document.results]
    ends = [end for found in decisions for end in (found.ratio, found.low, found.high)]
    ratios = [1 + document.timing.threshold, *filter(math.isfinite, ends)]
    low, high = min([1 - LEAST_SPAN, *ratios]), max([1 + LEAST_SPAN, *ratios])

    def place(ratio: float) -> float:
        """Where a ratio lies on the axis, in percent; an open end lies at its edge."""
        return round(100 * (min(ratio, high) - low) / (high - low), 1)

    context = {"gate": document, "low": low, "high": high, "headline": _headline(document)}
    return page(
        "gate.html.j2", context, effect=_effect, factor=_factor, figure=_figure, place=place
    )


def _headline(document: GateDocument) -> str:
    if slower := document.count("slower"):
        return f"{slower} of {len(document.results)} cases slower than the baseline"
    if document.exit_status == 0:
        return "No worse than the baseline"
    return "Worse than the baseline, or not compared"


def _factor(ratio: float) -> str:
    return f"{ratio:.3f}×" if math.isfinite(ratio) else "?"


def _effect(ratio: float) -> str:
    return f"{100 * (ratio - 1):.1f} %" if math.isfinite(ratio) else ""


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}"
