"""What a model carries from call to call: read from names, and refused in one sentence."""

import re

import pytest

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.carries import (
    carry_problem,
    growth,
    inferred_carries,
    next_sizes,
)
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import Axis, ModelSpec, TensorSpec
from onnx_conformance.core.worker_messages import pack, unpack

STATE = ("batch", 4)
CACHE, GROWN = ("batch", 2, "past", 4), ("batch", 2, "past+new", 4)
IDS = TensorSpec("ids", ("batch", "new"))


def specs(*names, shape=STATE):
    return tuple(TensorSpec(name, shape) for name in names)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("state", "stateN"),
        ("state", "state_out"),
        ("state_in", "new_state"),
        ("h", "hn"),
        ("h0", "hn"),
        ("c_0", "c_n"),
        ("past_key", "present_key"),
        ("past_key_values.0.key", "present.0.key"),
        ("past_key_values.11.decoder.value", "present.11.decoder.value"),
        ("past_key_0", "present_key_0"),
        ("cache_in", "cache_out"),
        ("conv_state", "conv_state_out"),
        ("buffer", "new_buffer"),
        ("context", "context_out"),
    ],
)
def test_names_that_pair_up_tell(old, new):
    found = inferred_carries(specs("x", old), specs("y", new))
    assert found == ((new, old),)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("image", "image_out"),
        ("audio_in", "audio_out"),
        ("x", "y"),
        ("past_key", "present_value"),
        ("past_key_values.0.key", "present.1.key"),
        ("h", "c_n"),
    ],
)
def test_other_names_do_not(old, new):
    assert inferred_carries(specs(old), specs(new)) == ()


def test_names_of_unlike_shapes_do_not():
    assert inferred_carries(specs("state"), specs("stateN", shape=("batch", 5))) == ()


def test_two_outputs_of_one_name_do_not():
    assert inferred_carries(specs("state"), specs("stateN", "new_state")) == ()


@pytest.mark.parametrize(
    ("taken", "given", "words"),
    [
        (specs("state"), specs("other"), "carries names output 'new'; there are: other"),
        (specs("x"), specs("new"), "carries names input 'state'; there are: x"),
        (
            specs("state"),
            specs("new", shape=("batch", 5)),
            r"output 'new' is float32 \['batch', 5\] and cannot be carried to input 'state'",
        ),
        (specs("state"), (TensorSpec("new", STATE, "float64"),), "'new' is float64"),
        (
            specs("state", shape=("batch", "past", 4)),
            specs("new", shape=("batch", "new_dim_1", 4)),
            r"grows from call to call \(past becomes new_dim_1\), and no axis says by how much",
        ),
    ],
)
def test_what_cannot_be_carried_is_told_in_one_sentence(taken, given, words):
    problem = carry_problem(taken, given, (("new", "state"),))
    assert re.search(words, problem), problem


def test_a_whole_registration_is_refused_at_once():
    register = register_model(
        "m",
        framework="torch",
        inputs=specs("state"),
        outputs=specs("new"),
        carries={"mew": "state"},
    )
    with pytest.raises(UsageError, match="model 'm': carries names output 'mew'; there are: new"):
        register(lambda: None)


def decoder(**changes):
    inputs = (IDS, TensorSpec("past_key", CACHE))
    outputs = (TensorSpec("logits", ("batch", "new", 9)), TensorSpec("present_key", GROWN))
    axes = (("past", Axis(0, 8)), ("new", Axis(1, 3)))
    carries = (("present_key", "past_key"),)
    return ModelSpec("d", "torch", inputs, outputs, "a:b", axes=axes, carries=carries, **changes)


def test_a_past_grows_by_what_is_new():
    assert growth(decoder()) == {"past": "past+new"}
    assert next_sizes(decoder(), {"past": 4, "new": 3}) == {"past": 7, "new": 3}


def test_what_is_carried_survives_the_way_between_processes():
    assert unpack(pack(decoder())) == decoder()
