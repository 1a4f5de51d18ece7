"""The page of timings: ``--latency-html``, one self-contained file with its plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from onnx_conformance.perf.latency.latency_document import LatencyDocument
from onnx_conformance.perf.latency.latency_table import (
    LEGEND,
    milliseconds,
    placement,
    rate,
    ratio_text,
)
from onnx_conformance.perf.latency.ratios import Ratio
from onnx_conformance.perf.latency.timing_rows import LatencyRow
from onnx_conformance.report.pages import page
from onnx_conformance.report.plots import (
    ACCENT,
    INK,
    OK,
    SOFT,
    WARN,
    WIDTH,
    bare,
    page_style,
    shortened,
    svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = (ACCENT, WARN, OK, SOFT, INK)  # red is for what is wrong
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LOGARITHMIC_FROM = 20.0  # figures that span more are drawn on a logarithmic scale
HEIGHT = 3.0  # inches of the plot of speed-ups
DODGE = 0.09  # between the marks of contenders at one batch size
LABEL_LIMIT = 40


def render(document: LatencyDocument) -> str:
    """The page of a document."""
    models: dict[str, list[LatencyRow]] = {}
    for row in document.rows:
        models.setdefault(row.model, []).append(row)
    verdict, headline = _headline(document)
    context = {
        "timed": document,
        "verdict": verdict,
        "headline": headline,
        "legend": LEGEND,
        "models": [
            {
                "name": name,
                "anchor": f"model-{place}",
                "speedups": speedups(rows, f"s{place}"),
                "latencies": latencies(rows, f"l{place}"),
            }
            for place, (name, rows) in enumerate(models.items())
        ],
    }
    return page(
        "latency.html.j2",
        context,
        milliseconds=milliseconds,
        placement=placement,
        rate=rate,
        ratio=ratio_text,
    )


def _headline(document: LatencyDocument) -> tuple[str, str]:
    """The look of the verdict and its words."""
    if not document.rows:
        return "failed", "Timed nothing"
    found = document.verdicts
    words = f"ONNX Runtime: {found['faster']} faster, {found['slower']} slower"
    words += f", {found['open']} not shown to differ" if found["open"] else ""
    return ("failed", f"✗ The run failed. {words}") if document.exit_status else ("passed", words)


@page_style()
def speedups(rows: Sequence[LatencyRow], prefix: str) -> Markup | None:
    """Speed-up over native eager with its interval, by batch size; None where there is none.

    Args:
        rows: of one model.
        prefix: of the ids in this picture, which must be its own within a page.
    """
    from matplotlib.figure import Figure

    lines: dict[str, dict[int, Ratio]] = {}
    for row in sorted(rows, key=lambda row: row.batch):
        if row.speedup:
            lines.setdefault(row.label, {})[row.batch] = row.speedup
    if not lines:
        return None
    labels = [label for label in dict.fromkeys(row.label for row in rows) if label in lines]
    batches = sorted({batch for line in lines.values() for batch in line})
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.add_axes((0.05, 0.16, 0.62, 0.8))
    axes.axhline(1.0, color=INK, linewidth=1.2)
    for place, label in enumerate(labels):
        shift = DODGE * (place - (len(labels) - 1) / 2)
        marks = {batches.index(batch) + shift: ratio for batch, ratio in lines[label].items()}
        _speedup_line(axes, label, marks, place)
    axes.set_xticks(range(len(batches)), [f"batch {batch}" for batch in batches])
    axes.set_xlim(-0.5, len(batches) - 0.5)
    ratios = [ratio for line in lines.values() for ratio in line.values()]
    low, high = min(1.0, *(r.low for r in ratios)), max(1.1, *(r.high for r in ratios))
    if high > LOGARITHMIC_FROM * low:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
        axes.set_ylim(low / 1.3, high * 1.3)
    else:
        axes.set_ylim(0.0, 1.08 * high)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.tick_params(axis="x", labelcolor=INK, length=0)
    bare(axes, "y")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return svg(figure, prefix, "Speed-up over native eager by batch size")


@page_style()
def latencies(rows: Sequence[LatencyRow], prefix: str) -> Markup:
    """Distribution of milliseconds a call: a panel a batch size, a box a contender."""
    from matplotlib.figure import Figure

    batches = sorted({row.batch for row in rows})
    labels = list(dict.fromkeys(row.label for row in rows))
    height = 0.3 * len(labels) + 0.75
    figure = Figure(figsize=(WIDTH, height))
    left, right, gap = 0.24, 0.99, 0.025
    width = (right - left + gap) / len(batches) - gap
    wide = any(
        _span([row for row in rows if row.batch == batch]) > LOGARITHMIC_FROM for batch in batches
    )
    for column, batch in enumerate(batches):
        place = (left + column * (width + gap), 0.42 / height, width, 1 - 0.75 / height)
        axes = figure.add_axes(place)
        for row in (row for row in rows if row.batch == batch):
            _box(axes, row, labels.index(row.label))
        axes.set_title(f"batch {batch}", fontsize=9, color=INK)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_yticks(range(len(labels)))
        axes.set_yticklabels([_short_label(label) for label in labels] if column == 0 else [])
        axes.tick_params(axis="y", length=0)
        if wide:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(lambda value, _: "")
        else:
            axes.set_xlim(left=0.0)
            axes.locator_params(axis="x", nbins=max(2, 10 // len(batches)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        bare(axes, "x")
    unit = "ms a call (log scale)" if wide else "ms a call"
    figure.text(right, 0.02, unit, ha="right", color=SOFT)
    return svg(figure, prefix, "Distribution of latency by batch size")


def _speedup_line(axes: Axes, label: str, marks: Mapping[float, Ratio], place: int) -> None:
    color, marker = COLORS[place % len(COLORS)], MARKERS[place % len(MARKERS)]
    middles = [ratio.value for ratio in marks.values()]
    axes.plot([*marks], middles, color=color, linewidth=1.0, alpha=0.6)
    for x, ratio in marks.items():
        axes.plot([x, x], [ratio.low, ratio.high], color=color, linewidth=2.2)
        face = "none" if ratio.undecided else color
        axes.plot(x, ratio.value, marker=marker, color=color, markerfacecolor=face, markersize=6)
    axes.plot([], [], color=color, marker=marker, markersize=6, label=_short_label(label))


def _box(axes: Axes, row: LatencyRow, place: int) -> None:
    low, first, middle, third, high = (1e3 * value for value in row.box_seconds)
    color = SOFT if row.case is None else ACCENT
    axes.plot([low, high], [place, place], color=color, linewidth=1.0)
    axes.barh(place, third - first, 0.5, left=first, facecolor=color, alpha=0.3, edgecolor=color)
    axes.plot([middle, middle], [place - 0.25, place + 0.25], color=INK, linewidth=1.8)
    rounds = [1e3 * seconds for seconds in row.round_seconds]
    axes.plot(rounds, [place] * len(rounds), ".", color=color, markersize=3, alpha=0.7)


def _span(rows: Sequence[LatencyRow]) -> float:
    """The longest call over the shortest, without outliers."""
    ends = [row.box_seconds for row in rows]
    return float(max(end[-1] for end in ends) / min(end[0] for end in ends))


def _short_label(label: str) -> str:
    """A short label in which nothing is mathematics."""
    return shortened(label, LABEL_LIMIT).replace("$", r"\$")
