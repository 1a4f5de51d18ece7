"""Keras 3 models of text, sound and series: recurrent layers, attention, causal convolutions."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from onnx_conformance import Integers, Mask, TensorSpec, register_model

SERIES = [TensorSpec("x", ("batch", 10, 6))]
OPEN = [TensorSpec("x", ("batch", "time", 6))]
TIME = {"time": (2, 24)}
IDS = [TensorSpec("ids", ("batch", "time"), "int32", domain=Integers(0, 60))]


@register_model("states_of_both_ways", inputs=OPEN, axes=TIME)
def states_of_both_ways():
    x = keras.Input((None, 6), name="x")
    y, h1, c1, h2, c2 = layers.Bidirectional(
        layers.LSTM(5, return_sequences=True, return_state=True)
    )(x)
    state = [layers.Concatenate()([h1, h2]), layers.Concatenate()([c1, c2])]
    y = layers.LSTM(10, return_sequences=True)(y, initial_state=state)
    return keras.Model(x, layers.Dense(3)(y))


@register_model("unrolled_backwards", inputs=SERIES)
def unrolled_backwards():
    x = keras.Input((10, 6))
    y = layers.LSTM(7, unroll=True, go_backwards=True, return_sequences=True, dropout=0.2)(x)
    y = layers.GRU(5, unroll=True, recurrent_dropout=0.3)(y)
    return keras.Model(x, layers.Dense(2, activation="tanh")(y))


@register_model("masked_time", inputs=OPEN, axes=TIME)
def masked_time():
    x = keras.Input((None, 6))
    y = layers.Masking(mask_value=-1.0)(x)
    y = layers.Bidirectional(layers.GRU(6, return_sequences=True), merge_mode="mul")(y)
    y = layers.SimpleRNN(5, activation="relu")(y)
    return keras.Model(x, layers.Dense(2)(y))


@register_model("conv_lstm_1d", inputs=[TensorSpec("x", ("batch", 5, 12, 3))])
def conv_lstm_1d():
    x = keras.Input((5, 12, 3))
    y, h, c = layers.ConvLSTM1D(
        4, 3, strides=2, return_sequences=True, return_state=True, recurrent_activation="sigmoid"
    )(x)
    return keras.Model(x, [layers.GlobalAveragePooling2D()(y), h, layers.Flatten()(c)])


@register_model(
    "text_cnn", inputs=[TensorSpec("ids", ("batch", 20), "int64", domain=Integers(0, 60))]
)
def text_cnn():
    ids = keras.Input((20,), dtype="int64")
    y = layers.SpatialDropout1D(0.2)(layers.Embedding(60, 8)(ids))
    pooled = [
        layers.GlobalMaxPooling1D()(layers.Conv1D(6, width, activation="relu")(y))
        for width in (2, 3, 5)
    ]
    y = layers.Dropout(0.5)(layers.Concatenate()(pooled))
    return keras.Model(ids, layers.Dense(4, activation="softmax")(y))


class TokenAndPosition(layers.Layer):
    """Keras' own example of a text classifier adds learnt positions so."""

    def __init__(self, longest, words, width):
        super().__init__()
        self.tokens = layers.Embedding(words, width)
        self.positions = layers.Embedding(longest, width)

    def call(self, ids):
        places = ops.arange(0, ops.shape(ids)[-1], step=1)
        return self.tokens(ids) + self.positions(places)


class TransformerBlock(layers.Layer):
    """Keras' own example: attention and two dense layers, each with a norm after it."""

    def __init__(self, width, heads, inner):
        super().__init__()
        self.att = layers.MultiHeadAttention(heads, width // heads)
        self.ffn = keras.Sequential([layers.Dense(inner, activation="relu"), layers.Dense(width)])
        self.first = layers.LayerNormalization(epsilon=1e-6)
        self.second = layers.LayerNormalization(epsilon=1e-6)
        self.drop = layers.Dropout(0.1)

    def call(self, x, training=None):
        y = self.first(x + self.drop(self.att(x, x), training=training))
        return self.second(y + self.drop(self.ffn(y), training=training))


@register_model("text_transformer", inputs=IDS, axes=TIME)
def text_transformer():
    ids = keras.Input((None,), dtype="int32", name="ids")
    y = TransformerBlock(16, 2, 24)(TokenAndPosition(24, 60, 16)(ids))
    y = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(y))
    return keras.Model(ids, layers.Dense(2, activation="softmax")(y))


@register_model(
    "translator",
    inputs=[
        TensorSpec("source", ("batch", "long"), "int32", domain=Integers(0, 60)),
        TensorSpec("target", ("batch", "short"), "int32", domain=Integers(0, 60)),
    ],
    axes={"long": (2, 14), "short": (1, 11)},
)
def translator():
    source = keras.Input((None,), dtype="int32", name="source")
    target = keras.Input((None,), dtype="int32", name="target")
    table = layers.Embedding(60, 16, mask_zero=True)
    memory = table(source)
    memory = layers.LayerNormalization()(
        memory + layers.MultiHeadAttention(2, 8)(memory, memory, memory)
    )
    y = table(target)
    y = layers.LayerNormalization()(y + layers.MultiHeadAttention(2, 8)(y, y, use_causal_mask=True))
    y = layers.LayerNormalization()(y + layers.MultiHeadAttention(2, 8)(y, memory))
    return keras.Model([source, target], layers.Dense(60)(y))


@register_model(
    "luong_attention",
    inputs=[TensorSpec("x", ("batch", "time", 6)), TensorSpec("y", ("batch", 4, 3))],
    axes=TIME,
)
def luong_attention():
    x, y = keras.Input((None, 6), name="x"), keras.Input((4, 3), name="y")
    memory, h, c = layers.LSTM(8, return_sequences=True, return_state=True)(x)
    out = layers.LSTM(8, return_sequences=True)(y, initial_state=[h, c])
    context, weights = layers.Attention(score_mode="concat")(
        [out, memory], return_attention_scores=True
    )
    out = layers.TimeDistributed(layers.Dense(3))(layers.Concatenate()([out, context]))
    return keras.Model([x, y], [out, weights])


@register_model("axial_attention", inputs=[TensorSpec("x", ("batch", 6, 7, 8))])
def axial_attention():
    x = keras.Input((6, 7, 8))
    rows = layers.MultiHeadAttention(2, 4, attention_axes=2)(x, x)
    y, scores = layers.MultiHeadAttention(2, 4, value_dim=3, attention_axes=1, output_shape=5)(
        rows, x, return_attention_scores=True
    )
    return keras.Model(x, [y, scores])


class Time2Vec(layers.Layer):
    """A linear and some periodic functions of each value."""

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 5), initializer="uniform", name="w")
        self.b = self.add_weight(shape=(shape[1], 5), initializer="uniform", name="b")

    def call(self, x):
        y = ops.matmul(x, self.w) + self.b
        return ops.concatenate([y[..., :1], ops.sin(y[..., 1:])], axis=-1)


@register_model("time_to_vector", inputs=SERIES)
def time_to_vector():
    x = keras.Input((10, 6))
    y = layers.LSTM(6, recurrent_activation="hard_sigmoid", use_bias=False)(Time2Vec()(x))
    mean, spread = layers.Dense(1)(y), layers.Dense(1, activation="softplus")(y)
    return keras.Model(x, {"mean": mean, "spread": spread + 1e-3})


@register_model("forecast_by_blocks", inputs=[TensorSpec("past", ("batch", 24))])
def forecast_by_blocks():
    past = keras.Input((24,), name="past")
    rest, forecast = past, 0.0
    for _ in range(3):
        y = layers.Dense(16, activation="relu")(layers.Dense(16, activation="relu")(rest))
        theta = layers.Dense(8, use_bias=False)(y)
        rest = layers.Subtract()([rest, layers.Dense(24)(theta)])
        forecast = forecast + layers.Dense(6)(theta)
    return keras.Model(past, forecast)


@register_model(
    "wave_net", inputs=[TensorSpec("wave", ("batch", "time", 1))], axes={"time": (32, 96)}
)
def wave_net():
    x = keras.Input((None, 1), name="wave")
    y, skips = layers.Conv1D(8, 2, padding="causal")(x), []
    for rate in (1, 2, 4, 8):
        signal = layers.Conv1D(8, 2, padding="causal", dilation_rate=rate, activation="tanh")(y)
        gate = layers.Conv1D(8, 2, padding="causal", dilation_rate=rate, activation="sigmoid")(y)
        z = layers.Conv1D(8, 1)(layers.Multiply()([signal, gate]))
        skips.append(z)
        y = layers.Add()([y, z])
    y = layers.Activation("relu")(layers.Add()(skips))
    return keras.Model(x, layers.Conv1D(12, 1, activation="softmax")(y))


@register_model("spectrogram", inputs=[TensorSpec("wave", ("batch", 512, 1))])
def spectrogram():
    x = keras.Input((512, 1), name="wave")
    y = layers.STFTSpectrogram(mode="log", frame_length=64, frame_step=32, fft_length=64)(x)
    y = layers.Conv1D(8, 3, activation="relu")(y)
    return keras.Model(x, layers.Dense(4)(layers.GlobalAveragePooling1D()(y)))


@register_model("experts_by_gate", inputs=OPEN, axes=TIME)
def experts_by_gate():
    class Experts(layers.Layer):
        def build(self, shape):
            self.gate = layers.Dense(4, use_bias=False)
            self.gate.build(shape)
            self.w = self.add_weight(shape=(4, shape[-1], 8), initializer="random_normal", name="w")

        def call(self, x):
            best, places = ops.top_k(ops.softmax(self.gate(x)), 2)
            best = best / ops.sum(best, axis=-1, keepdims=True)
            share = ops.sum(ops.one_hot(places, 4) * best[..., None], axis=-2)
            return ops.einsum("btd,edh,bte->bth", x, self.w, share)

    x = keras.Input((None, 6))
    return keras.Model(x, layers.Dense(3)(Experts()(x)))


@register_model(
    "tied_language_model",
    inputs=[
        *IDS,
        TensorSpec("mask", ("batch", "time"), "int32", domain=Mask()),
    ],
    axes=TIME,
)
def tied_language_model():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.table = layers.Embedding(60, 16)
            self.att = layers.MultiHeadAttention(4, 4)
            self.norm = layers.LayerNormalization()
            self.places = self.add_weight(shape=(24, 16), initializer="random_normal")

        def call(self, inputs):
            ids, mask = inputs["ids"], inputs["mask"]
            length = tf.shape(ids)[1]
            y = self.table(ids) + self.places[:length]
            seen = tf.cast(mask, tf.bool)[:, None, :] & tf.cast(
                tf.linalg.band_part(tf.ones((length, length)), -1, 0), tf.bool
            )
            y = self.norm(y + self.att(y, y, attention_mask=seen))
            logits = tf.matmul(y, self.table.embeddings, transpose_b=True)
            last = tf.reduce_sum(mask, axis=1) - 1
            return {"logits": logits, "last": tf.gather(logits, last, batch_dims=1)}

    return Model()


@register_model("sinusoids", inputs=OPEN, axes=TIME)
def sinusoids():
    angles = np.arange(24)[:, None] / 100 ** (np.arange(6)[None] / 6)
    table = np.where(np.arange(6) % 2, np.cos(angles), np.sin(angles)).astype("float32")

    class Positions(layers.Layer):
        def call(self, x):
            return x * ops.sqrt(6.0) + ops.convert_to_tensor(table)[: ops.shape(x)[1]]

    x = keras.Input((None, 6))
    y = layers.Conv1D(8, 3, strides=2, padding="same", activation="silu")(Positions()(x))
    return keras.Model(x, layers.GlobalMaxPooling1D()(layers.MaxPooling1D(2, padding="same")(y)))
