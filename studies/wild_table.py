"""The table of ``make wild``: ``docs/wild.md``, and its figures in ``docs/wild.json``."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studies.wild import Judged

DOCS = Path(__file__).parents[1] / "docs"
HEAD = """# Models that nobody here chose

Written by `make wild`. Each model and file is judged at the first try, as a new user would; which
verdict is right was established by hand (`studies/wild/README.md`).
"""


def figures(done: Sequence[Judged]) -> dict[str, int | float]:
    """How many were judged, and what they got."""
    passed = [one for one in done if one.right and one.got == "passed"]
    red = [one for one in done if one.right and one.got != "passed"]
    return {
        "judged": len(done),
        "models": len({one.entry.id for one in done}),
        "passed_rightly": len(passed),
        "red_rightly": len(red),
        "wrong_verdicts": len(done) - len(passed) - len(red),
        "red_wrongly": sum(one.entry.want == "passed" and one.got == "red" for one in done),
        "passed_wrongly": sum(one.entry.want != "passed" and one.got == "passed" for one in done),
        "internal_errors": sum(one.got in ("crashed", "internal error", "hung") for one in done),
        "median_seconds": round(median(one.seconds for one in done), 1) if done else 0,
    }


def table(done: Sequence[Judged]) -> Iterator[str]:
    """The page, line by line."""
    found = figures(done)
    yield HEAD
    judged, wrong = found["judged"], found["wrong_verdicts"]
    yield f"{judged} cases of {found['models']} models and files: {found['passed_rightly']} passed"
    yield f"rightly, {found['red_rightly']} are rightly red or refused, {wrong} wrong verdicts"
    yield f"({1 - wrong / max(judged, 1):.1%} right)."
    groups: dict[str, list[Judged]] = defaultdict(list)
    for one in done:
        groups[f"{one.entry.origin}: {one.entry.models or 'files'}"].append(one)
    for name, group in groups.items():
        yield f"\n## {name}\n"
        yield "| model | route | verdict | right | seconds | why |"
        yield "|---|---|---|---|---|---|"
        yield from (_row(one) for one in group)


def _row(one: Judged) -> str:
    entry = one.entry
    why = entry.why.replace("|", "\\|")
    if entry.issue:
        why += f" ([issue]({entry.issue}))"
    right = "yes" if one.right else f"**no**, it is {entry.want}"
    cells = (entry.id, entry.exporter, one.got, right, f"{one.seconds:.0f}", why)
    return f"| {' | '.join(cells)} |"


def write_table(done: Sequence[Judged], target: Path | None = None) -> None:
    """Write the figures, and the page beside them."""
    target = target or DOCS / "wild.json"
    target.write_text(json.dumps(figures(done), indent=1) + "\n")
    target.with_suffix(".md").write_text("\n".join(table(done)) + "\n")
