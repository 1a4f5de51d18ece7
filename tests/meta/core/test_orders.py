"""Rows sorted by a score: where scores tie either order is right, and no other is."""

import numpy as np
import pytest

from onnx_conformance.core.padded_rows import in_order_of
from onnx_conformance.core.spec import ModelSpec, TensorSpec

MODEL = ModelSpec(
    "m",
    "torch",
    (TensorSpec("x", (4,)),),
    (TensorSpec("boxes", ("boxes_dim_0", 2)), TensorSpec("scores", ("scores_dim_0",))),
    "m:m",
    by_values=("boxes", "scores"),
)


def answer(boxes, scores):
    count = len(scores)
    return {
        "boxes": np.array([boxes], float),
        "scores": np.array([scores], float),
        "boxes (size)": np.array([[count, 2]]),
        "scores (size)": np.array([[count]]),
    }


EXACT = answer([[1, 1], [2, 2], [3, 3]], [0.9, 0.5, 0.5])


def ordered(got, exact=EXACT):
    return in_order_of(exact, [exact], got, MODEL, 4.0)


def test_rows_of_tied_scores_may_change_places():
    found = ordered(answer([[1, 1], [3, 3], [2, 2]], [0.9, 0.5, 0.5]))
    np.testing.assert_array_equal(found["boxes"], EXACT["boxes"])


@pytest.mark.parametrize(
    "boxes",
    [
        [[2, 2], [1, 1], [3, 3]],  # the first two do not tie
        [[1, 1], [2, 2], [2, 2]],  # a duplicate in the place of another
        [[1, 1], [2, 2], [9, 9]],  # a box of something else
    ],
)
def test_nothing_else_is_put_right(boxes):
    found = ordered(answer(boxes, [0.9, 0.5, 0.5]))
    assert not np.array_equal(found["boxes"], EXACT["boxes"])


def test_boxes_move_with_their_scores():
    exact = answer([[1, 1], [2, 2]], [0.5, 0.5 - 1e-9])
    found = ordered(answer([[2, 2], [1, 1]], [0.5 - 1e-9, 0.5]), exact)
    np.testing.assert_array_equal(found["boxes"], exact["boxes"])
    np.testing.assert_array_equal(found["scores"], exact["scores"])


def test_without_a_descending_score_the_order_is_the_models_own():
    exact = answer([[1, 1], [2, 2]], [0.1, 0.5])
    wrong = answer([[2, 2], [1, 1]], [0.5, 0.1])
    np.testing.assert_array_equal(ordered(wrong, exact)["boxes"], wrong["boxes"])


def test_another_count_is_left_as_it_is():
    got = {**answer([[3, 3], [2, 2], [1, 1]], [0.5, 0.5, 0.9])}
    got["boxes (size)"], got["scores (size)"] = np.array([[2, 2]]), np.array([[2]])
    np.testing.assert_array_equal(ordered(got)["boxes"], got["boxes"])


def test_samples_without_a_row_are_left_as_they_are():
    """A batch in which one image has boxes, and another none."""
    exact = {name: np.concatenate([a, 0 * a]) for name, a in EXACT.items()}
    found = in_order_of(exact, [exact], exact, MODEL, 4.0)
    np.testing.assert_array_equal(found["boxes"], exact["boxes"])
    nothing = {name: a[1:, :0] if "size" not in name else a[1:] for name, a in exact.items()}
    assert ordered(nothing, nothing)["boxes"].shape == (1, 0, 2)
