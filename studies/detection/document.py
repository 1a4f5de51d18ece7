"""The table as plain data: what ``detection.json`` holds and both printed forms are made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from onnx_conformance.run.cache_keys import environment
from studies.detection.bases import SMALL, takes_images
from studies.detection.measurement import Judged
from studies.detection.rules import Rule, StudyRules

SCHEMA = 1
Row = dict[str, Any]


def make_document(
    judged: list[Judged], study_rules: StudyRules, *, command: str, seconds: float
) -> dict[str, Any]:
    """Everything that was measured, and whether the bars are met."""
    rows = [row for one in judged for row in one.rows]
    document = {
        "schema": SCHEMA,
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
        "seconds": round(seconds, 1),
        "environment": environment(),
        "bars": {
            "found": study_rules.found,
            "families": study_rules.found_of_families,
            "alarms": study_rules.alarms,
        },
        "overall": tally(rows),
        "models": {one.model: _model(one) for one in judged},
        "families": _by(rows, lambda row: row["family"] or None),
        "faults": _by(rows, lambda row: row["fault"] or None),
        "cells": {one.model: _by(one.rows, lambda row: row["family"] or None) for one in judged},
        "checks": dict(
            Counter(row["checks"][0] for row in rows if row["outcome"] == "found").most_common()
        ),
        "rules": [
            rule_numbers(rule, rows) for rule in study_rules.rules if rule.name in rows[0]["rules"]
        ],
        "rows": rows,
    }
    document["shortfalls"] = shortfalls(document)
    return document


def tally(rows: Iterable[Row]) -> dict[str, int]:
    """How many files of each kind, and how each kind ended.

    Wrong files that only an edge finding tells of count apart, and not among the wrong ones.
    """
    counts = Counter((row["verdict"], row["outcome"]) for row in rows)

    def total(verdict: str) -> int:
        return sum(number for (kind, _), number in counts.items() if kind == verdict)

    return {
        "wrong": total("wrong") - counts["wrong", "edge"],
        "edge": counts["wrong", "edge"],
        "found": counts["wrong", "found"],
        "missed": counts["wrong", "missed"],
        "harmless": total("harmless"),
        "harmless_alarms": counts["harmless", "alarm"],
        "clean": total("clean"),
        "clean_alarms": counts["clean", "alarm"],
        "unjudged": counts["harmless", "unjudged"] + counts["clean", "unjudged"],
    }


def figures(document: dict[str, Any]) -> dict[str, Any]:
    """What README and its picture say of the measurement: ``docs/figures/detection.json``."""
    overall = document["overall"]
    kinds = {row["fault"] for row in document["rows"] if row["verdict"] == "wrong"}
    suite = {**overall, "name": "this suite", "told": overall["found"]}
    return {
        "schema": SCHEMA,
        "date": document["date"],
        "command": document["command"],
        "kinds": len(kinds),
        **{key: overall[key] for key in ("wrong", "found", "clean", "harmless")},
        "rules": [
            {
                "name": rule["name"],
                "clean_alarms": rule["clean_alarms"],
                "harmless_alarms": rule["harmless_alarms"],
                "failed": round(100 * rule["found"] / overall["wrong"], 1),
                "told_apart": round(100 * rule["told"] / overall["wrong"], 1),
            }
            for rule in (suite, *document["rules"])
        ],
    }


def shortfalls(document: dict[str, Any]) -> list[str]:
    """What keeps the measurement below its bars, one sentence each; empty if nothing does."""
    bars, problems = document["bars"], []
    sides = {name: facts for name, facts in document["models"].items() if facts["images"]}
    own = {
        family: (document["families"][family], share)
        for family, share in bars["families"].items()
        if family in document["families"]
    }
    due = [
        (name, _without(numbers, document["cells"].get(name, {}), own), bars["found"])
        for name, numbers in sides.items()
    ]
    due.append(
        ("all models", _without(document["overall"], document["families"], own), bars["found"])
    )
    due += [(f"family '{family}'", *pair) for family, pair in own.items()]
    for name, numbers, share in due:
        if numbers["found"] < share * numbers["wrong"]:
            found = percent(numbers["found"], numbers["wrong"])
            problems.append(f"{name}: {found} of the wrong conversions found, {share:.0%} due")
    overall = document["overall"]
    for kind in ("clean", "harmless"):
        if overall[f"{kind}_alarms"] > bars["alarms"]:
            problems.append(f"{overall[f'{kind}_alarms']} false alarms on {kind} files")
    if overall["unjudged"]:
        problems.append(f"{overall['unjudged']} right conversions reached no verdict")
    for facts in document["models"].values():
        problems += [f"the corpus is broken: {defect}" for defect in facts["defects"]]
    if not overall["wrong"]:
        problems.append("no wrong conversion was made: this measures nothing")
    return problems


def _without(
    numbers: dict[str, int], families: dict[str, dict[str, int]], left_out: Iterable[str]
) -> dict[str, int]:
    """The numbers of wrong and found without those of some families."""
    parts = [families[family] for family in left_out if family in families]
    return {key: numbers[key] - sum(part[key] for part in parts) for key in ("wrong", "found")}


def percent(part: int, whole: int) -> str:
    """A share that never rounds up to all: 99.96 % reads 99.9 %."""
    return f"{int(1000 * part / whole) / 10:.1f} %" if whole else "–"


def _model(one: Judged) -> dict[str, Any]:
    return {
        **tally(one.rows),
        "images": takes_images(one.model) and one.model not in SMALL,
        "bases": [base.name for base in one.bases.found],
        "absent": one.bases.absent,
        "defects": one.defects,
        "command": one.run.command,
        "making_seconds": round(one.making_seconds, 1),
        "suite_seconds": round(one.run.seconds, 1),
        "rules_seconds": round(one.rules_seconds, 1),
    }


def _by(rows: list[Row], key: Callable[[Row], str | None]) -> dict[str, dict[str, int]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        name = key(row)
        if name is not None:
            groups.setdefault(name, []).append(row)
    return {name: tally(group) for name, group in groups.items()}


def rule_numbers(rule: Rule, rows: list[Row]) -> dict[str, Any]:
    """A rule's numbers. ``told``: it fails the wrong conversion and passes its clean export.

    A rule that fails right and wrong alike finds everything and tells nothing.
    """
    failed = [row for row in rows if row["rules"][rule.name]]
    strict = {(row["model"], row["base"]) for row in failed if row["verdict"] == "clean"}
    counts = Counter(row["verdict"] for row in failed)
    wrong = [r for r in failed if r["verdict"] == "wrong" and r.get("outcome") != "edge"]
    by_model = Counter(row["model"] for row in wrong if (row["model"], row["base"]) not in strict)
    return {
        "name": rule.name,
        "who": rule.who,
        "link": rule.link,
        "found": len(wrong),
        "told": by_model.total(),
        "clean_alarms": counts["clean"],
        "harmless_alarms": counts["harmless"],
        "models": {model: by_model[model] for model in dict.fromkeys(row["model"] for row in rows)},
    }
