"""Other calls to which a model may give the same answers: divisions, and padding."""

from dataclasses import replace

import numpy as np
import pytest

from onnx_conformance.core.domains import Mask
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.inputs.equivalents import equivalents, joined_along
from onnx_conformance.inputs.loops import of_call
from tests.meta.core.test_carries import decoder
from tests.meta.inputs.test_loops import STREAM


def masked(side="left", axis="past+new"):
    mask = TensorSpec("mask", ("batch", axis), "int64", domain=Mask(side=side))
    seen = TensorSpec("seen", ("batch", axis, 2))
    return replace(decoder(), inputs=(*decoder().inputs, mask, seen))


def sizes(loop):
    return [call["ids"].shape[1] for call in loop.calls]


def test_one_call_takes_what_the_calls_take_in_turn():
    one = equivalents(decoder(), 0)["one_pass"]
    (whole,) = one.wanted.calls
    ids = [call["ids"] for call in one.asked.calls]
    assert np.array_equal(whole["ids"], np.concatenate(ids, axis=1))
    assert whole["past_key"].shape[2] == 0


def test_longer_calls_take_the_same_sequence_within_the_axis():
    one = equivalents(decoder(), 0)["chunks"]
    assert sum(sizes(one.asked)) == sum(sizes(one.wanted))
    assert len(one.asked.calls) < len(one.wanted.calls)
    assert max(sizes(one.asked)) <= dict(decoder().axes)["new"].high
    assert max(sizes(one.asked)[1:]) > 1
    assert ["past_key" in call for call in one.asked.calls] == [
        place == 0 for place in range(len(one.asked.calls))
    ]


def test_what_calls_answer_is_joined_along_the_sequence():
    loop = equivalents(decoder(), 0)["chunks"].wanted
    outputs = {
        of_call(name, place): np.full((3, call["ids"].shape[1], 9), place)
        for place, call in enumerate(loop.calls)
        for name in ("logits", "present_key")
    }
    joined = joined_along(decoder(), outputs, len(loop.calls))
    assert joined["logits"].shape == (3, sum(sizes(loop)), 9)
    assert (joined["present_key"] == len(loop.calls) - 1).all()


def test_a_model_that_takes_one_place_a_call_has_no_other_division():
    assert not equivalents(STREAM, 0)


def test_only_padded_places_get_other_values():
    one = equivalents(masked(), 0)["mask"]
    for padded, other in zip(one.asked.calls, one.wanted.calls, strict=True):
        gone = padded["mask"] == 0
        assert gone.any(axis=1).tolist() == [False, True, False]  # of two places, one
        assert np.array_equal(padded["mask"], other["mask"])
        assert np.array_equal(padded["seen"][~gone], other["seen"][~gone])
        assert not np.array_equal(padded["seen"][gone], other["seen"][gone])
    new = one.asked.calls[0]["ids"].shape[1]
    changed = one.asked.calls[0]["ids"] != one.wanted.calls[0]["ids"]
    assert np.array_equal(changed, one.asked.calls[0]["mask"][:, -new:] == 0)


@pytest.mark.parametrize(
    ("side", "axis", "asked"), [("right", "past+new", False), ("right", "frames", True)]
)
def test_padding_on_the_right_of_what_grows_is_not_asked_about(side, axis, asked):
    """A mask that may end in zeros anew at each call has no place that stays padded."""
    assert ("mask" in equivalents(masked(side, axis), 0)) is asked
