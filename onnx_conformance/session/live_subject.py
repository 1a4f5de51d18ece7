"""The live subject: a case on the session, as checks see it."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Sequence
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
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.session.conformance_session import ConformanceSession
from onnx_conformance.session.noise_floor import noise_floor_of
from onnx_conformance.session.runtime import pair_names
from onnx_conformance.session.subject import Answer, Artifact, Deciding, NativeWeights, SessionInfo


class LiveSubject:
    """Implements :class:`Subject` on a :class:`ConformanceSession`."""

    def __init__(
        self,
        case: Case,
        conformance_session: ConformanceSession,
        tolerances: Tolerances,
        given: Artifact | None = None,
    ) -> None:
        self.case = case
        self.model = resolve_model(case.model)
        self.exporter = exporter_of(case)
        self.tolerances = tolerances
        self.seed = conformance_session.settings.seed
        self.fail_fast = conformance_session.settings.first_finding
        self.min_placement = conformance_session.settings.min_placement
        self.graph_level = level_of(case, conformance_session.settings)
        self.conformance_session = conformance_session
        self._given = given

    @property
    def artifact(self) -> Artifact:
        return self._given or self.conformance_session.artifact(self.case)

    @property
    def session(self) -> SessionInfo:
        if self._given is not None:
            return self.conformance_session.session_of(self.case, self._given)
        return self.conformance_session.session(self.case)

    @cached_property
    def weights(self) -> NativeWeights:
        return self.conformance_session.weights(self.model)

    def reference(self, inputs: Inputs) -> Reference:
        return self.conformance_session.reference(self.model, inputs, noise_floor_of(self.case))

    def plain_reference(self, inputs: Inputs) -> Reference:
        return self.conformance_session.reference(self.model, inputs)

    def references(self, input_sets: Sequence[Inputs]) -> list[Reference | str]:
        return self.conformance_session.references(
            self.model, input_sets, noise_floor_of(self.case)
        )

    def native(self, inputs: Inputs) -> Outputs:
        return self.conformance_session.native(self.model, inputs)

    def native_refusal(self, inputs: Inputs) -> str | None:
        return self.conformance_session.native_refusal(self.model, inputs)

    def influence(
        self, names: list[str], input_sets: list[Inputs], least: float
    ) -> dict[str, float]:
        return self.conformance_session.influence(self.model, names, input_sets, least)

    def run(self, inputs: Inputs, repeat: int = 0) -> Answer:
        if self._given is not None:
            return self.conformance_session.answer_of(self.case, self._given, inputs)
        return self.conformance_session.answer(self.case, inputs, repeat)

    def runs(self, input_sets: Sequence[Inputs]) -> list[Answer]:
        if self._given is not None:
            return self.conformance_session.answers_of(self.case, self._given, input_sets)
        return self.conformance_session.answers(self.case, input_sets)

    def unoptimised(self, input_sets: Sequence[Inputs]) -> list[Answer]:
        if self._given is not None:
            return self.conformance_session.unoptimised_of(self.case, self._given, input_sets)
        return self.conformance_session.unoptimised(self.case, input_sets)

    def ranges(self, inputs: Inputs) -> dict[str, Traced]:
        theirs = [tensor["name"] for tensor in self.artifact.facts["inputs"]]
        names = pair_names([spec.name for spec in self.model.inputs], theirs)
        given = Inputs((names[name], array) for name, array in inputs.items())
        made = [name for node in load_model(self.artifact.path).graph.node for name in node.output]
        with tempfile.TemporaryDirectory() as folder:
            return self.conformance_session.artifact_trace(
                self.case, self.artifact.path, given, [name for name in made if name], Path(folder)
            )

    def deciding(self, inputs: Inputs) -> list[Deciding]:
        # By name, because localisation, whose means it takes, is built on this module.
        localiser = importlib.import_module("onnx_conformance.diagnose.deciding_tensors")
        rule = self.tolerances.rule("deciding_values", self.case)
        found: list[Deciding] = localiser.deciding_values(self, inputs, rule)
        return found

    def preprocess(self, photograph: Path) -> Array:
        if self.model.preprocessing is None:
            raise CapabilityMissing(f"{self.model.name} has no preprocessing of photographs")
        return self.conformance_session.preprocess(photograph, self.model.preprocessing)

    def with_artifact(self, artifact: Artifact) -> LiveSubject:
        return LiveSubject(self.case, self.conformance_session, self.tolerances, artifact)
