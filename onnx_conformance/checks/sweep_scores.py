"""How far the answers to a sweep's inputs are off, in shares of what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx_conformance.checks.turned_rows import (
    Pools,
    Row,
    answered_nearby,
    neighbours,
    open_elsewhere,
    open_in_native,
    rows_over,
    takes_quantities,
)
from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.budget import Reference, wrong_decisions
from onnx_conformance.core.judgement import turns_of
from onnx_conformance.core.pooled_budget import PoolRule, RowScores, pooled_scores
from onnx_conformance.core.tolerances import Rule
from onnx_conformance.core.views import LOGARITHMS, UNMASKED
from onnx_conformance.inputs.recipes import Inputs, Recipe
from onnx_conformance.run.subject import Answer, Subject

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


@dataclass(frozen=True)
class Sweep:
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


def worst_scores(sweep: Sweep) -> tuple[list[WorstScore], float, int]:
    """The worst sample of each set of inputs.

    Returns:
        It, the share of samples of which nothing is known, and how many a rounding turned.
    """
    judged, specs, rule = sweep.judged, sweep.subject.model.judged, pool_rule(sweep)
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


def _turned(sweep: Sweep, pools: Pools) -> set[Row]:
    """The samples that differ because a decision hangs on a rounding; none if one is not such."""
    model, judged, rule, over = sweep.subject.model, sweep.judged, sweep.rule, rows_over(pools)
    if not over or model.by_values or not takes_quantities(model):
        return set()
    own = {} if sweep.together else open_in_native(pools)
    shared, lone = ({row for row in over if (row[0] in own) is known} for known in (True, False))
    if not open_elsewhere(pools, shared, rule["flips"] - len(lone)):
        lone |= shared
    if len(lone) > rule["flips"]:
        return set()
    order = sorted(lone)
    sets = [neighbours(judged[at].inputs, row, rule["neighbour_ulp"]) for at, row in order]
    for (at, row), near in zip(order, sweep.subject.references(sets), strict=True):
        one = judged[at]
        if isinstance(near, str):
            return set()
        if not answered_nearby(one.reference, one.got, row, over[at, row], near, rule):
            return set()
    return set(over)


def _ratio(worst: WorstScore) -> float:
    return worst.ratio


def pool_rule(sweep: Sweep, *, stray: bool = True) -> PoolRule:
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


def _wrong_decisions(sweep: Sweep) -> list[WorstScore]:
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
