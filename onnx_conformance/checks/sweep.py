"""The checks of sweeps: every size of the axes, and thousands of rows of a small model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx_conformance.checks import reproduction
from onnx_conformance.checks.registry import FAITHFUL, register_check
from onnx_conformance.checks.turned_rows import (
    Pools,
    Row,
    answered_nearby,
    neighbours,
    open_elsewhere,
    rows_over,
)
from onnx_conformance.checks.verdict import (
    evidence_lines,
    float32_part,
    limits_for,
    result_of,
    unanswered,
)
from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.budget import Reference, wrong_decisions
from onnx_conformance.core.comparison import nearest, open_rows, rows_apart, structure_problem
from onnx_conformance.core.documents import ErrorLimit
from onnx_conformance.core.domains import BYTES, default_domain
from onnx_conformance.core.judgement import Judgement, judge_outputs, turns_of
from onnx_conformance.core.pooled_budget import PoolRule, RowScores, pooled_scores
from onnx_conformance.core.results import CheckResult, Reproduction, failed, passed, skipped
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import Rule
from onnx_conformance.core.views import LOGARITHMS
from onnx_conformance.inputs.families import FAMILIES, InputPlan, materialise
from onnx_conformance.inputs.recipes import CONSTANT, EVERY, LARGEST_BATCH, Inputs, Recipe, entry
from onnx_conformance.inputs.sweep_plan import row_recipes, size_recipes
from onnx_conformance.run.subject import Answer, Subject

MOST_NAMED = 6  # sizes or recipes that a message names
LARGEST = 1e300  # JSON knows no infinity


@dataclass(frozen=True)
class SweptInputs:
    """One set of inputs of a sweep, native's side and the runtime's."""

    recipe: Recipe
    inputs: Inputs
    reference: Reference
    answer: Answer

    @property
    def got(self) -> Outputs:
        """The outputs of the answer, which has some; in places left open they are native's."""
        assert self.answer.outputs is not None
        return self.reference.settled(self.answer.outputs, 0.0)


@dataclass(frozen=True)
class WorstScore:
    """How far inputs are off, in shares of what is allowed, and where."""

    ratio: float
    description: str = ""


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
    return _sweep(subject, "sizes", size_recipes(subject.model, subject.seed))


@register_check(
    control="wrong_in_a_narrow_band",
    families=("rows",),
    where=lambda model: bool(row_recipes(model, 0)),
    precisions=FAITHFUL,
    localised=True,
)
def check_rows(subject: Subject) -> CheckResult:
    """Thousands of samples at several scales, and every whole number of a range once."""
    return _sweep(subject, "rows", row_recipes(subject.model, subject.seed))


def _sizes_plan(model: ModelSpec, seed: int) -> InputPlan:
    return InputPlan(sweep=tuple(materialise(r, model) for r in size_recipes(model, seed)))


def _rows_plan(model: ModelSpec, seed: int) -> InputPlan:
    return InputPlan(sweep=tuple(materialise(r, model) for r in row_recipes(model, seed)))


FAMILIES.register("sizes", _sizes_plan)
FAMILIES.register("rows", _rows_plan)


def _sweep(subject: Subject, name: str, recipes: Sequence[Recipe]) -> CheckResult:
    rule = subject.tolerances.rule("error_budget", subject.case)
    largest = rule.get("largest_scale", np.inf)  # a class of a narrow range is asked no more
    chosen = [recipe for recipe in recipes if abs(recipe.scale) <= largest]
    input_sets = [materialise(recipe, subject.model) for recipe in chosen]
    answers = subject.runs(input_sets)
    references = subject.references(input_sets)
    refused = [
        f"{sizes_text(recipe)}: {reference}"
        for recipe, reference in zip(chosen, references, strict=True)
        if isinstance(reference, str)
    ]
    judged = [
        SweptInputs(recipe, inputs, reference, answer)
        for recipe, inputs, reference, answer in zip(
            chosen, input_sets, references, answers, strict=True
        )
        if isinstance(reference, Reference)
    ]
    if not judged:
        why = refused[0] if refused else "none fits this class of precision"
        return skipped(name, f"native refuses all inputs of this check ({why})")
    no_answers = _unanswered(subject, name, judged)
    if no_answers is not None:
        return no_answers
    compared = sum(array.size for one in judged for array in one.got.values())
    if not subject.model.oracle:
        return _by_allclose(subject, name, judged, compared)
    worst, unjudged, turned = _worst(subject, judged, together=name == "sizes")
    score = rule["factor"] * max(one.ratio for one in worst)
    wrong = [place for place, one in enumerate(worst) if not one.ratio <= 1.0]
    if wrong:
        return _failed_sweep(subject, name, judged, worst, wrong, compared)
    if unjudged > subject.tolerances.rule("sweep", subject.case)["unjudged"]:
        return skipped(
            name,
            f"float32 itself errs by more than {rule['maximum_noise_floor']:g} of the output on "
            f"{unjudged:.0%} of the samples ({rule.origin}), which therefore prove nothing",
        )
    rows = sum(len(next(iter(one.inputs.values()))) for one in judged)
    part = float32_part(subject)
    exact = _sweep(part, name, [one.recipe for one in judged]) if part else None
    if exact is not None and exact.outcome == "failed":
        return exact
    reason = f"within budget on {rows} samples of {len(judged)} inputs"
    reason += f" but for {turned} in which a decision hangs on a rounding" if turned else ""
    reason += f"; native itself refuses {len(refused)} of them ({refused[0]})" if refused else ""
    return passed(name, reason, compared=compared, score=score, budget=rule["factor"])


def _unanswered(subject: Subject, name: str, judged: Sequence[SweptInputs]) -> CheckResult | None:
    """The first inputs that the session refuses, or answers in another structure."""
    problems = []
    for one in judged:
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
        name,
        f"at {_places([one for one, _ in problems], len(judged))}: {problem}",
        inputs=str(first.recipe),
        details=(*_replay_lines(subject, first.recipe), *evidence_lines(subject)),
        reproduction=reproduction.unanswered(first.inputs)
        if got is None
        else reproduction.misshapen(first.inputs, first.reference.native, got),
    )


def _by_allclose(
    subject: Subject, name: str, judged: Sequence[SweptInputs], compared: int
) -> CheckResult:
    """Without an oracle each set of inputs must be close to native.

    Of thousands of rows a few may lie otherwise where decisions hang on a float32 ulp: as many as
    ``flips``, and twice those on which native's own answers differ by it.
    """
    specs, limits = subject.model.judged, limits_for(subject)
    found = [judge_outputs(one.reference, one.got, specs, limits) for one in judged]
    parts = list(zip((one.reference for one in judged), found, strict=True))
    wrong = next((place for place, how in enumerate(found) if not how.right), None)
    sweep = subject.tolerances.rule("sweep", subject.case)
    if wrong is not None and not (name == "rows" and hangs_on_an_ulp(parts, sweep)):
        one = judged[wrong]
        return result_of(subject, name, str(one.recipe), one.inputs, found[wrong])
    reason = f"no float64 oracle: {len(judged)} inputs are close to native by allclose"
    reason += " but for decisions that hang on an ulp" * (wrong is not None)
    return passed(name, reason, compared=compared)


def hangs_on_an_ulp(parts: Sequence[tuple[Reference, Judgement]], sweep: Rule) -> bool:
    """Whether so few samples are not close as native's own answers leave open.

    Args:
        parts: the reference of each set of inputs, and what was found of the answer.
        sweep: the figures ``flips`` and ``open_share``.
    """
    if any(how.problem for _, how in parts):
        return False
    far = left_open = rows = 0
    for reference, how in parts:
        rule, others = how.limits.rule, reference.alternatives()
        near = nearest(how.native, others, how.outputs)
        far += int(rows_apart(near, how.outputs, rule["rtol"], rule["atol_rms"]).sum())
        left_open += open_rows(how.native, others, rule["rtol"], rule["atol_rms"])
        rows += len(next(iter(how.native.values())))
    few = 0 < left_open <= sweep["open_share"] * rows
    return few and far <= sweep["flips"] + 2 * left_open


# -- how far ------------------------------------------------------------------------------------


def _worst(
    subject: Subject, judged: Sequence[SweptInputs], *, together: bool
) -> tuple[list[WorstScore], float, int]:
    """The worst sample of each set of inputs.

    Returns:
        It, the share of samples of which nothing is known, and how many a rounding turned.

    The pool of errors is that of all inputs together or of each.
    """
    groups = [list(range(len(judged)))] if together else [[place] for place in range(len(judged))]
    rule = _rule(subject, strays=not together)
    pools = [
        (scores, group)
        for group in groups
        for scores in pooled_scores(
            [(judged[place].reference, judged[place].got) for place in group],
            subject.model.judged,
            rule,
        )
    ]
    turned = _turned(subject, judged, pools, together=together)
    found = [WorstScore(0.0)] * len(judged)
    judged_rows: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for scores, group in pools:
        for number, place in enumerate(group):
            rows = [row for at, row in turned if at == place]
            found[place] = max(found[place], _of_scores(scores, number, rows), key=_ratio)
        judged_rows.setdefault((scores.output, scores.norm, scores.view), []).append(
            scores.judged_rows
        )
    unjudged = 0.0
    for (_, _, view), counts in judged_rows.items():
        if view == LOGARITHMS:  # a second look at what its values are judged by
            continue
        samples = sum(count for _, count in counts)
        known = sum(count for count, _ in counts)
        unjudged = max(unjudged, 1.0 - known / samples if samples else 0.0)
    decided = _decided(subject, judged, together=together)
    worst = [max(pair, key=_ratio) for pair in zip(found, decided, strict=True)]
    return worst, unjudged, len(turned)


def _turned(
    subject: Subject, judged: Sequence[SweptInputs], pools: Pools, *, together: bool
) -> set[Row]:
    """The samples that differ because a decision hangs on a rounding; none if one is not such."""
    sweep, over = subject.tolerances.rule("sweep", subject.case), rows_over(pools)
    if not over or subject.model.by_values or not takes_quantities(subject.model):
        return set()
    if not together and open_elsewhere(pools, over, sweep["flips"]):
        return set(over)
    if len(over) > sweep["flips"]:
        return set()
    sets = [neighbours(judged[at].inputs, row, sweep["neighbour_ulp"]) for at, row in over]
    for (at, row), near in zip(over, subject.references(sets), strict=True):
        one = judged[at]
        if isinstance(near, str):
            return set()
        if not answered_nearby(one.reference, one.got, row, over[at, row], near, sweep):
            return set()
    return set(over)


def _ratio(worst: WorstScore) -> float:
    return worst.ratio


def _rule(subject: Subject, *, strays: bool = False) -> PoolRule:
    """Figures of the pooled budget. At a single size no sample may stray: there are only two."""
    budget = subject.tolerances.rule("error_budget", subject.case)
    sweep = subject.tolerances.rule("sweep", subject.case)
    return PoolRule(
        budget["factor"],
        budget["floor_ulp"],
        budget["maximum_noise_floor"],
        sweep["pool_share"],
        sweep["lone"],
        sweep["strays"] if strays else 0.0,
    )


def _of_scores(scores: RowScores, inputs: int, turned: Sequence[int]) -> WorstScore:
    ratios = scores.ratios(inputs)
    ratios[list(turned)] = 0.0
    if not ratios.size:
        return WorstScore(0.0)
    row = int(ratios.argmax())
    return WorstScore(
        float(ratios[row]),
        f"sample {row} of '{scores.output}', {scores.norm} norm of the {scores.view}: error "
        f"{scores.errors[inputs][row]:.3g} where at most "
        f"{scores.allowed[inputs][row]:.3g} is allowed, "
        f"size {scores.sizes[inputs][row]:.3g}",
    )


def takes_quantities(model: ModelSpec) -> bool:
    """Whether an input is a quantity, on which arithmetic rounds: floating numbers, pixels' bytes.

    Of token ids and categories each is looked up, and every decision on one of them counts: those
    are bytes too if not every byte may come.
    """
    return any(
        spec.floating
        or (spec.dtype in BYTES and (spec.domain.real or spec.domain == default_domain(spec.dtype)))
        for spec in model.inputs
    )


def _decided(
    subject: Subject, judged: Sequence[SweptInputs], *, together: bool
) -> list[WorstScore]:
    """Whole numbers and truth values: those that are none of native's, beyond what rounding turns.

    Of thousands of rows on floating inputs a few may fall otherwise, over all inputs: as many as
    ``flips`` and twice those that native's own ways leave open; where no input is a quantity, a
    floating number or a pixel's byte, there is nothing to round. Inputs of single sizes hold few
    samples: there as few as ``Turns`` says, and only where native leaves some open.
    """
    found = [WorstScore(0.0)] * len(judged)
    turns = turns_of(subject.tolerances, subject.case)
    may_round = takes_quantities(subject.model) and turns.flips > 0
    for spec in subject.model.judged:
        if spec.floating:
            continue
        parts = [wrong_decisions(one.reference, one.got, spec) for one in judged]
        left_open = sum(count for _, count in parts)
        total = sum(places.size for places, _ in parts)
        if together:
            allowed = 2.0 * left_open if turns.few(left_open, total) else 0.0
        else:
            allowed = turns.flips + 2 * left_open if may_round else 0.0
        wrong = sum(int(places.sum()) for places, _ in parts)
        for place, (places, _) in enumerate(parts):
            each = turns.of_size(places.size) if together else np.inf
            if places.any() and (wrong > allowed or places.sum() > each):
                description = (
                    f"'{spec.name}' differs from native in {wrong} of {total} places; at most "
                    f"{allowed:g} may differ by rounding; first at "
                    f"{[int(i) for i in np.argwhere(places)[0]]}"
                )
                found[place] = WorstScore(np.inf, description)
    return found


# -- telling ------------------------------------------------------------------------------------


def _failed_sweep(
    subject: Subject,
    name: str,
    judged: Sequence[SweptInputs],
    worst: Sequence[WorstScore],
    wrong: Sequence[int],
    compared: int,
) -> CheckResult:
    rule = subject.tolerances.rule("error_budget", subject.case)
    sweep = subject.tolerances.rule("sweep", subject.case)
    origins = "; ".join(dict.fromkeys((rule.origin, sweep.origin)))
    first = min(wrong, key=lambda place: _elements(judged[place].inputs))
    one = judged[first]
    where = _places([judged[place] for place in wrong], len(judged))
    return failed(
        name,
        f"differs from {subject.model.original} at {where}",
        compared=compared,
        score=rule["factor"] * worst[first].ratio,
        budget=rule["factor"],
        inputs=str(one.recipe),
        details=(
            worst[first].description,
            f"allowed: {rule['factor']:g}x float32's own error in the sweep ({origins})",
            *_replay_lines(subject, one.recipe),
            *evidence_lines(subject),
        ),
        reproduction=_reproduction(subject, one),
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


def _replay_lines(subject: Subject, recipe: Recipe) -> tuple[str, ...]:
    if recipe.batch > LARGEST_BATCH or recipe.distribution in CONSTANT:
        return ()
    line = f"  {entry(recipe, subject.case)}"
    return ("to replay it in every run, add to found_recipes.yaml:", line)


def _elements(inputs: Inputs) -> int:
    return sum(array.size for array in inputs.values())


def _reproduction(subject: Subject, one: SweptInputs) -> Reproduction:
    """The whole inputs with what each sample may err, relative to the oracle's size."""
    rule = _rule(subject)
    limits: list[ErrorLimit] = []
    for scores in pooled_scores([(one.reference, one.got)], subject.model.judged, rule):
        size = np.maximum(scores.sizes[0], np.finfo(np.float32).tiny)
        allowed = np.minimum(scores.allowed[0] / size, LARGEST).tolist()
        limits.append(
            {"output": scores.output, "norm": scores.norm, "view": scores.view, "allowed": allowed}
        )
    for spec in subject.model.judged:
        if not spec.floating:
            none = [0.0] * len(one.got[spec.name])
            limits.append({"output": spec.name, "norm": "max", "view": "values", "allowed": none})
    judge = reproduction.errors_judge(limits, one.reference.oracle)
    return Reproduction(one.inputs, judge, one.reference.oracle, one.got)
