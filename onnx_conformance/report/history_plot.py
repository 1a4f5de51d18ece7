"""The plot of ``--history``: each case's score and speed from run to run, changes marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

HEIGHT = 3.2  # inches of a panel
FOOT = 0.95  # inches below the panels, for dates and versions
COLORS = (ACCENT, WARN, OK, INK)  # red is for what failed
DASHES = ("-", "--", ":")
MOST_NAMED = 8  # lines with a name and a colour; the others are grey
MOST_CHANGES = 2  # versions that are named below a run
LABEL_LIMIT = 40


@dataclass(frozen=True)
class PlotMark:
    """One case in one run; ``run`` counts from the oldest, at 0.

    Args:
        score: the worst error over what is allowed; None where nothing was scored.
        speed: time over the baseline's, with both ends of its interval; None without a gate.
        failed, changed: the case failed; it differs from the run before.
    """

    run: int
    score: float | None
    speed: tuple[float, float, float] | None
    failed: bool
    changed: bool


Line = tuple[str, Sequence[PlotMark]]  # a case's id, and its marks in order


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

    timed = any(mark.speed for _, marks in lines for mark in marks)
    panels = 2 if timed else 1
    height = HEIGHT * panels + FOOT
    figure = Figure(figsize=(WIDTH, height))
    share = HEIGHT / height
    named = [line for line in lines if any(mark.changed or mark.failed for mark in line[1])]
    named = named[:MOST_NAMED]
    for panel in range(panels):
        bottom = (FOOT / height) + (panels - 1 - panel) * share
        axes = figure.add_axes((0.06, bottom, 0.62, share - 0.35 / height))
        _frame(axes, dates, [", ".join(each) for each in changes], last=panel == panels - 1)
        draw = _scores if panel == 0 else _speeds
        draw(axes, lines, named)
        if panel == 0 and named:
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return svg(figure, "history", "Score and speed of each case from run to run")


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


def _scores(axes: Axes, lines: Sequence[Line], named: Sequence[Line]) -> None:
    """Worst score over what is allowed, on a logarithmic scale."""
    _draw(axes, lines, named, lambda mark: mark.score)
    axes.set_yscale("log")
    found = [mark.score for _, marks in lines for mark in marks if mark.score]
    low, high = min([0.1, *found]) / 1.5, max([2.0, *found]) * 1.5
    axes.set_ylim(low, high)
    axes.axhspan(1.0, high, color=BAD, alpha=0.07, linewidth=0)
    axes.axhline(1.0, color=BAD, linewidth=1.4)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: "")
    axes.set_title("worst score over what is allowed (red: too much)", **_title())


def _speeds(axes: Axes, lines: Sequence[Line], named: Sequence[Line]) -> None:
    """Time over the gate's baseline with its interval."""
    _draw(axes, lines, named, lambda mark: mark.speed[0] if mark.speed else None)
    for _, marks in lines:
        for mark in marks:
            if mark.speed:
                axes.plot([mark.run] * 2, mark.speed[1:], color=SOFT, linewidth=2.0, alpha=0.6)
    axes.axhline(1.0, color=INK, linewidth=1.2)
    axes.margins(y=0.2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.set_title("time over the gate's baseline (below 1: faster)", **_title())


def _title() -> dict[str, Any]:
    return {"loc": "left", "fontsize": 9.0, "color": SOFT}


def _draw(
    axes: Axes,
    lines: Sequence[Line],
    named: Sequence[Line],
    value: Callable[[PlotMark], float | None],
) -> None:
    names = [name for name, _ in named]
    for name, marks in sorted(lines, key=lambda line: line[0] in names):  # named ones on top
        points = [(mark, found) for mark in marks if (found := value(mark)) is not None]
        place = names.index(name) if name in names else None
        color = SOFT if place is None else COLORS[place % len(COLORS)]
        axes.plot(
            [mark.run for mark, _ in points],
            [found for _, found in points],
            color=color,
            linestyle="-" if place is None else DASHES[place // len(COLORS) % len(DASHES)],
            linewidth=0.9 if place is None else 1.8,
            alpha=0.5 if place is None else 1.0,
            marker="o",
            markersize=3 if place is None else 4,
            label=None if place is None else shortened(name, LABEL_LIMIT),
        )
        for mark, found in points:
            if mark.failed:
                axes.plot([mark.run], [found], color=BAD, marker="X", markersize=8)
            elif mark.changed:
                axes.plot(
                    [mark.run], [found], color=color, marker="o", markersize=9, fillstyle="none"
                )
