"""Keras 3 models of several inputs, own cells, saved files, half precision and preprocessing."""

import tempfile
from pathlib import Path

import keras
import tensorflow as tf
from keras import layers, ops

from onnx_conformance import Bounded, Choice, Integers, Mask, TensorSpec, register_model

ROW = [TensorSpec("x", ("batch", 16))]
IMAGE = [TensorSpec("image", ("batch", 16, 16, 3))]
PIXELS = [TensorSpec("image", ("batch", 17, 13, 3), domain=Bounded(0, 255))]
SERIES = [TensorSpec("x", ("batch", 8, 6))]


@register_model(
    "image_table_and_ids",
    inputs=[
        TensorSpec("image", ("batch", 12, 12, 1)),
        TensorSpec("table", ("batch", 5)),
        TensorSpec("ids", ("batch", 4), "int32", domain=Integers(0, 30)),
    ],
)
def image_table_and_ids():
    image, table = keras.Input((12, 12, 1), name="image"), keras.Input((5,), name="table")
    ids = keras.Input((4,), dtype="int32", name="ids")
    a = layers.Flatten()(layers.Conv2D(4, 3, strides=2, activation="relu")(image))
    b = layers.Dense(6, activation="selu")(table)
    c = layers.GlobalMaxPooling1D()(layers.Embedding(30, 5)(ids))
    y = layers.Concatenate()([a, b, c])
    heads = {"kind": layers.Dense(3, activation="softmax")(y), "price": layers.Dense(1)(y)}
    return keras.Model([image, table, ids], heads)


@register_model("bidirectional_masked_gru", inputs=SERIES)
def bidirectional_masked_gru():
    x = keras.Input((8, 6))
    y = layers.Masking(0.0)(x)
    y = layers.Bidirectional(layers.GRU(5, return_sequences=True), merge_mode="ave")(y)
    y = layers.Bidirectional(layers.LSTM(4))(y)
    return keras.Model(x, layers.Dense(2)(y))


@register_model(
    "cross_attention",
    inputs=[
        TensorSpec("queries", ("batch", 5, 8)),
        TensorSpec("memory", ("batch", 9, 12)),
        TensorSpec("mask", ("batch", 9), "bool", domain=Mask()),
    ],
)
def cross_attention():
    queries, memory = keras.Input((5, 8), name="queries"), keras.Input((9, 12), name="memory")
    mask = keras.Input((9,), dtype="bool", name="mask")
    attention = layers.MultiHeadAttention(2, 4, value_dim=6, use_bias=False)
    y, scores = attention(
        queries, memory, attention_mask=mask[:, None, :], return_attention_scores=True
    )
    return keras.Model([queries, memory, mask], [layers.LayerNormalization()(y), scores])


@register_model("frames_conv_lstm", inputs=[TensorSpec("frames", ("batch", 3, 8, 8, 1))])
def frames_conv_lstm():
    x = keras.Input((3, 8, 8, 1))
    y = layers.ConvLSTM2D(4, 3, padding="same", return_sequences=True)(x)
    y = layers.BatchNormalization()(y)
    y = layers.ConvLSTM2D(3, 3, strides=2, recurrent_activation="hard_sigmoid")(y)
    return keras.Model(x, layers.Conv2DTranspose(1, 3, strides=2, padding="same")(y))


@register_model("separable_and_depthwise", inputs=IMAGE)
def separable_and_depthwise():
    x = keras.Input((16, 16, 3))
    y = layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)(x)
    y = layers.SeparableConv2D(8, 3, depth_multiplier=3, use_bias=False)(y)
    y = layers.Reshape((36, 8))(y)
    y = layers.SeparableConv1D(5, 3, padding="same", activation="elu")(y)
    return keras.Model(x, layers.DepthwiseConv1D(4, strides=3)(y))


@register_model("transposed_odd", inputs=IMAGE)
def transposed_odd():
    x = keras.Input((16, 16, 3))
    y = layers.Conv2D(4, 4, strides=3, padding="valid")(x)
    y = layers.Conv2DTranspose(6, 4, strides=3, padding="same", activation="leaky_relu")(y)
    y = layers.Conv2DTranspose(5, 3, strides=2, padding="valid", output_padding=1)(y)
    return keras.Model(x, layers.Cropping2D(((1, 2), (3, 1)))(y))


@register_model("resampled", inputs=IMAGE)
def resampled():
    x = keras.Input((16, 16, 3))
    y = layers.UpSampling2D(3, interpolation="bilinear")(layers.Conv2D(4, 5)(x))
    y = layers.AveragePooling2D(5, strides=2, padding="same")(y)
    y = layers.UpSampling2D((1, 2), interpolation="bicubic")(y)
    return keras.Model(x, layers.MaxPooling2D(4, padding="same")(y))


@register_model("norms_of_axes", inputs=IMAGE)
def norms_of_axes():
    x = keras.Input((16, 16, 3))
    y = layers.LayerNormalization(axis=(1, 2), scale=False)(layers.Conv2D(6, 3, strides=2)(x))
    y = layers.GroupNormalization(groups=-1)(y)
    y = layers.UnitNormalization(axis=(2, 3))(y)
    y = layers.BatchNormalization(axis=1, center=False)(y)
    return keras.Model(x, layers.Dense(3)(layers.GlobalMaxPooling2D(keepdims=True)(y)))


@register_model("preprocessed", inputs=PIXELS)
def preprocessed():
    x = keras.Input((17, 13, 3), name="image")
    y = layers.Resizing(12, 10, interpolation="nearest")(x)
    y = layers.CenterCrop(9, 8)(layers.Rescaling(1 / 127.5, offset=-1.0)(y))
    y = layers.RandomTranslation(0.1, 0.1)(layers.RandomFlip()(y))
    y = layers.RandomZoom(0.2)(layers.RandomRotation(0.1)(y))
    return keras.Model(x, layers.Dense(4)(layers.Flatten()(layers.GaussianNoise(0.2)(y))))


@register_model(
    "masked_embedding_both_ways",
    inputs=[TensorSpec("ids", ("batch", 7), "int32", domain=Integers(0, 40))],
)
def masked_embedding_both_ways():
    ids = keras.Input((7,), dtype="int32", name="ids")
    y = layers.Embedding(40, 8, mask_zero=True)(ids)
    y = layers.Bidirectional(layers.LSTM(5, return_sequences=True), merge_mode="sum")(y)
    y = layers.TimeDistributed(layers.Dense(6, activation="tanh"))(y)
    return keras.Model(ids, layers.Attention(use_scale=True)([y, y]))


class Block(layers.Layer):
    """A residual block that drops paths while it is trained."""

    def __init__(self, width, rate):
        super().__init__()
        self.rate, self.inner = rate, layers.Dense(width, activation="mish")
        self.outer = layers.Dense(width)

    def build(self, shape):
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, name="seen")
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")
        self.inner.build(shape)
        self.outer.build(shape)

    def call(self, x, training=None):
        y = self.outer(self.inner(x)) * self.scale
        if training:
            self.seen.assign_add(1.0)
            keep = keras.random.uniform(ops.shape(x)[:1] + (1,)) > self.rate
            y = y * ops.cast(keep, y.dtype)
        return x + y


@register_model("dropped_paths", inputs=ROW)
def dropped_paths():
    class Deep(keras.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [Block(16, 0.1 * i) for i in range(3)]
            self.head = layers.Dense(4)

        def call(self, x, training=False):
            for block in self.blocks:
                x = block(x, training=training)
            return {"logits": self.head(x), "inner": [x, ops.mean(x, axis=-1)]}

    return Deep()


@register_model("tensorflow_inside", inputs=IMAGE)
def tensorflow_inside():
    x = keras.Input((16, 16, 3))
    y = layers.Lambda(lambda t: tf.image.resize(t, (10, 12)), output_shape=(10, 12, 3))(x)
    y = layers.Lambda(lambda t: tf.nn.space_to_depth(t, 2), output_shape=(5, 6, 12))(y)
    y = layers.Lambda(lambda t: tf.gather(t, [1, 0, 3], axis=-1), output_shape=(5, 6, 3))(y)
    return keras.Model(x, layers.Lambda(lambda t: tf.reduce_logsumexp(t, axis=[1, 2]))(y))


@register_model("spectral_convolution", inputs=IMAGE)
def spectral_convolution():
    x = keras.Input((16, 16, 3))
    y = layers.SpectralNormalization(layers.Conv2D(6, 3, activation="leaky_relu"))(x)
    y = layers.Flatten()(layers.SpectralNormalization(layers.Conv2D(4, 3, strides=2))(y))
    return keras.Model(x, layers.Dense(1)(y))


@register_model("video_frames", inputs=[TensorSpec("video", ("batch", 4, 12, 12, 3))])
def video_frames():
    frame = keras.Input((12, 12, 3))
    y = layers.Conv2D(6, 3, strides=2, activation="relu")(frame)
    encoder = keras.Model(frame, layers.GlobalAveragePooling2D()(y))
    video = keras.Input((4, 12, 12, 3))
    y = layers.GRU(8, go_backwards=True)(layers.TimeDistributed(encoder)(video))
    return keras.Model(video, layers.Dense(3, activation="softmax")(y))


@register_model(
    "categories", inputs=[TensorSpec("tags", ("batch", 3), "int64", domain=Integers(0, 9))]
)
def categories():
    tags = keras.Input((3,), dtype="int64", name="tags")
    y = layers.CategoryEncoding(9, output_mode="multi_hot")(tags)
    return keras.Model(tags, layers.Dense(2, activation="relu")(y))


@register_model(
    "words", inputs=[TensorSpec("word", ("batch", 4), "str", domain=Choice(("a", "b", "zz")))]
)
def words():
    word = keras.Input((4,), dtype="string", name="word")
    y = layers.Embedding(5, 6)(layers.StringLookup(vocabulary=["a", "b", "c"])(word))
    return keras.Model(word, layers.Dense(2)(layers.GlobalAveragePooling1D()(y)))


@register_model("einsum_dense", inputs=SERIES)
def einsum_dense():
    x = keras.Input((8, 6))
    y = layers.EinsumDense("abc,cde->abde", output_shape=(8, 2, 5), bias_axes="de")(x)
    y = layers.EinsumDense("abde,def->abf", output_shape=(8, 7), activation="relu")(y)
    return keras.Model(x, layers.EinsumDense("abf,bx->axf", output_shape=(3, 7))(y))


@register_model("half_convolutions", inputs=IMAGE)
def half_convolutions():
    half = "mixed_float16"
    x = keras.Input((16, 16, 3))
    y = layers.Conv2D(8, 3, use_bias=False, dtype=half)(x)
    y = layers.Activation("relu", dtype=half)(layers.BatchNormalization(dtype=half)(y))
    y = layers.Flatten(dtype=half)(layers.MaxPooling2D(dtype=half)(y))
    return keras.Model(x, layers.Dense(5, activation="softmax", dtype="float32")(y))


def _saved_and_loaded(model, name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        model.save(path)
        return keras.models.load_model(path)


@register_model("loaded_keras_file", inputs=SERIES)
def loaded_keras_file():
    x = keras.Input((8, 6), name="x")
    y = layers.Conv1D(5, 3, padding="causal", dilation_rate=2, activation="silu")(x)
    model = keras.Model(x, layers.GRU(4, reset_after=False)(y))
    return _saved_and_loaded(model, "model.keras")


@register_model("loaded_h5_file", inputs=IMAGE)
def loaded_h5_file():
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3), name="image"),
            layers.ZeroPadding2D(((0, 1), (2, 0))),
            layers.Conv2D(6, 3, strides=2, groups=3, activation="relu6"),
            layers.PReLU(shared_axes=[1, 2], alpha_initializer="ones"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    return _saved_and_loaded(model, "model.h5")


@register_model("saved_model_layer", inputs=ROW)
def saved_model_layer():
    inner = keras.Sequential([keras.Input((16,)), layers.Dense(5, activation="tanh")])
    folder = tempfile.mkdtemp()
    inner.export(folder, verbose=False)
    x = keras.Input((16,), name="x")
    served = layers.TFSMLayer(folder, call_endpoint="serve")
    return keras.Model(x, layers.Dense(2)(served(x)))


class Leaky(layers.Layer):
    """A cell that forgets slowly."""

    def __init__(self, units):
        super().__init__()
        self.state_size = self.output_size = units
        self.inner, self.carried = layers.Dense(units), layers.Dense(units, use_bias=False)

    def build(self, shape):
        self.inner.build(shape)
        self.carried.build((None, self.state_size))

    def call(self, x, states):
        y = 0.8 * states[0] + 0.2 * ops.tanh(self.inner(x) + self.carried(states[0]))
        return y, [y]


@register_model("own_cells", inputs=SERIES)
def own_cells():
    x = keras.Input((8, 6))
    y = layers.RNN([Leaky(5), layers.GRUCell(4)], return_sequences=True)(x)
    y, *states = layers.RNN(Leaky(3), return_state=True)(y)
    return keras.Model(x, [y, layers.Dense(2)(states[0])])


@register_model("fixed_batch", inputs=[TensorSpec("image", (1, 16, 16, 3))])
def fixed_batch():
    x = keras.Input(batch_shape=(1, 16, 16, 3), name="image")
    y = layers.Conv2D(6, 3, activation="relu")(x)
    y = layers.Reshape((-1, 6))(y)
    return keras.Model(x, layers.Softmax(axis=1)(layers.Permute((2, 1))(y)))


@register_model("scattered", inputs=ROW)
def scattered():
    x = keras.Input((16,))
    y = layers.Dense(8)(x)
    best, places = ops.top_k(y, 3)
    y = ops.sum(ops.one_hot(places, 8) * best[..., None], axis=1)
    y = ops.concatenate([y, ops.cumsum(y, axis=1), ops.roll(y, 2, axis=1)], axis=1)
    return keras.Model(x, layers.Dense(3, activation="log_softmax")(y))
