"""Localise one failure: traces, root cause, and what the report says of it.

An :class:`Explainer` decides when: at a case's first failing inputs, for a few cases or for all.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

from onnx_conformance.checks.evidence import ConformanceFailure
from onnx_conformance.checks.registry import CHECKS
from onnx_conformance.core.artifact_graph import ArtifactGraph
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.settings import Localizing
from onnx_conformance.core.tolerances import Rule
from onnx_conformance.diagnose.divergence import Divergence, Kind
from onnx_conformance.diagnose.root_cause import Suspect
from onnx_conformance.diagnose.subgraph import SubgraphCutter
from onnx_conformance.diagnose.traced_file import (
    TracedFile,
    failing_samples,
    first_wrong,
    optimised_file,
    wrong_outputs,
)
from onnx_conformance.inputs.families import materialise, pinned
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.live_subject import LiveSubject
from onnx_conformance.run.native_traces import scratch

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
            traced = TracedFile(subject, subject.artifact.path, inputs, rule, folder)
        except StageFailure as failure:
            return _refusal(subject, failure.reason)
        if not fails:
            return _noisiest(traced)
        wrong = traced.wrong_outputs()
        if wrong:
            return _introduced(traced, wrong)
        return _in_the_runtime(subject, inputs, rule, folder)


def _in_the_runtime(
    subject: LiveSubject, inputs: Inputs, rule: Rule, folder: Path
) -> Divergence | None:
    """The file is right as its own nodes compute it: optimisation or the provider is not."""
    level = first_wrong(subject, inputs)
    if level is None:
        if subject.case.provider == "cpu":
            return None
        why = f"right on the CPU, wrong on {subject.case.provider}"
        return Divergence("provider", "", "", -1, why=why)
    path = optimised_file(subject, level, folder)
    found = None
    if path is not None:
        try:
            traced = TracedFile(subject, path, inputs, rule, folder)
            found = _introduced(traced, traced.wrong_outputs() or traced.graph.outputs)
        except StageFailure:  # a rewritten graph need not load again
            found = None
    if found is None:
        found = Divergence("conversion", "", "", -1)
    return replace(found, kind="runtime optimisation", level=level, subgraph=None)


def _introduced(traced: TracedFile, outputs: list[str]) -> Divergence | None:
    """The node that introduces the error into these outputs; None where it cannot be told."""
    suspects = traced.root_cause.suspects(outputs)
    if not suspects:
        return None
    found = _described(traced, suspects[0], "conversion")
    others = tuple(suspect.node.name for suspect in suspects[1:])
    subgraph = SubgraphCutter(traced).cut(suspects[0], outputs)
    return replace(found, others=others, subgraph=subgraph)


def _noisiest(traced: TracedFile) -> Divergence | None:
    """On a right file: the explained node after which the error has grown most."""
    cause = traced.root_cause
    explained = [node for node in traced.graph.data_nodes if cause.explained(node)]
    if not explained:
        return None
    most = max(explained, key=cause.growth)
    return _described(traced, Suspect(most, cause.expected(most)), "none")


def _described(traced: TracedFile, suspect: Suspect, kind: Kind) -> Divergence:
    node, expected = suspect.node, suspect.expected
    before = traced.root_cause.before(node)
    passed_on, readers = traced.root_cause.following(node)
    return Divergence(
        kind=kind,
        node=node.name,
        operator=node.operator,
        index=node.index,
        before=before.error if before else None,
        after=expected.error if expected else None,
        native=traced.native_place(expected.native) if expected else None,
        missing=tuple(map(traced.native_place, suspect.missing)),
        passed_on=passed_on,
        readers=readers[:3],
        why=suspect.why,
    )


def _refusal(subject: LiveSubject, error: str) -> Divergence | None:
    """ONNX Runtime names the node at which it stops."""
    graph = ArtifactGraph(subject.artifact.path)
    by_name = {node.name: node for node in graph.nodes}
    for name in _QUOTED.findall(error):
        node = by_name.get(name.strip())
        if node is not None:
            return Divergence("refusal", node.name, node.operator, node.index, why=error)
    return None


# -- after a failure -------------------------------------------------------------------------------

MOST_CASES = 3  # of a run that was not asked to localise them all
SURVEY_RECIPE = "image"


class Explainer:
    """Decides for a run what is localised; each case is localised once."""

    def __init__(self, wanted: Localizing) -> None:
        self._wanted = wanted
        self._done: set[Case] = set()

    def explain(self, failure: ConformanceFailure) -> Divergence | None:
        """What introduces the error of a red verdict, also among its details; None if unknown."""
        replay, subject = failure.result.reproduction, failure.subject
        most = MOST_CASES if self._wanted == "auto" else float("inf")
        if self._wanted == "off" or subject.case in self._done or len(self._done) >= most:
            return None
        name = failure.result.name
        if replay is None or name not in CHECKS or not CHECKS[name].localised:
            return None
        if not isinstance(subject, LiveSubject):
            return None
        found = self._localise(subject, Inputs(replay.inputs))
        if found is not None:
            lines = tuple(f"localised: {line}" for line in found.text.splitlines())
            details = (*failure.result.details, *lines)
            failure.result = replace(failure.result, details=details, divergence=found.as_dict())
        return found

    def survey(self, subject: LiveSubject) -> Divergence | None:
        """The node that adds the most error in a case that is not red, if that was asked for."""
        if self._wanted != "all" or subject.case in self._done:
            return None
        inputs = materialise(pinned(subject.seed)[SURVEY_RECIPE], subject.model)
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
