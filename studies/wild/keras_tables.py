"""Keras 3 models of tables, graphs and ranking, and arithmetic on whole numbers."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from onnx_conformance import Bounded, Integers, TensorSpec, register_model

ROW = [TensorSpec("x", ("batch", 12))]


@register_model(
    "pairwise_interactions",
    inputs=[
        TensorSpec("dense", ("batch", 5)),
        TensorSpec("sparse", ("batch", 3), "int32", domain=Integers(0, 40)),
    ],
)
def pairwise_interactions():
    dense = keras.Input((5,), name="dense")
    sparse = keras.Input((3,), dtype="int32", name="sparse")
    bottom = layers.Dense(8, activation="relu", name="bottom")(dense)
    rows = [layers.Embedding(40, 8)(sparse[:, i]) for i in range(3)]
    stacked = ops.stack([bottom, *rows], axis=1)
    products = ops.matmul(stacked, ops.transpose(stacked, (0, 2, 1)))
    upper = np.flatnonzero(np.triu(np.ones((4, 4)), 1)).astype("int32")
    chosen = ops.take(ops.reshape(products, (-1, 16)), upper, axis=1)
    y = layers.Dense(8, activation="relu", name="top")(layers.Concatenate()([bottom, chosen]))
    return keras.Model([dense, sparse], layers.Dense(1, activation="sigmoid", name="score")(y))


@register_model("crossed_features", inputs=ROW)
def crossed_features():
    class Cross(layers.Layer):
        def build(self, shape):
            self.u = layers.Dense(3, use_bias=False)
            self.v = layers.Dense(shape[0][-1])
            self.u.build(shape[0])
            self.v.build((None, 3))

        def call(self, inputs):
            start, x = inputs
            return start * self.v(self.u(x)) + x

    x = keras.Input((12,))
    y = x
    for _ in range(3):
        y = Cross()([x, y])
    half = ops.square(ops.sum(y, axis=1, keepdims=True)) - ops.sum(ops.square(y), 1, keepdims=True)
    return keras.Model(x, layers.Dense(1)(y) + 0.5 * half)


@register_model("sparse_attention_table", inputs=ROW)
def sparse_attention_table():
    def sparsemax(z):
        ordered = -ops.sort(-z, axis=-1)
        sums = ops.cumsum(ordered, axis=-1)
        ranks = ops.arange(1, 13, dtype="float32")
        kept = ops.cast(1 + ranks * ordered > sums, "float32")
        count = ops.sum(kept, axis=-1, keepdims=True)
        threshold = (ops.sum(ordered * kept, axis=-1, keepdims=True) - 1) / count
        return ops.relu(z - threshold)

    x = keras.Input((12,))
    mask = layers.Lambda(sparsemax)(layers.BatchNormalization()(layers.Dense(12)(x)))
    a, b = ops.split(layers.Dense(16)(x * mask), 2, axis=-1)
    return keras.Model(x, [layers.Dense(3)(a * ops.sigmoid(b)), mask])


@register_model("ordinal_grades", inputs=ROW)
def ordinal_grades():
    x = keras.Input((12,))
    score = layers.Dense(1)(layers.Dense(16, activation="selu")(x))
    chances = ops.sigmoid(score - ops.array([-1.0, 0.0, 0.5, 1.5]))
    grade = ops.sum(ops.cast(chances > 0.5, "int32"), axis=-1)
    return keras.Model(x, {"grade": grade, "chances": chances})


@register_model("mixture_density", inputs=ROW)
def mixture_density():
    x = keras.Input((12,))
    y = layers.Dense(20, activation="tanh")(x)
    weights = layers.Dense(4, activation="softmax", name="weights")(y)
    means = layers.Reshape((4, 2), name="means")(layers.Dense(8)(y))
    spreads = layers.Lambda(lambda t: keras.activations.elu(t) + 1.0 + 1e-6)(layers.Dense(4)(y))
    likely = ops.logsumexp(ops.log(weights) - ops.log(spreads), axis=-1)
    return keras.Model(x, [weights, means, spreads, likely])


@register_model(
    "retrieved", inputs=[TensorSpec("user", ("batch",), "int32", domain=Integers(0, 30))]
)
def retrieved():
    class Index(layers.Layer):
        def build(self, shape):
            self.items = self.add_weight(shape=(50, 8), initializer="random_normal", name="items")

        def call(self, query):
            return ops.top_k(ops.matmul(query, ops.transpose(self.items)), 7)

    user = keras.Input((), dtype="int32", name="user")
    y = layers.UnitNormalization()(layers.Dense(8)(layers.Embedding(30, 8)(user)))
    scores, items = Index()(y)
    return keras.Model(user, {"items": items, "scores": scores})


@register_model(
    "dict_in_dict_out",
    inputs=[
        TensorSpec("age", ("batch", 1), domain=Bounded(18, 90)),
        TensorSpec("income", ("batch", 1), domain=Bounded(0, 9)),
        TensorSpec("city", ("batch", 1), "int64", domain=Integers(0, 7)),
        TensorSpec("tags", ("batch", 4), "int64", domain=Integers(0, 9)),
    ],
)
def dict_in_dict_out():
    inputs = {
        "income": keras.Input((1,), name="income"),
        "city": keras.Input((1,), dtype="int64", name="city"),
        "age": keras.Input((1,), name="age"),
        "tags": keras.Input((4,), dtype="int64", name="tags"),
    }
    parts = [
        layers.Rescaling(1 / 90.0)(inputs["age"]),
        ops.log(inputs["income"] + 1.0),
        layers.CategoryEncoding(7, output_mode="one_hot")(inputs["city"]),
        layers.CategoryEncoding(9, output_mode="count")(inputs["tags"]),
    ]
    y = layers.Dense(16, activation="relu")(layers.Concatenate()(parts))
    outputs = {
        "value": layers.Dense(1, activation="softplus")(y),
        "churn": layers.Dense(1, activation="sigmoid")(y),
    }
    return keras.Model(inputs, outputs)


@register_model("monotonic", inputs=ROW)
def monotonic():
    class Positive(layers.Layer):
        def __init__(self, width):
            super().__init__()
            self.width = width

        def build(self, shape):
            self.w = self.add_weight(
                shape=(shape[-1], self.width), initializer="random_normal", name="w"
            )
            self.b = self.add_weight(shape=(self.width,), initializer="random_normal", name="b")

        def call(self, x):
            return ops.matmul(x, ops.softplus(self.w)) + self.b

    x = keras.Input((12,))
    y = layers.Maximum()([Positive(6)(x), Positive(6)(x)])
    return keras.Model(x, layers.Minimum()([y[:, :3], y[:, 3:]]))


@register_model("adapted_by_lora", inputs=ROW)
def adapted_by_lora():
    first = layers.Dense(16, activation="tanh")
    model = keras.Sequential([keras.Input((12,)), first, layers.Dense(3)])
    first.enable_lora(2)
    first.lora_kernel_b.assign(0.1 * np.random.default_rng(0).standard_normal((2, 16)))
    return model


@register_model("imputed", inputs=ROW)
def imputed():
    class Imputed(layers.Layer):
        def build(self, shape):
            self.usual = self.add_weight(shape=shape[1:], initializer="random_normal", name="usual")

        def call(self, x):
            absent = ops.isnan(x)
            filled = ops.where(absent, self.usual, x)
            return ops.concatenate([filled, ops.cast(absent, "float32")], axis=-1)

    x = keras.Input((12,))
    return keras.Model(x, layers.Dense(3, activation="softsign")(Imputed()(x)))


@register_model(
    "calendar",
    inputs=[TensorSpec("seconds", ("batch", 1), "int32", domain=Integers(-100000, 4000000))],
)
def calendar():
    seconds = keras.Input((1,), dtype="int32", name="seconds")
    day = seconds // 86400
    hour = ops.cast((seconds % 86400) // 3600, "float32")
    week = layers.Embedding(7, 4)(ops.mod(day, 7))
    y = ops.concatenate([ops.sin(hour * np.pi / 12), ops.cos(hour * np.pi / 12)], axis=-1)
    y = layers.Concatenate()([y, layers.Flatten()(week)])
    return keras.Model(seconds, [layers.Dense(2)(y), day])


@register_model(
    "bits_and_codes",
    inputs=[TensorSpec("code", ("batch", 4), "int32", domain=Integers(0, 1024))],
)
def bits_and_codes():
    code = keras.Input((4,), dtype="int32", name="code")
    ones = ops.ones_like(code)
    low, high = ops.bitwise_and(code, ones * 15), ops.right_shift(code, ones * 4)
    mixed = ops.bitwise_xor(low, ops.bitwise_and(high, ones * 63))
    y = layers.Embedding(64, 3)(mixed) + layers.Embedding(16, 3)(low)
    return keras.Model(code, [layers.Dense(2)(layers.Flatten()(y)), mixed])


@register_model("kernel_machine", inputs=ROW)
def kernel_machine():
    class Kernels(layers.Layer):
        def build(self, shape):
            self.centres = self.add_weight(
                shape=(9, shape[-1]), initializer="random_normal", name="centres"
            )
            self.width = self.add_weight(shape=(9,), initializer="ones", name="width")

        def call(self, x):
            far = ops.sum(ops.square(x[:, None] - self.centres), axis=-1)
            near = ops.exp(-far * ops.abs(self.width) / 24)
            return ops.concatenate([near, ops.sqrt(ops.maximum(far, 1e-9)), ops.erf(far / 20)], -1)

    x = keras.Input((12,))
    return keras.Model(x, layers.Dense(3)(Kernels()(x)))


@register_model(
    "graph_attention",
    inputs=[
        TensorSpec("nodes", ("batch", "nodes", 6)),
        TensorSpec("edges", ("batch", "nodes", "nodes"), "int32", domain=Integers(0, 2)),
    ],
    axes={"nodes": (1, 14)},
)
def graph_attention():
    nodes = keras.Input((None, 6), name="nodes")
    edges = keras.Input((None, None), dtype="int32", name="edges")
    y = layers.Dense(8)(nodes)
    scores = layers.Dense(1)(y) + ops.transpose(layers.Dense(1)(y), (0, 2, 1))
    scores = ops.leaky_relu(scores, 0.2)
    scores = ops.where(edges > 0, scores, -1e9)
    y = ops.elu(ops.matmul(ops.softmax(scores, axis=-1), y))
    return keras.Model([nodes, edges], layers.Dense(2)(ops.mean(y, axis=1)))


@register_model(
    "fourier_features", inputs=[TensorSpec("place", ("batch", 3), domain=Bounded(-1, 1))]
)
def fourier_features():
    class Features(layers.Layer):
        def build(self, shape):
            self.b = self.add_weight(
                shape=(shape[-1], 16), initializer="random_normal", trainable=False, name="b"
            )

        def call(self, x):
            angles = 2 * np.pi * ops.matmul(x, self.b)
            return ops.concatenate([ops.sin(angles), ops.cos(angles), x], axis=-1)

    x = keras.Input((3,))
    y = layers.Dense(16, activation=lambda t: ops.sin(3.0 * t))(Features()(x))
    return keras.Model(x, layers.Dense(4, activation="sigmoid")(y))


@register_model("segments", inputs=[TensorSpec("x", ("batch", 10, 4))])
def segments():
    x = keras.Input((10, 4))
    groups = np.array([0, 0, 1, 1, 1, 2, 3, 3, 3, 3], "int32")
    y = ops.transpose(x, (1, 0, 2))
    y = layers.Lambda(lambda t: tf.math.segment_max(t, groups), output_shape=(None, 4))(y)
    y = ops.transpose(ops.reshape(y, (4, -1, 4)), (1, 0, 2))
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))


@register_model("double_precision", inputs=[TensorSpec("x", ("batch", 12), "float64")])
def double_precision():
    x = keras.Input((12,), dtype="float64", name="x")
    y = layers.Dense(16, activation="tanh", dtype="float64")(x)
    return keras.Model(x, layers.Dense(2, dtype="float64")(y))


@register_model("labels_as_text", inputs=ROW)
def labels_as_text():
    x = keras.Input((12,))
    y = layers.Dense(3, activation="softmax")(x)
    names = tf.constant(["low", "middle", "high"])
    label = layers.Lambda(
        lambda t: tf.gather(names, tf.argmax(t, axis=-1)), output_shape=(), dtype="float32"
    )(y)
    return keras.Model(x, [y, label])
