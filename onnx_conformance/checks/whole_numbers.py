"""The check of whole numbers and truth values: the floating numbers that decide them."""

from __future__ import annotations

from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.checks.registry import register_check
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.pooled_budget import wrong_decisions
from onnx_conformance.core.results import CheckResult, failed, passed
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import FLOAT32
from onnx_conformance.inputs.families import materialise
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.inputs.sweep_plan import has_free_batch, shipped_figures, work
from onnx_conformance.session.subject import Subject

NAME = "deciding_values"
MOST_SAMPLES = 1024  # a trace writes every tensor


def decides(model: ModelSpec) -> bool:
    """Whether native can be traced and an output holds decisions."""
    whole = any(not spec.floating for spec in model.outputs)
    return whole and model.oracle and FRAMEWORKS[model.framework].traced


def decided_recipe(model: ModelSpec, seed: int) -> Recipe:
    """Ordinary noise, as many samples as a trace can hold at the price set for batches."""
    recipe = Recipe("normal", seed=seed)
    if not has_free_batch(model):
        return recipe
    samples = int(shipped_figures().batch_work / work(model, recipe))
    return Recipe("normal", batch=max(1, min(MOST_SAMPLES, samples)), seed=seed)


@register_check(control="slightly_too_large", where=decides, precisions=(FLOAT32,))
def check_deciding_values(subject: Subject) -> CheckResult:
    """The last floating tensors before whole numbers and truth values are native's.

    Those that resemble no native tensor are not judged here; the decisions on the same input are.
    """
    rule = subject.tolerances.rule(NAME, subject.case)
    recipe = decided_recipe(subject.model, subject.seed)
    inputs = materialise(recipe, subject.model)
    try:
        found = subject.deciding(inputs)
    except StageFailure:  # what cannot be traced is judged by what it decides
        found = []
    elements = sum(one.elements for one in found)
    wrong = [one for one in found if not one.error <= rule["factor"] * one.noise_floor]
    if wrong:
        worst = max(wrong, key=lambda one: one.error / one.noise_floor)
        return failed(
            NAME,
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
        return passed(NAME, f"the deciding tensors are native's: {names}", compared=elements)
    return _decisions_alone(subject, recipe)


def _decisions_alone(subject: Subject, recipe: Recipe) -> CheckResult:
    """No tensor could be compared: whether the decisions themselves are native's."""
    inputs = materialise(recipe, subject.model)
    answer, reference = subject.run(inputs), subject.reference(inputs)
    if answer.outputs is None:
        return failed(NAME, f"the session refused the inputs: {answer.error}", inputs=str(recipe))
    flips = subject.tolerances.rule("sweep", subject.case)["flips"]
    compared = 0
    for spec in subject.model.outputs:
        if spec.floating:
            continue
        if answer.outputs[spec.name].shape != reference.native[spec.name].shape:
            return failed(NAME, f"output '{spec.name}' has another shape", inputs=str(recipe))
        wrong, left_open = wrong_decisions(reference, answer.outputs, spec)
        if int(wrong.sum()) > flips + 2 * left_open:
            reason = (
                f"{int(wrong.sum())} of {wrong.size} elements of '{spec.name}' are not native's"
            )
            return failed(NAME, reason, inputs=str(recipe))
        compared += wrong.size
    reason = "no tensor before the decisions resembles one of native's; the decisions agree"
    return passed(NAME, reason, compared=compared)
