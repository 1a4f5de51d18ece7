"""The live subject: a case in a RunWorkers, as checks see it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from onnx_conformance.catalog.exporters import exporter_of
from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.budget import Reference, matching_sizes, stack
from onnx_conformance.core.case import Case, ExternalCase
from onnx_conformance.core.errors import CapabilityMissing, ConformanceError
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.core.padded_rows import in_order_of
from onnx_conformance.core.settings import LEVELS, level_of
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import Tolerances
from onnx_conformance.core.traces import TensorRecord
from onnx_conformance.inputs.batch_layout import (
    BatchLayout,
    file_layout,
    fitted_to,
    fixed_batch,
    with_fixed_sizes,
)
from onnx_conformance.inputs.recipes import Inputs, RawInputs
from onnx_conformance.run.deciding_tensors import deciding_values
from onnx_conformance.run.noise_floor import noise_floor_of
from onnx_conformance.run.run_workers import RunWorkers
from onnx_conformance.run.subject import (
    Answer,
    Artifact,
    DecidingTensor,
    NativeWeights,
    SessionInfo,
)


class LiveSubject:
    """Implements :class:`Subject` on a :class:`RunWorkers`."""

    def __init__(
        self,
        case: Case,
        workers: RunWorkers,
        tolerances: Tolerances,
        artifact: Artifact | None = None,
    ) -> None:
        self.case = case
        self._model = resolve_model(case.model)
        self.exporter = exporter_of(case)
        self.tolerances = tolerances
        self.seed = workers.settings.seed
        self.fail_fast = workers.settings.first_finding
        self.min_placement = workers.settings.min_placement
        self.expect_dynamic = workers.settings.expect_dynamic
        self.graph_level = level_of(case, workers.settings)
        self.workers = workers
        self._artifact = artifact

    @cached_property
    def model(self) -> ModelSpec:
        """The case's model; for an external artifact, with the sizes that the file fixes."""
        if not isinstance(self.case, ExternalCase):
            return self._model
        try:
            facts = self.artifact.facts
        except ConformanceError:  # what is wrong with the file is told where it is judged
            return self._model
        return with_fixed_sizes(self._model, facts)

    @property
    def artifact(self) -> Artifact:
        return self._artifact or self.workers.artifact(self.case)

    @property
    def layout(self) -> BatchLayout:
        """How the file takes samples: under its names there, under the spec's here."""
        return file_layout(self.model, self.artifact.facts)

    @property
    def session(self) -> SessionInfo:
        return self.workers.session(self.case, self._artifact)

    @cached_property
    def weights(self) -> NativeWeights:
        return self.workers.weights(self.model)

    def reference(self, inputs: Inputs) -> Reference:
        def of(samples: Inputs) -> Reference:
            return self.workers.reference(self.model, samples, noise_floor_of(self.case))

        return self._in_common_sizes(inputs, self._reference_by_groups(inputs, of))

    def plain_reference(self, inputs: Inputs) -> Reference:
        return self._in_common_sizes(
            inputs, self.workers.reference(self.model, inputs), with_answer=False
        )

    @cached_property
    def _answers_whole_calls(self) -> bool:
        """Whether an output belongs to a call as a whole, and the file fixes how many samples."""
        whole = any(spec.batch_axis is None for spec in self.model.outputs)
        return whole and self.model.open_batch and fixed_batch(self.model, self.artifact.facts) > 0

    def _reference_by_groups(self, inputs: Inputs, of: Callable[[Inputs], Reference]) -> Reference:
        """Native's answers to the groups in which the file takes its samples.

        They matter to an output of a call as a whole, such as a mean over the batch: a file of
        fixed batch has another one for each of its calls.
        """
        if not self._answers_whole_calls:
            return of(inputs)
        groups = self.layout.groups(inputs)
        order = [row for rows, real in groups for row in rows[:real]]
        parts = [of(inputs.chosen(rows)).chosen(slice(real)) for rows, real in groups]
        return stack(parts).chosen([order.index(row) for row in range(len(order))])

    def _in_common_sizes(
        self, inputs: Inputs, found: Reference, *, with_answer: bool = True
    ) -> Reference:
        """The reference, its arrays of one size where the values decide sizes.

        Args:
            inputs: what it is the reference of.
            with_answer: in sizes that the session's answer has room in, too: the session is run.

        Raises:
            CapabilityMissing: native's compute modes answer arrays of unlike sizes, though no
                output is said to be of such.
        """
        if not self.model.by_values:
            problem = _unlike_sizes(found)
            if problem:
                raise CapabilityMissing(problem)
            return found
        same = self._in_native_sizes(found)
        answer = self.run(inputs).outputs if with_answer else None
        return same if answer is None else matching_sizes(same, answer, self.model)

    def _in_native_sizes(self, found: Reference) -> Reference:
        """The answers in arrays of native's sizes, with tied rows in the oracle's order."""
        oracle = fitted_to(self.model, found.native, found.oracle)
        fitted = [fitted_to(self.model, found.native, native) for native in found.natives]
        native, *replicas = [
            self._with_ties_in_order(oracle, fitted, outputs) for outputs in fitted
        ]
        return replace(found, oracle=oracle, native=native, replicas=tuple(replicas))

    def _with_ties_in_order(
        self, oracle: Outputs, natives: Sequence[Outputs], outputs: Outputs
    ) -> Outputs:
        factor = self.tolerances.rule("top5", self.case)["tie_factor"]
        return in_order_of(oracle, natives, outputs, self.model, factor)

    def references(self, input_sets: Sequence[Inputs]) -> list[Reference | str]:
        found = self.workers.references(self.model, input_sets, noise_floor_of(self.case))
        if not (self._answers_whole_calls or self.model.by_values):
            return [one if isinstance(one, str) else _unlike_sizes(one) or one for one in found]
        return [
            one if isinstance(one, str) else self.reference(inputs)
            for inputs, one in zip(input_sets, found, strict=True)
        ]

    def native(self, inputs: Inputs) -> Outputs:
        if self._answers_whole_calls or self.model.by_values:
            return self.reference(inputs).native
        return self.workers.native(self.model, inputs)

    def native_refusal(self, inputs: Inputs) -> str | None:
        return self.workers.native_refusal(self.model, inputs)

    def influence(
        self, names: list[str], input_sets: list[Inputs], least: float
    ) -> dict[str, float]:
        return self.workers.influence(self.model, names, input_sets, least)

    def run(self, inputs: Inputs, repeat: int = 0) -> Answer:
        answers = self.workers.answers(self.case, [inputs], artifact=self._artifact, repeat=repeat)
        return self._answer_in_native_sizes(inputs, answers[0])

    def _answer_in_native_sizes(self, inputs: Inputs, answer: Answer) -> Answer:
        """The answer in arrays of native's sizes, with tied rows in the oracle's order."""
        if answer.outputs is None or not self.model.by_values or isinstance(inputs, RawInputs):
            return answer
        (found,) = self.workers.references(self.model, [inputs], noise_floor_of(self.case))
        if isinstance(found, str):  # native refuses the inputs
            return answer
        known = self._in_native_sizes(found)
        fitted = fitted_to(self.model, known.native, answer.outputs)
        return replace(
            answer, outputs=self._with_ties_in_order(known.oracle, known.natives, fitted)
        )

    def runs(self, input_sets: Sequence[Inputs], level: str = "") -> list[Answer]:
        found = self.workers.answers(self.case, input_sets, artifact=self._artifact, level=level)
        return [self._answer_in_native_sizes(*pair) for pair in zip(input_sets, found, strict=True)]

    def unoptimised(self, input_sets: Sequence[Inputs]) -> list[Answer]:
        return self.runs(input_sets, LEVELS["disabled"])

    def ranges(self, inputs: Inputs) -> dict[str, TensorRecord]:
        call = self.layout.calls(inputs)[0]
        made = [name for node in load_model(self.artifact.path).graph.node for name in node.output]
        with tempfile.TemporaryDirectory() as folder:
            return self.workers.artifact_trace(
                self.case, self.artifact.path, call, [name for name in made if name], Path(folder)
            )

    def deciding(self, inputs: Inputs) -> list[DecidingTensor]:
        rule = self.tolerances.rule("deciding_values", self.case)
        return deciding_values(self.workers, self, inputs, rule)

    def preprocess(self, photograph: Path) -> Array:
        if self.model.preprocessing is None:
            raise CapabilityMissing(f"{self.model.name} has no preprocessing of photographs")
        return self.workers.preprocess(photograph, self.model.preprocessing)

    def with_artifact(self, artifact: Artifact) -> LiveSubject:
        return LiveSubject(self.case, self.workers, self.tolerances, artifact)


def _unlike_sizes(found: Reference) -> str:
    """Why nothing can be compared where native's compute modes answer arrays of unlike sizes."""
    for outputs in found.natives:
        for name, wanted in found.oracle.items():
            if outputs[name].shape != wanted.shape:
                return (
                    f"the size of '{name}' hangs on a rounding: native answers {wanted.shape} in "
                    f"float64 and {outputs[name].shape} in float32, so comparing proves nothing; "
                    "give weights or inputs (domain=) on which it does not"
                )
    return ""
