"""The check of the file as it is written: with ONNX Runtime's graph optimisation off.

A fusion may hide a fault of the file: a LayerNormalization whose division is written the wrong way
round is fused into the right kernel. Another provider, or the next version, computes it as written.
"""

from __future__ import annotations

from dataclasses import replace

from onnx_conformance.checks.registry import register_check
from onnx_conformance.checks.verdict import judge
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.results import CheckResult, skipped
from onnx_conformance.core.settings import LEVELS
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import FLOAT32
from onnx_conformance.inputs.families import InputPlan, input_family, materialise, pinned
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.inputs.sweep_plan import extra_batches
from onnx_conformance.run.subject import Answer, Subject

CHECK = "unoptimised"


def recipes(model: ModelSpec, seed: int) -> tuple[Recipe, ...]:
    """Ordinary inputs that other checks run too; one sample for large models."""
    known = pinned(seed)
    return (known["normal"], known["image"]) if extra_batches(model) else (known["normal"],)


@input_family(CHECK)
def _plan(model: ModelSpec, seed: int) -> InputPlan:
    input_sets = tuple(materialise(recipe, model) for recipe in recipes(model, seed))
    return InputPlan(reference=input_sets, unoptimised=input_sets)


@register_check(
    control="right_after_optimisation",
    families=(CHECK,),
    precisions=(FLOAT32,),
    providers=("cpu",),
)
def check_unoptimised(subject: Subject) -> CheckResult:
    """The file computes the function as it is written, before ONNX Runtime rewrites it."""
    chosen = recipes(subject.model, subject.seed)
    input_sets = [materialise(recipe, subject.model) for recipe in chosen]
    subject.artifact  # noqa: B018 - without a file the failure is the export's, and not this one's
    try:
        answers = subject.unoptimised(input_sets)
    except StageFailure as failure:
        if failure.worker_died:
            raise
        return _cannot(failure.reason)
    results = [
        _judged(subject, recipe, answer) for recipe, answer in zip(chosen, answers, strict=True)
    ]
    red = [result for result in results if not result.passed]
    if red:
        return red[0]
    worst = max(results, key=lambda result: result.score or 0.0)
    return replace(worst, compared=sum(result.compared for result in results))


def _judged(subject: Subject, recipe: Recipe, answer: Answer) -> CheckResult:
    if answer.outputs is None:
        return _cannot(str(answer.error))
    inputs = materialise(recipe, subject.model)
    result = judge(subject, inputs, str(recipe), answer=answer)
    if result.outcome != "failed":
        return result
    reason = f"with ONNX Runtime's graph optimisation off (as the file is written): {result.reason}"
    reproduction = result.reproduction and replace(
        result.reproduction, graph_level=LEVELS["disabled"]
    )
    return replace(result, reason=reason, reproduction=reproduction)


def _cannot(why: str) -> CheckResult:
    return skipped(f"cannot be run with ONNX Runtime's graph optimisation off: {why}")
