"""Positions among numbers that tie: either is right, and no other."""

import numpy as np
import pytest

from onnx_conformance.core.budget import Reference, stack, worst_score
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.core.ties import CANDIDATES, LAYOUT, answered, choices_in, layout

ULP = 2.0**-23
NUMBERS = np.array([[1.0, 3.0, 3.0, 2.0], [4.0, 0.0, 1.0, 1.0 + ULP / 4]])
TOP2 = np.array([[1, 2], [0, 3]])


def choice(positions, axis=1, ranked=True, numbers=NUMBERS, off=0.0):
    """What a worker says of positions, in float64 and in float32's only other way."""
    key, where = f"where{CANDIDATES}", f"where{LAYOUT}"
    row = {"where": positions, key: numbers, where: layout(axis, ranked, positions.shape)}
    return row, choices_in(row, [{**row, key: numbers + off}])["where"]


@pytest.mark.parametrize(
    ("got", "right"),
    [
        ([[2, 1], [0, 3]], [[1, 2], [0, 3]]),  # equal numbers, the other way round
        ([[1, 2], [0, 2]], [[1, 2], [0, 3]]),  # within float32's own error
        ([[1, 3], [0, 3]], [[1, 3], [0, 3]]),  # another number
        ([[1, 1], [0, 3]], [[1, 1], [0, 3]]),  # one position twice
        ([[1, 4], [0, 3]], [[1, 4], [0, 3]]),  # no position
        ([[1, 2], [3, 0]], [[1, 2], [3, 0]]),  # not in order
    ],
)
def test_positions_are_settled_by_the_numbers_that_they_choose(got, right):
    _, found = choice(TOP2)
    assert found.settled(TOP2, np.array(got), 8.0).tolist() == right


def test_unranked_positions_may_stand_in_any_order():
    _, found = choice(TOP2, ranked=False)
    assert found.settled(TOP2, np.array([[1, 2], [3, 0]]), 8.0).tolist() == TOP2.tolist()


def test_positions_whose_axis_is_gone_and_other_dtypes():
    first = np.array([1, 0])
    _, found = choice(first, axis=None)
    settled = found.settled(first, np.array([2, 0], np.int32), 8.0)
    assert (settled.dtype, settled.tolist()) == (np.int32, [1, 0])
    assert found.settled(first, np.array([3, 0]), 8.0).tolist() == [3, 0]


def test_float32s_error_in_the_numbers_widens_a_tie():
    numbers = np.array([[1.0, 1.001]])
    last = np.array([[1]])
    for off, right in ((1e-3, 1), (0.0, 0)):
        _, found = choice(last, numbers=numbers, off=off)
        assert found.settled(last, np.array([[0]]), 8.0).tolist() == [[right]]


def test_the_budget_sees_settled_positions_and_still_finds_wrong_ones():
    row, found = choice(TOP2)
    outputs = (TensorSpec("where", ("batch", 2), "int64"),)
    whole = Reference(answered(row), answered(row), (), choices={"where": found})
    for reference in (whole, stack([whole, whole]).chosen(slice(2, 4))):
        for got, right in (([[2, 1], [0, 3]], True), ([[2, 1], [1, 3]], False)):
            answer = reference.settled({"where": np.array(got)}, 8.0)
            assert (worst_score(reference, answer, outputs, 2.0).value == 0.0) == right


def test_what_an_engine_adds_is_no_output():
    row, _ = choice(TOP2)
    assert list(answered(row)) == ["where"]
