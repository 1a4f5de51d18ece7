"""Typical inputs of a deployed model, to calibrate int8 on and to judge it on.

From the model's task if it has one, else recipes of ordinary inputs; calibration and judgement
never share a sample. A user's own calibration data come from a folder.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.inputs.families import FAMILIES, InputPlan, alone, materialise
from onnx_conformance.inputs.recipes import Inputs, Recipe
from onnx_conformance.inputs.samples import Folder
from onnx_conformance.inputs.tasks import BATCH, TASKS, Samples

ORDINARY = ("normal", "uniform", "image")
CALIBRATION_SEEDS, JUDGEMENT_SEEDS = (1000, 1001), (2000, 2001, 2002)  # after the run's own


def calibration_inputs(model: ModelSpec, seed: int) -> list[Inputs]:
    """Inputs to calibrate on, in batches."""
    if model.task:
        return list(TASKS[model.task].calibration(model, seed).input_sets)
    return _ordinary(model, [seed + offset for offset in CALIBRATION_SEEDS])


def typical_inputs(model: ModelSpec, seed: int) -> list[Inputs]:
    """Inputs to judge on, in batches: of a task, all its evaluation samples in order."""
    if model.task:
        return list(task_samples(model, seed).input_sets)
    return _ordinary(model, [seed + offset for offset in JUDGEMENT_SEEDS])


@lru_cache(maxsize=4)
def task_samples(model: ModelSpec, seed: int) -> Samples:
    """The evaluation samples of the model's task."""
    return TASKS[model.task].evaluation(model, seed)


def _ordinary(model: ModelSpec, seeds: list[int]) -> list[Inputs]:
    return [
        materialise(Recipe(family, batch=BATCH, seed=seed), model)
        for seed in seeds
        for family in ORDINARY
    ]


def user_inputs(model: ModelSpec, folder: Path) -> list[Inputs]:
    """A user's calibration data.

    Raises:
        UsageError: no such folder, nothing in it, or a file that does not fit the model.
    """
    return list(Folder("--calibration-data", folder).samples(model).input_sets)


def _typical_plan(model: ModelSpec, seed: int) -> InputPlan:
    input_sets = typical_inputs(model, seed)
    return InputPlan(native=tuple(input_sets), runtime=tuple(alone(input_sets[0])))


FAMILIES.register("typical", _typical_plan)
