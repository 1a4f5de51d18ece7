"""Keras 3 models of images: detection, segmentation, generation and what their blocks need."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from onnx_conformance import Bounded, Integers, TensorSpec, register_model

IMAGE = [TensorSpec("image", ("batch", 24, 24, 3), domain=Bounded(0, 1))]
OPEN = [TensorSpec("image", ("batch", "height", "width", 3), domain=Bounded(0, 1))]
SIZES = {"height": (16, 48, 8), "width": (16, 48, 8)}


def convolved(x, width, strides=1, size=3, activation="relu"):
    y = layers.Conv2D(width, size, strides=strides, padding="same", use_bias=False)(x)
    return layers.Activation(activation)(layers.BatchNormalization()(y))


@register_model("box_decoder", inputs=IMAGE)
def box_decoder():
    x = keras.Input((24, 24, 3))
    levels, scores, boxes = convolved(x, 8, 2), [], []
    for _ in range(2):
        levels = convolved(levels, 12, 2)
        scores.append(layers.Reshape((-1, 4))(layers.Conv2D(8, 3, padding="same")(levels)))
        boxes.append(layers.Reshape((-1, 4))(layers.Conv2D(8, 1)(levels)))
    scores = layers.Concatenate(axis=1)(scores)
    offsets = layers.Concatenate(axis=1)(boxes)
    anchors = np.random.default_rng(0).uniform(0.1, 0.9, (90, 4)).astype("float32")
    centre = offsets[..., :2] * 0.1 * anchors[:, 2:] + anchors[:, :2]
    half = ops.exp(ops.clip(offsets[..., 2:] * 0.2, -4, 4)) * anchors[:, 2:] / 2
    boxes = ops.clip(ops.concatenate([centre - half, centre + half], axis=-1), 0, 1)
    return keras.Model(x, {"boxes": boxes, "scores": ops.sigmoid(scores)})


@register_model("grid_detector", inputs=IMAGE)
def grid_detector():
    class Grid(layers.Layer):
        def call(self, y):
            shape = tf.shape(y)
            y = tf.reshape(y, [shape[0], shape[1], shape[2], 3, 6])
            columns, rows = tf.meshgrid(tf.range(shape[2]), tf.range(shape[1]))
            cell = tf.cast(tf.stack([columns, rows], axis=-1), y.dtype)[None, :, :, None]
            size = tf.cast(shape[1], y.dtype)
            centre = (tf.sigmoid(y[..., :2]) * 1.1 - 0.05 + cell) / size
            return tf.concat([centre, tf.exp(y[..., 2:4]), tf.sigmoid(y[..., 4:])], axis=-1)

    x = keras.Input((24, 24, 3))
    y = convolved(x, 8, 2, 3, "leaky_relu")
    y = convolved(layers.ZeroPadding2D(((1, 0), (1, 0)))(y), 12, 2, 3, "mish")
    return keras.Model(x, Grid()(layers.Conv2D(18, 1)(y)))


@register_model(
    "suppressed_boxes", inputs=[TensorSpec("image", (1, 24, 24, 3), domain=Bounded(0, 1))]
)
def suppressed_boxes():
    class Chosen(layers.Layer):
        def call(self, y):
            corners = tf.sigmoid(y[0, :, :4])
            boxes = tf.concat([corners[:, :2], corners[:, :2] + 0.3 * corners[:, 2:]], axis=-1)
            scores = tf.sigmoid(y[0, :, 4])
            kept = tf.image.non_max_suppression(boxes, scores, 5, 0.5)
            return tf.gather(boxes, kept)[None], tf.gather(scores, kept)[None]

    x = keras.Input(batch_shape=(1, 24, 24, 3))
    y = layers.Reshape((-1, 5))(layers.Conv2D(5, 3, strides=4)(x))
    return keras.Model(x, Chosen()(y))


@register_model("upscaled_three_times", inputs=OPEN, axes=SIZES)
def upscaled_three_times():
    x = keras.Input((None, None, 3))
    y = layers.Conv2D(8, 5, padding="same", activation="tanh")(x)
    y = layers.Conv2D(27, 3, padding="same")(y)
    y = layers.Lambda(lambda t: tf.nn.depth_to_space(t, 3))(y)
    return keras.Model(x, layers.Add()([y, layers.UpSampling2D(3, interpolation="nearest")(x)]))


@register_model("dilated_pyramid", inputs=IMAGE)
def dilated_pyramid():
    x = keras.Input((24, 24, 3))
    y = convolved(x, 8, 2)
    parts = [convolved(y, 6, size=1)]
    for rate in (2, 4):
        z = layers.Conv2D(6, 3, padding="same", dilation_rate=rate, use_bias=False)(y)
        parts.append(layers.ReLU()(layers.BatchNormalization()(z)))
    pooled = convolved(layers.AveragePooling2D((12, 12))(y), 6, size=1)
    parts.append(layers.UpSampling2D((12, 12), interpolation="bilinear")(pooled))
    y = convolved(layers.Concatenate()(parts), 8, size=1)
    y = layers.Conv2D(3, 1, padding="same")(layers.UpSampling2D(2, interpolation="bilinear")(y))
    return keras.Model(x, layers.Softmax()(y))


@register_model("resized_to_the_input", inputs=OPEN, axes=SIZES)
def resized_to_the_input():
    class Resized(layers.Layer):
        def call(self, inputs):
            y, like = inputs
            return tf.image.resize(y, tf.shape(like)[1:3])

    x = keras.Input((None, None, 3))
    y = convolved(convolved(x, 8, 2), 8, 4)
    y = Resized()([layers.Conv2D(2, 1)(y), x])
    return keras.Model(x, layers.Activation("sigmoid")(y))


@register_model("mixer", inputs=IMAGE)
def mixer():
    x = keras.Input((24, 24, 3))
    y = layers.Reshape((36, 12))(layers.Conv2D(12, 4, strides=4)(x))
    for _ in range(2):
        z = layers.Permute((2, 1))(layers.LayerNormalization(epsilon=1e-6)(y))
        z = layers.Permute((2, 1))(layers.Dense(36)(layers.Dense(20, activation="silu")(z)))
        y = y + z
        y = y + layers.Dense(12)(
            layers.Dense(20, activation="silu")(layers.LayerNormalization()(y))
        )
    return keras.Model(x, layers.Dense(5)(layers.GlobalAveragePooling1D()(y)))


@register_model("shifted_windows", inputs=[TensorSpec("image", ("batch", 8, 8, 12))])
def shifted_windows():
    x = keras.Input((8, 8, 12))
    y = ops.roll(x, shift=(-2, -2), axis=(1, 2))
    y = ops.transpose(ops.reshape(y, (-1, 2, 4, 2, 4, 12)), (0, 1, 3, 2, 4, 5))
    y = ops.reshape(y, (-1, 16, 12))
    y = layers.MultiHeadAttention(3, 4)(y, y)
    y = ops.transpose(ops.reshape(y, (-1, 2, 2, 4, 4, 12)), (0, 1, 3, 2, 4, 5))
    y = ops.roll(ops.reshape(y, (-1, 8, 8, 12)), shift=(2, 2), axis=(1, 2))
    return keras.Model(x, layers.LayerNormalization()(x + y))


@register_model("channels_first", inputs=[TensorSpec("image", ("batch", 3, 24, 24))])
def channels_first():
    x = keras.Input((3, 24, 24))
    y = layers.Conv2D(8, 3, strides=2, padding="same", data_format="channels_first")(x)
    y = layers.ReLU()(layers.BatchNormalization(axis=1)(y))
    y = layers.MaxPooling2D(3, strides=2, padding="same", data_format="channels_first")(y)
    y = layers.UpSampling2D(2, data_format="channels_first")(y)
    return keras.Model(x, layers.Dense(3)(layers.Flatten(data_format="channels_first")(y)))


@register_model("volume_decoder", inputs=[TensorSpec("volume", ("batch", 5, 6, 7, 2))])
def volume_decoder():
    x = keras.Input((5, 6, 7, 2))
    y = layers.Conv3D(4, 3, activation="elu")(layers.ZeroPadding3D(((0, 1), (1, 1), (2, 0)))(x))
    y = layers.Conv3DTranspose(3, 3, strides=2, padding="same")(layers.MaxPooling3D((1, 2, 2))(y))
    y = layers.Cropping3D(((1, 0), (0, 1), (1, 1)))(layers.UpSampling3D((1, 2, 1))(y))
    return keras.Model(x, [y, layers.GlobalMaxPooling3D()(y)])


@register_model("capsules", inputs=IMAGE)
def capsules():
    class Routing(layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(shape[1], 4, 4, 6), name="w")

        def squash(self, s):
            norm = ops.sum(ops.square(s), axis=-1, keepdims=True)
            return norm / (1 + norm) * s / ops.sqrt(norm + 1e-7)

        def call(self, u):
            votes = ops.einsum("bid,ijdk->bijk", u, self.w)
            logits = ops.zeros_like(votes[..., :1])
            for _ in range(3):
                v = self.squash(ops.sum(ops.softmax(logits, axis=2) * votes, axis=1))
                logits = logits + ops.sum(votes * v[:, None], axis=-1, keepdims=True)
            return ops.norm(v, axis=-1)

    x = keras.Input((24, 24, 3))
    y = layers.Conv2D(8, 9, strides=4, activation="relu")(x)
    return keras.Model(x, Routing()(layers.Reshape((-1, 4))(y)))


@register_model("weighted_fusion", inputs=IMAGE)
def weighted_fusion():
    class Fused(layers.Layer):
        def build(self, shapes):
            self.w = self.add_weight(shape=(len(shapes),), initializer="uniform", name="w")

        def call(self, inputs):
            w = ops.relu(self.w + 0.5)
            w = w / (ops.sum(w) + 1e-4)
            return sum(w[i] * part for i, part in enumerate(inputs))

    x = keras.Input((24, 24, 3))
    p3 = convolved(x, 8, 2, activation="silu")
    p4 = convolved(p3, 8, 2, activation="silu")
    y = Fused()([p3, layers.UpSampling2D()(p4)])
    y = layers.SeparableConv2D(8, 3, padding="same", activation="silu")(y)
    z = Fused()([p4, layers.MaxPooling2D(3, strides=2, padding="same")(y)])
    return keras.Model(x, [layers.Conv2D(2, 1, name="fine")(y), layers.Conv2D(2, 1)(z)])


@register_model(
    "conditional_norm",
    inputs=[*IMAGE, TensorSpec("label", ("batch",), "int32", domain=Integers(0, 6))],
)
def conditional_norm():
    x, label = keras.Input((24, 24, 3), name="image"), keras.Input((), dtype="int32", name="label")
    y = layers.Conv2D(8, 3, strides=2)(x)
    mean, spread = ops.moments(y, axes=[1, 2], keepdims=True)
    y = (y - mean) / ops.sqrt(spread + 1e-3)
    gain, shift = ops.split(layers.Embedding(6, 16)(label), 2, axis=-1)
    y = y * (1 + gain[:, None, None]) + shift[:, None, None]
    return keras.Model([x, label], layers.Dense(1)(layers.GlobalAveragePooling2D()(ops.relu(y))))


@register_model("equalised_and_blurred", inputs=IMAGE)
def equalised_and_blurred():
    class Equalised(layers.Layer):
        def __init__(self, width):
            super().__init__()
            self.width = width

        def build(self, shape):
            self.gain = (2 / (9 * shape[-1])) ** 0.5
            self.w = self.add_weight(
                shape=(3, 3, shape[-1], self.width), initializer="random_normal", name="w"
            )
            self.b = self.add_weight(shape=(self.width,), initializer="zeros", name="b")

        def call(self, x):
            y = tf.nn.conv2d(x, self.w * self.gain, 1, "SAME") + self.b
            y = tf.nn.leaky_relu(y, 0.2)
            return y * tf.math.rsqrt(tf.reduce_mean(tf.square(y), -1, keepdims=True) + 1e-8)

    class Blurred(layers.Layer):
        def call(self, x):
            taps = tf.constant([1.0, 2.0, 1.0])
            kernel = (taps[:, None] * taps[None] / 16)[:, :, None, None]
            kernel = tf.tile(kernel, [1, 1, x.shape[-1], 1])
            return tf.nn.depthwise_conv2d(x, kernel, [1, 2, 2, 1], "SAME")

    x = keras.Input((24, 24, 3))
    y = Blurred()(Equalised(8)(Blurred()(Equalised(6)(x))))
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))


@register_model("depthwise_variants", inputs=IMAGE)
def depthwise_variants():
    x = keras.Input((24, 24, 3))
    y = layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, activation="relu6")(x)
    y = layers.DepthwiseConv2D(5, padding="same", dilation_rate=2, use_bias=False)(y)
    y = layers.Reshape((121, 6))(y)
    y = layers.DepthwiseConv1D(4, strides=3, padding="same", depth_multiplier=2)(y)
    return keras.Model(x, layers.SeparableConv1D(5, 3, activation="selu")(y))


@register_model("transformed_images", inputs=IMAGE)
def transformed_images():
    class Warped(layers.Layer):
        def build(self, shape):
            self.head = layers.Dense(6, kernel_initializer="random_normal")
            self.head.build((None, 3))

        def call(self, x):
            theta = ops.reshape(self.head(ops.mean(x, axis=(1, 2))), (-1, 2, 3))
            theta = theta + ops.array([[1.0, 0, 0], [0, 1, 0]])
            across, down = ops.meshgrid(ops.linspace(-1.0, 1.0, 12), ops.linspace(-1.0, 1.0, 12))
            grid = ops.stack([across, down, ops.ones_like(down)], axis=-1)
            places = (ops.einsum("hwk,bjk->bhwj", grid, theta) + 1) * 11.5
            low = ops.clip(ops.floor(places), 0, 22)
            part = ops.clip(places - low, 0, 1)
            at = ops.cast(low, "int32")
            flat = ops.reshape(x, (-1, 24 * 24, 3))

            def pick(dy, dx):
                index = (at[..., 1] + dy) * 24 + at[..., 0] + dx
                index = ops.reshape(index, (-1, 144, 1))
                return ops.take_along_axis(flat, ops.repeat(index, 3, axis=-1), axis=1)

            w, h = (ops.reshape(part[..., k], (-1, 144, 1)) for k in (0, 1))
            top = pick(0, 0) * (1 - w) + pick(0, 1) * w
            return top * (1 - h) + (pick(1, 0) * (1 - w) + pick(1, 1) * w) * h

    x = keras.Input((24, 24, 3))
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(Warped()(x))))


@register_model("heat_map", inputs=IMAGE)
def heat_map():
    class Explained(keras.Model):
        def __init__(self):
            super().__init__()
            self.body = layers.Conv2D(6, 3, activation="relu")
            self.head = layers.Dense(3)

        def call(self, image):
            y = self.body(image)
            with tf.GradientTape() as tape:
                tape.watch(y)
                score = tf.reduce_max(self.head(tf.reduce_mean(tf.square(y), axis=[1, 2])), axis=-1)
            slope = tape.gradient(score, y)
            weights = tf.reduce_mean(slope, axis=[1, 2], keepdims=True)
            return tf.nn.relu(tf.reduce_sum(weights * y, axis=-1))

    return Explained()
