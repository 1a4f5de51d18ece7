"""Figures of timings: a ratio with its interval, and none where the clock gave nothing."""

import numpy as np
import pytest

from onnx_conformance.perf.latency.ratios import Ratio, paired_ratio
from onnx_conformance.perf.latency.timing_rows import CallTimes


def test_a_known_ratio():
    rng = np.random.default_rng(0)
    drift = np.linspace(1, 3, 60)  # of the machine: it hits both sides of a round
    fast = drift * rng.lognormal(0, 0.02, 60)
    slow = 1.6 * drift * rng.lognormal(0, 0.02, 60)
    found = paired_ratio(slow, fast)
    assert found.low < 1.6 < found.high
    assert found.value == pytest.approx(1.6, rel=0.02)
    assert found.high - found.low < 0.06
    assert not found.undecided


def test_the_interval_is_about_the_median_of_paired_ratios():
    found = paired_ratio(np.array([2.0, 4.0, 60.0, 4.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert found.value == 2.0
    assert 1.0 <= found.low <= 2.0 <= found.high <= 20.0


def test_an_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(40):
        found = paired_ratio(1.3 * rng.lognormal(0, 0.1, 40), rng.lognormal(0, 0.1, 40))
        held += found.low <= 1.3 <= found.high
    assert held >= 34  # of 40 at 95 %; fewer come by chance once in 1000 times


def test_the_same_timings_give_the_same_interval():
    rng = np.random.default_rng(2)
    one, other = rng.lognormal(0, 0.1, 20), rng.lognormal(0, 0.1, 20)
    assert paired_ratio(one, other) == paired_ratio(one, other)


@pytest.mark.parametrize(
    ("numerator", "denominator", "message"),
    [
        ([1.0, 2.0], [1.0], "do not pair"),
        ([], [], "at least 2"),
        ([1.0], [1.0], "at least 2"),
        ([0.0, 2.0], [1.0, 3.0], "clock does not work"),
        ([1.0, 2.0], [1.0, 0.0], "clock does not work"),
        ([-1.0, 2.0], [1.0, 3.0], "not above 0"),
        ([np.nan, 2.0], [1.0, 3.0], "not above 0"),
        ([np.inf, 2.0], [1.0, 3.0], "not above 0"),
        ([0.1] * 10, [0.1] * 10, "too coarse"),
        ([0.2, 0.4], [0.1, 0.2], "too coarse"),
    ],
)
def test_timings_that_give_no_ratio(numerator, denominator, message):
    with pytest.raises(ValueError, match=message):
        paired_ratio(np.array(numerator), np.array(denominator))


@pytest.mark.parametrize(
    ("low", "high", "undecided"),
    [(0.9, 1.1, True), (1.0, 1.2, True), (0.8, 1.0, True), (1.01, 2.0, False), (0.5, 0.9, False)],
)
def test_an_interval_that_holds_1_is_marked(low, high, undecided):
    ratio = Ratio((low + high) / 2, low, high)
    assert ratio.undecided is undecided
    assert ratio.to_json()["holds_1"] is undecided
    assert str(Ratio(1.234, 1.1, 1.4)) == "1.23 [1.10, 1.40]"


def test_the_figures_of_calls():
    seconds = np.arange(1, 101) / 1000
    found = CallTimes.of(np.random.default_rng(0).permutation(seconds), batch=4)
    assert found.calls == 100
    assert (found.min, found.max) == (0.001, 0.1)
    assert found.mean == pytest.approx(0.0505)
    assert found.stddev == pytest.approx(seconds.std(ddof=1))
    assert [found.p50, found.p95, found.p99] == pytest.approx([0.0505, 0.09505, 0.09901])
    assert found.samples_per_second == pytest.approx(4 / 0.0505)


def test_one_call_has_no_deviation():
    assert CallTimes.of(np.array([0.5]), batch=1).stddev is None
