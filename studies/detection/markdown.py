"""The table as a page: ``docs/detection.md``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studies.detection import tables
from studies.detection.document import percent
from studies.detection.tables import TextTable

LONGEST = 160  # characters of a reason
DOCS = Path(__file__).parents[2] / "docs"
MEMORY = DOCS / "figures" / "memory.json"  # which python -m studies.prefill writes
HEADING = "## Models with memory"


def page(document: dict[str, Any]) -> str:
    """The whole page."""
    return "\n".join((*_lines(document), *_memory())) + "\n"


def with_memory() -> None:
    """Put the latest figures of models with memory into the page as it is."""
    path = DOCS / "detection.md"
    before = path.read_text().partition(HEADING)[0]
    path.write_text("\n".join((before.rstrip(), "", *_memory())) + "\n")


def _lines(document: dict[str, Any]) -> Iterator[str]:
    yield "# What the suite finds"
    yield ""
    yield "Written by `make detection`; do not edit."
    yield ""
    yield from _summary(document)
    for table in (tables.by_model(document), tables.by_family(document)):
        yield from _section(table)
    yield "An empty cell: the fault has no place in that model's graphs."
    yield ""
    yield from _section(tables.by_check(document))
    yield from _section(tables.by_rule(document))
    yield from _rules(document)
    yield from _listed(tables.misses(document), "Nothing was missed.")
    yield (
        "A suspect has its base's structure and, on twenty varied inputs, its answers: there may "
        "be nothing to find. It still counts as missed."
    )
    yield ""
    yield from _listed(tables.alarms(document), "There was no false alarm.")
    yield from _how(document)


def _summary(document: dict[str, Any]) -> Iterator[str]:
    overall, bars = document["overall"], document["bars"]
    kinds = {row["fault"] for row in document["rows"] if row["verdict"] == "wrong"}
    yield (
        f"**{overall['found']} of {overall['wrong']} wrong conversions "
        f"({percent(overall['found'], overall['wrong'])}) of {len(kinds)} kinds are found, with "
        f"{overall['clean_alarms']} false alarms on {overall['clean']} clean exports and "
        f"{overall['harmless_alarms']} on {overall['harmless']} harmless rewrites.**"
    )
    yield ""
    yield (
        f"Due: {bars['found']:.0%} on every image model and over all, "
        f"and {bars['alarms']} false alarms."
    )
    yield from (f"- Not met: {problem}." for problem in document["shortfalls"])
    yield ""


def _section(table: TextTable) -> Iterator[str]:
    yield f"## {table.title}"
    yield ""
    yield f"| {' | '.join(table.headings)} |"
    yield f"|{'---|' * len(table.headings)}"
    for row in table.rows:
        yield f"| {' | '.join(_text(cell) for cell in row)} |"
    yield ""


def _listed(table: TextTable, nothing: str) -> Iterator[str]:
    if table.rows:
        yield from _section(table)
    else:
        yield from (f"## {table.title}", "", nothing, "")


def _text(cell: str) -> str:
    short = cell if len(cell) <= LONGEST else f"{cell[: LONGEST - 1]}…"
    return " ".join(short.split()).replace("|", "\\|")


def _rules(document: dict[str, Any]) -> Iterator[str]:
    yield (
        "Told apart, in all and by model: the rule fails the wrong conversion and passes the clean "
        "export that it was made from. One that fails right and wrong alike tells nothing."
    )
    yield ""
    yield "Whose rules these are:"
    yield ""
    yield from (f"- {r['name']}: [{r['who']}]({r['link']})" for r in document["rules"])
    yield ""
    yield (
        "They are kept as data in `studies/detection/rules.yaml`, and are given the same "
        "calibrated weights as the suite. On freshly initialised ones some see less still."
    )
    yield ""


def _how(document: dict[str, Any]) -> Iterator[str]:
    versions = document["environment"]["versions"]
    yield "## How it was measured"
    yield ""
    yield f"- {document['date']}, {document['seconds'] / 60:.1f} minutes: `{document['command']}`"
    yield f"- {document['environment']['processor']}, {document['environment']['platform']}"
    yield f"- {', '.join(f'{name} {version}' for name, version in versions.items())}"
    yield (
        "- Each fault strikes one place of every model that has room for it (three of the small "
        "ones), elsewhere in the graph and in another export each time: see `places` in "
        "`rules.yaml`. The files are judged by the suite in its default profile, with "
        "default tolerances, through `--artifact`; the opset that was asked for stands in a "
        "manifest beside them, as `--save-onnx` leaves it. Every file and the reason given for "
        "it: `.conformance/detection.json`."
    )
    for name, facts in document["models"].items():
        yield f"- {name}: {', '.join(facts['bases'])}"
        for artifact, reason in facts["absent"].items():
            yield f"    - no {artifact}: {_text(reason)}"


def _memory() -> Iterator[str]:
    """Faults of caches and positions over calls in a row, measured apart."""
    if not MEMORY.exists():
        return
    found = json.loads(MEMORY.read_text())
    yield from (HEADING, "")
    yield (
        "Wrong caches, positions and masks in decoders of two layers, and in a stream the state. "
        "*One pass*: what others compare, the first call with an empty past and full masks "
        "(`allclose` at 1e-3 and 1e-4)."
    )
    yield ""
    for key in ("models", "faults"):
        yield from (
            f"| {key[:-1]} | wrong files | found by the suite | by one pass |",
            "|---|---|---|---|",
        )
        for row in found[key]:
            name, *counts = row.values()
            yield f"| {name} | {' | '.join(map(str, counts))} |"
        total = [sum(row[who] for row in found[key]) for who in ("wrong", "suite", "prefill")]
        yield f"| all | {' | '.join(map(str, total))} |"
        yield ""
    yield "How it was measured: `studies/prefill.py` has the commands."
