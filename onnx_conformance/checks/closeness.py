"""The checks allclose (tolerances against native float32) and top5 (the leading classes)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnx_conformance.checks import reproduction
from onnx_conformance.checks.registry import FAITHFUL, FLOAT32_WEIGHTS, register_check
from onnx_conformance.checks.verdict import not_answered, result_of
from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.budget import Reference, largest_noise_floor, natives_disagree
from onnx_conformance.core.comparison import (
    allclose_mismatch,
    atol_needed,
    statistics,
    structure_problem,
)
from onnx_conformance.core.compute_modes import ULP
from onnx_conformance.core.domains import Mask
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.judgement import judge_outputs, limits_of
from onnx_conformance.core.results import CheckResult, failed, passed, skipped
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.core.ties import Choices
from onnx_conformance.inputs.families import ORDINARY_RECIPES, materialise, pinned, pinned_inputs
from onnx_conformance.inputs.recipes import Inputs, Recipe
from onnx_conformance.run.subject import Subject


@dataclass(frozen=True)
class _Closeness:
    """How close the answer to one set of inputs is to native float32.

    Args:
        scaled: the largest difference, in rms of its output.
        atol_needed: the atol, in the same unit, that would just pass it at the rule's rtol.
        tutorial: whether the rule of PyTorch's export tutorial passes it.
        elements: how many were compared.
    """

    scaled: float
    atol_needed: float
    tutorial: bool
    elements: int


@register_check(
    control="scaled_by_a_tenth", families=("pinned",), precisions=FLOAT32_WEIGHTS, localised=True
)
def check_allclose(subject: Subject) -> CheckResult:
    """``allclose`` with atol in units of the output's rms; reports PyTorch's tutorial rule too."""
    recipes, found = pinned(subject.seed).values(), []
    for recipe in recipes:
        closeness = _closeness(subject, recipe)
        if isinstance(closeness, CheckResult):
            return closeness
        if closeness is not None:
            found.append(closeness)
    if not found:
        return skipped("native float32 itself exceeds the tolerance on every set of inputs")
    noisy = len(recipes) - len(found)
    left = f"; {noisy} inputs on which float32 errs more are left to error_budget" * bool(noisy)
    scaled, passing = max(one.scaled for one in found), sum(one.tutorial for one in found)
    return passed(
        f"largest difference {scaled:.3g} of the output's rms; PyTorch's tutorial, at 1e-5, would "
        f"pass {passing} of {len(found)} inputs{left}",
        compared=sum(one.elements for one in found),
        statistics={
            "scaled": scaled,
            "atol_needed": max(one.atol_needed for one in found),
            "tutorial_passes": passing,
            "tutorial_inputs": len(found),
        },
    )


def _closeness(subject: Subject, recipe: Recipe) -> _Closeness | CheckResult | None:
    """How close one answer is, or the failure; None where float32 itself errs as much.

    None, too, of inputs far from ordinary ones that native refuses.
    """
    rule = subject.tolerances.rule("allclose", subject.case)
    tutorial = subject.tolerances.rule("tutorial", subject.case)
    inputs = materialise(recipe, subject.model)
    try:
        answer, native = subject.run(inputs), subject.native(inputs)
    except StageFailure:
        most = subject.tolerances.rule("error_budget", subject.case)["ordinary_scale"]
        if abs(recipe.scale) <= most or subject.native_refusal(inputs) is None:
            raise
        return None
    if answer.outputs is None:
        return not_answered(answer, inputs, str(recipe))
    wanted = subject.reference(inputs)
    if subject.model.oracle:
        wanted = Reference(native, native, (), choices=_choices(subject, inputs))
    limits = limits_of(subject.tolerances, subject.case, oracle=False)
    found = judge_outputs(wanted, answer.outputs, subject.model.judged, limits)
    if not found.right:
        noisy = found.comparable and _float32_errs_as_much(
            subject, inputs, found.outputs, rule["atol_rms"]
        )
        return None if noisy else result_of(subject, str(recipe), inputs, found)
    mismatch = allclose_mismatch(
        native, found.outputs, tutorial["rtol"], tutorial["atol"], scale_atol=False
    )
    numbers = statistics(native, found.outputs)
    needed = atol_needed(native, found.outputs, rule["rtol"])
    return _Closeness(numbers.scaled, needed, mismatch is None, numbers.elements)


def _choices(subject: Subject, inputs: Inputs) -> Choices:
    """What positions among the outputs were chosen from, and places that native leaves open."""
    numbers = all(spec.floating for spec in subject.model.outputs)
    if numbers and not any(isinstance(spec.domain, Mask) for spec in subject.model.inputs):
        return {}
    return subject.reference(inputs).choices


def _float32_errs_as_much(
    subject: Subject, inputs: Inputs, found: Outputs, tolerance: float
) -> bool:
    """Whether a fixed tolerance is narrower here than the budget, which then decides alone.

    So it is where the budget's relative errors are larger than the tolerance, and where no number
    is farther from the oracle than the budget's factor times the largest error of float32: a
    tolerance in units of an output's rms is narrow for its few large numbers.
    """
    if not subject.model.oracle:
        return False
    factor, outputs = (
        subject.tolerances.rule("error_budget", subject.case)["factor"],
        subject.model.judged,
    )
    reference = subject.reference(inputs)
    noisy = factor * largest_noise_floor(reference, outputs) > tolerance
    return (
        noisy
        or natives_disagree(reference, outputs)
        or all(_near_oracle(reference, found, spec, factor) for spec in outputs if spec.floating)
    )


def _near_oracle(reference: Reference, found: Outputs, spec: TensorSpec, factor: float) -> bool:
    """Whether no sample of an output errs more than ``factor`` times float32's largest error."""
    exact, got = reference.oracle[spec.name], np.asarray(found[spec.name], np.float64)
    return all(
        bool(np.all(_gaps(got[at], exact[at]) <= factor * absolute_error(reference, spec.name, at)))
        for at in range(len(exact))
    )


# -- top5 ------------------------------------------------------------------------------------------


def _ranks_classes(model: ModelSpec) -> bool:
    """Whether the first output is a row of classes, whose float32 error is known."""
    first = model.outputs[0]
    classes = first.sample
    return model.oracle and first.floating and len(classes) == 1 and classes[0] != 1


@register_check(
    control="classes_swapped",
    families=("pinned",),
    where=_ranks_classes,
    precisions=FAITHFUL,
    localised=True,
)
def check_top5(subject: Subject) -> CheckResult:
    """The five leading classes, in order; a tie within float32's own error is no disagreement."""
    rule = subject.tolerances.rule("top5", subject.case)
    name, samples, ties = subject.model.outputs[0].name, 0, 0
    recipes = pinned(subject.seed)
    input_sets = pinned_inputs(ORDINARY_RECIPES, subject.model, subject.seed)
    for label, inputs in zip(ORDINARY_RECIPES, input_sets, strict=True):
        answer, reference = subject.run(inputs), subject.reference(inputs)
        if answer.outputs is None:
            return not_answered(answer, inputs, str(recipes[label]))
        problem = structure_problem(reference.native, answer.outputs)
        if problem:
            return failed(problem, inputs=str(recipes[label]))
        allowed = [
            rule["tie_factor"] * absolute_error(reference, name, sample)
            for sample in range(len(reference.oracle[name]))
        ]
        for sample, tie in enumerate(allowed):
            wrong, tied = rank_problem(reference, answer.outputs, name, sample, tie)
            if wrong:
                return failed(
                    f"{wrong} (ties are closer than {tie:.3g})",
                    inputs=str(recipes[label]),
                    reproduction=reproduction.misranked(
                        inputs, reference, answer.outputs, name, allowed
                    ),
                )
            samples, ties = samples + 1, ties + tied
    return passed(
        f"the same leading classes on {samples} samples, {ties} ranks tied",
        compared=samples,
        statistics={"ties": ties},
    )


def absolute_error(reference: Reference, name: str, sample: int) -> float:
    """float32's largest absolute error on the sample, at least one ulp of its largest value."""
    exact = reference.oracle[name][sample]
    gaps = [_gaps(native[name][sample], exact) for native in reference.natives]
    error = max(float(gap.max(initial=0.0)) for gap in gaps)
    return max(error, ULP * float(np.abs(exact[np.isfinite(exact)]).max(initial=0.0)))


def _gaps(found: Array, exact: Array) -> Array:
    """How far numbers are apart; 0 where both are the same infinity (a masked class)."""
    same = found == exact
    apart: Array = np.abs(np.where(same, 0.0, found) - np.where(same, 0.0, exact))
    return apart


def rank_problem(
    reference: Reference, actual: Outputs, name: str, sample: int, allowed: float
) -> tuple[str | None, int]:
    """What is wrong with the five leading classes of a sample, if anything, and how many tie.

    Classes whose oracle values lie within ``allowed`` of each other may change places.
    """
    exact = reference.oracle[name][sample].ravel()
    leading = np.argsort(-exact, kind="stable")[:5]
    found = np.argsort(-np.asarray(actual[name][sample]).ravel(), kind="stable")[:5]
    ties = 0
    for rank, (wanted, got) in enumerate(zip(leading, found, strict=True), start=1):
        gap = float(_gaps(exact[wanted], exact[got]))
        if wanted != got and not gap <= allowed:
            where = f"rank {rank} of sample {sample}"
            return f"{where} is class {got}, expected {wanted}, {gap:.3g} apart", ties
        ties += int(wanted != got)
    return None, ties
