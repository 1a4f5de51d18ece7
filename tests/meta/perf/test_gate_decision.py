"""The gate's sequential test: error rates on simulated noise, and no verdict without timings."""

import math

import numpy as np
import pytest

from onnx_conformance.core.errors import UsageError
from onnx_conformance.perf.gate.rules import load_rules
from onnx_conformance.perf.gate.sequential_test import (
    UnusableTimings,
    decide,
    next_look,
    paired_log_ratios,
)

TIMING = load_rules().timing
GATES = 1000
QUIET = {"sigma": 0.01, "spikes": 0.05, "most": 0.5}
LOUD = {"sigma": 0.03, "spikes": 0.10, "most": 2.0}


def log_durations(rng, pairs, sigma, spikes, most):
    """Both sides of each pair: lognormal, spikes on either side, bursts that hit both."""
    noise = rng.normal(0, sigma, (2, pairs))
    spiked = rng.random((2, pairs)) < spikes
    noise += spiked * np.log1p(rng.uniform(0.2, most, (2, pairs)))
    burst = np.zeros(pairs)
    for start in np.flatnonzero(rng.random(pairs) < 0.05):
        burst[start : start + rng.integers(3, 12)] = rng.uniform(0.1, 1.0)
    return noise + burst


def gate(plan, rng, ratio, noise):
    old, new = log_durations(rng, plan.looks[-1], **noise)
    ratios = new - old + math.log(ratio)
    pairs = 0
    while (look := next_look(plan, pairs)) is not None:
        pairs = look
        decision = decide(plan, ratios[:pairs])
        if decision.verdict != "undecided":
            break
    return decision


def gates(delta, ratio, noise, number=GATES):
    rng = np.random.default_rng(20)
    plan = TIMING.with_threshold(delta)
    return [gate(plan, rng, ratio, noise) for _ in range(number)]


def share(decisions, verdict):
    return sum(decision.verdict == verdict for decision in decisions) / len(decisions)


@pytest.mark.parametrize("noise", [QUIET, LOUD], ids=["quiet", "loud"])
@pytest.mark.parametrize(
    ("delta", "bias", "allowed"),
    [(0.1, 0.0, 0.003), (0.1, 0.02, 0.003), (0.05, 0.0, 0.003), (0.05, 0.01, 0.003),
     (0.05, 0.02, 0.01)],
)  # fmt: skip
def test_identical_code_is_seldom_called_slower(delta, bias, allowed, noise):
    found = gates(delta, 1 + bias, noise)
    assert share(found, "slower") <= allowed
    assert share(found, "not slower") >= 0.95


@pytest.mark.parametrize("noise", [QUIET, LOUD], ids=["quiet", "loud"])
@pytest.mark.parametrize(("delta", "power"), [(0.1, 0.99), (0.05, 0.98)])
def test_the_smallest_slowdown_to_catch_is_caught(delta, power, noise):
    found = gates(delta, 1 + delta, noise)
    assert share(found, "slower") >= power
    assert share(found, "not slower") <= TIMING.beta


def test_few_pairs_decide():
    pairs = [decision.pairs for decision in gates(0.1, 1.0, LOUD)]
    assert np.median(pairs) <= 22
    assert np.quantile(pairs, 0.95) <= 50


def test_the_interval_holds_the_true_ratio_at_every_look():
    found = gates(0.1, 1.05, LOUD)
    missed = sum(not decision.low <= 1.05 <= decision.high for decision in found)
    assert missed <= (TIMING.alpha + TIMING.beta) * len(found)


def test_the_smallest_effect_would_have_been_proved():
    rng = np.random.default_rng(1)
    plan = TIMING.with_threshold(0.1)
    old, new = log_durations(rng, 50, **LOUD)
    seen = decide(plan, new - old)
    shift = math.log(seen.smallest_effect) - math.log(seen.ratio)
    assert decide(plan, new - old + shift + 1e-9).verdict == "slower"
    assert decide(plan, new - old + shift - 1e-6).verdict != "slower"


def test_both_proved_go_to_the_nearer():
    plan = TIMING.with_threshold(0.2)
    spread = np.linspace(-0.001, 0.001, 50)
    assert decide(plan, spread + math.log(1.08)).verdict == "not slower"
    assert decide(plan, spread + math.log(1.12)).verdict == "slower"


def test_too_few_pairs_decide_nothing():
    plan = TIMING
    few = decide(plan, np.linspace(0.5, 0.6, plan.looks[0] - 1))
    assert few.verdict == "undecided"
    assert "too few" in few.reason
    assert few.low == 0
    assert math.isinf(few.smallest_effect)
    assert decide(plan, np.linspace(0.5, 0.6, plan.looks[0])).verdict == "slower"


def test_what_lies_between_is_undecided_with_a_reason():
    found = decide(TIMING, np.linspace(-0.2, 0.3, 50))
    assert found.verdict == "undecided"
    assert "may still be" in found.reason


@pytest.mark.parametrize("ratio", [0.0, 0.5, -0.5])
def test_a_clock_that_repeats_itself_decides_nothing(ratio):
    found = decide(TIMING, [ratio] * 30 + [0.01, 0.02])
    assert found.verdict == "undecided"
    assert "same ratio" in found.reason


@pytest.mark.parametrize(
    "ratios", [[], [0.0, math.nan], [0.1, math.inf], [-math.inf, 0.0], [0.0, 1e4]]
)
def test_no_verdict_on_ratios_that_are_none(ratios):
    with pytest.raises(UnusableTimings):
        decide(TIMING, ratios)


@pytest.mark.parametrize(
    ("baseline", "candidate", "message"),
    [
        ([], [], "nothing was timed"),
        ([1.0], [1.0, 2.0], "make no pairs"),
        ([1.0, 0.0], [1.0, 2.0], "timing 2 of the baseline is 0.0"),
        ([1.0, 2.0], [-1.0, 2.0], "timing 1 of the candidate is -1.0"),
        ([1.0, 2.0], [math.nan, 2.0], "timing 1 of the candidate is nan"),
        ([1.0, math.inf], [1.0, 2.0], "timing 2 of the baseline is inf"),
        ([1.0, 2.0, 3.0], [1.0, 1.0, 1.0], "3 of 3 timings of the candidate are equal"),
        ([1.0, 2.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0], "2 of 4 timings of the baseline are equal"),
    ],
)
def test_timings_that_are_none(baseline, candidate, message):
    with pytest.raises(UnusableTimings, match=message):
        paired_log_ratios(TIMING, baseline, candidate)


def test_ratios_of_timings():
    found = paired_log_ratios(TIMING, [1.0, 2.0, 4.0], [2.0, 1.0, 5.0])
    assert np.exp(found) == pytest.approx([2.0, 0.5, 1.25])


def test_looks_end():
    plan = TIMING
    assert next_look(plan, 0) == plan.looks[0]
    assert next_look(plan, plan.looks[0]) == plan.looks[1]
    assert next_look(plan, plan.looks[-1]) is None


@pytest.mark.parametrize("threshold", [0.0, -0.1, 10.0, math.nan, 0.039])
def test_thresholds_without_known_error_rates_are_refused(threshold):
    with pytest.raises(UsageError, match="--gate-threshold"):
        TIMING.with_threshold(threshold)
