"""The leading classes that each worker names on a photograph, and the check that they agree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.catalog.models import MODELS
from onnx_conformance.checks.photographs import check_photographs, leading_classes
from onnx_conformance.cli.context import ToolContext, reason_of
from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import ConformanceError, UsageError
from onnx_conformance.core.results import CheckResult
from onnx_conformance.core.spec import ModelSpec, Preprocessing
from onnx_conformance.inputs.photographs import (
    Photograph,
    imagenet_labels,
    photograph_inputs,
    takes_photographs,
)
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.live_subject import LiveSubject

Top = tuple[tuple[str, float], ...]  # labels and percentages, the likeliest first
CHANNELS = 3
RESIZE = 256 / 224  # of the crop
LOAD = "load"  # the verdict on a session that cannot be opened


@dataclass(frozen=True)
class Prediction:
    """What one worker sees.

    Args:
        top: empty where it gave no answer.
        verdict: of a session, on its answer beside native's; None for native itself.
    """

    who: str
    top: Top
    verdict: CheckResult | None = None


@dataclass(frozen=True)
class ModelPredictions:
    """A model's native side and its sessions, one photograph before them all.

    Args:
        assumed: the preprocessing is the framework's usual one, because the spec names none.
    """

    model: ModelSpec
    predictions: tuple[Prediction, ...]
    assumed: bool

    @property
    def agree(self) -> bool:
        """Whether every session passed, and there was one."""
        verdicts = [
            prediction.verdict for prediction in self.predictions if prediction.verdict is not None
        ]
        return bool(verdicts) and all(verdict.passed for verdict in verdicts)


def with_preprocessing(model: ModelSpec) -> ModelSpec:
    """The model with the preprocessing of its photographs, an assumed one where it has none.

    Raises:
        UsageError: its inputs are no photographs, or has other classes than ImageNet's.
    """
    classes = len(imagenet_labels())
    fits = len(model.inputs) == 1 and len(model.inputs[0].shape) == 4
    side = _side(model) if fits else None
    if side is None:
        shapes = ", ".join(f"'{spec.name}' {list(spec.shape)}" for spec in model.inputs)
        raise UsageError(f"{model.name} does not take photographs: its inputs are {shapes}")
    if len(model.outputs) != 1 or model.outputs[0].shape[1:] != (classes,):
        raise UsageError(
            f"{model.name} does not have ImageNet's {classes} classes: its outputs are "
            + ", ".join(f"'{spec.name}' {list(spec.shape)}" for spec in model.outputs)
        )
    if model.preprocessing is not None:
        return model
    framework = FRAMEWORKS[model.framework]
    usual = Preprocessing(round(side * RESIZE), side, framework.mean, framework.std)
    return replace(model, preprocessing=usual)


def _side(model: ModelSpec) -> int | None:
    """The sides of the square that the model takes; 224 where they are symbolic."""
    _, *rest = model.inputs[0].shape
    if CHANNELS not in (rest[0], rest[-1]):
        return None
    height, width = rest[1:] if rest[0] == CHANNELS else rest[:2]
    sides = {side for side in (height, width) if isinstance(side, int)} or {224}
    return sides.pop() if len(sides) == 1 else None


def counterpart(name: str) -> str | None:
    """The same architecture in the other framework, if it is registered: its weights are others."""
    other = name.removeprefix("keras_") if name.startswith("keras_") else f"keras_{name}"
    return other if other in MODELS else None


def label_warning(model: ModelSpec, weights: str) -> str:
    """The warning that labels mean nothing; empty where they do."""
    if takes_photographs(with_preprocessing(model), weights):
        return ""
    if model.labels or not model.trained:
        return (
            f"{model.name}: the labels mean nothing, because its weights are not trained "
            "(WEIGHTS=pretrained fetches trained ones)"
        )
    return (
        f"{model.name}: the labels are right only if its classes are ImageNet's, which its spec "
        "does not say (labels=True)"
    )


def predict(
    context: ToolContext, model: ModelSpec, cases: list[Case], image: Path
) -> ModelPredictions:
    """What native and each case's session see on an image; red verdicts are in the scene.

    Raises:
        ConformanceError: native, or the export, fails.
    """
    prepared = with_preprocessing(model)
    subjects = [_subject(context, prepared, case) for case in cases]
    verdicts = [_verdict(subject, image) for subject in subjects]
    inputs = inputs_of(prepared, image)
    native = subjects[0].reference(inputs).native
    predictions = [Prediction(FRAMEWORKS[model.framework].title, _top(prepared, native))]
    for subject, verdict in zip(subjects, verdicts, strict=True):
        answer = subject.run(inputs).outputs if verdict.name != LOAD else None
        who = f"ONNX Runtime, {subject.case.provider}"
        predictions.append(Prediction(who, _top(prepared, answer) if answer else (), verdict))
    return ModelPredictions(prepared, tuple(predictions), assumed=model.preprocessing is None)


def inputs_of(model: ModelSpec, image: Path) -> Inputs:
    """The photograph as a batch of one."""
    assert model.preprocessing is not None
    return photograph_inputs(model, model.preprocessing, image)


def _subject(context: ToolContext, model: ModelSpec, case: Case) -> LiveSubject:
    subject = context.subject(case)
    subject.model = model
    return subject


def _verdict(subject: LiveSubject, image: Path) -> CheckResult:
    try:
        return check_photographs(subject, Photograph(image.name, image))
    except ConformanceError as error:
        return CheckResult(LOAD, "failed", reason_of(error))


def _top(model: ModelSpec, outputs: Outputs) -> Top:
    (spec,) = model.outputs
    return leading_classes(outputs[spec.name][0], imagenet_labels(), spec.scale)
