"""The tables as rows of text, for the terminal and for Markdown alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from studies.detection.document import percent


@dataclass(frozen=True)
class TextTable:
    """A title, headings and rows; the first column names the row."""

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def by_model(document: dict[str, Any]) -> TextTable:
    """How much is found on each model, and how many alarms are false."""
    rows = [_numbers(name, facts) for name, facts in document["models"].items()]
    rows.append(_numbers("all", document["overall"]))
    headings = (
        "model",
        "wrong",
        "found",
        "share",
        "edge findings alone",
        "alarms: clean",
        "alarms: harmless",
        "suite",
    )
    return TextTable("Found by the suite", headings, rows)


def by_family(document: dict[str, Any]) -> TextTable:
    """Found of wrong, family by model; for harmless rewrites, false alarms."""
    models = list(document["cells"])
    rows = []
    for family, numbers in document["families"].items():
        cells = [_cell(document["cells"][model].get(family)) for model in models]
        rows.append((family, *cells, _cell(numbers)))
    title = "By family: found of wrong (false alarms of harmless rewrites)"
    return TextTable(title, ("family", *models, "all"), rows)


def by_check(document: dict[str, Any]) -> TextTable:
    """Which check was the first to be red."""
    rows = [(name, str(number)) for name, number in document["checks"].items()]
    return TextTable("First found by", ("check", "wrong conversions"), rows)


def by_rule(document: dict[str, Any]) -> TextTable:
    """The same files under other tools' rules; the suite on top."""
    overall, models = document["overall"], document["models"]
    wrong = {name: facts["wrong"] for name, facts in models.items()}
    suite = {
        **overall,
        "name": "this suite",
        "told": overall["found"],
        "models": {name: facts["found"] for name, facts in models.items()},
    }
    rows = [_rule(numbers, overall, wrong) for numbers in (suite, *document["rules"])]
    headings = ("rule", "clean failed", "harmless failed", "wrong failed", "told apart", *models)
    return TextTable("The same files under other rules", headings, rows)


def misses(document: dict[str, Any]) -> TextTable:
    """Every wrong conversion that the suite did not find."""
    rows = [
        (
            row["model"],
            row["base"],
            row["fault"],
            row["place"],
            ", ".join(name for name, found in row["rules"].items() if found) or "nothing",
            "yes" if row["suspect"] else "",
        )
        for row in document["rows"]
        if row["outcome"] == "missed"
    ]
    headings = ("model", "export", "fault", "place", "found by", "suspect")
    return TextTable("Missed", headings, rows)


def alarms(document: dict[str, Any]) -> TextTable:
    """Every right conversion that is red, or that reached no verdict."""
    rows = [
        (
            row["model"],
            row["base"],
            row["fault"] or "clean export",
            row["place"],
            ", ".join(row["checks"]) or row["suite"],
            row["reason"],
        )
        for row in document["rows"]
        if row["outcome"] in ("alarm", "unjudged")
    ]
    headings = ("model", "export", "rewrite", "place", "check", "reason")
    return TextTable("False alarms", headings, rows)


def _numbers(name: str, facts: dict[str, Any]) -> tuple[str, ...]:
    return (
        name,
        str(facts["wrong"]),
        str(facts["found"]),
        percent(facts["found"], facts["wrong"]),
        str(facts.get("edge", 0)),
        f"{facts['clean_alarms']} of {facts['clean']}",
        f"{facts['harmless_alarms']} of {facts['harmless']}",
        f"{facts['suite_seconds']:.0f} s" if "suite_seconds" in facts else "",
    )


def _cell(numbers: dict[str, int] | None) -> str:
    if numbers is None:
        return ""
    parts = []
    if numbers["wrong"]:
        parts.append(f"{numbers['found']}/{numbers['wrong']}")
    if numbers["harmless"]:
        parts.append(f"({numbers['harmless_alarms']}/{numbers['harmless']})")
    return " ".join(parts)


def _rule(
    numbers: dict[str, Any], overall: dict[str, int], wrong: dict[str, int]
) -> tuple[str, ...]:
    return (
        numbers["name"],
        f"{numbers['clean_alarms']} of {overall['clean']}",
        f"{numbers['harmless_alarms']} of {overall['harmless']}",
        percent(numbers["found"], overall["wrong"]),
        percent(numbers["told"], overall["wrong"]),
        *(percent(numbers["models"][model], wrong[model]) for model in wrong),
    )
