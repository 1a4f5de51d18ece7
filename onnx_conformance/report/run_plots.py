"""The two plots of a run's page, as SVG text in the page's colours.

Every run draws them, and matplotlib takes as long to import as a small model to judge. A drawing is
792 pixels wide; the page scales it to its own width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from onnx_conformance.core.text import times_of
from onnx_conformance.report.plots import shortened

if TYPE_CHECKING:
    from markupsafe import Markup

    from onnx_conformance.core.documents import TimeTable

WIDTH, RIGHT = 792.0, 752.0  # pixels: of the drawing, and where its axis ends
ROW, BAR = 17.0, 6.0  # pixels: the height of a row and of a bar
TOP, FOOT = 16.0, 38.0  # pixels above the first row and below the last
MOST_ROWS = 60
MOST_TICKS = 10
LABEL_LIMIT = 60  # characters
COLORS = {"passed": "ok", "incomplete": "accent", "failed": "bad", "known_failure": "warn"}
# A mark of a verdict around the origin; CSS variables of the page are its colour.
DOT = "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0"
SHAPES = {
    "passed": DOT,
    "incomplete": DOT,
    "failed": "M-4 -2.5L-2.5 -4L0 -1.5L2.5 -4L4 -2.5L1.5 0L4 2.5L2.5 4L0 1.5L-2.5 4L-4 2.5L-1.5 0Z",
    "known_failure": "M0 -4L4 3L-4 3Z",
}
SQUARE = "M-3 -3H3V3H-3Z"

Parts = Iterator["Markup"]


def scores(cases: Sequence[tuple[str, str, float, float | None]]) -> Markup | None:
    """Worst score of each case against its budget, the worst on top; None if there is none.

    Args:
        cases: (id, verdict, worst score, budget); a score may be infinite.
    """
    ranked = sorted(cases, key=lambda case: case[2] / (case[3] or 1.0), reverse=True)[:MOST_ROWS]
    if not ranked:
        return None
    budgets = {budget for _, _, _, budget in ranked if budget}
    finite = [score for _, _, score, _ in ranked if 0 < score < math.inf]
    low = math.log10(min([0.1, *finite]) / 1.6)
    high = math.log10(max([1.0, *budgets, *finite])) + math.log10(2.5)
    left = 0.38 * WIDTH

    def place(score: float) -> float:
        """Zero and infinity stand at the edges."""
        found = low if score <= 0 else high if score == math.inf else math.log10(score)
        return left + (RIGHT - left) * (found - low) / (high - low)

    def drawn() -> Parts:
        step = math.ceil((high - low) / MOST_TICKS)
        ticks = range(math.ceil(low), math.floor(high) + 1, step)
        yield from _axis([(place(10.0**tick), f"{10.0**tick:g}×") for tick in ticks], len(ranked))
        if len(budgets) == 1:
            yield from _budget(max(budgets), place, len(ranked))
        for row, (name, verdict, score, budget) in enumerate(ranked):
            color, at, y = COLORS.get(verdict, "soft"), place(score), _middle(row)
            yield _text(left - 8, y, shortened(name, LABEL_LIMIT), anchor="end")
            yield _line(left, y, at, y, color, 'stroke-width="1.2" opacity="0.45"')
            if budget and len(budgets) > 1:
                x = place(budget)
                yield _line(x, y - BAR, x, y + BAR, "bad", 'stroke-width="2"')
            yield _mark(at, y, SHAPES.get(verdict, SQUARE), color)
            note_color = "bad" if verdict == "failed" else "soft"
            yield _text(at + 7, y, f"{times_of(score)}×", note_color, size=8)
        label = "error in noise floors, the error of the case's own precision (log scale)"
        yield _text((left + RIGHT) / 2, _middle(len(ranked)) + 18, label, "soft", "middle")

    return _svg(drawn(), len(ranked), "Worst score of each case against its budget")


def stages(time: TimeTable) -> Markup | None:
    """Worker seconds by stage beside the seconds that the judge waited; None without times."""
    worker, waited = time.get("engine") or {}, time.get("waited") or {}
    names = list(dict.fromkeys([*worker, *waited]))
    if not names:
        return None
    rest = float(time.get("rest") or 0.0)
    most = max([1e-9, *worker.values(), *waited.values(), rest])
    left, step = 0.09 * WIDTH, _round_step(most)

    def place(seconds: float) -> float:
        return left + (RIGHT - left) * seconds / (1.12 * most)

    def drawn() -> Parts:
        ticks = [number * step for number in range(int(1.12 * most / step) + 1)]
        yield _hatching()
        yield from _axis([(place(tick), f"{tick:g} s") for tick in ticks], 2 * len(names) + 1)
        for row, name in enumerate(names):
            middle = (_middle(2 * row) + _middle(2 * row + 1)) / 2
            yield _text(left - 8, middle, name, anchor="end")
            yield from _bar(left, place, 2 * row, float(worker.get(name) or 0.0), "accent")
            yield from _bar(left, place, 2 * row + 1, float(waited.get(name) or 0.0), "warn")
        yield _text(left - 8, _middle(2 * len(names)), "rest", anchor="end")
        yield from _bar(left, place, 2 * len(names), rest, "soft")

    return _svg(drawn(), 2 * len(names) + 1, "Seconds by stage")


def _round_step(most: float) -> float:
    """Between ticks: 1, 2 or 5 times a power of ten, of which ``most`` holds four to ten."""
    power = 10.0 ** math.floor(math.log10(most))
    steps = (power * part for part in (0.1, 0.2, 0.5))
    return next((step for step in steps if most / step <= MOST_TICKS), power)


def _middle(row: float) -> float:
    return TOP + ROW * (row + 0.5)


def _axis(ticks: Sequence[tuple[float, str]], rows: int) -> Parts:
    foot = TOP + ROW * rows
    for x, label in ticks:
        yield _line(x, TOP, x, foot, "line", 'stroke-width="0.6"')
        yield _text(x, foot + 9, label, "soft", "middle")


def _budget(budget: float, place: Callable[[float], float], rows: int) -> Parts:
    """A line, the red field beyond it, and its label above the first row."""
    x, foot = place(budget), TOP + ROW * rows
    yield _format(
        '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" style="fill:var(--bad)" '
        'opacity="0.07"/>',
        *(x, TOP, RIGHT - x, foot - TOP),
    )
    yield _line(x, TOP, x, foot, "bad", 'stroke-width="1.6"')
    yield _text(x - 2, TOP - 8, f"budget {budget:g}×", "bad", weight="bold")


def _bar(left: float, place: Callable[[float], float], row: int, value: float, color: str) -> Parts:
    """A bar of seconds with its figure; what was waited is hatched."""
    fill = "url(#stages-hatching)" if color == "warn" else f"var(--{color})"
    at, y = place(value), _middle(row)
    yield _format(
        '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" '
        'style="fill:{};stroke:var(--{})"/>',
        *(left, y - BAR, at - left, 2 * BAR, fill, color),
    )
    yield _text(at + 7, y, f"{value:.1f} s", "soft", size=8)


def _hatching() -> Markup:
    return _format(
        '<defs><pattern id="stages-hatching" width="4" height="4" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><path d="M0 0V4" style="stroke:var(--warn)" '
        'stroke-width="2.4"/></pattern></defs>'
    )


def _line(x: float, y: float, to_x: float, to_y: float, color: str, attributes: str) -> Markup:
    from markupsafe import Markup

    text = '<path d="M{:.1f} {:.1f}L{:.1f} {:.1f}" style="stroke:var(--{})" {}/>'
    return _format(text, x, y, to_x, to_y, color, Markup(attributes))


def _mark(x: float, y: float, shape: str, color: str) -> Markup:
    text = '<path transform="translate({:.1f} {:.1f})" d="{}" style="fill:var(--{})"/>'
    return _format(text, x, y, shape, color)


def _text(
    x: float,
    y: float,
    text: str,
    color: str = "ink",
    anchor: str = "start",
    *,
    size: int = 9,
    weight: str = "normal",
) -> Markup:
    """A text whose middle is at ``y``."""
    return _format(
        '<text x="{:.1f}" y="{:.1f}" font-size="{}" font-weight="{}" text-anchor="{}" '
        'style="fill:var(--{})">{}</text>',
        *(x, y + 3, size, weight, anchor, color, text),
    )


def _format(text: str, *values: object) -> Markup:
    """The element, its values escaped."""
    from markupsafe import Markup

    return Markup(text).format(*values)


def _svg(parts: Parts, rows: int, title: str) -> Markup:
    from markupsafe import Markup

    head = '<svg role="img" aria-label="{}" viewBox="0 0 {:g} {:g}">{}</svg>'
    return _format(head, title, WIDTH, TOP + ROW * rows + FOOT, Markup("\n").join(parts))
