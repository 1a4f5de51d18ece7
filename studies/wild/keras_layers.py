"""Keras 3 models of common layers: images, volumes, sequences, text, normalisation, heads."""

import keras
from keras import layers, ops

from onnx_conformance import Bounded, Integers, TensorSpec, register_model

ROW = [TensorSpec("x", ("batch", 16))]
IMAGE = [TensorSpec("image", ("batch", 16, 16, 3))]
SERIES = [TensorSpec("x", ("batch", "time", 6))]
FIXED_SERIES = [TensorSpec("x", ("batch", 10, 6))]
IDS = [TensorSpec("ids", ("batch", 12), "int64", domain=Integers(0, 99))]
VARYING_IDS = [TensorSpec("ids", ("batch", "length"), "int64", domain=Integers(0, 99))]


@register_model("mlp_dropout", inputs=ROW)
def mlp_dropout():
    return keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(32, activation="gelu"),
            layers.Dropout(0.3),
            layers.Dense(4, activation="softmax"),
        ]
    )


@register_model("cnn_batch_norm", inputs=IMAGE)
def cnn_batch_norm():
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(max_value=6.0),
            layers.MaxPooling2D(),
            layers.SeparableConv2D(12, 3, activation="swish"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


@register_model("unet_upsampling", inputs=IMAGE)
def unet_upsampling():
    image = keras.Input((16, 16, 3))
    a = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    b = layers.Conv2D(12, 3, padding="same", activation="relu")(layers.MaxPooling2D()(a))
    c = layers.Conv2D(16, 3, padding="same", activation="relu")(layers.MaxPooling2D()(b))
    up = layers.Concatenate()([layers.UpSampling2D()(c), b])
    up = layers.Conv2D(12, 3, padding="same", activation="relu")(up)
    up = layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(up), a])
    return keras.Model(image, layers.Conv2D(2, 1, activation="sigmoid")(up))


@register_model(
    "unet_any_size",
    inputs=[TensorSpec("image", ("batch", "height", "width", 3))],
    axes={"height": (8, 40, 4), "width": (8, 40, 4)},
)
def unet_any_size():
    image = keras.Input((None, None, 3))
    a = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    b = layers.Conv2D(12, 3, strides=2, padding="same", activation="relu")(a)
    up = layers.Conv2DTranspose(8, 3, strides=2, padding="same")(b)
    return keras.Model(image, layers.Conv2D(1, 1)(layers.Add()([up, a])))


@register_model("wgan_generator", inputs=[TensorSpec("z", ("batch", 8))])
def wgan_generator():
    z = keras.Input((8,))
    y = layers.Reshape((4, 4, 6))(layers.Dense(96, use_bias=False)(z))
    y = layers.LeakyReLU(0.2)(layers.BatchNormalization()(y))
    y = layers.Conv2DTranspose(8, 4, strides=2, padding="same", use_bias=False)(y)
    y = layers.LeakyReLU(0.2)(layers.BatchNormalization()(y))
    y = layers.Cropping2D(((1, 0), (0, 1)))(y)
    return keras.Model(z, layers.Conv2D(1, 3, activation="tanh")(y))


@register_model("volumes", inputs=[TensorSpec("scan", ("batch", 8, 8, 8, 1))])
def volumes():
    scan = keras.Input((8, 8, 8, 1))
    y = layers.Conv3D(4, 3, padding="same", activation="elu")(scan)
    y = layers.Conv3DTranspose(4, 2, strides=2)(layers.MaxPooling3D()(y))
    y = layers.GlobalMaxPooling3D()(layers.UpSampling3D()(layers.Cropping3D(1)(y)))
    return keras.Model(scan, layers.Dense(3)(y))


@register_model("depthwise_dilated", inputs=IMAGE)
def depthwise_dilated():
    image = keras.Input((16, 16, 3))
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(image)
    y = layers.Conv2D(8, 3, dilation_rate=2, padding="same", groups=2)(y)
    y = layers.PReLU(shared_axes=[1, 2])(layers.ZeroPadding2D(((0, 1), (2, 0)))(y))
    return keras.Model(image, layers.GlobalMaxPooling2D()(layers.AveragePooling2D(3)(y)))


@register_model("conv1d_causal", inputs=SERIES, axes={"time": (4, 32)})
def conv1d_causal():
    x = keras.Input((None, 6))
    y = layers.Conv1D(8, 3, padding="causal", dilation_rate=2, activation="relu")(x)
    y = layers.SpatialDropout1D(0.2)(layers.LayerNormalization()(y))
    return keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling1D()(y)))


@register_model("conv1d_transpose", inputs=FIXED_SERIES)
def conv1d_transpose():
    x = keras.Input((10, 6))
    y = layers.Conv1DTranspose(5, 3, strides=2, padding="same", activation="relu")(x)
    y = layers.SeparableConv1D(4, 3)(layers.UpSampling1D(2)(layers.Cropping1D(2)(y)))
    return keras.Model(x, layers.ZeroPadding1D(1)(y))


@register_model("lstm_stacked", inputs=SERIES, axes={"time": (1, 12)})
def lstm_stacked():
    return keras.Sequential(
        [
            keras.Input((None, 6)),
            layers.LSTM(12, return_sequences=True),
            layers.LSTM(8),
            layers.Dense(3, activation="softmax"),
        ]
    )


@register_model("bidirectional_gru", inputs=SERIES, axes={"time": (1, 12)})
def bidirectional_gru():
    x = keras.Input((None, 6))
    y = layers.Bidirectional(layers.GRU(8, return_sequences=True))(x)
    return keras.Model(x, layers.TimeDistributed(layers.Dense(4, activation="relu"))(y))


@register_model("simple_rnn_states", inputs=FIXED_SERIES)
def simple_rnn_states():
    x = keras.Input((10, 6))
    y, state = layers.SimpleRNN(7, return_sequences=True, return_state=True)(x)
    return keras.Model(x, {"sequence": y, "state": state})


@register_model("lstm_encoder_decoder", inputs=FIXED_SERIES)
def lstm_encoder_decoder():
    x = keras.Input((10, 6))
    _, h, c = layers.LSTM(8, return_state=True)(x)
    y = layers.RepeatVector(4)(h)
    y = layers.LSTM(8, return_sequences=True)(y, initial_state=[h, c])
    return keras.Model(x, layers.TimeDistributed(layers.Dense(2))(y))


@register_model("conv_lstm", inputs=[TensorSpec("frames", ("batch", 4, 8, 8, 2))])
def conv_lstm():
    frames = keras.Input((4, 8, 8, 2))
    y = layers.ConvLSTM2D(4, 3, padding="same", return_sequences=True)(frames)
    y = layers.ConvLSTM2D(3, 3, padding="same")(layers.BatchNormalization()(y))
    return keras.Model(frames, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(y))


@register_model("embedding_mask_zero_lstm", inputs=IDS)
def embedding_mask_zero_lstm():
    ids = keras.Input((12,), dtype="int64")
    y = layers.Embedding(100, 8, mask_zero=True)(ids)
    return keras.Model(ids, layers.Dense(1, activation="sigmoid")(layers.LSTM(8)(y)))


@register_model("embedding_mask_zero_pooling", inputs=VARYING_IDS, axes={"length": (1, 20)})
def embedding_mask_zero_pooling():
    ids = keras.Input((None,), dtype="int64")
    y = layers.Embedding(100, 8, mask_zero=True)(ids)
    return keras.Model(ids, layers.Dense(3)(layers.GlobalAveragePooling1D()(y)))


@register_model("masking_gru", inputs=FIXED_SERIES)
def masking_gru():
    return keras.Sequential(
        [keras.Input((10, 6)), layers.Masking(0.0), layers.GRU(8), layers.Dense(2)]
    )


@register_model("attention_block", inputs=FIXED_SERIES)
def attention_block():
    x = keras.Input((10, 6))
    y = layers.MultiHeadAttention(2, 4)(x, x)
    y = layers.LayerNormalization(epsilon=1e-6)(x + y)
    z = layers.Dense(6)(layers.Dense(12, activation="gelu")(y))
    return keras.Model(x, layers.LayerNormalization(epsilon=1e-6)(y + z))


@register_model("attention_causal", inputs=VARYING_IDS, axes={"length": (1, 16)})
def attention_causal():
    ids = keras.Input((None,), dtype="int64")
    x = layers.Embedding(100, 12)(ids)
    y = layers.MultiHeadAttention(3, 4)(x, x, use_causal_mask=True)
    return keras.Model(ids, layers.Dense(100)(layers.LayerNormalization()(x + y)))


@register_model("additive_attention", inputs=FIXED_SERIES)
def additive_attention():
    x = keras.Input((10, 6))
    keys = layers.Dense(6)(x)
    y = layers.AdditiveAttention()([x, keys])
    y = layers.Attention(use_scale=True)([y, keys])
    return keras.Model(x, layers.Flatten()(y))


@register_model("grouped_query_attention", inputs=FIXED_SERIES)
def grouped_query_attention():
    x = keras.Input((10, 6))
    return keras.Model(x, layers.GroupQueryAttention(4, 4, 2)(x, x))


@register_model("group_and_unit_norm", inputs=IMAGE)
def group_and_unit_norm():
    image = keras.Input((16, 16, 3))
    y = layers.GroupNormalization(4)(layers.Conv2D(8, 3)(image))
    y = layers.UnitNormalization()(layers.Flatten()(layers.AveragePooling2D(4)(y)))
    return keras.Model(image, layers.Dense(4)(y))


@register_model("rms_and_spectral_norm", inputs=ROW)
def rms_and_spectral_norm():
    x = keras.Input((16,))
    y = layers.RMSNormalization()(layers.SpectralNormalization(layers.Dense(12))(x))
    return keras.Model(x, layers.Dense(4, activation="softplus")(y))


@register_model("activations", inputs=ROW)
def activations():
    x = keras.Input((16,))
    names = ("selu", "elu", "softsign", "mish", "hard_sigmoid", "exponential", "silu", "relu6")
    parts = [layers.Dense(4, activation=name)(x) for name in names]
    return keras.Model(x, layers.Dense(3, activation="log_softmax")(layers.Concatenate()(parts)))


@register_model("merging", inputs=ROW)
def merging():
    x = keras.Input((16,))
    a, b, c = (layers.Dense(6)(x) for _ in range(3))
    parts = [
        layers.Add()([a, b, c]),
        layers.Subtract()([a, b]),
        layers.Multiply()([a, c]),
        layers.Average()([a, b, c]),
        layers.Maximum()([a, b]),
        layers.Minimum()([b, c]),
        layers.Dot(axes=1, normalize=True)([a, b]),
    ]
    return keras.Model(x, layers.Concatenate()(parts))


@register_model("locally_reshaped", inputs=ROW)
def locally_reshaped():
    x = keras.Input((16,))
    y = layers.Permute((2, 1))(layers.Reshape((4, 4))(x))
    y = layers.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d")(y)
    return keras.Model(x, layers.Flatten()(ops.flip(y, axis=1)))


@register_model(
    "augmented_classifier",
    inputs=[TensorSpec("image", ("batch", 16, 16, 3), domain=Bounded(0, 255))],
)
def augmented_classifier():
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(0.1),
            layers.RandomZoom(0.1),
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.Conv2D(8, 3, activation="relu"),
            layers.GaussianNoise(0.1),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )


@register_model("bytes_resized", inputs=[TensorSpec("image", ("batch", 20, 24, 3), "uint8")])
def bytes_resized():
    image = keras.Input((20, 24, 3), dtype="uint8")
    y = layers.Rescaling(1 / 255)(layers.Resizing(16, 16)(image))
    y = layers.Conv2D(6, 3, activation="relu")(layers.CenterCrop(12, 12)(y))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))


@register_model("conv_lora", inputs=ROW)
def conv_lora():
    x = keras.Input((16,))
    dense = layers.Dense(12, kernel_initializer="glorot_normal")
    model = keras.Model(x, layers.Dense(2)(dense(x)))
    dense.enable_lora(2, b_initializer="random_normal", a_initializer="random_normal")
    return model


@register_model("scan_ops", inputs=FIXED_SERIES)
def scan_ops():
    x = keras.Input((10, 6))
    y = layers.Dense(6)(x)
    parts = [ops.cumsum(y, axis=1), ops.cumprod(ops.tanh(y), axis=1), ops.roll(y, 1, axis=1)]
    return keras.Model(x, layers.Concatenate()(parts))


@register_model("top_and_sorted", inputs=ROW)
def top_and_sorted():
    x = keras.Input((16,))
    y = layers.Dense(12)(x)
    values, places = ops.top_k(y, 3)
    return keras.Model(
        x,
        {
            "values": values,
            "places": places,
            "sorted": ops.sort(y, axis=-1),
            "best": ops.argmax(y, axis=-1),
        },
    )


@register_model("einsum_one_hot", inputs=IDS)
def einsum_one_hot():
    ids = keras.Input((12,), dtype="int64")
    rows = layers.Dense(6)(ops.one_hot(ids, 100))
    return keras.Model(ids, ops.einsum("bik,bjk->bij", rows, rows))


@register_model("quantiles_and_norms", inputs=ROW)
def quantiles_and_norms():
    x = keras.Input((16,))
    y = layers.Dense(9)(x)
    parts = [
        ops.max(y, axis=-1, keepdims=True),
        ops.std(y, axis=-1, keepdims=True),
        ops.logsumexp(y, axis=-1, keepdims=True),
        ops.norm(y, axis=-1, keepdims=True),
        ops.sqrt(ops.abs(y)),
    ]
    return keras.Model(x, ops.concatenate(parts, axis=-1))
