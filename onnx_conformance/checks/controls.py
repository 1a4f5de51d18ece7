"""Negative controls: wrong conversions, each of which a check must turn red.

A control takes a correct subject and a folder to write in, and returns a wrong one. Some edit the
file, which is then loaded and run; the others change what a worker answered. Each names, for each
of its checks, words that the message of the failing check must contain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import onnx

from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.onnx_file import inspect, load_model
from onnx_conformance.core.registry import Registry
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.traces import TensorRecord
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.subject import (
    Answer,
    Artifact,
    DecidingTensor,
    NativeWeights,
    SessionInfo,
    Subject,
)

Control = Callable[[Subject, Path], Subject]


@dataclass(frozen=True)
class NegativeControl:
    """A registered control.

    Args:
        says: by the name of each check that has it as its control, words of that check's message.
    """

    name: str
    function: Control
    says: dict[str, str]

    def __call__(self, subject: Subject, folder: Path) -> Subject:
        return self.function(subject, folder)


CONTROLS: Registry[NegativeControl] = Registry(
    "negative control",
    (
        "onnx_conformance.checks.controls_of_answers",
        "onnx_conformance.checks.controls_of_files",
        "onnx_conformance.checks.controls_of_memory",
    ),
)
Edit = Callable[[onnx.ModelProto], None]
Change = Callable[[Outputs, Inputs, int], Outputs]


class AlteredSubject:
    """A subject of which some answers are replaced; everything else is the original's.

    Args:
        again: alters the subject likewise after it was given another file.
    """

    def __init__(
        self,
        subject: Subject,
        *,
        artifact: Artifact | None = None,
        session: SessionInfo | None = None,
        run: Callable[[Inputs, int], Answer] | None = None,
        reference: Callable[[Inputs], Reference] | None = None,
        native: Callable[[Inputs], Outputs] | None = None,
        model: ModelSpec | None = None,
        again: Callable[[Subject], Subject] | None = None,
        unoptimised: Callable[[Inputs], Answer] | None = None,
    ) -> None:
        self.case, self.exporter = subject.case, subject.exporter
        self.model = model or subject.model
        self.tolerances, self.seed = subject.tolerances, subject.seed
        self.fail_fast = subject.fail_fast
        self.min_placement = subject.min_placement
        self.expect_dynamic = subject.expect_dynamic
        self.graph_level = subject.graph_level
        self._subject = subject
        self._artifact, self._session = artifact, session
        self._run, self._reference, self._again = run, reference, again
        self._native = native
        self._unoptimised = unoptimised

    @property
    def artifact(self) -> Artifact:
        return self._artifact or self._subject.artifact

    @property
    def session(self) -> SessionInfo:
        return self._session or self._subject.session

    @property
    def weights(self) -> NativeWeights:
        return self._subject.weights

    def reference(self, inputs: Inputs) -> Reference:
        return self._reference(inputs) if self._reference else self._subject.reference(inputs)

    def plain_reference(self, inputs: Inputs) -> Reference:
        return self._reference(inputs) if self._reference else self._subject.plain_reference(inputs)

    def references(self, input_sets: Sequence[Inputs]) -> list[Reference | str]:
        if self._reference:
            return [self._reference(inputs) for inputs in input_sets]
        return self._subject.references(input_sets)

    def native(self, inputs: Inputs) -> Outputs:
        return self._native(inputs) if self._native else self._subject.native(inputs)

    def native_refusal(self, inputs: Inputs) -> str | None:
        return self._subject.native_refusal(inputs)

    def influence(
        self, names: list[str], input_sets: list[Inputs], least: float
    ) -> dict[str, float]:
        return self._subject.influence(names, input_sets, least)

    def ranges(self, inputs: Inputs) -> dict[str, TensorRecord]:
        return self._subject.ranges(inputs)

    def deciding(self, inputs: Inputs) -> list[DecidingTensor]:
        return self._subject.deciding(inputs)

    def preprocess(self, photograph: Path) -> Array:
        return self._subject.preprocess(photograph)

    def with_artifact(self, artifact: Artifact) -> Subject:
        other = self._subject.with_artifact(artifact)
        return self._again(other) if self._again else other

    def run(self, inputs: Inputs, repeat: int = 0) -> Answer:
        return self._run(inputs, repeat) if self._run else self._subject.run(inputs, repeat)

    def runs(self, input_sets: Sequence[Inputs]) -> list[Answer]:
        return (
            [self._run(inputs, 0) for inputs in input_sets]
            if self._run
            else self._subject.runs(input_sets)
        )

    def unoptimised(self, input_sets: Sequence[Inputs]) -> list[Answer]:
        if self._unoptimised:
            return [self._unoptimised(inputs) for inputs in input_sets]
        if self._run:
            return [self._run(inputs, 0) for inputs in input_sets]
        return self._subject.unoptimised(input_sets)


def register_control(**says: str) -> Callable[[Control], Control]:
    """Register a control under its function's name; ``says``: a check's name and its words."""

    def decorate(function: Control) -> Control:
        name = function.__name__
        CONTROLS.register(name, NegativeControl(name, function, says))
        return function

    return decorate


def register_edit(**says: str) -> Callable[[Edit], Edit]:
    """Register a control by what it does to the file's model; see :func:`register_control`."""

    def decorate(edit: Edit) -> Edit:
        @wraps(edit)
        def control(subject: Subject, folder: Path) -> Subject:
            return edited(subject, folder, edit)

        register_control(**says)(control)
        return edit

    return decorate


def register_change(**says: str) -> Callable[[Change], Change]:
    """Register a control by what it makes of an answer's outputs; see :func:`register_control`.

    The function is given the outputs, the inputs, and which run of them it is, from 0.
    """

    def decorate(change: Change) -> Change:
        @wraps(change)
        def control(subject: Subject, folder: Path) -> Subject:
            return changed(subject, change)

        register_control(**says)(control)
        return change

    return decorate


def edited(subject: Subject, folder: Path, edit: Edit) -> Subject:
    """The subject with an edited copy of its file, which is what sessions then load."""
    model = load_model(subject.artifact.path)
    edit(model)
    path = folder / "edited.onnx"
    onnx.save(model, path)
    return subject.with_artifact(Artifact(path, (path,), (file_digest(path),), inspect(path)))


def changed(subject: Subject, change: Change) -> Subject:
    """The subject whose outputs go through ``change(outputs, inputs, repeat)``."""

    def run(inputs: Inputs, repeat: int) -> Answer:
        answer = subject.run(inputs, repeat)
        if answer.outputs is None:
            return answer
        return Answer(change(answer.outputs, inputs, repeat))

    return AlteredSubject(subject, run=run, again=lambda other: changed(other, change))
