"""When to localise: at a case's first failing inputs, for a few cases of a run or for all."""

from __future__ import annotations

import logging
from dataclasses import replace

from onnx_conformance.checks.evidence import ConformanceFailure
from onnx_conformance.core.settings import Localizing
from onnx_conformance.core.spec import Case
from onnx_conformance.diagnose.divergence import Divergence
from onnx_conformance.diagnose.localisation import localise
from onnx_conformance.inputs.families import materialise, pinned
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.session.live_subject import LiveSubject

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
