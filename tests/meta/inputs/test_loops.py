"""Calls in a row: what each is fed, and under which names all are answered."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from onnx_conformance.core.domains import Mask
from onnx_conformance.core.spec import Axis, ModelSpec, TensorSpec
from onnx_conformance.inputs.batch_layout import native_layout
from onnx_conformance.inputs.loops import LEAST_CALLS, loops, of_call, without_call
from onnx_conformance.inputs.recipes import Recipe
from tests.meta.core.test_carries import decoder

STREAM = ModelSpec(
    "stream",
    "torch",
    (TensorSpec("x", ("batch", 3)), TensorSpec("h", (2, "batch", 4)), TensorSpec("rate", ())),
    (TensorSpec("y", ("batch", 1)), TensorSpec("hn", (2, "batch", 4))),
    "a:b",
    carries=(("hn", "h"),),
)


def test_a_past_begins_empty_and_grows_to_its_largest():
    first, later, *_ = loops(decoder(), 0).values()
    assert [array.shape[2] for name, array in first.items() if name.startswith("past")] == [0]
    new = [call["ids"].shape[1] for call in first.calls]
    assert new[0] == 2
    assert set(new[1:]) == {1}
    past = later["past_key (call 1)"].shape[2]
    assert past + sum(call["ids"].shape[1] for call in later.calls[:-1]) <= 8


def test_a_past_that_has_no_room_to_grow_is_fed_no_loop():
    fixed = decoder()
    object.__setattr__(fixed, "axes", (("past", Axis(8, 8)), ("new", Axis(1, 3))))
    assert not [loop for loop in loops(fixed, 0).values() if len(loop.calls) < LEAST_CALLS]
    assert not loops(fixed, 0)


def test_a_state_begins_at_zero_and_what_samples_share_stays():
    first, later, *_ = loops(STREAM, 0).values()
    assert not first["h (call 1)"].any()
    assert later["h (call 1)"].any()
    assert "h (call 2)" not in first
    rates = {call["rate"].tobytes() for call in first.calls}
    assert len(rates) == 1
    assert len({call["x"].tobytes() for call in first.calls}) == len(first.calls)


def test_one_sample_alone_is_fed_what_it_was_fed_among_others():
    first, _, alone = loops(decoder(), 0).values()
    assert len(alone.calls) < len(first.calls)
    assert all(np.array_equal(array, first[name][-1:]) for name, array in alone.items())


def test_calls_are_in_the_models_layout_and_answers_are_rows():
    loop = next(iter(loops(STREAM, 0).values()))
    (calls,) = loop.groups(native_layout(STREAM))
    assert calls[0]["h"].shape == (2, 3, 4)
    assert calls[0]["rate"].shape == ()
    answers = [{"y": np.ones((3, 1)), "hn": np.full((2, 3, 4), place)} for place in range(8)]
    rows = loop.rows(native_layout(STREAM), [answers])
    assert rows["hn (call 8)"].shape == (3, 2, 4)
    assert (rows["hn (call 8)"] == 7).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_was_padded_at_one_call_is_so_at_the_next(side):
    mask = TensorSpec("mask", ("batch", "past+new"), "int64", domain=Mask(side=side))
    model = decoder()
    found = loops(replace(model, inputs=(*model.inputs, mask)), 0)["from a state in use"]
    masks = [call["mask"] for call in found.calls]
    assert any((one == 0).any() for one in masks)
    for before, after in pairwise(masks):
        size = before.shape[-1]
        assert np.array_equal(after[:, :size], before)
        new = np.ones_like(before[:, -1:]) if side == "left" else before[:, -1:]
        assert (after[:, size:] == new).all()


def test_a_name_and_its_call():
    assert of_call("logits", 2) == "logits (call 3)"
    assert [without_call(name) for name in ("logits (call 3)", "logits")] == ["logits"] * 2


def test_a_model_without_memory_has_none():
    plain = ModelSpec("p", "torch", STREAM.inputs, STREAM.outputs, "a:b")
    assert not loops(plain, 0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_mask_is_padded_on_the_side_that_it_names(side):
    spec = TensorSpec("mask", ("batch", "past"), "int64", domain=Mask(side=side))
    axes = (("past", Axis(0, 8)),)
    drawn = Recipe("normal", batch=50, extent=1.0).inputs((spec,), axes)["mask"]
    steps = np.diff(drawn, axis=1)
    assert (drawn[:, -1 if side == "left" else 0] == 1).all()
    assert (steps >= 0).all() if side == "left" else (steps <= 0).all()
    assert steps.any()
    assert Recipe("normal", extent=0.0).inputs((spec,), axes)["mask"].shape == (1, 0)
