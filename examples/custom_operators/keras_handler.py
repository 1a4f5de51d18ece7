"""Keras: an operator of TensorFlow that tf2onnx does not know, written by a handler."""

import keras
import numpy as np
import tensorflow as tf
from tf2onnx.utils import make_name

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.custom_operators import custom_operators


class Surprise(keras.layers.Layer):
    """p·log(p) of the probabilities of scores; 0 where p is 0, which is what Xlogy is for."""

    def call(self, scores):
        p = tf.nn.softmax(scores)
        return tf.math.xlogy(p, p)


def xlogy(ctx, node, name, args):
    """x·log(y), and 0 where x is 0, in place of the node ``Xlogy``."""
    x, y = node.input
    zero = ctx.make_const(make_name("zero"), np.array(0, np.float32)).output[0]
    product = ctx.make_node("Mul", [x, ctx.make_node("Log", [y]).output[0]]).output[0]
    is_zero = ctx.make_node("Equal", [x, zero]).output[0]
    shapes, dtypes, outputs = node.output_shapes, node.output_dtypes, node.output
    ctx.remove_node(node.name)
    ctx.make_node(
        "Where", [is_zero, zero, product], outputs=outputs, name=name, shapes=shapes, dtypes=dtypes
    )


@register_model("surprise_net")
@custom_operators(tf2onnx={"Xlogy": xlogy})
def surprise_net():
    x = keras.Input((8,), name="x")
    scores = keras.layers.Dense(5)(x)
    return keras.Model(x, keras.layers.Dense(3)(Surprise()(scores)))
