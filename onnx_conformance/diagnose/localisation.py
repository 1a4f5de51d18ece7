"""Localise one failure: traces, blame, and what the report says of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.tolerances import Rule
from onnx_conformance.core.traces import save
from onnx_conformance.diagnose import divergence, graph_levels
from onnx_conformance.diagnose.alignment import Aligner, Match, NativeTrace
from onnx_conformance.diagnose.divergence import Divergence, NativePlace
from onnx_conformance.diagnose.graph import ArtifactGraph
from onnx_conformance.diagnose.native_traces import (
    failing_samples,
    in_names_of_file,
    in_names_of_spec,
    native_trace,
    scratch,
    workbench_of,
    wrong_outputs,
)
from onnx_conformance.diagnose.ownership import ownership_of
from onnx_conformance.diagnose.root_cause import Blame, Suspect
from onnx_conformance.diagnose.subgraph import cut_out
from onnx_conformance.inputs.recipes import Feed
from onnx_conformance.session.live_subject import LiveSubject

_QUOTED = re.compile(r"""['"(]([^'"()]+)['")]""")


def localise(subject: LiveSubject, feed: Feed, rule: Rule | None = None) -> Divergence | None:
    """The node that introduces the error with which the subject's artifact answers a feed.

    Where nothing leaves the budget, the node that adds most error, as kind ``none``. None where
    the error cannot be laid at any node.

    Args:
        feed: under the spec's names; of a larger batch the worst samples are taken.
        rule: figures ``factor`` and ``floor_ulp``; those of check ``localise`` by default.
    """
    rule = rule or subject.tolerances.rule("localise", subject.case)
    try:
        answer = subject.run(feed)
    except StageFailure as failure:  # the session did not open
        return _refusal(subject, failure.reason)
    if answer.outputs is None:
        return _refusal(subject, answer.error or "")
    fails = bool(wrong_outputs(subject, feed, answer.outputs))
    feed = failing_samples(subject, feed)
    with scratch() as folder:
        try:
            traced = _Traced(subject, subject.artifact.path, feed, rule, folder)
        except StageFailure as failure:
            return _refusal(subject, failure.reason)
        if not fails:
            return traced.noisiest()
        wrong = traced.wrong_outputs()
        if wrong:
            return traced.divergence(wrong)
        return _in_the_runtime(subject, feed, rule, folder)


def _in_the_runtime(
    subject: LiveSubject, feed: Feed, rule: Rule, folder: Path
) -> Divergence | None:
    """The file is right as its own nodes compute it: optimisation or the provider is not."""
    level = graph_levels.first_wrong(subject, feed)
    if level is None:
        if subject.case.provider == "cpu":
            return None
        return divergence.worded(
            Divergence(
                "provider", "", "", -1, why=f"right on the CPU, wrong on {subject.case.provider}"
            )
        )
    path = graph_levels.optimised_file(subject, level, folder)
    found = None
    if path is not None:
        try:
            traced = _Traced(subject, path, feed, rule, folder)
            found = traced.divergence(traced.wrong_outputs() or traced.graph.outputs)
        except StageFailure:  # a rewritten graph need not load again
            found = None
    if found is None:
        found = Divergence("conversion", "", "", -1)
    return divergence.worded(
        replace(found, kind="runtime optimisation", level=level, subgraph=None)
    )


class _Traced:
    """Both traces of one file on one feed, and the blame that follows."""

    def __init__(
        self, subject: LiveSubject, path: Path, feed: Feed, rule: Rule, folder: Path
    ) -> None:
        self.subject, self.path, self.feed, self.folder = subject, path, feed, folder
        self.graph = ArtifactGraph(path)
        names = [name for node in self.graph.data_nodes for name in node.outputs]
        bench = workbench_of(subject)
        given = in_names_of_file(subject, feed)
        native: NativeTrace = native_trace(subject, feed)
        traced = bench.artifact_trace(subject.case, path, given, names, folder)
        for place, (name, array) in enumerate(given.items()):
            traced[name] = save(folder, f"input-{place}.npy", array)
        self.aligner = Aligner(native, traced, folder, rule)
        self.aligner.align(self.graph)
        self.blame = Blame(self.graph, self.aligner, ownership_of(subject))

    def wrong_outputs(self) -> list[str]:
        """The file's outputs that are wrong when its own nodes run."""
        arrays = {name: self.aligner.output(name) for name in self.graph.outputs}
        ours = in_names_of_spec(self.subject, arrays)
        wrong = wrong_outputs(self.subject, self.feed, ours)
        theirs = {id(array): name for name, array in arrays.items()}
        return [theirs[id(ours[name])] for name in wrong if name in ours] or (
            list(arrays) if wrong else []
        )

    def divergence(self, outputs: list[str]) -> Divergence | None:
        suspects = self.blame.suspects(outputs)
        if not suspects:
            return None
        first = suspects[0]
        found = self._told(first, "conversion")
        others = tuple(suspect.node.name for suspect in suspects[1:])
        subgraph = cut_out(self, first, outputs)
        return divergence.worded(replace(found, others=others, subgraph=subgraph))

    def noisiest(self) -> Divergence | None:
        """On a right file: the explained node after which the error has grown most."""
        explained = [node for node in self.graph.data_nodes if self.blame.explained(node)]
        if not explained:
            return None
        most = max(explained, key=self.blame.growth)
        return divergence.worded(self._told(Suspect(most, self.blame.expected(most)), "none"))

    def _told(self, suspect: Suspect, kind: str) -> Divergence:
        node, expected = suspect.node, suspect.expected
        before = self.blame.before(node)
        passed_on, readers = self.blame.following(node)
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

    def place(self, match: Match) -> NativePlace:
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
            return divergence.worded(found)
    return None
