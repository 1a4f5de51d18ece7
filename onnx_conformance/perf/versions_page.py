"""The page of versions: the answers, the table, and speeds with their intervals, place by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from onnx_conformance.perf.latency.latency_table import milliseconds, ratio_text
from onnx_conformance.perf.latency.ratios import Ratio
from onnx_conformance.perf.version_comparison import Comparison, VersionCell
from onnx_conformance.perf.versions_document import RED, WORDS_OF_KINDS, VersionsDocument, worse
from onnx_conformance.report.columns import FAILED
from onnx_conformance.report.pages import page
from onnx_conformance.report.plots import (
    BAD,
    INK,
    OK,
    ROW,
    SOFT,
    WARN,
    WIDTH,
    bare,
    page_style,
    svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS_BY_VERDICT = {"faster": (OK, "o"), "slower": (WARN, "s"), "open": (SOFT, "o")}
LABELS, MARGIN = 0.31, 0.55  # share of the width for names, inches above and below
LEAST_SPAN = 0.05  # of the axis on either side of 1, so that noise does not fill it
LEGIBLE = 8.0  # points


def render(document: VersionsDocument) -> str:
    """The page, self-contained."""
    found = document.comparison
    context = {
        "answer": document,
        "found": found,
        "look": _look(found, document.exit_status),
        "plots": {batch: speeds(found, batch, f"p{batch}") for batch in found.batches},
    }
    return page("versions.html.j2", context, milliseconds=milliseconds, ratio=ratio_text)


def _look(found: Comparison, status: int) -> str:
    """How the box looks; green only where nothing is lost by going there."""
    if status == 0:
        return "incomplete" if worse(found) else "passed"
    return "failed" if status == RED else "skipped"


@page_style()
def speeds(found: Comparison, batch: int, prefix: str) -> Markup | None:
    """Times as fast as here, with intervals: a panel a place, a row a line; None without any."""
    from matplotlib.figure import Figure

    lines = [line for line in found.lines if any(batch in c.ratios for c in line.cells.values())]
    if not lines:
        return None
    height = ROW * len(lines) + 2 * MARGIN
    figure = Figure(figsize=(WIDTH, height))
    places = [place for place in found.others if found.judged(place)]
    panel = (0.99 - LABELS) / len(places)
    bounds = _bounds([c.ratios[batch] for line in lines for c in _timed(line.cells, batch)])
    for index, place in enumerate(places):
        corner = (LABELS + index * panel, MARGIN / height)
        axes = figure.add_axes((*corner, 0.94 * panel, ROW * len(lines) / height))
        _frame(axes, place, bounds, [line.name for line in lines] if index == 0 else None)
        axes.set_ylim(len(lines) - 0.4, -0.6)  # the first on top
        for row, line in enumerate(lines):
            _mark(axes, row, line.cells[place], batch)
    return svg(figure, prefix, f"Times as fast as here at batch {batch}")


def _timed(cells: Mapping[str, VersionCell], batch: int) -> list[VersionCell]:
    return [cell for cell in cells.values() if batch in cell.ratios]


def _bounds(ratios: Sequence[Ratio]) -> tuple[float, float]:
    low = min([1 - LEAST_SPAN, *(ratio.low for ratio in ratios)])
    high = max([1 + LEAST_SPAN, *(ratio.high for ratio in ratios)])
    room = 0.06 * (high - low)
    return low - room, high + room


def _frame(
    axes: Axes, place: str, bounds: tuple[float, float], names: Sequence[str] | None
) -> None:
    axes.set_xlim(*bounds)
    axes.set_title(place, color=INK, fontsize=9.0, parse_math=False)
    axes.axvline(1.0, color=INK, linewidth=1.0)
    bare(axes, "x")
    axes.tick_params(axis="y", length=0)
    axes.set_yticks(range(len(names)) if names else [])
    if names:
        axes.set_yticklabels(names, parse_math=False)  # a name may hold a dollar sign
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.locator_params(axis="x", nbins=6, prune="both")  # panels stand close


def _mark(axes: Axes, row: int, cell: VersionCell, batch: int) -> None:
    """A cell's interval, or in words why it has none."""
    ratio = cell.ratios.get(batch)
    if ratio is None:
        words = "not timed" if cell.passed else WORDS_OF_KINDS[cell.kind]
        color = BAD if cell.kind == FAILED else SOFT
        axes.annotate(
            words, (1.0, row), xytext=(4, -3), textcoords="offset points",
            color=color, fontsize=LEGIBLE,
        )  # fmt: skip
        return
    color, marker = MARKS_BY_VERDICT[ratio.verdict]
    axes.plot([ratio.low, ratio.high], [row, row], color=color, linewidth=2.0)
    axes.plot([ratio.value], [row], color=color, marker=marker, markersize=5)
