"""The page of variants: a table, and speed-up against error at each batch size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from onnx_conformance.core.text import size_words
from onnx_conformance.perf.variant_choice import (
    PLAIN_EXPORT,
    JudgedVariant,
    VariantsDocument,
    front,
    recommendation,
    slower,
)
from onnx_conformance.report.columns import RED_OUTCOMES
from onnx_conformance.report.pages import page
from onnx_conformance.report.plots import ACCENT, INK, SOFT, WIDTH, page_style, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT = 3.2  # inches of a plot
ACROSS = 0.9  # the axes' share of its width
LETTER, MOST_LABEL = 0.075, 0.7  # inches of one; share of the axes that a name may take
# How near two marks are when their names share a line: decades of error, share of the speed-up.
NEAR_DECADES, NEAR = 0.6, 0.07
LEAST_ERROR = 0.01  # noise floors: what is more exact is drawn there


def render(document: VariantsDocument) -> str:
    """The page, self-contained."""
    batches, variants = document.batches, document.variants
    context = {
        "document": document,
        "plain": PLAIN_EXPORT,
        "decided": any(one.decides for one in variants),
        "slower": slower,
        "answers": [recommendation(variants, batch) for batch in batches],
        "fronts": {batch: {one.name for one in front(variants, batch)} for batch in batches},
        "plots": {batch: speed_by_error(variants, batch, f"p{batch}") for batch in batches},
        "red": any(one.verdict in RED_OUTCOMES for one in variants),
    }
    return page("variants.html.j2", context, size=size_words)


@page_style()
def speed_by_error(variants: Sequence[JudgedVariant], batch: int, prefix: str) -> Markup | None:
    """Speed-up over native eager, with its interval, by error in float32 noise floors."""
    from matplotlib.figure import Figure

    shown = [one for one in variants if one.sound and one.at(batch) is not None]
    if not shown:
        return None
    best = front(variants, batch)
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.add_axes((0.07, 0.17, ACROSS, 0.78))
    for one in shown:
        _mark(axes, one, batch, ACCENT if one in best else SOFT)
    points = [_point(one, batch) for one in best]
    axes.plot(*zip(*points, strict=True), color=ACCENT, linewidth=1.0, zorder=1)
    axes.axhline(1.0, color=INK, linewidth=1.0)
    axes.set_xscale("log")
    axes.set_xlabel("error of the timed answer, in float32 noise floors")
    axes.set_ylabel("speed-up over native eager")
    axes.margins(x=0.15, y=0.15)
    axes.set_ylim(bottom=0.0)
    _name(axes, shown, batch)
    return svg(figure, prefix, f"Speed-up against error at batch {batch}")


def _point(one: JudgedVariant, batch: int) -> tuple[float, float]:
    at = one.at(batch)
    return (LEAST_ERROR, 0.0) if at is None else (max(at.error, LEAST_ERROR), at.over_native.value)


def _mark(axes: Axes, one: JudgedVariant, batch: int, color: str) -> None:
    at = one.at(batch)
    if at is None:
        return
    x, y = _point(one, batch)
    spread = [[y - at.over_native.low], [at.over_native.high - y]]
    axes.errorbar([x], [y], yerr=spread, color=color, marker="o", markersize=5, linestyle="none")


def _name(axes: Axes, shown: Sequence[JudgedVariant], batch: int) -> None:
    """The names beside the marks; those of marks that lie on each other in one line."""
    highest = max(_point(one, batch)[1] for one in shown)
    groups: list[tuple[float, float, list[str]]] = []
    for one in shown:
        x, y = _point(one, batch)
        near = [
            names
            for left, up, names in groups
            if abs(np.log10(x / left)) < NEAR_DECADES and abs(y - up) < NEAR * highest
        ]
        if near:
            near[0].append(one.name)
        else:
            groups.append((x, y, [one.name]))
    for x, y, names in groups:
        axes.annotate(
            ", ".join(names), (x, y), xytext=(6, 4), textcoords="offset points", color=INK
        )
    _make_room(axes, [(x, len(", ".join(names))) for x, _, names in groups])


def _make_room(axes: Axes, labels: Sequence[tuple[float, int]]) -> None:
    """Widen the axis to the right until the frame cuts no name.

    Args:
        labels: where each begins, and its letters.
    """
    low, high = np.log10(axes.get_xlim())
    for x, letters in labels:
        share = min(LETTER * (letters + 2) / (WIDTH * ACROSS), MOST_LABEL)  # of the width
        high = max(high, low + (np.log10(x) - low) / (1 - share))
    axes.set_xlim(right=10**high)
