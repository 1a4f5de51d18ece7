"""The results as one plain document: what ``--report-json`` writes and the page is made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, cast

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.checks.export_options import REQUIRED_BY_OPTION
from onnx_conformance.checks.registry import CHECKS
from onnx_conformance.core.case import Case, ExternalCase
from onnx_conformance.core.documents import (
    AboutRun,
    CaseEntry,
    CaseFacts,
    CheckRow,
    DivergenceFacts,
    Environment,
    ProbeFacts,
    ResultsDocument,
    RunEntry,
    TimeTable,
    Totals,
)
from onnx_conformance.core.project import project
from onnx_conformance.core.results import UNJUDGED
from onnx_conformance.core.tolerances import INT8
from onnx_conformance.report.columns import RED_OUTCOMES, incomplete, passed_every_check
from onnx_conformance.run.probe import ProbeResult
from onnx_conformance.run.run_record import Run

SCHEMA = 2  # 1 said proved and in part in run.verdict, and feed in a check's row
MOST_PROBLEMS = 2  # in the closing sentence
PROVED_NOTHING = 5  # also of a run some of whose cases are incomplete
MOST_MISSING = 8  # checks that the closing sentence names
LONGEST_REASON = 160


def case_verdict(outcomes: Iterable[str]) -> str:
    """One word for a case: failed before known failure before passed; without any of them skipped.

    An edge finding does not affect the verdict.

    >>> case_verdict(["passed", "known_failure", "skipped"])
    'known_failure'
    >>> case_verdict(["passed", "edge", "not_applicable"])
    'passed'
    """
    found = set(outcomes)
    if "edge" in found:
        found.add("passed")
    if found & set(RED_OUTCOMES):
        return "failed"
    for verdict in ("known_failure", "passed"):
        if verdict in found:
            return verdict
    return "skipped"


def required_tests(case: Case, *, ordinary: bool) -> Counter[str]:
    """How many tests of each check the case must pass to be complete.

    A case that a test brought itself (an export option) requires the checks of its options.
    """
    if ordinary:
        model = resolve_model(case.model)
        counts = {check.name: check.required_tests(model, case) for check in CHECKS.values()}
        return Counter({name: count for name, count in counts.items() if count})
    marks = case.options.suffix.split("+")
    return Counter({name: 1 for mark in marks for name in REQUIRED_BY_OPTION.get(mark, ())})


def is_complete(case: Case, rows: list[CheckRow], *, ordinary: bool) -> bool:
    """Whether every required check was run, or does not apply to its model."""
    wanted = required_tests(case, ordinary=ordinary)
    return bool(wanted) and not missing(case, rows, ordinary=ordinary)


def missing(case: Case, rows: list[CheckRow], *, ordinary: bool) -> dict[str, str]:
    """The checks that the case lacks, each with the reason; empty where it was not selected."""
    ran = Counter(row["name"] for row in rows if row["outcome"] != "skipped")
    reasons = {row["name"]: row["reason"] for row in rows if row["outcome"] == "skipped"}
    wanted = required_tests(case, ordinary=ordinary)
    return {name: reasons.get(name, "") for name in wanted if ran[name] < wanted[name]}


def make_case(case: Case, rows: list[CheckRow], facts: CaseFacts, *, ordinary: bool) -> CaseEntry:
    """One entry of ``cases``: what was delivered, and every check's row."""
    shares = [
        (row["score"] / (row["budget"] or 1.0), row)
        for row in rows
        if row["score"] is not None and row["outcome"] != "edge"  # not part of the verdict
    ]
    worst = max(shares, key=lambda share: share[0], default=(None, None))[1]
    artifact: Mapping[str, Any] = facts.get("artifact", {})
    return {
        "id": case.id,
        "model": case.model,
        "basis": resolve_model(case.model).basis or None,
        "notes": list(resolve_model(case.model).notes),
        "exporter": case.route,
        "opset_requested": case.opset,
        "opset": artifact.get("opset"),
        "provider": case.provider,
        "graph_level": case.graph_level or None,
        "precision": case.precision,
        "verdict": case_verdict(row["outcome"] for row in rows),
        "complete": is_complete(case, rows, ordinary=ordinary),
        "missing": missing(case, rows, ordinary=ordinary),
        "edge": edge_checks(rows),
        "option": not ordinary,
        "resumed": next((row["resumed"] for row in rows if row.get("resumed")), None),
        "worst_score": worst["score"] if worst else None,
        "budget": worst["budget"] if worst else None,
        "decibels": _decibels(rows),
        "same_bits": _same_bits(rows),
        "placement": facts.get("placement"),
        "placed": facts.get("placed"),
        "cpu_fallback": facts.get("cpu_fallback"),
        "artifact": case.path if isinstance(case, ExternalCase) else facts.get("path"),
        "artifact_files": artifact.get("files", []),
        "artifact_bytes": artifact.get("bytes"),
        "artifact_sha256": facts.get("sha256"),
        "nodes": artifact.get("nodes", {}),
        "inputs": artifact.get("inputs", []),
        "outputs": artifact.get("outputs", []),
        "dynamic_axes": artifact.get("dynamic_axes", {}),
        "initializers": artifact.get("initializers", {}),
        "divergence": _divergence(rows, facts),
        "checks": rows,
    }


def edge_checks(rows: list[CheckRow]) -> list[str]:
    """The checks with an edge finding, each once."""
    return list(dict.fromkeys(row["name"] for row in rows if row["outcome"] == "edge"))


def _decibels(rows: list[CheckRow]) -> float | None:
    """The least bound of an output's signal to quantisation noise; None where none was taken."""
    outputs_of = [row["statistics"] for row in rows if row["name"] == "sqnr"]
    return min(
        (output["low"] for outputs in outputs_of for output in outputs.values()), default=None
    )


def _same_bits(rows: list[CheckRow]) -> bool | None:
    """Whether two runs of the same inputs gave the same bits; None where that was not tried."""
    differing = [row["statistics"].get("differing") for row in rows if row["name"] == "determinism"]
    return None if not differing or None in differing else not any(differing)


def _divergence(rows: list[CheckRow], facts: CaseFacts) -> DivergenceFacts | None:
    """The node that introduces the error or, of a right case that was surveyed, adds the most."""
    localised = [row["divergence"] for row in rows if row["divergence"]]
    return next(iter([*localised, facts.get("divergence")]), None)


def totals(cases: list[CaseEntry]) -> Totals:
    """How many cases were judged, how many checks ended how, and how much was compared."""
    checks = [row for case in cases for row in case["checks"]]
    return {
        "cases": len(cases),
        "proved": sum(passed_every_check(case) and not case["option"] for case in cases),
        "without_oracle": sum(
            passed_every_check(case)
            and not case["option"]
            and case["worst_score"] is None
            and case["decibels"] is None
            for case in cases
        ),
        "by_decisions": sum(
            passed_every_check(case) and not case["option"] and case["precision"] == INT8
            for case in cases
        ),
        "options": sum(passed_every_check(case) and case["option"] for case in cases),
        "judged": sum(case["verdict"] != "skipped" for case in cases),
        "incomplete": sum(incomplete(case) for case in cases),
        "edge": sum(bool(case["edge"]) for case in cases),
        "edge_checks": dict(Counter(name for case in cases for name in case["edge"])),
        "verdicts": dict(Counter(case["verdict"] for case in cases)),
        "checks": dict(Counter(row["outcome"] for row in checks)),
        "compared": sum(row["compared"] for row in checks if row["outcome"] not in UNJUDGED),
    }


def missing_words(cases: list[CaseEntry]) -> str:
    """Which checks the incomplete cases lack, in one sentence; empty where none is incomplete."""
    found = [case for case in cases if incomplete(case)]
    if not found:
        return ""
    judged = sum(case["verdict"] != "skipped" for case in cases)
    names: dict[str, str] = {}
    for case in found:
        names |= {name: reason for name, reason in case["missing"].items() if not names.get(name)}
    named = [f"{n} ({_cut(reason)})" if reason else n for n, reason in names.items()]
    more = f" and {len(named) - MOST_MISSING} more" if len(named) > MOST_MISSING else ""
    verb = "case is" if judged == 1 else "cases are"
    return (
        f"{len(found)} of {judged} {verb} incomplete: not run or not decided: "
        f"{', '.join(named[:MOST_MISSING])}{more}."
    )


def _cut(reason: str) -> str:
    one = " ".join(reason.split())
    return one if len(one) <= LONGEST_REASON else f"{one[: LONGEST_REASON - 1]}…"


def verdict_of(numbers: Totals, exit_status: int) -> str:
    """``passed``, ``incomplete``, ``red`` or ``proved nothing``, of exit status and cases."""
    if exit_status == PROVED_NOTHING:
        return "incomplete" if numbers["incomplete"] else "proved nothing"
    if exit_status != 0:
        return "red"
    part = numbers["verdicts"].get("passed", 0) - numbers["proved"] - numbers["options"]
    return "incomplete" if part or not numbers["proved"] else "passed"


def sentence(verdict: str, numbers: Totals, exit_status: int) -> str:
    """The verdict of a run in one sentence."""
    if verdict == "proved nothing" and numbers["judged"]:
        return "Nothing was shown: every case that was judged has a known upstream failure."
    if verdict == "proved nothing":
        return "Nothing was shown: no selected case reached a verdict."
    counts, judged = numbers["verdicts"], numbers["judged"] - numbers["options"]
    part = counts.get("passed", 0) - numbers["proved"] - numbers["options"]
    tails = {
        "incomplete": part,
        f"with edge findings (◇ {', '.join(numbers['edge_checks'])})": numbers["edge"],
        "with a known upstream failure": counts.get("known_failure", 0),
        "export-option checks passed": numbers["options"],
        "skipped": counts.get("skipped", 0),
    }
    tail = "".join(f", {number} {words}" for words, number in tails.items() if number)
    if exit_status not in (0, 1, PROVED_NOTHING):
        return f"The run ended early (status {exit_status}), after {judged} cases had begun{tail}."
    if counts.get("failed", 0):
        return f"{counts['failed']} of {judged} cases failed{tail}."
    if exit_status and not numbers["judged"]:
        return f"The run failed, and no case was judged{tail}."
    close, decided = numbers["without_oracle"], numbers["by_decisions"]
    weaker = f" ({close} of them by allclose alone, without a float64 oracle)" if close else ""
    weaker += f" ({decided} of them in int8, by what they decide)" if decided else ""
    text = f"{numbers['proved']} of {judged} cases passed every check{weaker}{tail}."
    return text if exit_status != 1 else f"The run failed, though no case did: {text}"


def resumed(cases: list[CaseEntry]) -> list[str]:
    """How many verdicts are of earlier runs, and of when."""
    found = sorted(case["resumed"] for case in cases if case["resumed"])
    if not found:
        return []
    since = found[0] if found[0] == found[-1] else f"{found[0]} to {found[-1]}"
    return [f"{len(found)} of {len(cases)} verdicts are of earlier runs ({since}), by --resume."]


def loosened(run: Run) -> list[str]:
    """A warning where a run used other tolerances than the suite's own."""
    same = run.tolerances.path.resolve() == project().tolerances.resolve()
    return [] if same else [f"Judged under the tolerances of {run.tolerances.path}."]


def make_cases(
    run: Run, rows: Mapping[Case, list[CheckRow]], facts: Mapping[str, CaseFacts]
) -> list[CaseEntry]:
    """The entries of the judged cases: those of the run, then those that tests brought.

    The order is the same in whatever order processes judged them.
    """
    own = set(run.cases)
    ordered = [case for case in run.cases if case in rows]
    models = {case.model: place for place, case in enumerate(run.cases)}
    brought = [case for case in rows if case not in own]
    ordered += sorted(brought, key=lambda case: (models.get(case.model, len(own)), case.id))
    return [
        make_case(case, rows[case], facts.get(case.id, {}), ordinary=case in own)
        for case in ordered
    ]


def make_document(
    run: Run,
    cases: list[CaseEntry],
    *,
    environment: Environment,
    about: AboutRun,
    time: TimeTable,
) -> ResultsDocument:
    """The results document of a run: what ``results.json`` holds and all reports are drawn from."""
    entry = {
        "seed": run.settings.seed,
        "weights": run.settings.weights,
        "tolerances": str(run.tolerances.path),
        **about,
    }
    more = [*loosened(run), *_part(about)]
    return concluded(cases, cast("RunEntry", entry), environment, time, more)


def _part(about: AboutRun) -> list[str]:
    """A sentence saying that this is one shard of several."""
    if "shard" not in about:
        return []
    place, count = about["shard"]["place"], about["shard"]["count"]
    return [f"This is shard {place} of {count}: join the results with 'onnx-conformance merge'."]


def concluded(
    cases: list[CaseEntry],
    run: RunEntry,
    environment: Environment,
    time: TimeTable,
    more: list[str],
) -> ResultsDocument:
    """The document of judged cases.

    Args:
        run: without its verdict and sentence.
        more: sentences for the end of that.
    """
    numbers = totals(cases)
    verdict = verdict_of(numbers, run["exit_status"])
    left = len(run["problems"]) - MOST_PROBLEMS
    sentences = [
        sentence(verdict, numbers, run["exit_status"]),
        *([missing_words(cases)] if numbers["incomplete"] else []),
        *run["problems"][:MOST_PROBLEMS],
        *([f"{left} more problems are named above and in the data."] if left > 0 else []),
        *resumed(cases),
        *more,
    ]
    return {
        "schema": SCHEMA,
        "environment": environment,
        "run": {**run, "verdict": verdict, "sentence": " ".join(sentences)},
        "time": time,
        "totals": numbers,
        "cases": cases,
    }


def status_of(ended: int, cases: list[CaseEntry], problems: list[str]) -> int:
    """The exit status of a run whose tests ended with ``ended``."""
    outcomes = {row["outcome"] for case in cases for row in case["checks"]}
    if ended == 0 and problems:
        return 1
    reached = outcomes & {"passed", "edge", *RED_OUTCOMES}
    if ended == 0 and not (reached and not any(map(incomplete, cases))):
        return PROVED_NOTHING
    return ended


def absent_requirements(
    required: Iterable[str], cases: list[CaseEntry], probes: Mapping[str, ProbeFacts]
) -> list[str]:
    """``--require``: providers on which a case must pass every check, and none does.

    Args:
        probes: what the probe of each provider found.
    """
    passed = {case["provider"] for case in cases if passed_every_check(case)}
    passed |= {"gpu" for name in passed if name in PROVIDERS and PROVIDERS[name].gpu}
    return [
        f"--require {name}: no case passed every check on it ({_why_absent(name, probes)})"
        for name in required
        if name not in passed
    ]


def _why_absent(name: str, probes: Mapping[str, ProbeFacts]) -> str:
    names = [n for n in PROVIDERS if PROVIDERS[n].gpu] if name == "gpu" else [name]
    words = [f"{n}: {ProbeResult(**probes[n]).sentence}" for n in names if n in probes]
    return "; ".join(words) or "none of its cases was selected"
