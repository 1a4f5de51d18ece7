"""Keras 3 models as applications deploy them: shared parts, loops, images, text and tables."""

import keras
import tensorflow as tf
from keras import layers, ops

from onnx_conformance import Bounded, Integers, Mask, TensorSpec, register_model

ROW = [TensorSpec("x", ("batch", 16))]
IMAGE = [TensorSpec("image", ("batch", 16, 16, 3), domain=Bounded(0, 1))]
SERIES = [TensorSpec("x", ("batch", 8, 6))]
IDS = TensorSpec("ids", ("batch", 9), "int32", domain=Integers(0, 50))


@register_model(
    "shared_towers",
    inputs=[
        TensorSpec(n, ("batch", 9), "int32", domain=Integers(0, 50)) for n in ("left", "right")
    ],
)
def shared_towers():
    left, right = (keras.Input((9,), dtype="int32", name=n) for n in ("left", "right"))
    table, pool = layers.Embedding(50, 8), layers.GlobalAveragePooling1D()
    tower = keras.Sequential([layers.Dense(12, activation="relu"), layers.Dense(6)])
    a, b = (tower(pool(table(ids))) for ids in (left, right))
    score = layers.Dot(axes=1, normalize=True)([a, b])
    return keras.Model([left, right], layers.Dense(1, activation="sigmoid")(score))


@register_model("trained_or_not", inputs=IMAGE)
def trained_or_not():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = layers.Conv2D(6, 3, use_bias=False)
            self.norm = layers.BatchNormalization(momentum=0.5)
            self.drop, self.head = layers.SpatialDropout2D(0.4), layers.Dense(3)

        def call(self, image, training=None):
            y = ops.relu(self.norm(self.first(image), training=training))
            y = self.drop(y, training=training)
            if training:
                y = y + keras.random.normal(ops.shape(y))
            return self.head(ops.mean(y, axis=(1, 2)))

    net = Net()
    for step in range(2):
        net(keras.random.uniform((4, 16, 16, 3), seed=step), training=True)
    return net


@register_model("moving_average_state", inputs=ROW)
def moving_average_state():
    class Centred(layers.Layer):
        def build(self, shape):
            self.mean = self.add_weight(
                shape=shape[1:], trainable=False, name="mean", initializer="random_normal"
            )
            self.count = self.add_weight(
                shape=(), trainable=False, dtype="int32", initializer="zeros"
            )

        def call(self, x, training=False):
            if training:
                self.mean.assign(0.9 * self.mean + 0.1 * ops.mean(x, axis=0))
                self.count.assign_add(1)
            return x - self.mean

    x = keras.Input((16,))
    return keras.Model(x, layers.Dense(4, activation="tanh")(Centred()(x)))


@register_model(
    "normalised_and_expanded", inputs=[TensorSpec("x", ("batch", 5), domain=Bounded(-3, 90))]
)
def normalised_and_expanded():
    scaled = layers.Normalization(axis=-1)
    scaled.adapt(tf.random.stateless_normal((200, 5), (1, 2)) * 20 + 40)
    x = keras.Input((5,))
    y = scaled(x)
    y = layers.Concatenate()([y, ops.square(y), ops.sin(y)])
    return keras.Model(x, layers.Dense(2, activation="softplus")(y))


@register_model(
    "hashed_and_crossed",
    inputs=[
        TensorSpec(n, ("batch", 1), "int64", domain=Integers(0, 1000)) for n in ("user", "item")
    ],
)
def hashed_and_crossed():
    user, item = (keras.Input((1,), dtype="int64", name=n) for n in ("user", "item"))
    bucket = ops.mod(user * 31 + item * 17, 64)
    y = layers.Flatten()(layers.Embedding(64, 6)(bucket))
    wide = layers.Flatten()(layers.Embedding(1000, 1)(item))
    return keras.Model([user, item], layers.Dense(1)(y) + wide)


@register_model(
    "augmented_front", inputs=[TensorSpec("image", ("batch", 20, 20, 3), domain=Bounded(0, 255))]
)
def augmented_front():
    x = keras.Input((20, 20, 3), name="image")
    y = layers.RandomBrightness(0.2)(layers.RandomContrast(0.2)(x))
    y = layers.Rescaling([1 / 255.0, 1 / 128.0, 1 / 64.0], [0.0, -1.0, 0.5])(y)
    y = layers.RandomCrop(16, 16)(y)
    y = layers.SeparableConv2D(8, 3, strides=2, padding="same", activation="hard_swish")(y)
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))


@register_model("many_heads", inputs=SERIES)
def many_heads():
    x = keras.Input((8, 6))
    y, h, c = layers.LSTM(5, return_sequences=True, return_state=True, unit_forget_bias=False)(x)
    return keras.Model(
        x,
        {
            "z_last": layers.Dense(3, activation="softmax")(h),
            "a_tokens": layers.Dense(4)(y),
            "m_state": {"h": h, "c": c},
        },
    )


@register_model(
    "ragged_like",
    inputs=[
        TensorSpec("rows", ("batch", 10, 4)),
        TensorSpec("lengths", ("batch",), "int32", domain=Integers(1, 11)),
    ],
)
def ragged_like():
    rows, lengths = (
        keras.Input((10, 4), name="rows"),
        keras.Input((), dtype="int32", name="lengths"),
    )
    mask = ops.cast(ops.less(ops.arange(10)[None, :], lengths[:, None]), "float32")
    y = layers.Dense(6, activation="swish")(rows)
    mean = ops.sum(y * mask[..., None], axis=1) / ops.cast(lengths, "float32")[:, None]
    most = ops.max(y - 1e9 * (1 - mask[..., None]), axis=1)
    return keras.Model([rows, lengths], layers.Dense(2)(ops.concatenate([mean, most], axis=-1)))


@register_model(
    "signed_bytes", inputs=[TensorSpec("x", ("batch", 12), "int8", domain=Integers(-128, 128))]
)
def signed_bytes():
    x = keras.Input((12,), dtype="int8", name="x")
    y = ops.cast(x, "float32") / 127.0
    return keras.Model(x, layers.Dense(3)(layers.Dense(8, activation="relu")(y)))


@register_model(
    "bytes_in_and_out",
    inputs=[TensorSpec("image", ("batch", 12, 12, 3), "uint8", domain=Integers(0, 256))],
)
def bytes_in_and_out():
    x = keras.Input((12, 12, 3), dtype="uint8", name="image")
    y = layers.Conv2D(3, 3, padding="same")(ops.cast(x, "float32") / 255.0)
    return keras.Model(x, ops.cast(ops.round(ops.clip(y, 0, 1) * 255.0), "uint8"))


@register_model("mixed_half_transformer", inputs=[IDS])
def mixed_half_transformer():
    half = keras.DTypePolicy("mixed_float16")
    ids = keras.Input((9,), dtype="int32", name="ids")
    y = layers.Embedding(50, 16, dtype=half)(ids)
    z = layers.MultiHeadAttention(2, 8, dtype=half)(y, y)
    y = layers.LayerNormalization(dtype=half)(layers.Add(dtype=half)([y, z]))
    y = layers.GlobalAveragePooling1D(dtype="float32")(y)
    return keras.Model(ids, layers.Dense(3, dtype="float32")(y))


@register_model("transposed_three_strides", inputs=IMAGE)
def transposed_three_strides():
    x = keras.Input((16, 16, 3))
    y = layers.Conv2D(4, 3, strides=(2, 3), padding="same")(x)
    y = layers.Conv2DTranspose(5, 5, strides=(3, 2), padding="valid", activation="elu")(y)
    return keras.Model(x, layers.Conv2DTranspose(2, 2, strides=(2, 1), padding="same")(y))


@register_model("closures", inputs=ROW)
def closures():
    scale, table = 1.5, tf.constant([[0.3] * 16, [-0.7] * 16])
    x = keras.Input((16,))
    y = layers.Lambda(lambda t: t * scale + table[0] * tf.nn.softsign(t))(x)
    y = layers.Lambda(tf.math.l2_normalize, arguments={"axis": -1})(y)
    return keras.Model(
        x,
        layers.Dense(3)(
            layers.Lambda(lambda t: tf.pad(t, [[0, 0], [1, 2]]), output_shape=(19,))(y)
        ),
    )


@register_model("nested_models", inputs=IMAGE)
def nested_models():
    def block(width):
        return keras.Sequential(
            [
                layers.Conv2D(width, 3, padding="same"),
                layers.BatchNormalization(),
                layers.ReLU(6.0, 0.1, 0.2),
            ]
        )

    inner = keras.Input((16, 16, 3))
    y = block(6)(inner)
    backbone = keras.Model(inner, [y, layers.MaxPooling2D()(y)])
    x = keras.Input((16, 16, 3))
    low, high = backbone(x)
    high = layers.UpSampling2D()(block(6)(high))
    return keras.Model(x, layers.Conv2D(2, 1)(layers.Average()([low, high])))


@register_model("gru_reset_before", inputs=SERIES)
def gru_reset_before():
    x = keras.Input((8, 6))
    y = layers.GRU(
        6, reset_after=False, return_sequences=True, recurrent_activation="hard_sigmoid"
    )(x)
    y = layers.GRU(5, reset_after=False, activation="relu", go_backwards=True, use_bias=False)(y)
    return keras.Model(x, layers.Dense(2)(y))


@register_model("masked_classifier", inputs=[IDS])
def masked_classifier():
    ids = keras.Input((9,), dtype="int32", name="ids")
    y = layers.Embedding(50, 8, mask_zero=True)(ids)
    y = layers.Conv1D(8, 3, padding="same", activation="relu")(y)
    y = (
        layers.LSTM(6, return_sequences=True)(layers.Embedding(50, 8, mask_zero=True)(ids))
        + y[:, :, :6]
    )
    return keras.Model(ids, layers.Softmax()(layers.GlobalMaxPooling1D()(y)))


@register_model("image_operations", inputs=IMAGE)
def image_operations():
    x = keras.Input((16, 16, 3))
    y = ops.image.resize(x, (11, 13), interpolation="bilinear", antialias=False)
    y = ops.image.pad_images(y, 1, 2, target_height=14, target_width=16)
    grey = ops.image.rgb_to_grayscale(y)
    patches = ops.image.extract_patches(y, (4, 4), strides=(2, 2))
    return keras.Model(x, [layers.Flatten()(grey), layers.Dense(4)(patches)])


@register_model("tensorflow_images", inputs=IMAGE)
def tensorflow_images():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv = layers.Conv2D(4, 3)

        def call(self, image):
            y = tf.image.crop_to_bounding_box(image, 1, 2, 12, 10)
            y = tf.image.resize(y, [15, 9], method="nearest")
            y = tf.image.flip_left_right(tf.image.adjust_brightness(y, 0.1))
            y = tf.image.adjust_contrast(y, 1.7)
            y = tf.transpose(self.conv(y), [0, 3, 1, 2])
            return tf.reduce_max(y, axis=-1), tf.argmax(y, axis=1, output_type=tf.int32)

    return Net()


@register_model("decorated_call", inputs=SERIES)
def decorated_call():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.cell, self.head = layers.Dense(6, activation="tanh"), layers.Dense(2)

        @tf.function
        def call(self, x):
            state = tf.zeros_like(x[:, 0])
            for step in range(8):
                state = self.cell(tf.concat([x[:, step], state], axis=-1))
            return self.head(state)

    return Net()


@register_model(
    "loop_over_time", inputs=[TensorSpec("x", ("batch", "time", 6))], axes={"time": (1, 12)}
)
def loop_over_time():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner, self.head = layers.Dense(6), layers.Dense(2)

        def call(self, x):
            def step(i, state):
                return i + 1, tf.tanh(self.inner(x[:, i]) + 0.5 * state)

            start = (0, tf.zeros_like(x[:, 0]))
            _, state = tf.while_loop(lambda i, _: i < tf.shape(x)[1], step, start)
            return self.head(state)

    return Net()


@register_model(
    "squeezed_and_excited",
    inputs=[TensorSpec("image", ("batch", "height", "width", 3), domain=Bounded(0, 1))],
    axes={"height": (16, 40, 8), "width": (16, 40, 8)},
)
def squeezed_and_excited():
    x = keras.Input((None, None, 3), name="image")
    y = layers.Conv2D(8, 3, strides=2, padding="same", activation="silu")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
    gate = layers.Conv2D(8, 1, activation="sigmoid")(layers.Conv2D(2, 1, activation="silu")(gate))
    y = layers.Multiply()([y, gate])
    y = layers.Conv2DTranspose(4, 4, strides=2, padding="same")(y)
    return keras.Model(x, layers.Conv2D(1, 1, activation="sigmoid", name="mask")(y))


@register_model(
    "rotary_attention",
    inputs=[
        TensorSpec("x", ("batch", "time", 16)),
        TensorSpec("mask", ("batch", "time"), "bool", domain=Mask()),
    ],
    axes={"time": (1, 20)},
)
def rotary_attention():
    x, mask = keras.Input((None, 16), name="x"), keras.Input((None,), dtype="bool", name="mask")

    class Rotary(layers.Layer):
        def call(self, y):
            angle = ops.arange(ops.shape(y)[1], dtype="float32")[:, None] * ops.array(
                [1.0, 0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6, 1e-7]
            )
            a, b = ops.split(y, 2, axis=-1)
            return ops.concatenate(
                [a * ops.cos(angle) - b * ops.sin(angle), a * ops.sin(angle) + b * ops.cos(angle)],
                axis=-1,
            )

    q, k, v = (layers.Dense(16)(x) for _ in range(3))
    q, k = Rotary()(q), Rotary()(k)
    scores = ops.einsum("bqd,bkd->bqk", q, k) / 4.0
    scores = ops.where(mask[:, None, :], scores, -1e9)
    return keras.Model([x, mask], layers.Dense(3)(ops.softmax(scores, axis=-1) @ v))


@register_model("vector_quantised", inputs=IMAGE)
def vector_quantised():
    class Codebook(layers.Layer):
        def build(self, shape):
            self.codes = self.add_weight(
                shape=(12, shape[-1]), initializer="random_normal", name="codes"
            )

        def call(self, y):
            far = ops.sum(ops.square(y[..., None, :] - self.codes), axis=-1)
            return ops.take(self.codes, ops.argmin(far, axis=-1), axis=0)

    x = keras.Input((16, 16, 3))
    y = Codebook()(layers.Conv2D(4, 4, strides=4)(x))
    return keras.Model(x, layers.Conv2DTranspose(3, 4, strides=4)(y))


@register_model(
    "grouped_and_dilated_1d",
    inputs=[TensorSpec("wave", ("batch", "time", 1))],
    axes={"time": (64, 160)},
)
def grouped_and_dilated_1d():
    x = keras.Input((None, 1), name="wave")
    y = layers.Conv1D(8, 9, strides=4, padding="causal")(x)
    for rate in (1, 2, 4):
        z = layers.Conv1D(16, 3, dilation_rate=rate, padding="same")(y)
        y = y + ops.tanh(z[..., :8]) * ops.sigmoid(z[..., 8:])
    return keras.Model(x, layers.Conv1DTranspose(1, 8, strides=4, padding="same")(y))


@register_model("quantised_int8", inputs=ROW)
def quantised_int8():
    model = keras.Sequential(
        [keras.Input((16,)), layers.Dense(12, activation="relu"), layers.Dense(4)]
    )
    model.quantize("int8")
    return model


@register_model("polar_and_bins", inputs=[TensorSpec("points", ("batch", 6, 2))])
def polar_and_bins():
    x = keras.Input((6, 2), name="points")
    radius = ops.sqrt(ops.sum(ops.square(x), axis=-1) + 1e-6)
    angle = ops.arctan2(x[..., 1], x[..., 0])
    y = ops.stack([radius, ops.cos(2 * angle), ops.floor(radius * 2) / 2], axis=-1)
    return keras.Model(x, layers.Dense(3)(layers.Flatten()(y)))
