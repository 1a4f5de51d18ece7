"""Localise one failure: traces, root cause, and what the report says of it.

An :class:`Explainer` decides when: at a case's first failing inputs, for a few cases or for all.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

from onnx_conformance.checks.evidence import ConformanceFailure
from onnx_conformance.core.artifact_graph import ArtifactGraph
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.settings import Localizing
from onnx_conformance.core.tolerances import Rule
from onnx_conformance.core.traces import save
from onnx_conformance.diagnose import divergence, graph_levels
from onnx_conformance.diagnose.alignment import Aligner, TensorMatch
from onnx_conformance.diagnose.divergence import Divergence, NativePlace
from onnx_conformance.diagnose.graph_levels import failing_samples, wrong_outputs
from onnx_conformance.diagnose.peers import ownership_of
from onnx_conformance.diagnose.root_cause import RootCause, Suspect
from onnx_conformance.diagnose.subgraph import cut_out
from onnx_conformance.inputs.families import materialise, pinned
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.session.live_subject import LiveSubject
from onnx_conformance.session.native_traces import native_trace, scratch

_QUOTED = re.compile(r"""['"(]([^'"()]+)['")]""")


def localise(subject: LiveSubject, inputs: Inputs, rule: Rule | None = None) -> Divergence | None:
    """The node that introduces the error in the answer of the subject's artifact to inputs.

    Where nothing leaves the budget, the node that adds most error, as kind ``none``. None where
    the error cannot be laid at any node.

    Args:
        inputs: under the spec's names; of a larger batch the worst samples are taken.
        rule: figures ``factor`` and ``floor_ulp``; those of check ``localise`` by default.
    """
    rule = rule or subject.tolerances.rule("localise", subject.case)
    try:
        answer = subject.run(inputs)
    except StageFailure as failure:  # the session did not open
        return _refusal(subject, failure.reason)
    if answer.outputs is None:
        return _refusal(subject, answer.error or "")
    fails = bool(wrong_outputs(subject, inputs, answer.outputs))
    inputs = failing_samples(subject, inputs)
    with scratch() as folder:
        try:
            traced = _TracedFile(subject, subject.artifact.path, inputs, rule, folder)
        except StageFailure as failure:
            return _refusal(subject, failure.reason)
        if not fails:
            return traced.noisiest()
        wrong = traced.wrong_outputs()
        if wrong:
            return traced.divergence(wrong)
        return _in_the_runtime(subject, inputs, rule, folder)


def _in_the_runtime(
    subject: LiveSubject, inputs: Inputs, rule: Rule, folder: Path
) -> Divergence | None:
    """The file is right as its own nodes compute it: optimisation or the provider is not."""
    level = graph_levels.first_wrong(subject, inputs)
    if level is None:
        if subject.case.provider == "cpu":
            return None
        return divergence.with_text(
            Divergence(
                "provider", "", "", -1, why=f"right on the CPU, wrong on {subject.case.provider}"
            )
        )
    path = graph_levels.optimised_file(subject, level, folder)
    found = None
    if path is not None:
        try:
            traced = _TracedFile(subject, path, inputs, rule, folder)
            found = traced.divergence(traced.wrong_outputs() or traced.graph.outputs)
        except StageFailure:  # a rewritten graph need not load again
            found = None
    if found is None:
        found = Divergence("conversion", "", "", -1)
    return divergence.with_text(
        replace(found, kind="runtime optimisation", level=level, subgraph=None)
    )


class _TracedFile:
    """Both traces of one file on the same inputs, and the root cause that follows."""

    def __init__(
        self, subject: LiveSubject, path: Path, inputs: Inputs, rule: Rule, folder: Path
    ) -> None:
        self.subject, self.path, self.inputs, self.folder = subject, path, inputs, folder
        self.graph = ArtifactGraph(path)
        names = [name for node in self.graph.data_nodes for name in node.outputs]
        bench = subject.conformance_session
        call = subject.layout.calls(inputs)[0]
        native = native_trace(subject.conformance_session, subject.model, inputs)
        traced = bench.artifact_trace(subject.case, path, call, names, folder)
        for place, (name, array) in enumerate(call.items()):
            traced[name] = save(folder, f"input-{place}.npy", array)
        self.aligner = Aligner(native, traced, folder, rule)
        self.aligner.align(self.graph)
        self.root_cause = RootCause(self.graph, self.aligner, ownership_of(subject))

    def wrong_outputs(self) -> list[str]:
        """The file's outputs that are wrong when its own nodes run."""
        arrays = {name: self.aligner.output(name) for name in self.graph.outputs}
        ours = self.subject.layout.rows(self.inputs, [arrays])
        wrong = wrong_outputs(self.subject, self.inputs, ours)
        names = self.subject.layout.names.outputs
        found = [names.get(name, name) for name in wrong]
        return [name for name in found if name in arrays] or (list(arrays) if wrong else [])

    def divergence(self, outputs: list[str]) -> Divergence | None:
        suspects = self.root_cause.suspects(outputs)
        if not suspects:
            return None
        first = suspects[0]
        found = self._described(first, "conversion")
        others = tuple(suspect.node.name for suspect in suspects[1:])
        subgraph = cut_out(self, first, outputs)
        return divergence.with_text(replace(found, others=others, subgraph=subgraph))

    def noisiest(self) -> Divergence | None:
        """On a right file: the explained node after which the error has grown most."""
        explained = [node for node in self.graph.data_nodes if self.root_cause.explained(node)]
        if not explained:
            return None
        most = max(explained, key=self.root_cause.growth)
        return divergence.with_text(
            self._described(Suspect(most, self.root_cause.expected(most)), "none")
        )

    def _described(self, suspect: Suspect, kind: str) -> Divergence:
        node, expected = suspect.node, suspect.expected
        before = self.root_cause.before(node)
        passed_on, readers = self.root_cause.following(node)
        return Divergence(
            kind=kind,  # type: ignore[arg-type]
            node=node.name,
            operator=node.operator,
            index=node.index,
            before=before.error if before else None,
            after=expected.error if expected else None,
            native=self.place(expected) if expected else None,
            missing=tuple(self.place_of(place) for place in suspect.missing),
            passed_on=passed_on,
            readers=readers[:3],
            why=suspect.why,
        )

    def place(self, match: TensorMatch) -> NativePlace:
        return self.place_of(match.native)

    def place_of(self, place: int) -> NativePlace:
        record = self.aligner.native.records[place]
        return NativePlace(record["operator"], record["module"], record["source"])


def _refusal(subject: LiveSubject, error: str) -> Divergence | None:
    """ONNX Runtime names the node at which it stops."""
    graph = ArtifactGraph(subject.artifact.path)
    by_name = {node.name: node for node in graph.nodes}
    for name in _QUOTED.findall(error):
        node = by_name.get(name.strip())
        if node is not None:
            found = Divergence("refusal", node.name, node.operator, node.index, why=error)
            return divergence.with_text(found)
    return None


# -- after a failure -------------------------------------------------------------------------------

MOST_CASES = 3  # of a run that was not asked to localise them all
ORDINARY = "image"

# Checks whose failure on inputs is an error of values that has a place in the graph.
NUMERIC = frozenset(
    {"error_budget", "allclose", "batch_invariance", "top5", "photographs", "sizes", "rows"}
)


class Explainer:
    """One for a session; each case is localised once."""

    def __init__(self, wanted: Localizing) -> None:
        self._wanted = wanted
        self._done: set[Case] = set()

    def explain(self, failure: ConformanceFailure) -> Divergence | None:
        """What introduces the error of a red verdict, also among its details; None if unknown."""
        replay, subject = failure.result.reproduction, failure.subject
        most = MOST_CASES if self._wanted == "auto" else float("inf")
        if self._wanted == "off" or subject.case in self._done or len(self._done) >= most:
            return None
        numeric = failure.result.name in NUMERIC and replay is not None
        if not numeric or not isinstance(subject, LiveSubject):
            return None
        assert replay is not None
        found = self._localise(subject, Inputs(replay.inputs))
        if found is not None:
            lines = tuple(f"localised: {line}" for line in found.text.splitlines())
            details = (*failure.result.details, *lines)
            failure.result = replace(failure.result, details=details, divergence=found.as_dict())
        return found

    def survey(self, subject: LiveSubject) -> Divergence | None:
        """Of a case that is not red, the node that adds the most error, if that was asked for."""
        if self._wanted != "all" or subject.case in self._done:
            return None
        inputs = materialise(pinned(subject.seed)[ORDINARY], subject.model)
        return self._localise(subject, inputs)

    def _localise(self, subject: LiveSubject, inputs: Inputs) -> Divergence | None:
        self._done.add(subject.case)
        try:
            return localise(subject, inputs)
        except Exception:  # a verdict must not be lost because its place is
            logging.getLogger(__name__).warning(
                "cannot localise in %s", subject.case.id, exc_info=True
            )
            return None
