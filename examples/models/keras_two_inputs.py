"""A functional Keras model with two inputs and two outputs: an image and numbers beside it."""

import keras
from keras import layers

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.domains import Bounded
from onnx_conformance.core.spec import TensorSpec


@register_model(
    "keras_two_inputs",
    # In the order in which the model takes them.
    inputs=[
        TensorSpec("picture", ("batch", 24, 24, 3), domain=Bounded(0, 1)),
        TensorSpec("numbers", ("batch", 5)),
    ],
)
def keras_two_inputs():
    # Fresh biases and statistics are 0: a lost one would not show. Trained models have others.
    drawn = {"bias_initializer": "random_normal"}
    norm = layers.BatchNormalization(
        beta_initializer="random_normal", moving_mean_initializer="random_normal"
    )
    picture = keras.Input((24, 24, 3), name="picture")
    numbers = keras.Input((5,), name="numbers")
    seen = norm(layers.Conv2D(8, 3, strides=2, activation="relu", **drawn)(picture))
    known = layers.Dense(8, activation="relu", **drawn)(numbers)
    both = layers.Concatenate()([layers.GlobalAveragePooling2D()(seen), known])
    price = layers.Dense(1, name="price", **drawn)(both)
    kind = layers.Dense(3, activation="softmax", name="kind", **drawn)(both)
    return keras.Model([picture, numbers], {"price": price, "kind": kind})
