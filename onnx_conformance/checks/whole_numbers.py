"""The check of whole numbers and truth values: the floating numbers that decide them."""

from __future__ import annotations

from functools import partial

import numpy as np

from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.checks.registry import register_check
from onnx_conformance.core.artifact_graph import ArtifactGraph
from onnx_conformance.core.budget import wrong_decisions
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.results import CheckResult, failed, passed
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import FLOAT32
from onnx_conformance.core.traces import TINY, rms
from onnx_conformance.inputs.families import materialise, pinned
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.inputs.sweep_plan import shipped_figures, work
from onnx_conformance.run.subject import DecidingTensor, Subject

CHECK = "deciding_values"
RECIPES_OF_UNLIKE_VALUES = ("normal", "large_normal")  # inputs of unlike values and equal sizes
CHOICES = ("ArgMax", "ArgMin", "TopK")
LAYOUT_OPERATORS = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
MOST_SAMPLES = 1024  # a trace writes every tensor


def decides(model: ModelSpec) -> bool:
    """Whether native can be traced and an output holds decisions."""
    whole = any(not spec.floating for spec in model.outputs)
    return whole and model.oracle and FRAMEWORKS[model.framework].traced


def decided_recipe(model: ModelSpec, seed: int) -> Recipe:
    """Ordinary noise, as many samples as a trace can hold at the price set for batches."""
    recipe = Recipe("normal", seed=seed)
    if not model.open_batch:
        return recipe
    samples = int(shipped_figures().batch_work / work(model, recipe))
    return Recipe("normal", batch=max(1, min(MOST_SAMPLES, samples)), seed=seed)


@register_check(control="slightly_too_large", where=decides, precisions=(FLOAT32,))
def check_deciding_values(subject: Subject) -> CheckResult:
    """The last floating tensors before whole numbers and truth values are native's.

    Those that resemble no native tensor are not judged here; the decisions on the same input are.
    """
    rule = subject.tolerances.rule(CHECK, subject.case)
    recipe = decided_recipe(subject.model, subject.seed)
    inputs = materialise(recipe, subject.model)
    try:
        found = subject.deciding(inputs)
    except StageFailure:  # what cannot be traced is judged by what it decides
        found = []
    elements = sum(one.values.size for one in found)
    wrong = [one for one in found if not one.error <= rule["factor"] * one.noise_floor]
    if wrong:
        worst = max(wrong, key=lambda one: one.error / one.noise_floor)
        return failed(
            f"tensor '{worst.tensor}', which decides outputs, is {worst.error:.2g} off native's "
            f"{worst.native}; float32 itself errs by {worst.noise_floor:.2g}, and "
            f"{rule['factor']:g} times that is allowed ({rule.origin})",
            compared=elements,
            score=worst.error / worst.noise_floor,
            budget=rule["factor"],
            inputs=str(recipe),
            details=(f"made by {worst.node}",),
        )
    if found:
        names = ", ".join(f"'{one.tensor}'" for one in found[:3])
        return passed(f"the deciding tensors are native's: {names}", compared=elements)
    return _decisions_alone(subject, recipe)


def chosen_from_what_moves(subject: Subject, least: float) -> bool:
    """Whether all outputs of whole numbers are positions in floating tensors that move.

    The label of an untrained classifier is the same whatever it sees. Where the file takes it as
    the place of the largest number of a tensor, and that tensor is native's and moves, no number of
    the file is left, such as a threshold, that only another label would show.

    Args:
        least: how far the tensors must move between two inputs, in noise floors.
    """
    if subject.case.precision != FLOAT32 or not decides(subject.model):
        return False
    graph = ArtifactGraph(subject.artifact.path)
    whole = [spec.floating for spec in subject.model.outputs].count(False)
    sources = [name for name in map(partial(_chosen_from, graph), graph.outputs) if name]
    recipes = (pinned(subject.seed)[name] for name in RECIPES_OF_UNLIKE_VALUES)
    try:
        one, other = (
            {found.tensor: found for found in subject.deciding(materialise(r, subject.model))}
            for r in recipes
        )
    except StageFailure:
        return False
    factor = subject.tolerances.rule(CHECK, subject.case)["factor"]
    right = all(
        found.error <= factor * found.noise_floor for found in (*one.values(), *other.values())
    )
    return (
        right
        and len(sources) == whole
        and all(_distance(one.get(name), other.get(name)) >= least for name in sources)
    )


def _chosen_from(graph: ArtifactGraph, output: str) -> str:
    """The tensor in which an output is a position; empty where it is something else."""
    node = graph.producer.get(output)
    while node is not None and node.operator in LAYOUT_OPERATORS:
        node = graph.producer.get(node.data[0]) if node.data else None
    return node.data[0] if node is not None and node.operator in CHOICES else ""


def _distance(one: DecidingTensor | None, other: DecidingTensor | None) -> float:
    """How far a tensor is apart between two inputs, in noise floors of either."""
    if one is None or other is None or one.values.shape != other.values.shape:
        return 0.0
    size = max(rms(one.values), rms(other.values), TINY)
    distance = rms(np.asarray(one.values, np.float64) - other.values) / size
    return distance / max(one.noise_floor, other.noise_floor)


def _decisions_alone(subject: Subject, recipe: Recipe) -> CheckResult:
    """No tensor could be compared: whether the decisions themselves are native's."""
    inputs = materialise(recipe, subject.model)
    answer, reference = subject.run(inputs), subject.reference(inputs)
    if answer.outputs is None:
        return failed(f"the session refused the inputs: {answer.error}", inputs=str(recipe))
    flips = subject.tolerances.rule("sweep", subject.case)["flips"]
    compared = 0
    for spec in subject.model.outputs:
        if spec.floating:
            continue
        if answer.outputs[spec.name].shape != reference.native[spec.name].shape:
            return failed(f"output '{spec.name}' has another shape", inputs=str(recipe))
        wrong, left_open = wrong_decisions(reference, answer.outputs, spec)
        if int(wrong.sum()) > flips + 2 * left_open:
            reason = (
                f"{int(wrong.sum())} of {wrong.size} elements of '{spec.name}' are not native's"
            )
            return failed(reason, inputs=str(recipe))
        compared += wrong.size
    reason = "no tensor before the decisions resembles one of native's; the decisions agree"
    return passed(reason, compared=compared)
