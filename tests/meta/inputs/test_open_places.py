"""Padded places of which native's own precision says nothing, and those of which it does."""

import numpy as np
import pytest

from onnx_conformance.core.budget import Reference, stack
from onnx_conformance.core.domains import Mask
from onnx_conformance.core.files import TOLERANCES
from onnx_conformance.core.judgement import judge_outputs, limits_of
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.core.tolerances import load_tolerances, shipped
from onnx_conformance.inputs.padding import open_by_error
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.references import with_open_places

Y = TensorSpec("y", ("batch", "places", 4))
MODEL = ModelSpec(
    "attending",
    "torch",
    (
        TensorSpec("x", ("batch", "places", 4)),
        TensorSpec("mask", ("batch", "places"), "int64", domain=Mask(side="left")),
    ),
    (Y,),
    "a:b",
)
FACTOR = shipped("padding")["own_error"]


def attention(fill, kind):
    """Causal attention to places that are not padded; what is not seen has ``fill`` added."""

    def answer(inputs):
        x = inputs["x"].astype(kind)
        places = np.arange(x.shape[1])
        seen = (places <= places[:, None]) & (inputs["mask"][:, None] != 0)
        scores = x @ x.transpose(0, 2, 1) + np.where(seen, 0, fill).astype(kind)
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        return {"y": powers / powers.sum(-1, keepdims=True) @ x}

    return answer


@pytest.fixture
def inputs():
    x = np.random.default_rng(0).standard_normal((2, 5, 4)).astype(np.float32)
    return Inputs(x=x, mask=np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]))


def opened(inputs, fill):
    exact, native = (attention(fill, kind)(inputs) for kind in (np.float64, np.float32))
    return open_by_error(MODEL, inputs, exact, [native], FACTOR)


@pytest.mark.parametrize("fill", [-1e4, -1e9, -3e4])
def test_places_that_attend_to_nothing_are_open_where_precision_decides_them(inputs, fill):
    places = opened(inputs, fill)["y"]
    np.testing.assert_array_equal(places.any(-1), inputs["mask"] == 0)


@pytest.mark.parametrize("fill", [-50.0, float(np.finfo(np.float32).min)])
def test_places_that_native_computes_as_well_as_others_are_not_open(inputs, fill):
    assert opened(inputs, fill) == {}


def test_an_error_outside_the_padding_opens_nothing(inputs):
    exact = attention(-50.0, np.float64)(inputs)
    off = {"y": exact["y"] + 0.1 * np.arange(5)[None, :, None]}
    assert open_by_error(MODEL, inputs, exact, [off], FACTOR) == {}


def test_places_that_a_model_fills_are_judged_however_much_native_errs_there(inputs):
    seen = inputs["mask"][:, :, None] != 0
    exact = {"y": np.where(seen, inputs["x"], 1.0).astype(np.float64)}
    native = {"y": np.where(seen, inputs["x"], 1.001).astype(np.float32)}
    assert open_by_error(MODEL, inputs, exact, [native], FACTOR) == {}
    known = with_open_places(MODEL, inputs, Reference(exact, native, ()), FACTOR)
    wrong = {"y": np.where(seen, inputs["x"], 1.02).astype(np.float32)}
    limits = limits_of(load_tolerances(TOLERANCES), None, oracle=True)
    assert judge_outputs(known, native, (Y,), limits).right
    assert not judge_outputs(known, wrong, (Y,), limits).right


@pytest.mark.parametrize("place", [0, 3])
def test_what_is_left_open_excuses_itself_and_no_other_error_of_the_sample(inputs, place):
    exact, native = (attention(-1e9, kind)(inputs) for kind in (np.float64, np.float32))
    known = Reference(exact, native, ())
    judged = with_open_places(MODEL, inputs, known, FACTOR)
    got = {"y": native["y"].copy()}
    got["y"][0, place] += 0.01
    limits = limits_of(load_tolerances(TOLERANCES), None, oracle=True)
    assert judge_outputs(known, got, (Y,), limits).right  # by the open places' own error
    assert judge_outputs(judged, got, (Y,), limits).right is (place == 0)
    got["y"][0, 0] = np.nan
    assert not judge_outputs(judged, got, (Y,), limits).right


def test_samples_of_which_some_leave_places_open_can_be_joined(inputs):
    exact, native = (attention(-1e9, kind)(inputs) for kind in (np.float64, np.float32))
    judged = with_open_places(MODEL, inputs, Reference(exact, native, ()), FACTOR)
    whole = Reference(exact, {"y": exact["y"].astype(np.float32)}, ())
    got = {"y": np.concatenate([exact["y"], native["y"]])}
    settled = stack([whole, judged]).settled(got, 0.0)["y"]
    assert np.abs(settled - np.concatenate([exact["y"]] * 2)).max() < 1e-5
    assert np.abs(stack([judged, whole]).settled(got, 0.0)["y"] - settled).max() > 1e-3


def test_whole_numbers_keep_what_is_known_of_their_ties(inputs):
    exact, native = (
        {"y": attention(-1e9, kind)(inputs)["y"].argmax(-1)} for kind in (np.float64, np.float32)
    )
    native["y"][0, 0] = exact["y"][0, 0] + 1
    assert open_by_error(MODEL, inputs, exact, [native], FACTOR) == {}
