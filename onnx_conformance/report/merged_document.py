"""The results of all shards of a run as one document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from onnx_conformance.core.documents import (
    CaseEntry,
    Environment,
    ResultsDocument,
    RunEntry,
    ShardRecord,
    TimeTable,
)
from onnx_conformance.report.document import (
    PROVED_NOTHING,
    absent_requirements,
    concluded,
    status_of,
)
from onnx_conformance.run.clock import Jobs, add_jobs

FINISHED_STATUSES = (0, 1, PROVED_NOTHING)  # exit statuses of runs that reached their end


def merged(shards: Mapping[str, ResultsDocument], command: str) -> ResultsDocument:
    """One document of all shards of a run; its problems say what is wrong beside its cases.

    Args:
        shards: the name of each file, and the results of ``--shard`` that it holds.
        command: what is joining them.
    """
    documents = list(shards.values())
    records = {name: document["run"]["shard"] for name, document in shards.items()}
    cases, doubled = _cases(documents)
    probes = {k: v for d in documents for k, v in d["environment"].get("providers", {}).items()}
    required = list(dict.fromkeys(r for record in records.values() for r in record["required"]))
    wrong = [*_unequal(records), *_lost_or_doubled(records)]
    if doubled and not wrong:
        wrong.append(f"Several shards judged {', '.join(doubled)}.")
    problems = [
        *wrong,
        *_ended_early(shards),
        *dict.fromkeys(problem for d in documents for problem in d["run"]["problems"]),
        *absent_requirements(required, cases, probes),
        *_unexplained(records.values()),
    ]
    first = documents[0]["run"]
    ended = max(int(document["run"]["exit_status"] == 1) for document in documents)
    entry = {
        **{key: value for key, value in first.items() if key != "shard"},
        "command": command,
        "started": min(document["run"]["started"] for document in documents),
        "problems": problems,
        "exit_status": status_of(ended, cases, problems),
    }
    environment = cast("Environment", {**documents[0]["environment"], "providers": probes})
    environment["processor"] = " / ".join(
        dict.fromkeys(document["environment"]["processor"] for document in documents)
    )
    return concluded(cases, cast("RunEntry", entry), environment, _time(documents), [])


def _cases(documents: Sequence[ResultsDocument]) -> tuple[list[CaseEntry], list[str]]:
    """All cases in the order of the whole run, each once; the ids of those that come twice."""
    order = {name: place for place, name in enumerate(documents[0]["run"]["shard"]["cases"])}
    found: dict[str, CaseEntry] = {}
    doubled: dict[str, None] = {}
    for case in (case for document in documents for case in document["cases"]):
        if case["id"] in found:
            doubled[case["id"]] = None
        found.setdefault(case["id"], case)
    return sorted(found.values(), key=lambda case: order.get(case["id"], len(order))), [*doubled]


def _unequal(records: Mapping[str, ShardRecord]) -> list[str]:
    """Shards of other code, options or cases than the first."""
    (name, first), *others = records.items()
    problems = []
    for other, record in others:
        parts = [
            part for part in first["basis"] if record["basis"].get(part) != first["basis"][part]
        ]
        parts += [part for part in record["basis"] if part not in first["basis"]]
        if record["count"] != first["count"]:
            parts.insert(0, f"the number of shards ({first['count']} and {record['count']})")
        if parts:
            problems.append(
                f"{name} and {other} are no parts of one run: they differ in {', '.join(parts)}; "
                "run all shards by one checkout with the same options and packages."
            )
    return problems


def _lost_or_doubled(records: Mapping[str, ShardRecord]) -> list[str]:
    count = next(iter(records.values()))["count"]
    given = Counter(record["place"] for record in records.values())
    lost = [f"{place}/{count}" for place in range(1, count + 1) if not given[place]]
    twice = [f"{place}/{count}" for place, times in sorted(given.items()) if times > 1]
    problems = [f"No results of shard {', '.join(lost)} were given."] if lost else []
    problems += [f"Shard {', '.join(twice)} was given more than once."] if twice else []
    return problems


def _ended_early(shards: Mapping[str, ResultsDocument]) -> list[str]:
    statuses = {name: document["run"]["exit_status"] for name, document in shards.items()}
    return [
        f"The run of {name} ended early (status {status})."
        for name, status in statuses.items()
        if status not in FINISHED_STATUSES
    ]


def _unexplained(records: Iterable[ShardRecord]) -> list[str]:
    """Known failures that explained nothing in any shard."""
    found: dict[str, list[str]] = {}
    for record in records:
        for entry, problem in record["explains"].items():
            found.setdefault(entry, []).append(problem)
    return [problems[0] for problems in found.values() if all(problems)]


def _time(documents: Sequence[ResultsDocument]) -> TimeTable:
    """The longest wall time; all else added up."""
    tables = [document["time"] for document in documents]
    first, jobs = tables[0], Jobs()
    for table in tables:
        add_jobs(jobs, table["jobs"])
    return {
        "wall": max(table["wall"] for table in tables),
        "processes": sum(table["processes"] for table in tables),
        "engine": {key: sum(t["engine"].get(key, 0.0) for t in tables) for key in first["engine"]},
        "waited": {key: sum(t["waited"].get(key, 0.0) for t in tables) for key in first["waited"]},
        "rest": sum(table["rest"] for table in tables),
        "jobs": jobs,
    }
