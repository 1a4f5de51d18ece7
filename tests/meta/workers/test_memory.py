"""Models with memory: what their names say, what is refused, and how a worker loops."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from onnx_conformance.catalog.models import Declaration
from onnx_conformance.core.domains import Bounded
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.native_request import NativeRequest
from onnx_conformance.core.spec import Axis, ModelSpec, TensorSpec
from onnx_conformance.core.worker_messages import pack, unpack
from onnx_conformance.inputs.loops import loops
from onnx_conformance.workers.native import NativeBackend
from onnx_conformance.workers.user_model.describe import _made_up, specify

X, STATE = TensorSpec("x", ("batch", 3)), TensorSpec("state", ("batch", 3))


def spec_of(function, *inputs, carries=None, axes=()):
    one = Declaration("m", lambda: function, inputs=inputs, carries=carries, axes=axes)
    return specify(one, "a:b", (), "calibrated", 0, threads=None)


def total(x, state):
    return {"mean": x.mean(1), "new_state": (state + x).astype(np.float32)}


def test_names_tell_and_the_run_says_so():
    spec = spec_of(total, X, STATE)
    assert spec.carries == (("new_state", "state"),)
    assert "its names say that it carries {'new_state': 'state'}" in spec.notes[-1]


def test_what_else_looks_like_a_state_is_told():
    def ring(x, buffer, place):
        return {"y": x, "new_buffer": buffer + x, "new_place": place}

    inputs = (X, TensorSpec("buffer", ("batch", 3)), TensorSpec("place", ("batch", 3)))
    spec = spec_of(ring, *inputs)
    assert spec.carries == (("new_buffer", "buffer"),)
    assert "and not {'new_place': 'place'}: if it does, declare all of them" in spec.notes[-1]


def test_a_registration_may_say_that_there_is_none():
    assert spec_of(total, X, STATE, carries=()).carries == ()


@pytest.mark.parametrize(
    ("function", "shape", "words"),
    [
        (total, ("batch", 3), r"output 'mean' is float32 \['batch'\] and cannot be carried"),
        (
            lambda x, state: {"mean": np.concatenate([state, state], 1), "y": x},
            ("batch", "past", 2),
            r"grows from call to call \(past becomes mean_dim_1\), and no axis says by how much",
        ),
    ],
    ids=["two shapes", "grows without an axis"],
)
def test_what_cannot_be_carried_is_refused_in_one_sentence(function, shape, words):
    inputs = (X, TensorSpec("state", shape))
    with pytest.raises(UsageError) as refused:
        spec_of(function, *inputs, carries=(("mean", "state"),))
    assert re.search(words, str(refused.value))
    assert "\n" not in str(refused.value)


def picky(x, state):
    if np.abs(state).max() > 1.0:
        raise ValueError("out of range")
    return {"y": x, "new_state": state + 2.0}


def test_a_model_that_refuses_its_own_state_has_no_memory_or_is_told_so():
    state = TensorSpec("state", ("batch", 3), domain=Bounded(-1, 1))
    assert spec_of(picky, X, state).carries == ()
    words = "refuses call 2 of 8 in a row from an empty state.*ValueError: out of range"
    with pytest.raises(UsageError, match=words):
        spec_of(picky, X, state, carries=(("new_state", "state"),))


def keyed(x, past_key):
    return {"y": x, "present_key": np.concatenate([past_key, x[:, None]], 1)}


def test_a_past_that_grows_by_one_needs_no_mask_to_say_so():
    spec = spec_of(
        keyed, X, TensorSpec("past_key", ("batch", "past", 3)), axes=(("past", Axis(0, 9)),)
    )
    assert spec.outputs[1].shape == ("batch", "past+1", 3)
    assert spec.carries == (("present_key", "past_key"),)


@pytest.mark.parametrize(
    ("initial", "rows"),
    [
        (-1e30, [-1e30, -1e30, -1e30]),
        ([1, 2, 3], [1, 2, 3]),
        (np.float64([[1, 2, 3]]), [1, 2, 3]),
        (None, [0, 0, 0]),
    ],
    ids=["a number", "one sample", "with its batch", "nothing"],
)
def test_the_first_of_several_calls_gets_the_state_that_the_spec_gives(initial, rows):
    spec = spec_of(total, X, TensorSpec("state", ("batch", 3), initial=initial))
    assert unpack(pack(spec)) == spec
    begin, used, alone = loops(spec, 0).values()
    for loop in (begin, alone):
        fed = loop.calls[0]["state"]
        np.testing.assert_array_equal(fed, np.broadcast_to(np.float32(rows), fed.shape))
    assert len(np.unique(used.calls[0]["state"])) > 3
    assert ("from the given state" in loops(spec, 0)) is (initial is not None)


def test_a_given_past_says_how_long_it_is_at_first():
    past = TensorSpec("past_key", ("batch", "past", 3), initial=np.ones((4, 3)))
    spec = spec_of(keyed, X, past, axes=(("past", Axis(0, 9)),))
    begin = loops(spec, 0)["from the given state"]
    assert begin.calls[0]["past_key"].shape == (3, 4, 3)
    assert len(begin.calls) == 6  # up to the largest past


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (TensorSpec("state", ("batch", 3), initial=[1, 2]), "has the shape [2], and one sample"),
        (TensorSpec("state", ("batch", 3), initial="zeros"), "give an array of numbers"),
        (TensorSpec("state", (3,), initial=1.0), "no output is carried to it"),
    ],
)
def test_a_first_state_that_does_not_fit_is_refused_in_one_sentence(spec, words):
    carries = () if "carried" in words else None
    with pytest.raises(UsageError) as refused:
        spec_of(total, X, spec, carries=carries)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_given_past_lies_within_its_axis():
    past = TensorSpec("past_key", ("batch", "past", 3), initial=np.ones((1, 12, 3)))
    with pytest.raises(UsageError, match="12 places along axis 'past', which has 0 to 9"):
        spec_of(keyed, X, past, axes=(("past", Axis(0, 9)),))


class Adding(NativeBackend):
    """Its state is a sum; in float64 it keeps more of it than float32 has."""

    def prepare(self, request):
        raise NotImplementedError

    def timed_call(self, form, inputs, *, request):
        raise NotImplementedError

    def run(self, request, mode, input_sets):
        kind = np.float64 if mode == "float64" else np.float32
        return [{"sum": (i["state"] + i["x"]).astype(kind)} for i in input_sets]


@pytest.mark.parametrize(("mode", "exact"), [("float32", False), ("float64", True)])
def test_each_compute_mode_goes_on_with_its_own_state(mode, exact):
    inputs = (TensorSpec("x", (1,)), TensorSpec("state", (1,)))
    sums = (TensorSpec("sum", (1,)),)
    model = ModelSpec("adding", "toy", inputs, sums, "a:b", carries=(("sum", "state"),))
    request = NativeRequest(model, "weights.npz")
    calls = [{"x": np.ones(1)} for _ in range(3)]
    calls[0]["state"] = np.full(1, 2.0**30 + 1.0)
    found = Adding().loop(request, mode, calls)
    assert len(found) == 3
    assert (float(found[-1]["sum"][0]) == 2.0**30 + 4.0) is exact


@pytest.mark.parametrize(("declared", "made_up"), [(False, ("cache.0", "new_cache.0")), (True, ())])
def test_tensors_inside_a_cache_have_names_that_nobody_promised(declared, made_up):
    inputs, outputs = (X, TensorSpec("cache.0", ("batch", 3))), ("y", "new_cache.0")
    given = {"inputs": inputs, "outputs": outputs} if declared else {}
    one = Declaration("m", lambda: None, **given)
    trial = SimpleNamespace(inputs=inputs, built=SimpleNamespace(framework="torch"))
    assert _made_up(one, trial, outputs) == made_up
    trial.built.framework = "onnx"  # a file names its own
    assert _made_up(one, trial, outputs) == ()
