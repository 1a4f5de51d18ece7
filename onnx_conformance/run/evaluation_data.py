"""A user's own samples to judge int8 on, as the task of the chosen model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from onnx_conformance.catalog.models import MODELS, resolve_model
from onnx_conformance.catalog.variants import VARIANTS
from onnx_conformance.core.case import Case, DerivedCase
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import INT8
from onnx_conformance.inputs.samples import Folder, calibration_inputs, row_digests
from onnx_conformance.inputs.tasks import TASKS, Samples, Task

OPTION = "--evaluation-data"
CALIBRATION = "--calibration-data"


def adopt_evaluation(folder: str, calibration: str, models: tuple[str, ...]) -> None:
    """Judge the chosen model on the samples of a folder.

    Args:
        calibration: the user's folder of calibration data, if there is one.
        models: the chosen ones.

    Raises:
        UsageError: not one model, a folder that does not fit it, or a sample that is calibrated on.
    """
    if len(models) != 1:
        raise UsageError(f"{OPTION} needs exactly one model: --model NAME")
    model = resolve_model(models[0])
    if len(model.outputs[0].sample) != 1:
        raise UsageError(
            f"{OPTION}: output '{model.outputs[0].name}' of {model.name} has shape "
            f"{list(model.outputs[0].shape)}; it must have one number for each class of a sample"
        )
    if not model.trained:
        raise UsageError(
            f"{OPTION}: {model.name} has no trained weights, so its decisions are noise"
        )
    samples = Folder(OPTION, Path(folder)).samples(model)
    _refuse_labels(model, samples)
    if calibration:
        _refuse_common(samples, Folder(CALIBRATION, Path(calibration)).samples(model))
    task = _task(folder, model, samples)
    TASKS.put(task.name, task)
    MODELS.put(models[0], replace(model, task=task.name))


def refuse_idle(calibration: str, evaluation: str, cases: Iterable[Case]) -> None:
    """Refuse the user's folders where they would have no effect, or do not fit.

    Raises:
        UsageError: no case that is calibrated, or none of int8; or what is wrong with a file.
    """
    chosen = list(cases)
    calibrated = {
        case.model
        for case in chosen
        if isinstance(case, DerivedCase) and VARIANTS[case.variant].calibrated
    }
    if calibration and not calibrated:
        raise UsageError(f"{CALIBRATION} affects only calibrated variants: --variant int8_static")
    if evaluation and not any(case.precision == INT8 for case in chosen):
        raise UsageError(
            f"{OPTION} is for int8 only: give --variant int8_static, or --artifact with "
            "--precision int8"
        )
    if calibration:
        for name in sorted(calibrated):
            Folder(CALIBRATION, Path(calibration)).samples(resolve_model(name))


def _task(folder: str, model: ModelSpec, samples: Samples) -> Task:
    labels = "with labels" if samples.labels is not None else "without labels, against native"
    labels += f" ({samples.repeated} repeated ones left out)" if samples.repeated else ""

    def evaluation(_: ModelSpec, seed: int) -> Samples:
        return samples

    def calibration(_: ModelSpec, seed: int) -> Samples:
        return Samples(tuple(calibration_inputs(model, seed)))  # as without evaluation data

    digest = _digest(samples)
    return Task(
        name=f"evaluation-data-{digest[:8]}",  # other samples are another task
        story=f"{len(samples)} samples of {Path(folder).name}, {labels}",
        evaluation=evaluation,
        calibration=calibration,
        digest=digest,
    )


def _refuse_labels(model: ModelSpec, samples: Samples) -> None:
    (classes,) = model.outputs[0].sample
    if samples.labels is None or not isinstance(classes, int):
        return
    low, high = int(samples.labels.min()), int(samples.labels.max())
    if low < 0 or high >= classes:
        raise UsageError(
            f"{OPTION}: labels go from {low} to {high}, but {model.name} has the classes 0 to "
            f"{classes - 1}"
        )


def _refuse_common(samples: Samples, calibrated: Samples) -> None:
    known = {each for inputs in calibrated.input_sets for each in row_digests(inputs)}
    common = sum(each in known for inputs in samples.input_sets for each in row_digests(inputs))
    if common:
        raise UsageError(
            f"{OPTION}: {common} of {len(samples)} samples are in {CALIBRATION} too; give other "
            "samples, because a file must not be judged on what it was calibrated on"
        )


def _digest(samples: Samples) -> str:
    state = hashlib.sha256()
    for inputs in samples.input_sets:
        state.update(inputs.digest.encode())
    if samples.labels is not None:
        state.update(samples.labels.astype("<i8").tobytes())
    return state.hexdigest()
