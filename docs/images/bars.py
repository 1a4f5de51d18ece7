"""Draw a bar chart for each file of figures that a study wrote: docs/images/NAME.svg.

    python docs/images/bars.py

Of docs/figures, those that compare rules: ``rules`` holds, by rule, the percentage of wrong files
told apart from the right ones that they were made from (``told_apart``) and how many right files
failed (``clean_alarms`` and ``harmless_alarms``, of ``clean`` and ``harmless``). docs/wild.json,
which ``make wild`` writes: how many verdicts on models and files of others are right.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from concept import COLOURS, themed
from matplotlib import rc_context
from matplotlib.figure import Figure

HERE = Path(__file__).parent
INK, SOFT = COLOURS["ink"][0], COLOURS["soft"][0]
OWN, OTHER, REFUSED, WRONG = "#2da44e", "#8c959f", "#0969da", "#cf222e"  # legible on light and dark


def draw(document: dict[str, Any]) -> Figure:
    """Two panels that share their rows: found, and false alarms."""
    rules = [*reversed(document["rules"])]
    rights = document["clean"] + document["harmless"]
    found = [rule["told_apart"] for rule in rules]
    failed = [100 * (rule["clean_alarms"] + rule["harmless_alarms"]) / rights for rule in rules]
    figure = Figure(figsize=(9, 0.42 * len(rules) + 1.25), facecolor=COLOURS["paper"][0])
    left, right = figure.subplots(1, 2, sharey=True)
    colours = [OWN if rule["name"] == "this suite" else OTHER for rule in rules]
    for axes, values, fills, title in (
        (left, found, colours, "wrong files told from right ones (more is better)"),
        (right, failed, [WRONG] * len(rules), "right files that fail (fewer is better)"),
    ):
        axes.barh([rule["name"] for rule in rules], values, color=fills, height=0.62)
        for place, value in enumerate(values):
            text = f"{value:.1f} %" if 0 < value < 100 else f"{value:.0f} %"
            axes.text(value + 1.5, place, text, va="center", size=9, color=INK)
        axes.set_title(title, size=10, color=INK, loc="left")
        axes.set_xlim(0, 118)
        axes.set_xticks([])
        axes.tick_params(length=0, labelsize=9, labelcolor=INK)
        axes.set_facecolor("none")
        for side in axes.spines.values():
            side.set_visible(False)
    told = f"{document['wrong']:,} wrong and {rights:,} right files; {document['command']}"
    figure.text(0.99, 0.02, f"{told}, {document['date']}", size=8, color=SOFT, ha="right")
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    return figure


def draw_wild(figures: dict[str, int]) -> Figure:
    """One bar: verdicts that are right, and those that are not."""
    parts = [
        ("right files that passed", figures["passed_rightly"], OWN),
        ("wrong files that are red or refused", figures["red_rightly"], REFUSED),
        ("wrong verdicts", figures["wrong_verdicts"], WRONG),
    ]
    figure = Figure(figsize=(9, 1.5), facecolor=COLOURS["paper"][0])
    axes = figure.add_axes((0.02, 0.3, 0.96, 0.35))
    left = 0
    for name, count, colour in parts:
        axes.barh([0], [count], left=left, color=colour, label=f"{name}: {count}")
        left += count
    axes.set_xlim(0, max(left, 1))
    axes.set_axis_off()
    legend = axes.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=3, frameon=False)
    for text in legend.get_texts():
        text.set(color=INK, size=9)
    told = f"{figures['judged']} cases of {figures['models']} models and files; make wild"
    left = figures.get("not_judged_yet", 0)
    told += f"; {left} more are not judged yet" if left else ""
    figure.text(0.98, 0.06, told, size=8, color=SOFT, ha="right")
    return figure


def main() -> None:
    """Draw every file of figures."""
    for file in sorted((HERE.parent / "figures").glob("*.json")):
        document = json.loads(file.read_text(encoding="utf-8"))
        if "rules" in document:
            _save(draw(document), file.stem)
    wild = HERE.parent / "wild.json"
    if wild.exists():
        _save(draw_wild(json.loads(wild.read_text(encoding="utf-8"))["figures"]), "wild")


def _save(figure: Figure, name: str) -> None:
    target = HERE / f"{name}.svg"
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(target, metadata={"Date": None, "Creator": None})
    target.write_text(themed(target.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
