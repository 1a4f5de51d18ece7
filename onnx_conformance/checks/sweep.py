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
from onnx_conformance.core.views import LOGARITHMS, UNMASKED
from onnx_conformance.inputs.families import FAMILIES, InputPlan, materialise
from onnx_conformance.inputs.recipes import CONSTANT, EVERY, LARGEST_BATCH, Inputs, Recipe, entry
from onnx_conformance.inputs.sweep_plan import row_recipes, size_recipes
from onnx_conformance.run.subject import Answer, Subject

MOST_NAMED = 6  # sizes or recipes that a message names
LARGEST_SCORE = 1e300  # JSON knows no infinity
SECOND_LOOKS = (LOGARITHMS, UNMASKED)  # at what is judged by its values too


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


def _sizes_plan(model: ModelSpec, seed: int) -> InputPlan:
    return InputPlan(sweep=tuple(materialise(r, model) for r in size_recipes(model, seed)))


def _rows_plan(model: ModelSpec, seed: int) -> InputPlan:
    return InputPlan(sweep=tuple(materialise(r, model) for r in row_recipes(model, seed)))


FAMILIES.register("sizes", _sizes_plan)
FAMILIES.register("rows", _rows_plan)


@dataclass(frozen=True)
class _Sweep:
    """The inputs of one of the two checks that native answers, with both sides' answers.

    Args:
        refused: what native says to the other inputs, with their sizes.
    """

    subject: Subject
    check: str
    judged: list[SweptInputs]
    refused: list[str]

    @property
    def together(self) -> bool:
        """Whether the samples of all inputs are one pool of errors: a single size has only two."""
        return self.check == "sizes"

    @property
    def budget(self) -> Rule:
        """The figures of the error budget."""
        return self.subject.tolerances.rule("error_budget", self.subject.case)

    @property
    def rule(self) -> Rule:
        """The figures of sweeps."""
        return self.subject.tolerances.rule("sweep", self.subject.case)

    @property
    def compared(self) -> int:
        """How many elements were compared."""
        return sum(array.size for one in self.judged for array in one.got.values())


def _answered(subject: Subject, check: str, recipes: Sequence[Recipe]) -> _Sweep:
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
    return _Sweep(subject, check, judged, refused)


def _judge(sweep: _Sweep) -> CheckResult:
    name, judged, refused, budget = sweep.check, sweep.judged, sweep.refused, sweep.budget
    if not judged:
        why = refused[0] if refused else "none fits this class of precision"
        return skipped(name, f"native refuses all inputs of this check ({why})")
    no_answers = _unanswered(sweep)
    if no_answers is not None:
        return no_answers
    if not sweep.subject.model.oracle:
        return _by_allclose(sweep)
    worst, unjudged, turned = _worst(sweep)
    if any(not one.ratio <= 1.0 for one in worst):
        return _over_budget(sweep, worst)
    if unjudged > sweep.rule["unjudged"]:
        return skipped(
            name,
            f"float32 itself errs by more than {budget['maximum_noise_floor']:g} of the output on "
            f"{unjudged:.0%} of the samples ({budget.origin}), which therefore prove nothing",
        )
    rows = sum(len(next(iter(one.inputs.values()))) for one in judged)
    part = float32_part(sweep.subject)
    exact = _judge(_answered(part, name, [one.recipe for one in judged])) if part else None
    if exact is not None and exact.outcome == "failed":
        return exact
    reason = f"within budget on {rows} samples of {len(judged)} inputs"
    reason += f" but for {turned} in which a decision hangs on a rounding" if turned else ""
    reason += f"; native itself refuses {len(refused)} of them ({refused[0]})" if refused else ""
    score = budget["factor"] * max(one.ratio for one in worst)
    return passed(name, reason, compared=sweep.compared, score=score, budget=budget["factor"])


def _unanswered(sweep: _Sweep) -> CheckResult | None:
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
        sweep.check,
        f"at {_places([one for one, _ in problems], len(sweep.judged))}: {problem}",
        inputs=str(first.recipe),
        details=_detail_lines(sweep, first),
        reproduction=reproduction.unanswered(first.inputs)
        if got is None
        else reproduction.misshapen(first.inputs, first.reference.native, got),
    )


def _by_allclose(sweep: _Sweep) -> CheckResult:
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
        return result_of(subject, sweep.check, str(one.recipe), one.inputs, found[wrong])
    reason = f"no float64 oracle: {len(judged)} inputs are close to native by allclose"
    reason += " but for decisions that hang on an ulp" * (wrong is not None)
    return passed(sweep.check, reason, compared=sweep.compared)


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


# -- how far the answers are off ------------------------------------------------------------------


def _worst(sweep: _Sweep) -> tuple[list[WorstScore], float, int]:
    """The worst sample of each set of inputs.

    Returns:
        It, the share of samples of which nothing is known, and how many a rounding turned.
    """
    judged, specs, rule = sweep.judged, sweep.subject.model.judged, _pool_rule(sweep)
    places = range(len(judged))
    pools = [
        (scores, group)
        for group in ([list(places)] if sweep.together else [[place] for place in places])
        for scores in pooled_scores(
            [(judged[place].reference, judged[place].got) for place in group], specs, rule
        )
    ]
    turned = _turned(sweep, pools)
    found = [WorstScore(0.0)] * len(judged)
    for scores, group in pools:
        for number, place in enumerate(group):
            rows = [row for at, row in turned if at == place]
            found[place] = max(found[place], _of_scores(scores, number, rows), key=_ratio)
    decided = _wrong_decisions(sweep)
    worst = [max(pair, key=_ratio) for pair in zip(found, decided, strict=True)]
    return worst, _unjudged(pools), len(turned)


def _unjudged(pools: Pools) -> float:
    """The share of samples of which nothing is known, in the view in which it is largest."""
    judged_rows: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for scores, _ in pools:
        if scores.view not in SECOND_LOOKS:
            key = (scores.output, scores.norm, scores.view)
            judged_rows.setdefault(key, []).append(scores.judged_rows)
    shares = []
    for counts in judged_rows.values():
        samples = sum(count for _, count in counts)
        known = sum(count for count, _ in counts)
        shares.append(1.0 - known / samples if samples else 0.0)
    return max(shares, default=0.0)


def _turned(sweep: _Sweep, pools: Pools) -> set[Row]:
    """The samples that differ because a decision hangs on a rounding; none if one is not such."""
    model, judged, rule, over = sweep.subject.model, sweep.judged, sweep.rule, rows_over(pools)
    if not over or model.by_values or not takes_quantities(model):
        return set()
    if not sweep.together and open_elsewhere(pools, over, rule["flips"]):
        return set(over)
    if len(over) > rule["flips"]:
        return set()
    sets = [neighbours(judged[at].inputs, row, rule["neighbour_ulp"]) for at, row in over]
    for (at, row), near in zip(over, sweep.subject.references(sets), strict=True):
        one = judged[at]
        if isinstance(near, str):
            return set()
        if not answered_nearby(one.reference, one.got, row, over[at, row], near, rule):
            return set()
    return set(over)


def _ratio(worst: WorstScore) -> float:
    return worst.ratio


def _pool_rule(sweep: _Sweep, *, stray: bool = True) -> PoolRule:
    """Figures of the pooled budget. At a single size no sample may stray: there are only two."""
    budget, rule = sweep.budget, sweep.rule
    return PoolRule(
        budget["factor"],
        budget["floor_ulp"],
        budget["maximum_noise_floor"],
        rule["pool_share"],
        rule["lone"],
        rule["strays"] if stray and not sweep.together else 0.0,
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


def _wrong_decisions(sweep: _Sweep) -> list[WorstScore]:
    """Whole numbers and truth values: those that are none of native's, beyond what rounding turns.

    Of thousands of rows on floating inputs a few may fall otherwise, over all inputs: as many as
    ``flips`` and twice those that native's own ways leave open; where no input is a quantity, a
    floating number or a pixel's byte, there is nothing to round. Inputs of single sizes hold few
    samples: there as few as ``Turns`` says, and only where native leaves some open.
    """
    subject, judged = sweep.subject, sweep.judged
    found = [WorstScore(0.0)] * len(judged)
    turns = turns_of(subject.tolerances, subject.case)
    may_round = takes_quantities(subject.model) and turns.flips > 0
    for spec in subject.model.judged:
        if spec.floating:
            continue
        parts = [wrong_decisions(one.reference, one.got, spec) for one in judged]
        left_open = sum(count for _, count in parts)
        total = sum(places.size for places, _ in parts)
        if sweep.together:
            allowed = 2.0 * left_open if turns.few(left_open, total) else 0.0
        else:
            allowed = turns.flips + 2 * left_open if may_round else 0.0
        wrong = sum(int(places.sum()) for places, _ in parts)
        for place, (places, _) in enumerate(parts):
            each = turns.of_size(places.size) if sweep.together else np.inf
            if places.any() and (wrong > allowed or places.sum() > each):
                description = (
                    f"'{spec.name}' differs from native in {wrong} of {total} places; at most "
                    f"{allowed:g} may differ by rounding; first at "
                    f"{[int(i) for i in np.argwhere(places)[0]]}"
                )
                found[place] = WorstScore(np.inf, description)
    return found


# -- what a failure says --------------------------------------------------------------------------


def _over_budget(sweep: _Sweep, worst: Sequence[WorstScore]) -> CheckResult:
    """The failure of the smallest of the inputs that are wrong."""
    judged, factor = sweep.judged, sweep.budget["factor"]
    wrong = [place for place, one in enumerate(worst) if not one.ratio <= 1.0]
    first = min(wrong, key=lambda place: _elements(judged[place].inputs))
    one = judged[first]
    where = _places([judged[place] for place in wrong], len(judged))
    origins = "; ".join(dict.fromkeys((sweep.budget.origin, sweep.rule.origin)))
    return failed(
        sweep.check,
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


def _detail_lines(sweep: _Sweep, one: SweptInputs) -> tuple[str, ...]:
    """How the inputs are replayed in every run, where a file can name them, and the evidence."""
    recipe, evidence = one.recipe, evidence_lines(sweep.subject)
    if recipe.batch > LARGEST_BATCH or recipe.distribution in CONSTANT:
        return evidence
    line = f"  {entry(recipe, sweep.subject.case)}"
    return ("to replay it in every run, add to found_recipes.yaml:", line, *evidence)


def _elements(inputs: Inputs) -> int:
    return sum(array.size for array in inputs.values())


def _reproduction(sweep: _Sweep, one: SweptInputs) -> Reproduction:
    """The whole inputs with what each sample may err, relative to the oracle's size."""
    specs, rule = sweep.subject.model.judged, _pool_rule(sweep, stray=False)
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
