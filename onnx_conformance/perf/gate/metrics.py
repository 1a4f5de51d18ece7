"""The gated figures beside speed, of a side alone in a process of its own."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from onnx_conformance.core.budget import Reference, worst_score
from onnx_conformance.core.comparison import nonfinite_problem, structure_problem
from onnx_conformance.core.tolerances import Rule
from onnx_conformance.inputs.families import materialise, replayed
from onnx_conformance.perf.gate.outcomes import Worse
from onnx_conformance.perf.gate.gate_run import Players, Side
from onnx_conformance.perf.latency.timed_sessions import Seat
from onnx_conformance.session.live_subject import LiveSubject

OPENINGS = 5  # of which the quickest counts, because noise only adds
MIB = 2**20

Figures = dict[str, float]


def figures(players: Players, subject: LiveSubject, sides: tuple[Side, Side]) -> list[Figures]:
    """Metric -> figure, of each side: bytes, nodes, float32 yardsticks and seconds.

    Both sides do the same work in the same order, each in a fresh process; their sessions are
    opened in turns.
    """
    with ExitStack() as stack:
        seats, found = [], []
        for side in sides:
            host = stack.enter_context(players.host(side))
            seat = players.seat(host, side)
            players.rehearse(seat, side)
            seats.append(seat)
            found.append(_of_the_file(side) | {"peak_memory": _peak(seat)})
        openings = [[_opening(seat) for seat in seats] for _ in range(OPENINGS)]
        for place, (side, seat) in enumerate(zip(sides, seats, strict=True)):
            found[place]["session_creation"] = min(row[place] for row in openings)
            found[place]["score"] = _worst_score(side, seat, subject)
    return found


def _of_the_file(side: Side) -> Figures:
    facts = side.artifact.facts
    return {
        "artifact_size": float(facts["bytes"]),
        "node_count": float(sum(facts["nodes"].values())),
    }


def _peak(seat: Seat) -> float:
    """Bytes that the session added at most; what the libraries themselves take is not its own."""
    before = float(seat.facts["memory_before_mib"])
    return max(float(seat.host.call("memory")["peak"]) - before, 0.0) * MIB


def _opening(seat: Seat) -> float:
    """Seconds of one more creation of the session."""
    return float(seat.host.call("reopen", session=seat.what["session"]))


def _worst_score(side: Side, seat: Seat, subject: LiveSubject) -> float:
    """The worst error of a side on every pinned feed, in float32 yardsticks.

    Raises:
        Worse: it refuses a feed, or an answer is not within the error budget.
    """
    rule = subject.tolerances.rule("error_budget", subject.case)
    feeds = {
        name: materialise(recipe, subject.model)
        for name, recipe in replayed(subject.model.name, subject.seed).items()
    }
    fed = [seat.feed(feed) for feed in feeds.values()]
    answers = seat.host.call("run", feeds=fed, **seat.what)
    worst = 0.0
    for (name, feed), answer in zip(feeds.items(), answers, strict=True):
        about = f"{subject.case.id}: the {side.name} on feed '{name}'"
        if "error" in answer:
            raise Worse(f"{about} is refused: {answer['error']}")
        outputs = {seat.name(theirs): array for theirs, array in answer["outputs"].items()}
        worst = max(worst, _score(subject, subject.reference(feed), outputs, rule, about))
    return worst


def _score(
    subject: LiveSubject, reference: Reference, outputs: dict[str, Any], rule: Rule, about: str
) -> float:
    problem = structure_problem(reference.native, outputs) or nonfinite_problem(
        reference.native, outputs
    )
    if problem:
        raise Worse(f"{about} is wrong: {problem}")
    score = worst_score(reference, outputs, subject.model.outputs, rule["floor_ulp"])
    if not score.value <= rule["factor"]:
        raise Worse(f"{about} is wrong: {score}; allowed {rule['factor']:g}x")
    return score.value
