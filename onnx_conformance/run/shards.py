"""``--shard K/N``: which cases each of N machines judges, and what joins their results."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_conformance.core.case import Case
from onnx_conformance.core.documents import ShardRecord
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.store import key_of

OPTION = "--shard"
DURATIONS = "--shard-durations"


@dataclass(frozen=True)
class Shard:
    """The part of a run's cases that this machine judges.

    Args:
        place: from 1 to ``count``.
        places: of each case of the run, by its id, which shard judges it.
        models: of each model, the shard of its first case; cases that a test brings go there.
        costs: a digest of what the cases were divided by.
    """

    place: int
    count: int
    places: Mapping[str, int]
    models: Mapping[str, int]
    costs: str

    def admits(self, case: Case) -> bool:
        """Whether it judges the case."""
        known = self.places.get(case.id) or self.models.get(case.model)
        return (known or 1) == self.place

    def record(self, basis: Mapping[str, Any], required: Sequence[str]) -> ShardRecord:
        """What joining needs to know of this run.

        Args:
            basis: what must be the same in all shards, by what messages call it.
            required: providers that the whole must have passed on.
        """
        parts = {**basis, "cases": list(self.places.items()), DURATIONS: self.costs}
        return {
            "place": self.place,
            "count": self.count,
            "cases": list(self.places),
            "required": list(required),
            "basis": {name: key_of(part=part) for name, part in parts.items()},
            "explains": {},
        }


def read_shard(asked: str, durations: str, cases: Sequence[Case]) -> Shard | None:
    """The shard that the options name; None without ``--shard``.

    Args:
        durations: a results document, whose seconds the cases are divided by; all cost the same
            where it is empty.

    Raises:
        UsageError: it is not K/N, there are fewer cases than shards, or no such document.
    """
    if not asked:
        if durations:
            raise UsageError(f"{DURATIONS} says what {OPTION} divides by: give {OPTION}=K/N, too")
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", asked)
    place, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= place <= count:
        raise UsageError(f"{OPTION} {asked}: K/N is wanted, K from 1 to N, such as 2/5")
    if count > len(cases):
        raise UsageError(f"{OPTION} {asked}: there are {len(cases)} cases; ask for fewer shards")
    costs = costs_of(cases, _seconds(Path(durations)) if durations else {})
    places = divided(cases, costs, count)
    models: dict[str, int] = {}
    for case in cases:
        models.setdefault(case.model, places[case.id])
    return Shard(place, count, places, models, key_of(costs=costs))


def refuse_whole(asked: str, *, timed: bool, history: bool) -> None:
    """Refuse options that need a whole run or a single machine.

    Raises:
        UsageError: a shard of timings, or of a run that is kept in a history, was asked for.
    """
    if asked and timed:
        raise UsageError(f"{OPTION} divides cases to certify; timings and gates take one machine")
    if asked and history:
        raise UsageError(
            f"--history keeps whole runs, and {OPTION} {asked} is a part of one: give --history to "
            "'onnx-conformance merge', which joins the shards"
        )


def _seconds(path: Path) -> dict[str, float]:
    """Case id -> what its checks took, of a results document."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {
            case["id"]: sum(row.get("seconds", 0.0) for row in case["checks"])
            for case in document["cases"]
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{DURATIONS} {path}: no results.json of a run ({error})") from error


def costs_of(cases: Sequence[Case], seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each case by its id; of an unknown one the median of those that are known."""
    known = [seconds[case.id] for case in cases if case.id in seconds]
    usual = max(statistics.median(known), 1e-3) if known else 1.0
    return {case.id: max(seconds.get(case.id, usual), 1e-3) for case in cases}


def divided(cases: Sequence[Case], costs: Mapping[str, float], count: int) -> dict[str, int]:
    """Case id -> its shard, from 1 to ``count``: the costliest part goes to the emptiest shard.

    A model is one part, because its cases share the native side, unless it costs more than a shard
    should: then it is cut into as few parts as that takes.
    """
    loads = [0.0] * count
    places: dict[str, int] = {}
    fair = sum(costs.values()) / count
    parts = [part for group in _by_model(cases) for part in _cut(group, costs, fair)]
    while len(parts) < count:  # fewer models than shards, and few costly ones
        largest = max(range(len(parts)), key=lambda place: len(parts[place]))
        half = len(parts[largest]) // 2
        parts[largest : largest + 1] = [parts[largest][:half], parts[largest][half:]]
    for part in sorted(parts, key=lambda part: -sum(costs[case.id] for case in part)):
        place = loads.index(min(loads))
        loads[place] += sum(costs[case.id] for case in part)
        places |= {case.id: place + 1 for case in part}
    return {case.id: places[case.id] for case in cases}


def _by_model(cases: Sequence[Case]) -> list[list[Case]]:
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.model, []).append(case)
    return list(groups.values())


def _cut(group: list[Case], costs: Mapping[str, float], fair: float) -> list[list[Case]]:
    """Runs of a model's cases of about equal cost, none above what a shard should cost."""
    whole = sum(costs[case.id] for case in group)
    wanted = min(len(group), max(1, round(whole / fair)))
    parts: list[list[Case]] = [[]]
    spent = 0.0
    for case in group:
        if parts[-1] and spent >= whole / wanted * len(parts) * (1 - 1e-9):
            parts.append([])
        parts[-1].append(case)
        spent += costs[case.id]
    return parts
