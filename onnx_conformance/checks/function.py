"""Checks of the function: does the artifact compute what the native model computes?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onnx_conformance.checks import reproduction
from onnx_conformance.checks.refusals import unanswered, unless_refused
from onnx_conformance.checks.registry import FAITHFUL, FLOAT32_WEIGHTS, register_check
from onnx_conformance.checks.verdict import evidence_lines, judge, judge_by_allclose, tie_factor
from onnx_conformance.core.budget import Reference, movements, stack, worst_score
from onnx_conformance.core.comparison import structure_problem
from onnx_conformance.core.results import CheckResult, failed, passed, skipped
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import FLOAT32, Rule
from onnx_conformance.inputs.families import (
    ORDINARY,
    PINNED_NAMES,
    UNLIKE,
    chosen,
    company,
    cut,
    denormal,
    materialise,
    pinned,
    stack_inputs,
)
from onnx_conformance.inputs.found_recipes import found_recipes
from onnx_conformance.inputs.recipes import Inputs, Recipe, suited
from onnx_conformance.session.subject import Subject


def takes_any_number(model: ModelSpec) -> bool:
    """Whether an input may be fed every number: denormals, NaN and infinities too."""
    return any(spec.real for spec in model.inputs)


@register_check(control="constant_output", input_sets=("pinned",))
def check_liveness(subject: Subject) -> CheckResult:
    """The native model's outputs depend on its inputs; else no comparison proves a thing.

    Red where nothing in the model moves. An output that alone stays as it is, such as tags that
    trained weights never give, is the model's own: the case is then incomplete, and says so.
    """
    rule = subject.tolerances.rule("liveness", subject.case)
    plain = replace(subject.case, precision=FLOAT32)  # it is the native model that is asked
    floor = subject.tolerances.rule("error_budget", plain)["floor_ulp"]
    input_sets = chosen(ORDINARY, subject.model, subject.seed)
    references = [subject.plain_reference(inputs) for inputs in input_sets]
    outputs = subject.model.outputs
    found = movements(references, outputs, floor, rule["dead_share"], rule["moving_share"])
    moved = float(np.min(list(found.values())))
    compared = sum(array.size for ref in references for array in ref.oracle.values())
    text = f"outputs move by {moved:.3g} float32 errors between inputs"
    if not moved >= rule["minimum"]:
        anywhere = movements(references, outputs, floor, 1.0, np.finfo(float).tiny)
        still = [name for name, far in found.items() if not far >= rule["minimum"]]
        if any(far >= rule["minimum"] for far in anywhere.values()):
            share = 1.0 - rule["dead_share"]
            return skipped(
                "liveness",
                f"of {', '.join(map(repr, still))} less than {share:.0%} moves by "
                f"{rule['minimum']:g} float32 errors between ordinary inputs ({rule.origin}), in "
                "the native model itself: what stays as it is proves nothing there; give inputs "
                "(domain=) or weights on which it moves",
            )
        return failed(
            "liveness",
            f"{text}, at least {rule['minimum']:g} wanted ({rule.origin}); "
            "a model that barely depends on its input proves nothing: give it other weights",
            compared=compared,
        )
    return passed("liveness", text, compared=compared, statistics={"liveness": moved})


@register_check(
    control="one_weight_flipped",
    input_sets=("pinned",),
    example=lambda seed: {"recipe": pinned(seed)["image"]},
    tests=len(PINNED_NAMES) + 1,  # and the drawn inputs
    more=lambda model: len(found_recipes(model.name)),
    precisions=FAITHFUL,
)
def check_error_budget(subject: Subject, recipe: Recipe) -> CheckResult:
    """The verdict: the runtime errs at most a small multiple of what float32 itself errs."""
    rule = subject.tolerances.rule("error_budget", subject.case)
    recipe = suited(recipe, subject.model.axes)
    # a class of a narrow range is asked nothing beyond it; above it, it may overflow
    recipe = replace(recipe, scale=min(recipe.scale, rule.get("largest_scale", recipe.scale)))
    inputs = materialise(recipe, subject.model)
    return judge(subject, "error_budget", inputs, str(recipe))


@register_check(
    control="denormals_divided",
    input_sets=("denormal",),
    where=takes_any_number,
    precisions=FLOAT32_WEIGHTS,
    edge=True,
    example=lambda seed: {"recipe": denormal(seed)},
)
def check_denormals(subject: Subject, recipe: Recipe) -> CheckResult:
    """The same budget on inputs below float32's smallest normal number."""
    inputs = materialise(recipe, subject.model)
    return unless_refused(
        subject, "denormals", inputs, lambda one: judge(one, "denormals", inputs, str(recipe))
    )


@register_check(control="leaks_between_samples", input_sets=("batches",), precisions=FAITHFUL)
def check_batch_invariance(subject: Subject) -> CheckResult:
    """A sample has the same answer alone and in batches of up to 8, of small models up to 33.

    Where native itself answers otherwise in company (a BatchNorm without statistics, a softmax over
    the batch), its answer to the same batch is the right one.
    """
    rule = subject.tolerances.rule("batch_invariance", subject.case)
    input_sets, sizes = company(subject.model, subject.seed)
    whole, alone = (
        stack_inputs(input_sets),
        _stacked([subject.reference(inputs) for inputs in input_sets]),
    )
    worst, compared, coupled = 0.0, 0, alone is None
    for size in sizes:
        inputs = cut(whole, 0, size)
        wanted = subject.reference(inputs) if coupled or alone is None else alone.rows(0, size)
        result = _judge_company(subject, inputs, wanted, size, rule)
        if result.outcome == "failed" and not coupled and size > 1:
            in_company = _judge_company(subject, inputs, subject.reference(inputs), size, rule)
            if in_company.passed:
                result, coupled = in_company, True
        if not result.passed:
            return result
        worst, compared = max(worst, result.score or 0.0), compared + result.compared
    told = "native's own answer to the same batch" if coupled else "the same"
    return passed(
        "batch_invariance",
        f"{told} at batch {', '.join(map(str, sizes))}",
        compared=compared,
        **({"score": worst, "budget": rule["factor"]} if subject.model.oracle else {}),
    )


def _stacked(references: Sequence[Reference]) -> Reference | None:
    """The samples' references one below the other; None where an output's other sizes differ."""
    shapes = {
        tuple((name, array.shape[1:]) for name, array in reference.native.items())
        for reference in references
    }
    return stack(references) if len(shapes) == 1 else None


def _judge_company(
    subject: Subject, inputs: Inputs, wanted: Reference, size: int, rule: Rule
) -> CheckResult:
    """The answer to a batch, beside what each of its samples should get."""
    name, label = "batch_invariance", f"{size} samples, {UNLIKE} unlike ones in turn"
    answer = subject.run(inputs)
    if answer.outputs is None:
        return failed(
            name,
            f"at batch {size}, {unanswered(answer)}",
            inputs=label,
            reproduction=reproduction.unanswered(inputs),
        )
    problem = structure_problem(wanted.native, answer.outputs)
    if problem:
        return failed(
            name,
            f"at batch {size}, {problem}",
            inputs=label,
            reproduction=reproduction.misshapen(inputs, wanted.native, answer.outputs),
        )
    compared = sum(array.size for array in answer.outputs.values())
    outputs = wanted.settled(answer.outputs, tie_factor(subject))
    if not subject.model.oracle:
        close = judge_by_allclose(subject, name, label, inputs, wanted.native, outputs)
        return passed(name, close.reason, compared=compared) if close.passed else close
    score = worst_score(wanted, outputs, subject.model.outputs, rule["floor_ulp"])
    if score.value <= rule["factor"]:
        return passed(name, str(score), compared=compared, score=score.value)
    return failed(
        name,
        f"at batch {size}, {score}; allowed {rule['factor']:g}x ({rule.origin})",
        compared=compared,
        score=score.value,
        budget=rule["factor"],
        inputs=label,
        details=evidence_lines(subject),
        reproduction=reproduction.over_budget(inputs, wanted, outputs, subject.model.outputs, rule),
    )
