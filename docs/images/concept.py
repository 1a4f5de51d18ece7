"""Draw docs/images/concept.svg: the nine words of the suite and the processes they live in.

    python docs/images/concept.py [FILE.png]

Writes concept.svg beside this file, in colours that follow the reader's light or dark theme; with
an argument also a PNG in light colours, to look at. Lengths are in inches.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

Point = tuple[float, float]
WIDTH, HEIGHT = 11.4, 6.1
BOX, TALL = 1.75, 1.06  # width and height of a word's box
# name -> (light, dark). The light ones are drawn; in the SVG each becomes a variable.
COLOURS = {
    "paper": ("#fefefe", "#0d1117"),
    "ink": ("#1f2329", "#e6edf3"),
    "soft": ("#57606b", "#9da7b3"),
    "line": ("#6e7782", "#8b949f"),
    "native": ("#e4f1e6", "#12291a"),
    "judge": ("#eef0f3", "#1b2129"),
    "runtime": ("#e3edfb", "#10233d"),
    "box": ("#ffffff", "#262d37"),
}
INK, SOFT, LINE = (COLOURS[name][0] for name in ("ink", "soft", "line"))
WORDS: dict[str, tuple[Point, str]] = {
    "Model": ((4.7, 4.4), "how it is built, what\ngoes in and comes out"),
    "Inputs": ((4.7, 2.55), "arrays, drawn from\na small recipe"),
    "Session": ((4.7, 0.8), "the file opened on an\nexecution provider"),
    "Reference": ((7.1, 4.4), "float64 oracle and\nfloat32 noise floor"),
    "Check": ((7.1, 2.55), "one question, with a\nwrong file it must catch"),
    "Answer": ((7.1, 0.8), "outputs, or the\nerror's text"),
    "Artifact": ((2.3, 0.8), "the ONNX file,\nwith its digest"),
    "Result": ((9.4, 2.55), "outcome, reason and\nhow much was compared"),
}  # the lower left corner of each box
BANDS = (
    (4.2, 1.5, "native", "worker of the framework: torch, Keras, …"),
    (2.3, 1.5, "judge", "the judge: no framework imported"),
    (0.4, 0.2, "runtime", "worker of ONNX Runtime, one for each provider"),
)  # bottom, the title's height above it, name, title


def draw() -> Figure:
    """The whole picture."""
    figure = Figure(figsize=(WIDTH, HEIGHT), facecolor=COLOURS["paper"][0])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.set_axis_off()
    for bottom, above, name, title in BANDS:
        right = WIDTH - 0.1 if name == "judge" else 9.1
        _box(axes, (2.05, bottom), right - 2.05, 1.68, COLOURS[name][0], edge="none")
        axes.text(right - 0.12, bottom + above, title, size=9, color=SOFT, va="center", ha="right")
    _case(axes)
    for word, (corner, text) in WORDS.items():
        _box(axes, corner, BOX, TALL, COLOURS["box"][0])
        _label(axes, word, text, corner[0] + BOX / 2, corner[1] + TALL / 2)
    _arrows(axes)
    return figure


def _case(axes: Axes) -> None:
    _box(axes, (0.1, 0.1), 1.65, 5.78, COLOURS["box"][0])
    _label(axes, "Case", "one row of\nthe matrix", 0.925, 5.42)
    for height, text in ((4.75, "model"), (3.08, "exporter\nopset\noptions"), (0.25, "provider")):
        axes.text(0.925, height, text, size=10, color=INK, ha="center", va="center")
    for height in (3.95, 1.6):
        axes.text(0.925, height, "×", size=13, color=SOFT, ha="center", va="center")


def _arrows(axes: Axes) -> None:
    _path(axes, [(4.7, 4.6), (3.175, 4.6), (3.175, 1.86)], "")
    axes.text(3.3, 3.08, "export", size=9, color=SOFT, va="center")
    for start, end in (
        ((5.575, 3.61), (5.575, 4.4)),  # Inputs to Model
        ((5.575, 2.55), (5.575, 1.86)),  # Inputs to Session
        ((6.45, 4.93), (7.1, 4.93)),  # Model to Reference
        ((6.45, 1.33), (7.1, 1.33)),  # Session to Answer
        ((4.05, 1.33), (4.7, 1.33)),  # Artifact to Session
        ((7.975, 4.4), (7.975, 3.61)),  # Reference to Check
        ((7.975, 1.86), (7.975, 2.55)),  # Answer to Check
        ((8.85, 3.08), (9.4, 3.08)),  # Check to Result
    ):
        _path(axes, [start, end], "")
    _path(axes, [(3.6, 1.86), (3.6, 2.42), (7.5, 2.42), (7.5, 2.55)], "")  # Artifact to Check
    for chosen in (
        [(1.75, 4.78), (4.7, 4.78)],
        [(1.75, 3.08), (3.175, 3.08)],
        [(1.75, 0.25), (5.575, 0.25), (5.575, 0.8)],
    ):
        _path(axes, chosen, "dashed")


def _box(
    axes: Axes, corner: Point, width: float, height: float, fill: str, edge: str = LINE
) -> None:
    shape = "round,pad=0,rounding_size=0.09"
    axes.add_patch(
        FancyBboxPatch(
            corner, width, height, boxstyle=shape, facecolor=fill, edgecolor=edge, linewidth=1
        )
    )


def _label(axes: Axes, word: str, text: str, x: float, y: float) -> None:
    axes.text(x, y + 0.26, word, size=12.5, weight="bold", color=INK, ha="center", va="center")
    axes.text(x, y - 0.17, text, size=8.5, color=SOFT, ha="center", va="center", linespacing=1.3)


def _path(axes: Axes, points: list[Point], style: str) -> None:
    """Straight lines from point to point, the last with an arrow's head."""
    look = {"color": LINE, "linewidth": 1.1, "linestyle": style or "solid"}
    *corners, start, end = points
    if corners:
        axes.plot(*zip(*corners, start, strict=True), **look)
    head = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops={**look, **head})


def themed(svg: str) -> str:
    """Colours as CSS variables, which the reader's theme sets."""
    for name, (light, _) in COLOURS.items():
        svg = svg.replace(light, f"var(--{name})")
    light, dark = (
        "".join(f"--{name}:{pair[theme]};" for name, pair in COLOURS.items()) for theme in (0, 1)
    )
    style = f"<style>:root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    return re.sub(r"(<svg [^>]*>)", lambda found: found[1] + style, svg, count=1)


def main(png: str = "") -> None:
    """Write the SVG, and the PNG if one is named."""
    figure = draw()
    target = Path(__file__).with_name("concept.svg")
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "concept"}):
        figure.savefig(target, metadata={"Date": None, "Creator": None})
    target.write_text(themed(target.read_text(encoding="utf-8")), encoding="utf-8")
    if png:
        figure.savefig(png, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
