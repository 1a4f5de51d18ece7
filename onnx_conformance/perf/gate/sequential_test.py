"""A sequential test of "ratio <= 1" against "ratio >= 1 + threshold" on paired timings.

A pair is one timing of the baseline and one of the candidate, drawn next to each other in one
session, in an order drawn at random; d = log(candidate / baseline). Were both the same function of
the machine's state, swapping the two would be as likely, whatever drifts, bursts or autocorrelation
the machine has: the sign of d is a fair coin. So the test is the sign test, and its inversion the
order-statistic interval of the median of d (``scipy.stats.quantile_test``). It asks nothing of the
noise's shape; Wilcoxon's signed ranks would ask for symmetry about a true slowdown too, and needed
more pairs where 5 to 10 % of the timings are spikes.

At each of K looks (``TimingRules.looks``) the lower bound is proved at level alpha / K and the
upper one at beta / K; the union bound makes the error rates of all looks together at most alpha and
beta. The time that a case may take can end it between two looks: that count of pairs depends on
sums of both sides, which swapping leaves alone, so it is one more look in place of those not
reached.

Simulated with 1 to 3 % of lognormal noise, 5 to 10 % of spikes by up to three times, and bursts
(tests/meta/perf/test_gate_decision.py; 3000 gates a row): identical code with a lasting bias of up
to 2 % was called slower in at most 0.1 % at a threshold of 10 %, and 0.5 % at 5 %; a slowdown that
large was found in at least 99.9 %. Ten to 33 pairs (the 95th percentile) decide at 10 %, 22 to 168
at 5 %.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import stats
from scipy.stats import quantile_test

from onnx_conformance.core.errors import ConformanceError
from onnx_conformance.perf.gate.rules import TimingRules
from onnx_conformance.perf.latency.interleave import Block

Verdict = Literal["slower", "not slower", "undecided"]
Alternative = Literal["greater", "less"]
LARGEST_LOG_RATIO = (
    300.0  # log ratios beyond it are no timings, and their exponentials might overflow
)


class UnusableTimings(ConformanceError):
    """Timings that no verdict may rest on: none, not finite, not positive, of a stuck clock."""


@dataclass(frozen=True)
class Decision:
    """The verdict on a case, and what it rests on.

    Args:
        ratio: the median of candidate / baseline.
        low: its bounds, which hold together at every look with a probability of at least
        high: 1 - alpha - beta; 0 and infinity where the pairs are too few for a bound.
        smallest_effect: the smallest ratio that these pairs would have shown to be slower, had the
            candidate been slower by it with the same scatter: 1 + bias times the lower half of the
            interval, and no less than the middle of 1 and 1 + delta. Infinite without a bound.
        reason: why it is undecided; empty otherwise.
    """

    verdict: Verdict
    ratio: float
    low: float
    high: float
    pairs: int
    smallest_effect: float
    reason: str = ""

    @property
    def power(self) -> str:
        """The smallest slowdown that these pairs would have shown, in words."""
        if math.isinf(self.smallest_effect):
            return "no slowdown could have been shown"
        return f"a slowdown of {self.smallest_effect - 1:.1%} would have been shown"

    def __str__(self) -> str:
        """The ratio with its interval: ``1.003 [0.991, 1.014]``."""
        return f"{self.ratio:.3f} [{self.low:.3f}, {self.high:.3f}]"


def next_look(rules: TimingRules, pairs: int) -> int | None:
    """How many pairs to have before the next decision; None after the last look."""
    return next((look for look in rules.looks if look > pairs), None)


def paired_log_ratios(
    rules: TimingRules, baseline: Sequence[float], candidate: Sequence[float]
) -> list[float]:
    """log(candidate / baseline) of each pair of durations, in any one unit of time.

    Raises:
        UnusableTimings: no pair, another number on either side, a duration that is not finite and
            positive, or a clock that gives the same duration again and again.
    """
    if len(baseline) != len(candidate):
        raise UnusableTimings(
            f"{len(baseline)} timings of the baseline and {len(candidate)} of the candidate make "
            "no pairs; time both sides of each"
        )
    for entry, durations in (("baseline", baseline), ("candidate", candidate)):
        for place, duration in enumerate(durations):
            if not (math.isfinite(duration) and duration > 0):
                raise UnusableTimings(
                    f"timing {place + 1} of the {entry} is {duration}, which no working clock gives"
                )
        if most := _repeats(rules, durations):
            raise UnusableTimings(
                f"{most} of {len(durations)} timings of the {entry} are equal: the clock has "
                "stopped or is too coarse; time several calls as one"
            )
    if not baseline:
        raise UnusableTimings("nothing was timed: there is no pair to judge")
    return [math.log(new) - math.log(old) for old, new in zip(baseline, candidate, strict=True)]


def decide(rules: TimingRules, log_ratios: Sequence[float]) -> Decision:
    """The verdict at a look, or when the time of the case is over.

    "Slower": the lower bound lies above 1 + bias, and the median above the middle. "Not slower":
    the upper bound lies below 1 + delta, and the median does not lie above the middle. So both
    proved at once go to the nearer one, and a lasting bias that is small against delta goes to
    neither. In between 1 and 1 + delta, either verdict is right.

    Raises:
        UnusableTimings: no log ratio, or one that is not finite.
    """
    if not len(log_ratios):
        raise UnusableTimings("nothing was timed: there is no pair to judge")
    values = np.sort(np.asarray(log_ratios, dtype=np.float64))
    if values.ndim != 1 or not (np.abs(values) <= LARGEST_LOG_RATIO).all():
        raise UnusableTimings("a pair has no finite ratio, so the clock does not work")
    pairs, looks = len(values), len(rules.looks)
    estimate = float(np.median(values))
    low = _bound(values, rules.alpha / looks, "greater")
    high = _bound(values, rules.beta / looks, "less")
    effect = max(math.log1p(rules.bias) + estimate - low, rules.middle)
    verdict, reason = _verdict(rules, values, estimate, low, high)
    return Decision(
        verdict,
        ratio=math.exp(estimate),
        low=math.exp(low),
        high=math.exp(high),
        pairs=pairs,
        smallest_effect=math.exp(effect),
        reason=reason,
    )


def _verdict(
    rules: TimingRules, values: np.ndarray, estimate: float, low: float, high: float
) -> tuple[Verdict, str]:
    pairs = len(values)
    if most := _repeats(rules, values.tolist()):
        return "undecided", (
            f"{most} of {pairs} pairs have the same ratio: the clock has stopped or is too coarse; "
            "time several calls as one"
        )
    if low > math.log1p(rules.bias) and estimate > rules.middle:
        return "slower", ""
    if high < math.log1p(rules.threshold) and estimate <= rules.middle:
        return "not slower", ""
    if math.isinf(low) or math.isinf(high):
        return "undecided", (
            f"{pairs} pairs are too few: a verdict needs {rules.looks[0]}; give the case more time"
        )
    return "undecided", (
        f"after {pairs} pairs the ratio may still be {1 + rules.bias:g} or "
        f"{1 + rules.threshold:g}; give the case more time (--gate-seconds) or a quieter machine"
    )


def _bound(ordered: np.ndarray, level: float, alternative: Alternative) -> float:
    """The exact one-sided bound of the median; infinite where the pairs are too few for one."""
    rank = _rank(len(ordered), level, alternative)
    if rank is None:
        return -math.inf if alternative == "greater" else math.inf
    return float(ordered[rank])


@lru_cache(maxsize=1024)
def _rank(pairs: int, level: float, alternative: Alternative) -> int | None:
    """Which of ``pairs`` ordered values bounds their median: it does not depend on the values."""
    tested = quantile_test(np.arange(pairs), p=0.5, alternative=alternative)
    low, high = tested.confidence_interval(confidence_level=1 - level)
    rank = low if alternative == "greater" else high
    return None if math.isnan(rank) else int(rank)


def _repeats(rules: TimingRules, values: Sequence[float]) -> int:
    """How often the commonest value stands, where that puts the clock in doubt; else 0."""
    most = max(Counter(values).values(), default=0)
    return most if most > 1 and most >= rules.repeated * len(values) else 0


TRIMMED_SHARE = 0.25  # of a block's calls, at either end: what is left is the interquartile mean


@dataclass(frozen=True)
class PairedSamples:
    """The pairs that were drawn, in seconds of a call, and the decision they came to.

    ``calls`` are the seconds of every single call, the baseline's and the candidate's.
    """

    baseline: tuple[float, ...]
    candidate: tuple[float, ...]
    decision: Decision
    seconds: float
    calls: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())


def draw(
    baseline: Sequence[Block],
    candidate: Sequence[Block],
    rules: TimingRules,
    *,
    seconds: float,
    seed: int,
) -> PairedSamples:
    """Pairs of blocks, in an order drawn anew for each pair: the test's validity rests on it.

    Args:
        baseline, candidate: the blocks of each side's processes; each pair draws one of either.
        seconds: after which no further pair is drawn.

    Raises:
        UnusableTimings: the clock gave nothing that a verdict may rest on.
    """
    rng = np.random.default_rng(seed)
    before: list[float] = []
    after: list[float] = []
    calls: tuple[list[float], list[float]] = ([], [])
    started = time.monotonic()
    while True:
        look = next_look(rules, len(before))
        while look is not None and len(before) < look and _seconds_left(started, seconds):
            old = baseline[int(rng.integers(len(baseline)))]
            new = candidate[int(rng.integers(len(candidate)))]
            _pair((old, before, calls[0]), (new, after, calls[1]), first=bool(rng.integers(2)))
        decision = decide(rules, paired_log_ratios(rules, before, after))
        over = (
            look is None
            or next_look(rules, len(before)) is None
            or not _seconds_left(started, seconds)
        )
        if decision.verdict != "undecided" or over:
            spent = time.monotonic() - started
            kept = tuple(calls[0]), tuple(calls[1])
            return PairedSamples(tuple(before), tuple(after), decision, spent, kept)


def _seconds_left(started: float, seconds: float) -> bool:
    return time.monotonic() - started < seconds


SideTimings = tuple[Block, list[float], list[float]]


def _pair(baseline: SideTimings, candidate: SideTimings, *, first: bool) -> None:
    """One block of either side: its trimmed mean, and every call of it."""
    for block, found, calls in (baseline, candidate) if first else (candidate, baseline):
        block_seconds = block.seconds()
        found.append(float(stats.trim_mean(block_seconds, TRIMMED_SHARE)))
        calls.extend(float(seconds) for seconds in block_seconds)
