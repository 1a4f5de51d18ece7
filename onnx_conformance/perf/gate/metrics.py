"""The gated figures beside speed, of a side alone in a process of its own."""

from __future__ import annotations

from contextlib import ExitStack

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.checks.function import check_error_budget
from onnx_conformance.checks.precision import check_sqnr
from onnx_conformance.core.budget import ULP
from onnx_conformance.core.results import UNJUDGED, CheckResult
from onnx_conformance.core.tolerances import INT8
from onnx_conformance.inputs.families import replayed
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.perf.gate.gate_run import GateEntry, GateRun
from onnx_conformance.perf.gate.outcomes import Worse
from onnx_conformance.perf.latency.timed_sessions import TimedSession
from onnx_conformance.session.live_subject import LiveSubject
from onnx_conformance.session.runtime import answer_of_calls
from onnx_conformance.session.subject import Answer, SessionInfo, Subject

OPENINGS = 5  # of which the quickest counts, because noise only adds
MIB = 2**20

Figures = dict[str, float | None]


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
            found[place]["score"] = score(_SideSubject(subject, entry, timed_session), entry.name)
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


class _SideSubject(LiveSubject):
    """A side as checks see it: its file, and what its own environment answers."""

    def __init__(self, subject: LiveSubject, entry: GateEntry, timed_session: TimedSession) -> None:
        super().__init__(
            subject.case, subject.conformance_session, subject.tolerances, entry.artifact
        )
        self._timed_session = timed_session

    @property
    def session(self) -> SessionInfo:
        provider, placement = PROVIDERS[self.case.provider], self._timed_session.facts["placement"]
        return SessionInfo(provider.ort_name, self.artifact.sha256, placement, (), (), 0.0)

    def run(self, inputs: Inputs, repeat: int = 0) -> Answer:
        calls, session = self.layout.calls(inputs), self._timed_session
        found = session.worker.call("run", input_sets=calls, **session.what)
        return self._fitted_answer(inputs, answer_of_calls(self.model, self.layout, inputs, found))


def score(subject: Subject, who: str) -> float | None:
    """The worst error on the pinned inputs, in noise floors of the case's class of precision.

    Of int8, which has no budget: the quantisation noise of the noisiest output on typical inputs,
    over its signal, in float32 epsilons (2⁻²³).

    Args:
        who: the side's name in a message.

    Returns:
        None where no inputs could be judged.

    Raises:
        Worse: an answer that the check of the same question does not allow.
    """
    if subject.case.precision == INT8:
        result = _allowed(subject, who, check_sqnr(subject))
        decibels = [found["estimate"] for found in result.statistics.values()]
        return float(10 ** (-min(decibels) / 20) / ULP)
    recipes = replayed(subject.model.name, subject.seed).values()
    results = [_allowed(subject, who, check_error_budget(subject, recipe)) for recipe in recipes]
    return max((result.score or 0.0 for result in results if result.passed), default=None)


def _allowed(subject: Subject, who: str, result: CheckResult) -> CheckResult:
    if not result.passed and result.outcome not in UNJUDGED:
        on = f" on {result.inputs}" if result.inputs else ""
        told = "; ".join((result.reason, *result.details))
        raise Worse(f"{subject.case.id}: the {who} is wrong{on}: {told}")
    return result
