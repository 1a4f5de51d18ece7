"""Comparing arrays: structure first, then what is not finite, then values."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnx_conformance.core.comparison import (
    allclose_mismatch,
    nonfinite_problem,
    statistics,
    structure_problem,
    ulp_distance,
)

NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)
ARRAYS = hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=4), elements=NUMBERS)


def f32(*values):
    return np.array(values, np.float32)


def ulp(first, second):
    return float(ulp_distance(f32(first), f32(second))[0])


# -- structure -------------------------------------------------------------------------------


@settings(max_examples=100)
@given(ARRAYS)
def test_nothing_is_wrong_with_an_equal_answer(array):
    expected, actual = {"output": array}, {"output": array.copy()}
    assert structure_problem(expected, actual) is None
    assert nonfinite_problem(expected, actual) is None
    assert allclose_mismatch(expected, actual, 0.0, 0.0, scale_atol=True) is None
    assert statistics(expected, actual).max_abs == 0


TEN = np.zeros(10, np.float32)


@pytest.mark.parametrize(
    ("expected", "actual", "message"),
    [
        ({"a": TEN, "b": TEN}, {"a": TEN}, "outputs are ['a'], expected ['a', 'b']"),
        ({"a": TEN}, {"a": TEN, "b": TEN}, "outputs are ['a', 'b'], expected ['a']"),
        ({"a": TEN}, {}, "outputs are [], expected ['a']"),
        ({"a": TEN}, {"b": TEN}, "outputs are ['b'], expected ['a']"),
        (
            {"a": TEN.reshape(10, 1)},
            {"a": TEN},
            "output 'a' has shape (10,), expected (10, 1)",
        ),
        ({"a": TEN[:1]}, {"a": TEN[0]}, "output 'a' has shape (), expected (1,)"),
        ({"a": TEN}, {"a": TEN[:0]}, "output 'a' has shape (0,), expected (10,)"),
        (
            {"a": TEN},
            {"a": TEN.astype(np.float64)},
            "output 'a' has dtype float64, expected float32",
        ),
        (
            {"a": TEN},
            {"a": TEN.astype(np.int32)},
            "output 'a' has dtype int32, expected float32",
        ),
        (
            {"a": TEN, "b": TEN},
            {"a": TEN, "b": TEN[:9]},
            "output 'b' has shape (9,), expected (10,)",
        ),
    ],
)
def test_other_structure_is_reported_in_a_sentence(expected, actual, message):
    assert structure_problem(expected, actual) == message


def test_order_of_outputs_does_not_matter():
    assert structure_problem({"a": TEN, "b": TEN[:1]}, {"b": TEN[:1], "a": TEN}) is None


# -- NaN and infinity ------------------------------------------------------------------------

SPECIAL = f32(1, np.nan, np.inf, -np.inf)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, np.nan, "differs in NaN at [0]: expected 1.0, got nan (1 places)"),
        (0, np.inf, "differs in +inf at [0]: expected 1.0, got inf (1 places)"),
        (1, 1, "differs in NaN at [1]: expected nan, got 1.0 (1 places)"),
        (1, np.inf, "differs in NaN at [1]: expected nan, got inf (1 places)"),
        (2, 3e38, "differs in +inf at [2]: expected inf, got 3"),
        (2, -np.inf, "differs in +inf at [2]: expected inf, got -inf (1 places)"),
        (3, 0, "differs in -inf at [3]: expected -inf, got 0.0 (1 places)"),
    ],
)
def test_what_is_not_finite_must_match_in_place_and_sign(place, value, message):
    actual = SPECIAL.copy()
    actual[place] = value
    problem = nonfinite_problem({"a": SPECIAL}, {"a": actual})
    assert problem is not None
    assert problem.startswith(f"output 'a' {message}")


def test_finite_values_are_not_its_business():
    assert nonfinite_problem({"a": SPECIAL}, {"a": SPECIAL + f32(5, 0, 0, 0)}) is None


def test_integer_outputs_are_finite():
    assert nonfinite_problem({"a": np.arange(3)}, {"a": np.arange(3)}) is None


# -- ULP -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        (1.0, 1.0, 0),
        (0.0, -0.0, 0),
        (1.0, np.nextafter(np.float32(1), np.float32(2)), 1),
        (2.0, np.nextafter(np.float32(2), np.float32(0)), 1),
        (-1.0, np.nextafter(np.float32(-1), np.float32(-2)), 1),
        (np.float32(1e-45), np.float32(-1e-45), 2),  # the smallest denormals, zero between them
        (1.0, 2.0, 2**23),
        (np.finfo(np.float32).max, np.inf, 1),
    ],
)
def test_ulp_distance_counts_the_numbers_between(first, second, distance):
    assert ulp(first, second) == ulp(second, first) == distance


@settings(max_examples=100)
@given(NUMBERS, NUMBERS)
def test_ulp_distance_is_zero_only_for_equals(first, second):
    assert (ulp(first, second) == 0) == (first == second)


@settings(max_examples=100)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_ulp_distances_add_up_along_the_line(first, second, third):
    low, middle, high = sorted((first, second, third))
    assert ulp(low, middle) + ulp(middle, high) == ulp(low, high)


# -- statistics ------------------------------------------------------------------------------


def test_statistics_of_a_known_difference():
    found = statistics({"a": f32(3, 4)}, {"a": f32(3, 5)})
    assert found.elements == 2
    assert (found.max_abs, found.mean_abs) == (1, 0.5)
    assert (found.max_rel, found.mean_rel) == (0.25, 0.125)
    assert (found.max_ulp, found.mean_ulp) == (2**21, 2**20)
    assert found.scaled == pytest.approx(1 / math.sqrt(12.5))


def test_statistics_span_all_outputs():
    found = statistics(
        {"a": f32(1), "b": np.ones((2, 2), np.float32)}, {"b": np.ones((2, 2)), "a": f32(3)}
    )
    assert (found.elements, found.max_abs) == (5, 2)


def test_statistics_leave_out_what_is_not_finite_on_either_side():
    expected, actual = {"a": f32(1, np.nan, 1, np.inf, 1)}, {"a": f32(1, 1, np.inf, np.inf, 2)}
    found = statistics(expected, actual)
    assert (found.elements, found.max_abs) == (2, 1)


@pytest.mark.parametrize("array", [np.zeros((0, 5), np.float32), f32(np.nan)])
def test_statistics_of_nothing_count_nothing(array):
    assert statistics({"a": array}, {"a": array}).elements == 0


def test_statistics_of_a_zero_reference_are_finite():
    found = statistics({"a": f32(0, 0)}, {"a": f32(0, 1e-3)})
    assert math.isfinite(found.max_rel)
    assert math.isfinite(found.scaled)


@settings(max_examples=100)
@given(
    hnp.arrays(np.float64, 4, elements=st.floats(1.0, 10.0)),
    hnp.arrays(np.float64, 4, elements=st.floats(0.1, 1.0)),
    st.integers(-20, 20),
)
def test_scaled_does_not_depend_on_the_size_of_the_outputs(array, error, exponent):
    other = array + error
    factor = 2.0**exponent
    plain = statistics({"a": array}, {"a": other}).scaled
    assert statistics({"a": array * factor}, {"a": other * factor}).scaled == pytest.approx(plain)


# -- allclose --------------------------------------------------------------------------------


@settings(max_examples=100)
@given(ARRAYS, st.sampled_from([0.0, 1e-5, 1e-3]), st.sampled_from([0.0, 1e-5, 1.0]), st.data())
def test_plain_allclose_is_numpys(array, rtol, atol, data):
    noise = data.draw(hnp.arrays(np.float64, array.shape, elements=st.floats(-1e-3, 1e-3)))
    other = array * (1 + noise)
    mismatch = allclose_mismatch({"a": array}, {"a": other}, rtol, atol, scale_atol=False)
    expected = array.astype(np.float64)
    excess = np.abs(other - expected) - (atol + rtol * np.abs(expected))
    assume(not np.any((np.abs(excess) < 1e-12 * np.abs(expected)) & (excess != 0)))  # rounding
    assert (mismatch is None) == np.allclose(other, expected, rtol=rtol, atol=atol)


def test_mismatch_names_count_and_the_worst_element():
    expected = {"good": f32(1), "bad": np.ones((2, 3), np.float32)}
    actual = {"good": f32(1), "bad": np.ones((2, 3), np.float32)}
    actual["bad"][0, 1], actual["bad"][1, 2] = 1.5, 3.0
    found = allclose_mismatch(expected, actual, 1e-3, 1e-3, scale_atol=True)
    assert (found.output, found.count, found.elements) == ("bad", 2, 6)
    assert (found.index, found.expected, found.got) == ((1, 2), 1.0, 3.0)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_atol_counts_in_units_of_the_outputs_size(scale):
    expected = {"a": scale * f32(0, 1, -1)}
    near, far = ({"a": expected["a"] + scale * f32(step, 0, 0)} for step in (0.5e-3, 2e-3))
    assert allclose_mismatch(expected, near, 0.0, 1e-3, scale_atol=True) is None
    assert allclose_mismatch(expected, far, 0.0, 1e-3, scale_atol=True).index == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("scale_atol", [True, False])
def test_what_is_not_finite_is_close_to_the_same_alone(value, scale_atol):
    def mismatch(expected, actual):
        return allclose_mismatch({"a": expected}, {"a": actual}, 1.0, 1.0, scale_atol=scale_atol)

    assert mismatch(f32(1, 1), f32(1, value)).index == (1,)
    assert mismatch(f32(1, value), f32(1, 1)) is not None
    assert mismatch(f32(1, value), f32(1, value)) is None
    assert mismatch(f32(1, value), f32(5, value)).index == (0,)
    assert mismatch(f32(1, np.inf), f32(1, -np.inf)) is not None
