"""Samples of a sweep in which a decision falls otherwise by a rounding.

A position of ``topk``, a mask of what is equal or a step of a quantiser turns by a rounding, and
the floating numbers that hang on it are others then. Of thousands of samples a few do so in a right
file. They are excused by evidence alone (``flips`` and ``neighbour_ulp`` of ``sweep`` in
``tolerances.yaml``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.comparison import nearest, open_rows, rows_apart
from onnx_conformance.core.compute_modes import ULP
from onnx_conformance.core.domains import BYTES, default_domain
from onnx_conformance.core.judgement import Judgement
from onnx_conformance.core.pooled_budget import RowScores
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import Rule
from onnx_conformance.inputs.recipes import Inputs

Row = tuple[int, int]  # which set of inputs, and which of its samples
Pools = Sequence[tuple[RowScores, Sequence[int]]]  # with the sets of inputs that share a pool
NEIGHBOURS = 64


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


def rows_over(pools: Pools) -> dict[Row, set[str]]:
    """The samples that err by more than is allowed, with the outputs that do."""
    found: dict[Row, set[str]] = {}
    for scores, group in pools:
        for number, place in enumerate(group):
            for row in np.flatnonzero(scores.ratios(number) > 1.0):
                found.setdefault((place, int(row)), set()).add(scores.output)
    return found


def open_in_native(pools: Pools) -> dict[int, tuple[int, float]]:
    """In how many samples of each set of inputs native's own ways differ, where they do.

    Returns:
        By set: in how many any of them does, and in how many each of them does on average.
    """
    found: dict[int, tuple[int, float]] = {}
    for scores, group in pools:
        for place in group:
            found[place] = max(found.get(place, (0, 0.0)), (scores.left_open, scores.open_each))
    return {place: count for place, count in found.items() if count[0]}


def open_elsewhere(pools: Pools, over: Collection[Row], flips: float) -> bool:
    """Whether native's own ways differ as much in other samples of these sets, and in so many.

    The file is one more way to compute the function: it lies apart in as many samples as each of
    native's ways does. A few more may be anywhere, where native's ways differ at all.
    """
    left_open, count = open_in_native(pools), Counter(place for place, _ in over)
    for scores, group in pools:
        for number, place in enumerate(group):
            wrong = scores.ratios(number) > 1.0
            if place in count and not (scores.errors[number][wrong] <= scores.turned).all():
                return False
    more = sum(n for place, n in count.items() if n > left_open.get(place, (0, 0.0))[1])
    return more <= min(flips, sum(any_way for any_way, _ in left_open.values()))


def neighbours(inputs: Inputs, row: int, ulps: float) -> Inputs:
    """Copies of a sample whose floating numbers are off by at most so many float32 epsilons.

    They are epsilons of the number, and in half of the copies of the sample's root mean square:
    of a sample of zeros, sums that an equality decides move by nothing else.
    """
    rng = np.random.default_rng(row)

    def off(array: NDArray[np.generic]) -> NDArray[np.generic]:
        copies = np.repeat(array[row : row + 1], NEIGHBOURS, axis=0)
        if copies.dtype.kind != "f":
            return copies
        sizes = np.abs(copies)
        sizes[::2] = np.sqrt(np.mean(np.square(copies[0], dtype=np.float64)))
        moved = copies + ULP * ulps * sizes * rng.uniform(-1.0, 1.0, copies.shape)
        return moved.astype(copies.dtype)

    return Inputs((name, off(array)) for name, array in inputs.items())


def answered_nearby(
    reference: Reference, got: Outputs, row: int, names: set[str], near: Reference, sweep: Rule
) -> bool:
    """Whether native, or a replica, gives the sample's answer on inputs that are some ulps away.

    It must come so near to it in one of its answers to the neighbours: what errs smoothly, or
    where native decides nothing, stays as far as it is.

    Args:
        names: the outputs in which the sample differs.
        near: native's answers to the sample's :func:`neighbours`.
        sweep: the figure ``neighbour_share``.
    """
    for answers in (near.oracle, *near.natives):
        alike = np.ones(NEIGHBOURS, bool)
        for name in names:
            found = np.asarray(got[name][row], np.float64)
            error = _distance(reference.oracle[name][row][None], found)
            apart = _distance(answers[name], found)
            alike &= np.isfinite(apart) & (apart <= sweep["neighbour_share"] * error)
        if alike.any():
            return True
    return False


def _distance(rows: NDArray[np.generic], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest difference of each row; infinite where one is no number."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(np.asarray(rows, np.float64) - found).reshape(len(rows), -1)
    largest: NDArray[np.float64] = np.where(np.isnan(apart), np.inf, apart).max(axis=1, initial=0.0)
    return largest


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
