"""The checks of sweeps: every size of the axes, and thousands of rows of a small model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx_conformance.checks import reproduction
from onnx_conformance.checks.registry import FAITHFUL, register_check
from onnx_conformance.checks.sweep_scores import (
    Sweep,
    SweptInputs,
    WorstScore,
    pool_rule,
    worst_scores,
)
from onnx_conformance.checks.turned_rows import hangs_on_an_ulp
from onnx_conformance.checks.verdict import (
    evidence_lines,
    float32_part,
    limits_for,
    result_of,
    unanswered,
)
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.comparison import structure_problem
from onnx_conformance.core.documents import ErrorLimit
from onnx_conformance.core.judgement import judge_outputs
from onnx_conformance.core.pooled_budget import pooled_scores
from onnx_conformance.core.results import CheckResult, Reproduction, failed, passed, skipped
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.inputs.families import InputPlan, input_family, materialise
from onnx_conformance.inputs.recipes import CONSTANT, EVERY, LARGEST_BATCH, Inputs, Recipe, entry
from onnx_conformance.inputs.sweep_plan import row_recipes, size_recipes
from onnx_conformance.run.subject import Subject

MOST_NAMED = 6  # sizes or recipes that a message names
LARGEST_SCORE = 1e300  # JSON knows no infinity


def sizes_text(recipe: Recipe) -> str:
    """The sizes of a recipe: ``seq=8``, ``batch=17``."""
    named = [f"{axis}={size}" for axis, size in recipe.sizes]
    return ", ".join(named) if named else f"batch={recipe.batch}"


@register_check(
    control="wrong_at_batch_17",
    families=("sizes",),
    where=lambda model: bool(size_recipes(model, 0)),
    precisions=FAITHFUL,
    localised=True,
)
def check_sizes(subject: Subject) -> CheckResult:
    """Ordinary noise at the sizes that symbolic axes take, and at batches that are not usual."""
    return _judge(_answered(subject, "sizes", size_recipes(subject.model, subject.seed)))


@register_check(
    control="wrong_in_a_narrow_band",
    families=("rows",),
    where=lambda model: bool(row_recipes(model, 0)),
    precisions=FAITHFUL,
    localised=True,
)
def check_rows(subject: Subject) -> CheckResult:
    """Thousands of samples at several scales, and every whole number of a range once."""
    return _judge(_answered(subject, "rows", row_recipes(subject.model, subject.seed)))


@input_family("sizes")
def _sizes_plan(model: ModelSpec, seed: int) -> InputPlan:
    return InputPlan(sweep=tuple(materialise(r, model) for r in size_recipes(model, seed)))


@input_family("rows")
def _rows_plan(model: ModelSpec, seed: int) -> InputPlan:
    return InputPlan(sweep=tuple(materialise(r, model) for r in row_recipes(model, seed)))


def _answered(subject: Subject, check: str, recipes: Sequence[Recipe]) -> Sweep:
    """A class of precision of a narrow range is asked no more than ``largest_scale``."""
    largest = subject.tolerances.rule("error_budget", subject.case).get("largest_scale", np.inf)
    asked = [recipe for recipe in recipes if abs(recipe.scale) <= largest]
    input_sets = [materialise(recipe, subject.model) for recipe in asked]
    answers = subject.runs(input_sets)
    judged, refused = [], []
    for recipe, inputs, reference, answer in zip(
        asked, input_sets, subject.references(input_sets), answers, strict=True
    ):
        if isinstance(reference, Reference):
            judged.append(SweptInputs(recipe, inputs, reference, answer))
        else:
            refused.append(f"{sizes_text(recipe)}: {reference}")
    return Sweep(subject, check, judged, refused)


def _judge(sweep: Sweep) -> CheckResult:
    judged, refused, budget = sweep.judged, sweep.refused, sweep.budget
    if not judged:
        why = refused[0] if refused else "none fits this class of precision"
        return skipped(f"native refuses all inputs of this check ({why})")
    no_answers = _unanswered(sweep)
    if no_answers is not None:
        return no_answers
    if not sweep.subject.model.oracle:
        return _by_allclose(sweep)
    worst, unjudged, turned = worst_scores(sweep)
    if any(not one.ratio <= 1.0 for one in worst):
        return _over_budget(sweep, worst)
    if unjudged > sweep.rule["unjudged"]:
        return skipped(
            f"float32 itself errs by more than {budget['maximum_noise_floor']:g} of the output on "
            f"{unjudged:.0%} of the samples ({budget.origin}), which therefore prove nothing",
        )
    rows = sum(one.inputs.samples for one in judged)
    part = float32_part(sweep.subject)
    exact = _judge(_answered(part, sweep.check, [one.recipe for one in judged])) if part else None
    if exact is not None and exact.outcome == "failed":
        return exact
    reason = f"within budget on {rows} samples of {len(judged)} inputs"
    reason += f" but for {turned} in which a decision hangs on a rounding" if turned else ""
    reason += f"; native itself refuses {len(refused)} of them ({refused[0]})" if refused else ""
    score = budget["factor"] * max(one.ratio for one in worst)
    return passed(reason, compared=sweep.compared, score=score, budget=budget["factor"])


def _unanswered(sweep: Sweep) -> CheckResult | None:
    """The first inputs that the session refuses, or answers in another structure."""
    problems = []
    for one in sweep.judged:
        if one.answer.outputs is None:
            problems.append((one, unanswered(one.answer)))
        else:
            problem = structure_problem(one.reference.native, one.answer.outputs)
            problems += [(one, problem)] if problem else []
    if not problems:
        return None
    first, problem = min(problems, key=lambda found: _elements(found[0].inputs))
    got = first.answer.outputs
    return failed(
        f"at {_places([one for one, _ in problems], len(sweep.judged))}: {problem}",
        inputs=str(first.recipe),
        details=_detail_lines(sweep, first),
        reproduction=reproduction.unanswered(first.inputs)
        if got is None
        else reproduction.misshapen(first.inputs, first.reference.native, got),
    )


def _by_allclose(sweep: Sweep) -> CheckResult:
    """Without an oracle each set of inputs must be close to native.

    Of thousands of rows a few may lie otherwise where decisions hang on a float32 ulp: as many as
    ``flips``, and twice those on which native's own answers differ by it.
    """
    subject, judged = sweep.subject, sweep.judged
    specs, limits = subject.model.judged, limits_for(subject)
    found = [judge_outputs(one.reference, one.got, specs, limits) for one in judged]
    parts = list(zip((one.reference for one in judged), found, strict=True))
    wrong = next((place for place, how in enumerate(found) if not how.right), None)
    if wrong is not None and (sweep.together or not hangs_on_an_ulp(parts, sweep.rule)):
        one = judged[wrong]
        return result_of(subject, str(one.recipe), one.inputs, found[wrong])
    reason = f"no float64 oracle: {len(judged)} inputs are close to native by allclose"
    reason += " but for decisions that hang on an ulp" * (wrong is not None)
    return passed(reason, compared=sweep.compared)


# -- what a failure says --------------------------------------------------------------------------


def _over_budget(sweep: Sweep, worst: Sequence[WorstScore]) -> CheckResult:
    """The failure of the smallest of the inputs that are wrong."""
    judged, factor = sweep.judged, sweep.budget["factor"]
    wrong = [place for place, one in enumerate(worst) if not one.ratio <= 1.0]
    first = min(wrong, key=lambda place: _elements(judged[place].inputs))
    one = judged[first]
    where = _places([judged[place] for place in wrong], len(judged))
    origins = "; ".join(dict.fromkeys((sweep.budget.origin, sweep.rule.origin)))
    return failed(
        f"differs from {sweep.subject.model.original} at {where}",
        compared=sweep.compared,
        score=factor * worst[first].ratio,
        budget=factor,
        inputs=str(one.recipe),
        details=(
            worst[first].description,
            f"allowed: {factor:g}x float32's own error in the sweep ({origins})",
            *_detail_lines(sweep, one),
        ),
        reproduction=_reproduction(sweep, one),
    )


def _places(wrong: Sequence[SweptInputs], count: int) -> str:
    """``3 of 64 inputs: seq=8, seq=16, seq=48``; a recipe in full where it names no size."""
    names = [
        str(one.recipe) if one.recipe.batch > LARGEST_BATCH or one.recipe.distribution == EVERY
        else sizes_text(one.recipe)
        for one in wrong
    ]  # fmt: skip
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{len(wrong)} of {count} inputs: {', '.join(names[:MOST_NAMED])}{more}"


def _detail_lines(sweep: Sweep, one: SweptInputs) -> tuple[str, ...]:
    """How the inputs are replayed in every run, where a file can name them, and the evidence."""
    recipe, evidence = one.recipe, evidence_lines(sweep.subject)
    if recipe.batch > LARGEST_BATCH or recipe.distribution in CONSTANT:
        return evidence
    line = f"  {entry(recipe, sweep.subject.case)}"
    return ("to replay it in every run, add to found_recipes.yaml:", line, *evidence)


def _elements(inputs: Inputs) -> int:
    return sum(array.size for array in inputs.values())


def _reproduction(sweep: Sweep, one: SweptInputs) -> Reproduction:
    """The whole inputs with what each sample may err, relative to the oracle's size."""
    specs, rule = sweep.subject.model.judged, pool_rule(sweep, stray=False)
    limits: list[ErrorLimit] = []
    for scores in pooled_scores([(one.reference, one.got)], specs, rule):
        size = np.maximum(scores.sizes[0], np.finfo(np.float32).tiny)
        allowed = np.minimum(scores.allowed[0] / size, LARGEST_SCORE).tolist()
        limits.append(
            {"output": scores.output, "norm": scores.norm, "view": scores.view, "allowed": allowed}
        )
    for spec in specs:
        if not spec.floating:
            none = [0.0] * len(one.got[spec.name])
            limits.append({"output": spec.name, "norm": "max", "view": "values", "allowed": none})
    judge = reproduction.errors_judge(limits, one.reference.oracle, many=True)
    return Reproduction(one.inputs, judge, one.reference.oracle, one.got)
