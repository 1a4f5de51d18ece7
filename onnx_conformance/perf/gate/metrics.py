"""The gated figures beside speed, of a side alone in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice

from onnx_conformance.checks.verdict import limits_for
from onnx_conformance.core.judgement import judge_outputs
from onnx_conformance.inputs.families import materialise, replayed
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.inputs.sample_arrays import Layout, native_layout
from onnx_conformance.perf.gate.gate_run import GateEntry, GateRun
from onnx_conformance.perf.gate.outcomes import Worse
from onnx_conformance.perf.latency.timed_sessions import TimedSession
from onnx_conformance.session.live_subject import LiveSubject

OPENINGS = 5  # of which the quickest counts, because noise only adds
MIB = 2**20

Figures = dict[str, float]


def figures(
    gate_run: GateRun, subject: LiveSubject, entries: tuple[GateEntry, GateEntry]
) -> list[Figures]:
    """Metric -> figure, of each side: bytes, nodes, float32 noise floors and seconds.

    Both sides do the same work in the same order, each in a fresh process; their sessions are
    opened alternately.
    """
    with ExitStack() as stack:
        timed_sessions, found = [], []
        for entry in entries:
            worker = stack.enter_context(gate_run.worker(entry))
            timed_session = gate_run.timed_session(worker, entry)
            gate_run.rehearse(timed_session, entry)
            timed_sessions.append(timed_session)
            found.append(_of_the_file(entry) | {"peak_memory": _peak(timed_session)})
        openings = [
            [_opening(timed_session) for timed_session in timed_sessions] for _ in range(OPENINGS)
        ]
        for place, (entry, timed_session) in enumerate(zip(entries, timed_sessions, strict=True)):
            found[place]["session_creation"] = min(row[place] for row in openings)
            found[place]["score"] = _worst_score(entry, timed_session, subject)
    return found


def _of_the_file(entry: GateEntry) -> Figures:
    facts = entry.artifact.facts
    return {
        "artifact_size": float(facts["bytes"]),
        "node_count": float(sum(facts["nodes"].values())),
    }


def _peak(timed_session: TimedSession) -> float:
    """Bytes that the session added at most; the memory of the libraries is not counted."""
    before = float(timed_session.facts["memory_before_mib"])
    return max(float(timed_session.worker.call("memory")["peak"]) - before, 0.0) * MIB


def _opening(timed_session: TimedSession) -> float:
    """Seconds of one more creation of the session."""
    return float(timed_session.worker.call("reopen", session=timed_session.what["session"]))


def _worst_score(entry: GateEntry, timed_session: TimedSession, subject: LiveSubject) -> float:
    """The worst error of a side on every pinned inputs, in float32 noise floors.

    Raises:
        Worse: it refuses inputs, or an answer is not within the error budget.
    """
    limits = limits_for(subject)
    input_sets = {
        name: materialise(recipe, subject.model)
        for name, recipe in replayed(subject.model.name, subject.seed).items()
    }
    layout = native_layout(subject.model)
    calls = {name: list(_calls(layout, inputs)) for name, inputs in input_sets.items()}
    fed = [timed_session.inputs(call) for of_feed in calls.values() for call in of_feed]
    answers = iter(timed_session.worker.call("run", input_sets=fed, **timed_session.what))
    worst = 0.0
    for name, inputs in input_sets.items():
        found = list(islice(answers, len(calls[name])))
        about = f"{subject.case.id}: the {entry.name} on inputs '{name}'"
        refused = [answer["error"] for answer in found if "error" in answer]
        if refused:
            raise Worse(f"{about} refuses to run: {refused[0]}")
        named = [timed_session.layout.names.to_model(answer["outputs"]) for answer in found]
        outputs = layout.rows(inputs, named)
        judged = judge_outputs(subject.reference(inputs), outputs, subject.model.judged, limits)
        if not judged.right:
            raise Worse(f"{about} is wrong: {judged}")
        worst = max(worst, judged.score.value if judged.score else 0.0)
    return worst


def _calls(layout: Layout, inputs: Inputs) -> Iterator[Inputs]:
    """The samples of each call, as a set of inputs of its own."""
    if layout.plain:
        yield inputs
        return
    for rows, _ in layout.groups(inputs):
        yield Inputs((name, array[rows]) for name, array in inputs.items())
