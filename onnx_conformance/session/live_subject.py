"""The live subject: a case on the workbench, as checks see it."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path

from onnx_conformance.catalog.exporters import exporter_of
from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.comparison import Array, Outputs
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.core.settings import level_of
from onnx_conformance.core.spec import Case
from onnx_conformance.core.tolerances import Tolerances
from onnx_conformance.core.traces import Traced
from onnx_conformance.inputs.recipes import Feed
from onnx_conformance.session.conformance_session import Workbench
from onnx_conformance.session.noise_floor import yardstick_of
from onnx_conformance.session.runtime import pair_names
from onnx_conformance.session.subject import Answer, Artifact, NativeWeights, SessionInfo


class LiveSubject:
    """Implements :class:`onnx_conformance.session.subject.Subject` on a :class:`Workbench`."""

    def __init__(
        self,
        case: Case,
        workbench: Workbench,
        tolerances: Tolerances,
        given: Artifact | None = None,
    ) -> None:
        self.case = case
        self.model = resolve_model(case.model)
        self.exporter = exporter_of(case)
        self.tolerances = tolerances
        self.seed = workbench.settings.seed
        self.hurried = workbench.settings.first_finding
        self.min_placement = workbench.settings.min_placement
        self.graph_level = level_of(case, workbench.settings)
        self.workbench = workbench
        self._given = given

    @property
    def artifact(self) -> Artifact:
        return self._given or self.workbench.artifact(self.case)

    @property
    def session(self) -> SessionInfo:
        if self._given is not None:
            return self.workbench.session_of(self.case, self._given)
        return self.workbench.session(self.case)

    @cached_property
    def weights(self) -> NativeWeights:
        return self.workbench.weights(self.model)

    def reference(self, feed: Feed) -> Reference:
        return self.workbench.reference(self.model, feed, yardstick_of(self.case))

    def plain_reference(self, feed: Feed) -> Reference:
        return self.workbench.reference(self.model, feed)

    def native(self, feed: Feed) -> Outputs:
        return self.workbench.native(self.model, feed)

    def native_refusal(self, feed: Feed) -> str | None:
        return self.workbench.native_refusal(self.model, feed)

    def run(self, feed: Feed, repeat: int = 0) -> Answer:
        if self._given is not None:
            return self.workbench.answer_of(self.case, self._given, feed)
        return self.workbench.answer(self.case, feed, repeat)

    def ranges(self, feed: Feed) -> dict[str, Traced]:
        theirs = [tensor["name"] for tensor in self.artifact.facts["inputs"]]
        names = pair_names([spec.name for spec in self.model.inputs], theirs)
        given = Feed((names[name], array) for name, array in feed.items())
        made = [name for node in load_model(self.artifact.path).graph.node for name in node.output]
        with tempfile.TemporaryDirectory() as folder:
            return self.workbench.artifact_trace(
                self.case, self.artifact.path, given, [name for name in made if name], Path(folder)
            )

    def preprocess(self, photograph: Path) -> Array:
        if self.model.preprocessing is None:
            raise CapabilityMissing(f"{self.model.name} has no preprocessing of photographs")
        return self.workbench.preprocess(photograph, self.model.preprocessing)

    def with_artifact(self, artifact: Artifact) -> LiveSubject:
        return LiveSubject(self.case, self.workbench, self.tolerances, artifact)
