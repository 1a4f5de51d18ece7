"""How Keras models of every kind are given their inputs."""

import numpy as np
import pytest

pytestmark = pytest.mark.slow

LEFT, RIGHT = np.full((2, 4), 1.0, np.float32), np.full((2, 4), 3.0, np.float32)


def functional(keras, structure):
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    return keras.Model(structure(left, right), left - 2 * right)


def subclassed(keras, call):
    return type("Written", (keras.Model,), {"call": call})()


def in_list(self, inputs):
    left, right = inputs
    return left - 2 * right


def in_dict(self, inputs):
    return inputs["left"] - 2 * inputs["right"]


def own_arguments(self, left, right, training=False, mask=None):
    return left - 2 * right


MODELS = {
    "functional, a list": lambda keras: functional(keras, lambda a, b: [a, b]),
    "functional, a dict": lambda keras: functional(keras, lambda a, b: {"left": a, "right": b}),
    "subclassed, a list": lambda keras: subclassed(keras, in_list),
    "subclassed, a dict": lambda keras: subclassed(keras, in_dict),
    "subclassed, arguments": lambda keras: subclassed(keras, own_arguments),
}


@pytest.mark.parametrize("kind", MODELS)
def test_inputs_reach_the_model_by_name_in_any_order(kind):
    keras = pytest.importorskip("keras")
    from onnx_conformance.workers.keras.calls import KerasCall

    model = MODELS[kind](keras)
    assert (np.asarray(KerasCall(model, ["left", "right"])([LEFT, RIGHT])) == -5).all()
    if kind != "subclassed, a list":  # which has no names
        assert (np.asarray(KerasCall(model, ["right", "left"])([RIGHT, LEFT])) == -5).all()


def test_what_no_way_fits_is_told_in_the_models_own_words():
    keras = pytest.importorskip("keras")
    from onnx_conformance.workers.keras.calls import KerasCall

    def broken(self, inputs):
        return inputs["up"]

    with pytest.raises(TypeError, match="list indices"):
        KerasCall(subclassed(keras, broken), ["left", "right"])([LEFT, RIGHT])
