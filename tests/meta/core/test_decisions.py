"""Bounds on what a quantised classifier decides: right by hand, and as sure as they say."""

import math

import numpy as np
import pytest
from scipy import stats

from onnx_conformance.core.statistics import (
    accuracy_loss,
    agreement,
    bold_flips,
    class_sqnr,
    divergence,
    margin_lost,
    sqnr,
)

SURE = 0.99
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(200, 4))


def flipped(logits, count):
    """The logits with the first ``count`` decisions changed."""
    changed = logits.copy()
    changed[:count] = np.roll(logits[:count], 1, axis=1)
    return changed


def test_agreement_is_the_exact_bound_of_a_share():
    found = agreement(LOGITS, flipped(LOGITS, 10), SURE)
    assert found.estimate == 0.95
    assert found.low == pytest.approx(stats.beta.ppf(1 - SURE, 190, 11))
    assert found.samples == 200


def test_without_a_flip_the_bound_is_that_of_none_in_n():
    none = 1 - (1 - SURE) ** (1 / 200)
    assert agreement(LOGITS, LOGITS, SURE).low == pytest.approx(1 - none)
    assert margin_lost(LOGITS, LOGITS, SURE).high == pytest.approx(none)


def test_bold_flips_count_clear_decisions_only():
    clear = np.array([[5.0, 0.0], [0.1, 0.0], [5.0, 0.0]])
    found = bold_flips(clear, clear[:, ::-1] * [[0, 1], [1, 1], [1, 1]], 0.5, SURE)
    assert found.samples == 2


def test_divergence_of_equal_distributions_is_none():
    assert divergence(LOGITS, LOGITS + 3.0, SURE).high == pytest.approx(0.0, abs=1e-12)


def test_divergence_by_hand():
    native, converted = np.log([[0.5, 0.5]] * 5), np.log([[0.9, 0.1]] * 5)
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert divergence(native, converted, SURE).estimate == pytest.approx(expected)


def test_class_sqnr_by_hand():
    """Two classes in halves differ by chance in half of the pairs; a twentieth changed."""
    native = np.tile([[0], [1]], (50, 1))
    converted = native.copy()
    converted[:5] = 1 - native[:5]
    found = class_sqnr(native, converted, SURE)
    assert found.estimate == pytest.approx(10.0)
    assert found.low < found.estimate


def test_class_sqnr_of_what_never_changes_is_all_or_nothing():
    native = np.full((10, 3), 7)
    assert class_sqnr(native, native, SURE).low == math.inf
    assert class_sqnr(native, native + (np.arange(10) == 0)[:, None], SURE).low == -math.inf


def test_sqnr_by_hand():
    signal = RNG.normal(size=(50, 8))
    found = sqnr(signal, 1.1 * signal, SURE)
    assert found.estimate == pytest.approx(20.0)
    assert found.low <= found.estimate
    assert sqnr(signal, signal, SURE).estimate == math.inf


def test_accuracy_lost_counts_both_ways():
    labels = LOGITS.argmax(axis=1)
    found = accuracy_loss(labels, LOGITS, flipped(LOGITS, 8), SURE)
    assert (found.lost, found.gained, found.estimate) == (8, 0, 0.04)
    assert found.high > found.estimate
    assert found.p_value == pytest.approx(0.5**8)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1])
def test_the_bound_of_margins_holds_as_often_as_it_says(share):
    """Of 200 draws of 150 samples the true mean is above a 95 % bound in about 10, not in 25."""
    rng, missed = np.random.default_rng(1), 0
    population = rng.normal(size=(5000, 3))
    flips = rng.random(5000) < share
    other = np.where(flips[:, np.newaxis], np.roll(population, 1, axis=1), population)
    truth = margin_lost(population, other, 0.95).estimate
    for _ in range(200):
        rows = rng.integers(5000, size=150)
        missed += margin_lost(population[rows], other[rows], 0.95).high < truth
    assert missed <= 20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: agreement(LOGITS, LOGITS[:5], SURE), "no pairs"),
        (lambda: agreement(LOGITS[:0], LOGITS[:0], SURE), "no samples"),
        (lambda: agreement(LOGITS, LOGITS * np.nan, SURE), "NaN or infinity"),
        (lambda: agreement(LOGITS, LOGITS, 1.0), "not between 0 and 1"),
        (lambda: agreement(LOGITS[:, :1], LOGITS[:, :1], SURE), "two classes or more"),
        (lambda: bold_flips(0 * LOGITS, LOGITS, 0.5, SURE), "so none is judged"),
        (lambda: sqnr(0 * LOGITS, LOGITS, SURE), "zero everywhere"),
        (lambda: accuracy_loss(np.zeros(200), LOGITS, LOGITS, SURE), "not whole numbers"),
        (lambda: accuracy_loss(np.full(200, 9), LOGITS, LOGITS, SURE), "are not all of 4 classes"),
    ],
)
def test_what_cannot_be_judged_is_reported(call, message):
    with pytest.raises(ValueError, match=message):
        call()
