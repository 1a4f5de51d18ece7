"""The table of ``make wild``: ``docs/wild.md``, and its figures and rows in ``docs/wild.json``."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from studies.wild.entries import Entry, Judged

Row = dict[str, Any]  # as it stands in the JSON

DOCS = Path(__file__).parents[2] / "docs"
BROKEN = ("crashed", "internal error", "hung")
HEAD = """# Models that nobody here chose

Written by `make wild`. Each model and file is judged as a new user would, without options or a
tolerance of its own; which verdict is right was established by hand
([how, and what was right at the first try](../studies/wild/README.md)). A row is the newest
verdict: where one was wrong, its kind was fixed in the suite and the entry judged again. Seconds
are those of the run that judged it, divided by the models in that run, on two shared cores. A row
stays until its entry is judged again (`python -m studies.wild --only ID`).
"""


def row_of(one: Judged) -> Row:
    """What is kept of a judged entry."""
    return {
        "id": one.entry.id,
        "exporter": one.entry.exporter,
        "got": one.got,
        "seconds": round(one.seconds, 1),
        "checks": list(one.red),
        "told_upstream": bool(one.upstream),
    }


def figures(entries: Sequence[Entry], rows: dict[tuple[str, str, str], Row]) -> dict[str, float]:
    """How many were judged, and what they got."""
    pairs = [(entry, rows[key_of(entry)]["got"]) for entry in entries if key_of(entry) in rows]
    right = [entry for entry, got in pairs if got == entry.want]
    return {
        "judged": len(pairs),
        "models": len({entry.id for entry, _ in pairs}),
        "passed_rightly": sum(entry.want == "passed" for entry in right),
        "red_rightly": sum(entry.want != "passed" for entry in right),
        "wrong_verdicts": len(pairs) - len(right),
        "red_wrongly": sum(e.want == "passed" and got in ("red", "refused") for e, got in pairs),
        "passed_wrongly": sum(e.want != "passed" and got == "passed" for e, got in pairs),
        "incomplete": sum(got in ("incomplete", "nothing") for _, got in pairs),
        "crashes_and_internal_errors": sum(got in BROKEN for _, got in pairs),
        "not_judged_yet": len(entries) - len(pairs),
        "median_seconds": median(row["seconds"] for row in rows.values()) if rows else 0.0,
    }


def key_of(entry: Entry) -> tuple[str, str, str]:
    """What an entry's row is found by."""
    return entry.origin, entry.id, entry.exporter


def page(
    entries: Sequence[Entry], rows: dict[tuple[str, str, str], Row], found: dict[str, float]
) -> Iterator[str]:
    """The page, line by line."""
    right = found["passed_rightly"] + found["red_rightly"]
    yield HEAD
    yield f"{found['judged']} cases of {found['models']} models and files: {right} right"
    yield f"({right / max(found['judged'], 1):.1%}); {found['passed_rightly']} passed rightly,"
    yield f"{found['red_rightly']} are rightly red or refused, {found['red_wrongly']} wrongly,"
    yield f"{found['passed_wrongly']} passed wrongly, {found['incomplete']} are incomplete,"
    yield f"{found['crashes_and_internal_errors']} ended in a crash or an internal error."
    if found["not_judged_yet"]:
        yield f"{found['not_judged_yet']} entries have not been judged yet and are not shown."
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if key_of(entry) in rows:
            groups[f"{entry.origin}: {entry.models}".removesuffix(": ")].append(entry)
    for name, group in groups.items():
        yield f"\n## {name}\n"
        yield "| model | route | verdict | right | seconds | why |"
        yield "|---|---|---|---|---|---|"
        yield from (_line(entry, rows[key_of(entry)]) for entry in group)


def _line(entry: Entry, row: Row) -> str:
    why = " ".join(entry.why.split()).replace("|", "\\|")
    if entry.issue:
        why += f" ([issue]({entry.issue}))"
    right = "yes" if row["got"] == entry.want else f"**no**: {entry.want}"
    cells = (entry.id, entry.exporter, row["got"], right, f"{row['seconds']:.0f}", why)
    return f"| {' | '.join(cells)} |"


def read_rows(path: Path) -> dict[tuple[str, str, str], Row]:
    """The rows of an earlier run."""
    if not path.is_file():
        return {}
    rows = json.loads(path.read_text())["cases"]
    return {(row["origin"], row["id"], row["exporter"]): row for row in rows}


def write_table(entries: Sequence[Entry], done: Sequence[Judged], target: Path) -> None:
    """Write rows, figures, and the page beside them; rows of what was not judged now are kept.

    Args:
        entries: all that there are, also those that were not judged now.
    """
    rows = read_rows(target)
    rows |= {key_of(one.entry): {"origin": one.entry.origin, **row_of(one)} for one in done}
    rows = {key: rows[key] for key in map(key_of, entries) if key in rows}
    found = figures(entries, rows)
    lines = ",\n  ".join(json.dumps(row) for row in rows.values())
    target.write_text(f'{{"figures": {json.dumps(found)},\n "cases": [\n  {lines}]}}\n')
    target.with_suffix(".md").write_text("\n".join(page(entries, rows, found)) + "\n")
