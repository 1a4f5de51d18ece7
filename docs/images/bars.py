"""Draw a bar chart for each file of docs/figures that compares rules: docs/images/NAME.svg.

    python docs/images/bars.py

A study writes the file: ``rules`` holds, by rule, the percentage of wrong files told apart from
the right ones that they were made from (``told_apart``) and how many right files failed
(``clean_alarms`` and ``harmless_alarms``, of ``clean`` and ``harmless``).
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
OWN, OTHER, WRONG = "#2da44e", "#8c959f", "#cf222e"  # legible on light and dark


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


def main() -> None:
    """Draw every file that compares rules."""
    for file in sorted((HERE.parent / "figures").glob("*.json")):
        document = json.loads(file.read_text(encoding="utf-8"))
        if "rules" not in document:
            continue
        target = HERE / f"{file.stem}.svg"
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": file.stem}):
            draw(document).savefig(target, metadata={"Date": None, "Creator": None})
        target.write_text(themed(target.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
