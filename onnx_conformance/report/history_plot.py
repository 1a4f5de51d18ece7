"""The plot of ``--history``: each case's score and speed from run to run, changes marked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from onnx_conformance.core.extras import REPORT, require_modules
from onnx_conformance.report.plots import (
    ACCENT,
    BAD,
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
    from markupsafe import Markup
    from matplotlib.axes import Axes

    from onnx_conformance.report.history import HistoryCell, Point

HEIGHT = 3.2  # inches of a panel
FOOT = 0.95  # inches below the panels, for dates and versions
COLORS = (ACCENT, WARN, OK, INK)  # red is for what failed
DASHES = ("-", "--", ":")
MOST_NAMED = 8  # lines with a name and a colour; the others are grey
MOST_CHANGES = 2  # versions that are named below a run
LABEL_LIMIT = 40


Line = tuple[str, "Sequence[HistoryCell | None]"]  # a case's id, and what each run has of it


@page_style()
def trend(lines: Sequence[Line], dates: Sequence[str], changes: Sequence[list[str]]) -> Markup:
    """Scores and, where a gate ran, speeds: a line for each case, the oldest run on the left.

    Cases that changed or failed are named and coloured; of the others the line is grey.

    Args:
        dates, changes: of each run, its date and the versions that changed.

    Raises:
        CapabilityMissing: matplotlib is not installed.
    """
    require_modules(REPORT, "matplotlib")
    from matplotlib.figure import Figure

    timed = any(cell.point.speed for _, _, cell in _drawn(lines))
    panels = 2 if timed else 1
    height = HEIGHT * panels + FOOT
    figure = Figure(figsize=(WIDTH, height))
    share = HEIGHT / height
    worth = {name for name, _, cell in _drawn(lines) if cell.changed or cell.failed}
    named = [name for name, _ in lines if name in worth][:MOST_NAMED]
    for panel in range(panels):
        bottom = (FOOT / height) + (panels - 1 - panel) * share
        axes = figure.add_axes((0.06, bottom, 0.62, share - 0.35 / height))
        _frame(axes, dates, [", ".join(each) for each in changes], last=panel == panels - 1)
        draw = _scores if panel == 0 else _speeds
        draw(axes, lines, named)
        if panel == 0 and named:
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return svg(figure, "history", "Score and speed of each case from run to run")


def _drawn(lines: Sequence[Line]) -> Iterator[tuple[str, int, HistoryCell]]:
    """(case, run, cell) of what was judged; runs count from the oldest, at 0."""
    for name, cells in lines:
        yield from ((name, run, cell) for run, cell in enumerate(cells) if cell is not None)


def _frame(axes: Axes, dates: Sequence[str], changes: Sequence[str], *, last: bool) -> None:
    """A place for each run; a dashed line where versions changed."""
    axes.set_xlim(-0.3, len(dates) - 0.7)
    labels = [
        f"{date}\n{_below(change)}" if place and change else date
        for place, (date, change) in enumerate(zip(dates, changes, strict=True))
    ]
    axes.set_xticks(range(len(dates)), labels if last else [""] * len(dates))
    axes.tick_params(axis="x", length=0, labelsize=8)
    for place, change in enumerate(changes):
        if place and change:
            axes.axvline(place, color=SOFT, linewidth=1.0, linestyle="--", alpha=0.7)
    bare(axes, "y")


def _below(change: str) -> str:
    """The versions below a date, each package above its versions, which keeps them narrow."""
    each = [text.replace(" ", "\n", 1) for text in change.split(", ")]
    more = [f"and {len(each) - MOST_CHANGES} more"] if len(each) > MOST_CHANGES else []
    return "\n".join([*each[:MOST_CHANGES], *more])


def _scores(axes: Axes, lines: Sequence[Line], named: Sequence[str]) -> None:
    """Worst score over what is allowed, on a logarithmic scale."""
    _draw(axes, lines, named, lambda point: point.score)
    axes.set_yscale("log")
    found = [cell.point.score for _, _, cell in _drawn(lines) if cell.point.score]
    low, high = min([0.1, *found]) / 1.5, max([2.0, *found]) * 1.5
    axes.set_ylim(low, high)
    axes.axhspan(1.0, high, color=BAD, alpha=0.07, linewidth=0)
    axes.axhline(1.0, color=BAD, linewidth=1.4)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: "")
    axes.set_title("worst score over what is allowed (red: too much)", **_title())


def _speeds(axes: Axes, lines: Sequence[Line], named: Sequence[str]) -> None:
    """Time over the gate's baseline with its interval."""
    _draw(axes, lines, named, lambda point: point.speed[0] if point.speed else None)
    for _, run, cell in _drawn(lines):
        if cell.point.speed:
            axes.plot([run] * 2, cell.point.speed[1:], color=SOFT, linewidth=2.0, alpha=0.6)
    axes.axhline(1.0, color=INK, linewidth=1.2)
    axes.margins(y=0.2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.set_title("time over the gate's baseline (below 1: faster)", **_title())


def _title() -> dict[str, Any]:
    return {"loc": "left", "fontsize": 9.0, "color": SOFT}


def _draw(
    axes: Axes,
    lines: Sequence[Line],
    named: Sequence[str],
    value: Callable[[Point], float | None],
) -> None:
    for line in sorted(lines, key=lambda line: line[0] in named):  # named ones on top
        name = line[0]
        points = [
            (run, found, cell)
            for _, run, cell in _drawn([line])
            if (found := value(cell.point)) is not None
        ]
        place = named.index(name) if name in named else None
        color = SOFT if place is None else COLORS[place % len(COLORS)]
        axes.plot(
            [run for run, _, _ in points],
            [found for _, found, _ in points],
            color=color,
            linestyle="-" if place is None else DASHES[place // len(COLORS) % len(DASHES)],
            linewidth=0.9 if place is None else 1.8,
            alpha=0.5 if place is None else 1.0,
            marker="o",
            markersize=3 if place is None else 4,
            label=None if place is None else shortened(name, LABEL_LIMIT),
        )
        for run, found, cell in points:
            if cell.failed:
                axes.plot([run], [found], color=BAD, marker="X", markersize=8)
            elif cell.changed:
                axes.plot([run], [found], color=color, marker="o", markersize=9, fillstyle="none")
