"""Checks of the function: does the artifact compute what the native model computes?"""

from __future__ import annotations

from dataclasses import replace

from onnx_conformance.checks import reproduction
from onnx_conformance.checks.registry import FAITHFUL, FLOAT32_WEIGHTS, register_check
from onnx_conformance.checks.verdict import evidence_lines, judge, judge_by_allclose
from onnx_conformance.core.budget import liveness, stack, worst_score
from onnx_conformance.core.comparison import structure_problem
from onnx_conformance.core.results import CheckResult, failed, passed
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import FLOAT32
from onnx_conformance.inputs.families import (
    COMPANY,
    COMPANY_SIZES,
    ORDINARY,
    PINNED_NAMES,
    UNLIKE,
    chosen,
    cut,
    denormal,
    materialise,
    pinned,
    stack_feeds,
)
from onnx_conformance.inputs.found_recipes import found_recipes
from onnx_conformance.inputs.recipes import Recipe, suited
from onnx_conformance.session.subject import Subject


def takes_any_number(model: ModelSpec) -> bool:
    """Whether an input may be fed every number: denormals, NaN and infinities too."""
    return any(spec.real for spec in model.inputs)


@register_check(control="constant_output", feeds=("pinned",))
def check_liveness(subject: Subject) -> CheckResult:
    """The native model's outputs depend on its inputs; else no comparison proves a thing."""
    rule = subject.tolerances.rule("liveness", subject.case)
    plain = replace(subject.case, precision=FLOAT32)  # it is the native model that is asked
    floor = subject.tolerances.rule("error_budget", plain)["floor_ulp"]
    feeds = chosen(ORDINARY, subject.model, subject.seed)
    references = [subject.plain_reference(feed) for feed in feeds]
    moved = liveness(
        references, subject.model.outputs, floor, rule["dead_share"], rule["moving_share"]
    )
    compared = sum(array.size for ref in references for array in ref.oracle.values())
    text = f"outputs move by {moved:.3g} float32 errors between inputs"
    if not moved >= rule["minimum"]:
        return failed(
            "liveness",
            f"{text}, at least {rule['minimum']:g} wanted ({rule.origin}); "
            "a model that barely depends on its input proves nothing: give it other weights",
            compared=compared,
        )
    return passed("liveness", text, compared=compared, statistics={"liveness": moved})


@register_check(
    control="one_weight_flipped",
    feeds=("pinned",),
    example=lambda seed: {"recipe": pinned(seed)["image"]},
    tests=len(PINNED_NAMES) + 1,  # and the drawn feeds
    more=lambda model: len(found_recipes(model.name)),
    precisions=FAITHFUL,
)
def check_error_budget(subject: Subject, recipe: Recipe) -> CheckResult:
    """The verdict: the runtime errs at most a small multiple of what float32 itself errs."""
    rule = subject.tolerances.rule("error_budget", subject.case)
    recipe = suited(recipe, subject.model.axes)
    # a class of a narrow range is asked nothing beyond it; above it, it may overflow
    recipe = replace(recipe, scale=min(recipe.scale, rule.get("largest_scale", recipe.scale)))
    feed = materialise(recipe, subject.model)
    return judge(subject, "error_budget", feed, str(recipe))


@register_check(
    control="denormals_divided",
    feeds=("denormal",),
    where=takes_any_number,
    precisions=FLOAT32_WEIGHTS,
    ordinary=False,
    example=lambda seed: {"recipe": denormal(seed)},
)
def check_denormals(subject: Subject, recipe: Recipe) -> CheckResult:
    """The same budget on inputs below float32's smallest normal number."""
    feed = materialise(recipe, subject.model)
    return judge(subject, "denormals", feed, str(recipe))


@register_check(control="leaks_between_samples", feeds=("batches",), precisions=FAITHFUL)
def check_batch_invariance(subject: Subject) -> CheckResult:
    """A sample has the same answer at batch 1, 2, 4 and 8, alone or in company."""
    rule = subject.tolerances.rule("batch_invariance", subject.case)
    feeds = chosen(COMPANY, subject.model, subject.seed)
    whole, reference = stack_feeds(feeds), stack([subject.reference(feed) for feed in feeds])
    worst, compared = 0.0, 0
    for size in COMPANY_SIZES:
        label = f"{size} samples, {UNLIKE} unlike ones in turn"
        feed = cut(whole, 0, size)
        answer, wanted = subject.run(feed), reference.rows(0, size)
        if answer.outputs is None:
            return failed(
                "batch_invariance",
                f"batch {size} refused: {answer.error}",
                feed=label,
                reproduction=reproduction.unanswered(feed),
            )
        problem = structure_problem(wanted.native, answer.outputs)
        if problem:
            return failed(
                "batch_invariance",
                f"at batch {size}, {problem}",
                feed=label,
                reproduction=reproduction.misshapen(feed, wanted.native, answer.outputs),
            )
        compared += sum(array.size for array in answer.outputs.values())
        if not subject.model.oracle:
            close = judge_by_allclose(
                subject, "batch_invariance", label, feed, wanted.native, answer.outputs
            )
            if not close.passed:
                return close
            continue
        score = worst_score(wanted, answer.outputs, subject.model.outputs, rule["floor_ulp"])
        worst = max(worst, score.value)
        if not score.value <= rule["factor"]:
            return failed(
                "batch_invariance",
                f"at batch {size}, {score}; allowed {rule['factor']:g}x ({rule.origin})",
                compared=compared,
                score=score.value,
                budget=rule["factor"],
                feed=label,
                details=evidence_lines(subject),
                reproduction=reproduction.over_budget(
                    feed, wanted, answer.outputs, subject.model.outputs, rule
                ),
            )
    return passed(
        "batch_invariance",
        f"the same at batch {', '.join(map(str, COMPANY_SIZES))}",
        compared=compared,
        **({"score": worst, "budget": rule["factor"]} if subject.model.oracle else {}),
    )
