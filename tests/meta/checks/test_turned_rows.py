"""Which samples of a sweep may differ because a decision hangs on a rounding, and which may not."""

import numpy as np
import pytest

from onnx_conformance.checks.turned_rows import (
    NEIGHBOURS,
    answered_nearby,
    neighbours,
    open_elsewhere,
    open_in_native,
    rows_over,
)
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.pooled_budget import PoolRule, pooled_scores
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.inputs.recipes import Inputs

OUT = [TensorSpec("y", ("batch", 5))]
RULE = PoolRule(4.0, 2.0, 0.1, 0.9, 8.0)
SWEEP = {"neighbour_ulp": 8.0, "neighbour_share": 0.1}


@pytest.mark.parametrize(
    ("left_open", "otherwise", "factor", "excused"),
    [
        (20, 2, 1.0, True),
        (1, 1, 1.0, True),
        (200, 50, 1.0, True),  # as one of five draws
        (200, 51, 1.0, False),
        (0, 1, 1.0, False),  # native's own ways agree everywhere: nothing hangs on a rounding
        (1, 2, 1.0, False),
        (20, 1, 100.0, False),  # none may be further off than native's ways are
    ],
)
def test_looked_up_numbers_turn_as_natives_own_do(left_open, otherwise, factor, excused):
    rng = np.random.default_rng(0)
    oracle = rng.normal(size=(1000, 5))
    ways = [oracle * (1 + 1e-7 * rng.normal(size=oracle.shape)) for _ in range(5)]
    ways[1][:left_open] *= -1.0
    ways[4][500 : 500 + otherwise] *= 1 - 2 * factor
    reference = Reference({"y": oracle}, {"y": ways[0]}, tuple({"y": way} for way in ways[1:4]))
    pools = [(scores, [0]) for scores in pooled_scores([(reference, {"y": ways[4]})], OUT, RULE)]
    over = rows_over(pools)
    assert set(over) == {(0, 500 + place) for place in range(otherwise)}
    assert open_elsewhere(pools, over, 3.0) is excused


def quantised(x, levels=8.0):
    """What hangs on a decision: a step of a quantiser; the rest of the sample is smooth."""
    return np.concatenate([np.round(x[:, :1] * levels) / levels, np.sin(x[:, 1:])], axis=1)


EDGE = np.float32(2.5 / 8.0) * np.float32(1 + 2e-7)  # an epsilon or two from where a step turns
STEP = np.array([0.125, 0.0])


@pytest.mark.parametrize(
    ("first", "error", "excused"),
    [
        (EDGE, -STEP, True),
        (EDGE, STEP, False),  # the step on the other side
        (0.33, -STEP, False),  # no decision hangs on a rounding here
        (EDGE, np.array([0.0, 1e-4]), False),  # nor does a smooth error
        (EDGE, -0.5 * STEP, False),  # and half a step is no answer of native's
        (EDGE, np.array([np.nan, 0.0]), False),
    ],
)
def test_a_sample_may_be_what_native_answers_an_ulp_away(first, error, excused):
    inputs = Inputs(x=np.array([[0.9, 0.4], [first, 0.7]], np.float32), ids=np.array([3, 4]))
    near = neighbours(inputs, 1, SWEEP["neighbour_ulp"])
    assert np.array_equal(near["ids"], np.full(NEIGHBOURS, 4))
    moved, size = np.abs(near["x"] - inputs["x"][1]), np.abs(inputs["x"][1])
    assert 0 < moved.max() <= 9 * 2.0**-23 * size.max()
    assert (moved[1::2] <= 9 * 2.0**-23 * size).all()

    def reference(x):
        return Reference({"y": quantised(np.asarray(x, np.float64))}, {"y": quantised(x)}, ())

    asked = reference(inputs["x"])
    got = {"y": asked.oracle["y"] + np.stack([0 * STEP, error])}
    found = answered_nearby(asked, got, 1, {"y"}, reference(near["x"]), SWEEP)
    assert found is excused


def test_zeros_move_by_epsilons_of_their_sample_in_half_of_its_neighbours():
    """Sums that are equal but for rounding move by nothing else."""
    inputs = Inputs(x=np.array([[0.0, 0.0, 0.7]], np.float32))
    moved = np.abs(neighbours(inputs, 0, SWEEP["neighbour_ulp"])["x"][:, :2])
    assert (moved[::2] > 0).all()
    assert moved.max() <= 8 * 2.0**-23 * 0.7
    assert not moved[1::2].any()


@pytest.mark.parametrize(("otherwise", "excused"), [(20, True), (21, False)])
def test_ways_that_turn_the_same_samples_are_one_draw(otherwise, excused):
    """The file, another draw, may turn as many, all of them others."""
    rng = np.random.default_rng(0)
    oracle = rng.normal(size=(1000, 5))
    ways = [oracle * (1 + 1e-7 * rng.normal(size=oracle.shape)) for _ in range(5)]
    for way in ways[:4]:
        way[:20] *= -1.0
    ways[4][500 : 500 + otherwise] *= -1.0
    reference = Reference({"y": oracle}, {"y": ways[0]}, tuple({"y": way} for way in ways[1:4]))
    pools = [(scores, [0]) for scores in pooled_scores([(reference, {"y": ways[4]})], OUT, RULE)]
    assert open_in_native(pools) == {0: (20, 20.0)}
    assert open_elsewhere(pools, rows_over(pools), 3.0) is excused


@pytest.mark.parametrize(("step", "excused"), [(STEP, True), (-STEP, False), (0.5 * STEP, False)])
def test_or_what_a_replica_answers_there(step, excused):
    """Among numbers that a runtime rounds to one, replicas choose the first, as ONNX does."""
    inputs = Inputs(x=np.array([[0.33, 0.7]], np.float32))
    near = neighbours(inputs, 0, SWEEP["neighbour_ulp"])
    exact, other = quantised(np.asarray(near["x"], np.float64)), quantised(near["x"]) + STEP
    asked = Reference({"y": quantised(np.asarray(inputs["x"], np.float64))}, {}, ())
    got = {"y": asked.oracle["y"] + step}
    beside = Reference({"y": exact}, {"y": quantised(near["x"])}, ({"y": other},))
    assert answered_nearby(asked, got, 0, {"y"}, beside, SWEEP) is excused


def test_sets_of_inputs_are_excused_by_their_own_ways():
    """One in which native's ways agree has nothing of another in which they do not."""
    rng = np.random.default_rng(0)
    pools = []
    for place, left_open in enumerate((8, 0)):
        oracle = rng.normal(size=(1000, 5))
        ways = [oracle * (1 + 1e-7 * rng.normal(size=oracle.shape)) for _ in range(5)]
        ways[1][:left_open] *= -1.0
        ways[4][500:502] *= -1.0
        replicas = tuple({"y": way} for way in ways[1:4])
        reference = Reference({"y": oracle}, {"y": ways[0]}, replicas)
        pools += [(one, [place]) for one in pooled_scores([(reference, {"y": ways[4]})], OUT, RULE)]
    over = rows_over(pools)
    assert open_in_native(pools) == {0: (8, 2.0)}
    assert not open_elsewhere(pools, over, 3.0)
    assert open_elsewhere(pools, [row for row in over if row[0] == 0], 3.0)
