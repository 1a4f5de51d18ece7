"""Keras 3 models as people write their own: subclassed, custom layers, dicts, preprocessing."""

import keras
import tensorflow as tf
from keras import layers, ops

from onnx_conformance import Bounded, Choice, Integers, Lengths, Mask, TensorSpec, register_model

ROW = [TensorSpec("x", ("batch", 16))]
PAIR = [TensorSpec("left", ("batch", 8)), TensorSpec("right", ("batch", 8))]
IMAGE = [TensorSpec("image", ("batch", 16, 16, 3))]


class Mlp(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = layers.Dense(24, activation="relu")
        self.drop = layers.Dropout(0.5)
        self.out = layers.Dense(3)

    def call(self, x, training=False):
        return self.out(self.drop(self.hidden(x), training=training))


@register_model("subclassed", inputs=ROW)
def subclassed():
    return Mlp()


class Pair(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = layers.Dense(6), layers.Dense(6)

    def call(self, inputs):
        left, right = inputs
        return self.left(left) * self.right(right)


@register_model("subclassed_two_inputs", inputs=PAIR)
def subclassed_two_inputs():
    return Pair()


class Named(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = layers.Dense(6), layers.Dense(6)

    def call(self, inputs):
        a, b = self.left(inputs["left"]), self.right(inputs["right"])
        return {"sum": a + b, "product": a * b}


@register_model("subclassed_dict", inputs=PAIR)
def subclassed_dict():
    return Named()


class TwoArguments(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = layers.Dense(6), layers.Dense(6)

    def call(self, left, right):
        return self.a(left) - self.b(right)


@register_model("subclassed_two_arguments", inputs=PAIR)
def subclassed_two_arguments():
    return TwoArguments()


@register_model("functional_dict_inputs", inputs=[PAIR[1], PAIR[0]])
def functional_dict_inputs():
    left, right = keras.Input((8,), name="left"), keras.Input((8,), name="right")
    y = layers.Dense(4)(left) / (1.0 + ops.exp(layers.Dense(4)(right)))
    return keras.Model({"right": right, "left": left}, y)


@register_model("wide_and_deep", inputs=PAIR)
def wide_and_deep():
    wide, deep = keras.Input((8,), name="left"), keras.Input((8,), name="right")
    y = layers.Dense(12, activation="relu")(layers.Normalization(mean=0.3, variance=2.0)(deep))
    y = layers.Concatenate()([wide, layers.Dense(12, activation="relu")(y)])
    main, aux = layers.Dense(1, name="main")(y), layers.Dense(2, name="aux")(deep)
    return keras.Model([wide, deep], [main, aux])


@register_model("siamese", inputs=[TensorSpec(name, ("batch", 12, 12, 1)) for name in ("a", "b")])
def siamese():
    shared = keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            layers.Conv2D(6, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(8, activation="tanh"),
        ]
    )
    a, b = keras.Input((12, 12, 1), name="a"), keras.Input((12, 12, 1), name="b")
    x, y = shared(a), shared(b)
    distance = ops.sqrt(ops.maximum(ops.sum(ops.square(x - y), axis=1, keepdims=True), 1e-7))
    return keras.Model([a, b], layers.Dense(1, activation="sigmoid")(distance))


@register_model("autoencoder", inputs=ROW)
def autoencoder():
    encoder = keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(3)])
    decoder = keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(16)])
    x = keras.Input((16,))
    return keras.Model(x, decoder(encoder(x)))


@keras.saving.register_keras_serializable()
class Scaled(layers.Layer):
    def __init__(self, units, **kwargs) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.gain = self.add_weight(shape=(), initializer="ones", name="gain")

    def call(self, x):
        return ops.matmul(x, self.kernel) * ops.exp(self.gain)


@register_model("custom_layer", inputs=ROW)
def custom_layer():
    x = keras.Input((16,))
    return keras.Model(x, Scaled(4)(Scaled(8)(x)))


class Patches(layers.Layer):
    def call(self, images):
        found = tf.image.extract_patches(
            images, [1, 4, 4, 1], [1, 4, 4, 1], [1, 1, 1, 1], padding="VALID"
        )
        return tf.reshape(found, [-1, 16, 48])


class Positions(layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.proj, self.table = layers.Dense(12), layers.Embedding(16, 12)

    def call(self, patches):
        return self.proj(patches) + self.table(ops.arange(16))


@register_model("vision_transformer", inputs=IMAGE)
def vision_transformer():
    image = keras.Input((16, 16, 3))
    x = Positions()(Patches()(image))
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    x = x + layers.MultiHeadAttention(2, 6, dropout=0.1)(y, y)
    y = layers.Dense(24, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(x))
    x = x + layers.Dense(12)(y)
    return keras.Model(image, layers.Dense(5)(layers.Flatten()(x)))


@register_model("lambda_layers", inputs=ROW)
def lambda_layers():
    x = keras.Input((16,))
    y = layers.Lambda(lambda t: ops.clip(t, -1.0, 1.0) * 2.0)(layers.Dense(8)(x))
    y = layers.Lambda(lambda t: ops.expand_dims(t, 1))(y)
    return keras.Model(x, layers.Lambda(lambda t: t[:, 0, ::2], output_shape=(4,))(y))


@register_model("tf_while", inputs=ROW)
def tf_while():
    class Iterated(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.dense = layers.Dense(16, activation="tanh")

        def build(self, shape):
            self.dense.build(shape)

        def call(self, x):
            return ops.fori_loop(0, 3, lambda i, y: self.dense(y) + x, x)

    x = keras.Input((16,))
    return keras.Model(x, Iterated()(x))


class Branching(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.small, self.large = layers.Dense(4), layers.Dense(4)

    def build(self, shape):
        self.small.build(shape)
        self.large.build(shape)

    def call(self, x):
        return ops.cond(ops.sum(ops.abs(x)) > 20.0, lambda: self.large(x), lambda: self.small(x))


@register_model("cond_on_batch", inputs=[TensorSpec("x", (1, 16))])
def cond_on_batch():
    return Branching()


@register_model("where_and_gather", inputs=ROW)
def where_and_gather():
    x = keras.Input((16,))
    y = ops.where(x > 0, x * 2.0, ops.log1p(ops.abs(x)))
    y = ops.take(y, [3, 1, 0, 15], axis=1)
    return keras.Model(x, layers.Dense(3)(y))


@register_model("residual_gated", inputs=ROW)
def residual_gated():
    x = keras.Input((16,))
    y = x
    for _ in range(2):
        gate = layers.Dense(16, activation="sigmoid", bias_initializer="random_normal")(y)
        y = gate * layers.Dense(16, activation="relu")(y) + (1 - gate) * y
    return keras.Model(x, layers.Dense(1)(y))


@register_model(
    "tabular_mixed",
    inputs=[
        TensorSpec("age", ("batch", 1), domain=Bounded(0, 90)),
        TensorSpec("kind", ("batch", 1), "int64", domain=Integers(0, 4)),
    ],
)
def tabular_mixed():
    age = keras.Input((1,), name="age")
    kind = keras.Input((1,), dtype="int64", name="kind")
    parts = [
        layers.Normalization(mean=[40.0], variance=[300.0])(age),
        layers.CategoryEncoding(5, output_mode="one_hot")(kind),
        layers.Flatten()(layers.Embedding(5, 3)(kind)),
    ]
    y = layers.Dense(8, activation="relu")(layers.Concatenate()(parts))
    return keras.Model([age, kind], layers.Dense(1)(y))


@register_model("discretised", inputs=[TensorSpec("age", ("batch", 1), domain=Bounded(0, 90))])
def discretised():
    age = keras.Input((1,), name="age")
    y = layers.Discretization([18, 30, 45, 65])(age)
    return keras.Model(age, layers.Dense(2)(layers.Flatten()(layers.Embedding(5, 4)(y))))


@register_model(
    "integer_lookup",
    inputs=[TensorSpec("code", ("batch", 1), "int64", domain=Choice((3, 7, 9, 4)))],
)
def integer_lookup():
    code = keras.Input((1,), dtype="int64", name="code")
    y = layers.IntegerLookup(vocabulary=[3, 7, 9], output_mode="one_hot")(code)
    return keras.Model(code, layers.Dense(2)(y))


@register_model(
    "string_lookup",
    inputs=[TensorSpec("city", ("batch", 1), "str", domain=Choice(("Bern", "Oslo")))],
)
def string_lookup():
    city = keras.Input((1,), dtype="string", name="city")
    y = layers.StringLookup(vocabulary=["Bern", "Rome"], output_mode="one_hot")(city)
    return keras.Model(city, layers.Dense(2)(y))


@register_model(
    "text_vectorization",
    inputs=[TensorSpec("text", ("batch", 1), "str", domain=Choice(("good film", "bad film")))],
)
def text_vectorization():
    text = keras.Input((1,), dtype="string", name="text")
    y = layers.TextVectorization(output_sequence_length=6, vocabulary=["good", "bad"])(text)
    y = layers.GlobalAveragePooling1D()(layers.Embedding(4, 6)(y))
    return keras.Model(text, layers.Dense(1)(y))


@register_model(
    "hashed", inputs=[TensorSpec("word", ("batch", 1), "int64", domain=Integers(0, 500))]
)
def hashed():
    word = keras.Input((1,), dtype="int64", name="word")
    y = layers.Flatten()(layers.Embedding(16, 4)(layers.Hashing(16)(word)))
    return keras.Model(word, layers.Dense(2)(y))


@register_model("stateful_lstm", inputs=[TensorSpec("x", (2, 5, 6))])
def stateful_lstm():
    return keras.Sequential(
        [keras.Input(batch_shape=(2, 5, 6)), layers.LSTM(4, stateful=True), layers.Dense(2)]
    )


@register_model("mixed_float16", inputs=IMAGE)
def mixed_float16():
    policy = "mixed_float16"
    image = keras.Input((16, 16, 3))
    y = layers.Conv2D(8, 3, activation="relu", dtype=policy)(image)
    y = layers.GlobalAveragePooling2D(dtype=policy)(y)
    return keras.Model(image, layers.Dense(4, dtype="float32")(y))


@register_model("global_mixed_float16", inputs=ROW)
def global_mixed_float16():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        x = keras.Input((16,))
        y = layers.Dense(12, activation="relu")(x)
        return keras.Model(x, layers.Dense(4, activation="softmax", dtype="float32")(y))
    finally:
        keras.mixed_precision.set_global_policy("float32")


@register_model(
    "decoder_step",
    inputs=[
        TensorSpec("token", ("batch", 1), "int64", domain=Integers(0, 49)),
        TensorSpec("h", ("batch", 8)),
        TensorSpec("c", ("batch", 8)),
    ],
)
def decoder_step():
    token = keras.Input((1,), dtype="int64", name="token")
    h, c = keras.Input((8,), name="h"), keras.Input((8,), name="c")
    y = layers.Embedding(50, 8)(token)
    y, h1, c1 = layers.LSTM(8, return_state=True)(y, initial_state=[h, c])
    return keras.Model([token, h, c], [layers.Dense(50)(y), h1, c1])


@register_model(
    "transformer_with_mask",
    inputs=[
        TensorSpec("ids", ("batch", 10), "int64", domain=Integers(1, 60)),
        TensorSpec("mask", ("batch", 10), "bool", domain=Mask()),
    ],
)
def transformer_with_mask():
    ids = keras.Input((10,), dtype="int64", name="ids")
    mask = keras.Input((10,), dtype="bool", name="mask")
    x = layers.Embedding(61, 12)(ids)
    y = layers.MultiHeadAttention(2, 6)(x, x, attention_mask=ops.expand_dims(mask, 1))
    y = layers.LayerNormalization()(x + y)
    kept = ops.expand_dims(ops.cast(mask, y.dtype), -1)
    mean = ops.sum(y * kept, axis=1) / ops.maximum(ops.sum(kept, axis=1), 1.0)
    return keras.Model([ids, mask], layers.Dense(3)(mean))


@register_model(
    "lengths_to_mask",
    inputs=[
        TensorSpec("x", ("batch", "time", 6)),
        TensorSpec("n", ("batch",), "int64", domain=Lengths("time")),
    ],
    axes={"time": (1, 14)},
)
def lengths_to_mask():
    class MaskedMean(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = layers.Dense(5, activation="relu")

        def call(self, inputs):
            x, n = inputs
            mask = tf.sequence_mask(n, tf.shape(x)[1], dtype=x.dtype)[:, :, None]
            return ops.sum(self.dense(x) * mask, axis=1) / tf.cast(n[:, None], x.dtype)

    return MaskedMean()


@register_model(
    "detector_head", inputs=[TensorSpec("image", ("batch", 16, 16, 3), domain=Bounded(0, 1))]
)
def detector_head():
    image = keras.Input((16, 16, 3))
    y = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    boxes = layers.Reshape((-1, 4))(layers.Conv2D(8, 1)(y))
    scores = layers.Reshape((-1, 2))(layers.Conv2D(4, 1, activation="sigmoid")(y))
    best = ops.argmax(ops.max(scores, axis=-1), axis=-1)
    return keras.Model(image, {"boxes": boxes, "scores": scores, "best": best})


@register_model("variational", inputs=ROW)
def variational():
    class Sampling(layers.Layer):
        def call(self, inputs, training=False):
            mean, log_var = inputs
            noise = keras.random.normal(ops.shape(mean)) if training else 0.0
            return mean + ops.exp(0.5 * log_var) * noise

    x = keras.Input((16,))
    y = layers.Dense(12, activation="relu")(x)
    mean, log_var = layers.Dense(3)(y), layers.Dense(3)(y)
    z = Sampling()([mean, log_var])
    return keras.Model(x, [layers.Dense(16, activation="sigmoid")(z), mean, log_var])


@register_model("normalised_embedding_search", inputs=ROW)
def normalised_embedding_search():
    class Nearest(layers.Layer):
        def build(self, shape):
            self.codes = self.add_weight(shape=(20, shape[-1]), name="codes")

        def call(self, x):
            distance = (
                ops.sum(x**2, axis=1, keepdims=True)
                - 2 * ops.matmul(x, ops.transpose(self.codes))
                + ops.sum(self.codes**2, axis=1)
            )
            return ops.take(self.codes, ops.argmin(distance, axis=1), axis=0)

    x = keras.Input((16,))
    return keras.Model(x, layers.Dense(4)(Nearest()(layers.Dense(5)(x))))


@register_model("complex_spectrum", inputs=[TensorSpec("wave", ("batch", 64))])
def complex_spectrum():
    wave = keras.Input((64,))
    real, imaginary = ops.stft(wave, sequence_length=16, sequence_stride=8, fft_length=16)
    return keras.Model(wave, layers.Dense(3)(ops.log(real**2 + imaginary**2 + 1e-3)))
