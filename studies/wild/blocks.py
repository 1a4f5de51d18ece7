"""Small networks of many kinds: recurrent, convolutional, attention, tables, Fourier transforms."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from onnx_conformance import Choice, Integers, Mask, TensorSpec, register_model

ROW = [TensorSpec("x", ("batch", 16))]
IMAGE = [TensorSpec("image", ("batch", 3, 16, 16))]
SERIES = [TensorSpec("x", ("batch", "time", 6))]
IDS = [TensorSpec("ids", ("batch", "sequence"), "int64", domain=Integers(0, 100))]


class LastState(nn.Module):
    def __init__(self, rnn: nn.Module, width: int) -> None:
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


@register_model("lstm_two_layers", inputs=SERIES, axes={"time": (1, 12)})
def lstm_two_layers():
    return LastState(nn.LSTM(6, 12, num_layers=2, batch_first=True, dropout=0.1), 12)


@register_model("lstm_bidirectional", inputs=SERIES, axes={"time": (1, 12)})
def lstm_bidirectional():
    return LastState(nn.LSTM(6, 12, batch_first=True, bidirectional=True), 24)


@register_model("lstm_projected", inputs=SERIES, axes={"time": (1, 12)})
def lstm_projected():
    return LastState(nn.LSTM(6, 12, batch_first=True, proj_size=5), 5)


@register_model("gru_two_layers", inputs=SERIES, axes={"time": (1, 12)})
def gru_two_layers():
    return LastState(nn.GRU(6, 12, num_layers=2, batch_first=True), 12)


@register_model("rnn_relu", inputs=SERIES, axes={"time": (1, 12)})
def rnn_relu():
    return LastState(nn.RNN(6, 12, nonlinearity="relu", batch_first=True), 12)


class StatefulGru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 8, batch_first=True)

    def forward(self, x, state):
        y, state = self.rnn(x, state)
        return {"y": y, "state": state}


@register_model(
    "gru_with_state",
    inputs=[TensorSpec("x", ("batch", 4, 6)), TensorSpec("state", (1, "batch", 8))],
)
def gru_with_state():
    return StatefulGru()


class Lora(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(16, 12)
        self.down = nn.Parameter(torch.randn(4, 16) * 0.2)
        self.up = nn.Parameter(torch.randn(12, 4) * 0.2)

    def forward(self, x):
        return F.linear(x, self.base.weight + 0.5 * self.up @ self.down, self.base.bias)


@register_model("lora_merged", inputs=ROW)
def lora_merged():
    return Lora()


class LoraSide(Lora):
    def forward(self, x):
        return self.base(x) + (x @ self.down.T @ self.up.T) * 0.5


@register_model("lora_beside", inputs=ROW)
def lora_beside():
    return LoraSide()


@register_model("spectral_norm", inputs=IMAGE)
def spectral_norm():
    return nn.Sequential(
        parametrizations.spectral_norm(nn.Conv2d(3, 8, 3)),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        parametrizations.spectral_norm(nn.Linear(8 * 14 * 14, 3)),
    )


@register_model("orthogonal", inputs=ROW)
def orthogonal():
    return nn.Sequential(
        parametrizations.orthogonal(nn.Linear(16, 16)), nn.Tanh(), nn.Linear(16, 2)
    )


@register_model("group_norm_unet", inputs=IMAGE)
def group_norm_unet():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.SiLU(),
        nn.Conv2d(16, 16, 3, 2, 1),
        nn.GroupNorm(16, 16),
        nn.SiLU(),
        nn.ConvTranspose2d(16, 8, 4, 2, 1),
        nn.GroupNorm(1, 8),
        nn.Conv2d(8, 3, 1),
    )


class Bag(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(50, 8, mode=mode), nn.Linear(8, 3)

    def forward(self, ids):
        return self.head(self.bag(ids))


BAG = [TensorSpec("ids", ("batch", 7), "int64", domain=Integers(0, 50))]


@register_model("embedding_bag_mean", inputs=BAG)
def embedding_bag_mean():
    return Bag("mean")


@register_model("embedding_bag_sum", inputs=BAG)
def embedding_bag_sum():
    return Bag("sum")


class PoolByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(100, 12, padding_idx=0), nn.Linear(12, 4)

    def forward(self, ids, mask):
        m = mask.unsqueeze(-1).to(torch.float32)
        x = (self.table(ids) * m).sum(1) / m.sum(1).clamp(min=1e-9)
        return F.normalize(self.head(x), dim=-1)


@register_model(
    "masked_mean",
    axes={"sequence": (1, 20)},
    inputs=[*IDS, TensorSpec("mask", ("batch", "sequence"), "int64", domain=Mask())],
)
def masked_mean():
    return PoolByHand()


class Spectrum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(64))
        self.head = nn.Linear(33, 4)

    def forward(self, wave):
        z = torch.stft(wave, 64, 16, window=self.window, return_complex=False, center=True)
        power = z.pow(2).sum(-1)
        return self.head(torch.log(power + 1e-3).mean(-1))


@register_model("log_spectrum", inputs=[TensorSpec("wave", ("batch", 400))])
def log_spectrum():
    return Spectrum()


class FourierMix(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.norm(x + torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real))


@register_model("fourier_mix", inputs=[TensorSpec("x", ("batch", 8, 16))])
def fourier_mix():
    return FourierMix()


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.norm = nn.LayerNorm(16)

    def forward(self, x, mask):
        y, weights = self.attention(x, x, x, key_padding_mask=~mask)
        return self.norm(x + y), weights


@register_model(
    "attention_padded",
    axes={"time": (1, 12)},
    inputs=[
        TensorSpec("x", ("batch", "time", 16)),
        TensorSpec("mask", ("batch", "time"), "bool", domain=Mask()),
    ],
)
def attention_padded():
    return SelfAttention()


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.qkv, self.out = (
            nn.Embedding(100, 16),
            nn.Linear(16, 48),
            nn.Linear(16, 100),
        )

    def forward(self, ids):
        x = self.table(ids)
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, 4, 4).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(b, t, 16))


@register_model("causal_language_model", inputs=IDS, axes={"sequence": (1, 16)})
def causal_language_model():
    return Causal()


@register_model("transformer_encoder", inputs=[TensorSpec("x", ("batch", 9, 16))])
def transformer_encoder():
    layer = nn.TransformerEncoderLayer(
        16, 4, 32, batch_first=True, activation="gelu", norm_first=True
    )
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class KeywordOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(16, 4), nn.Embedding(10, 4)

    def forward(self, *, features, kind):
        return self.a(features) + self.b(kind)


@register_model(
    "keyword_only",
    inputs=[
        TensorSpec("features", ("batch", 16)),
        TensorSpec("kind", ("batch",), "int64", domain=Integers(0, 10)),
    ],
)
def keyword_only():
    return KeywordOnly()


class DictInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(16, 4), nn.Linear(3, 4)

    def forward(self, batch: dict):
        return {"score": torch.sigmoid(self.a(batch["left"]) * self.b(batch["right"]))}


@register_model(
    "dict_input", inputs=[TensorSpec("left", ("batch", 16)), TensorSpec("right", ("batch", 3))]
)
def dict_input():
    return DictInput()


class Scatter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.token = nn.Linear(8, 8), nn.Parameter(torch.randn(8))

    def forward(self, x, hidden):
        y = self.net(x)
        spread = hidden.unsqueeze(-1).expand_as(y)
        return torch.where(spread, self.token, y)


@register_model(
    "mask_token_where",
    inputs=[
        TensorSpec("x", ("batch", 6, 8)),
        TensorSpec("hidden", ("batch", 6), "bool", domain=Choice((0, 1))),
    ],
)
def mask_token_where():
    return Scatter()


class MaskedScatter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.image = nn.Embedding(20, 8), nn.Linear(4, 8)

    def forward(self, ids, patches):
        x = self.table(ids)
        y = self.image(patches)
        return x.masked_scatter((ids == 3).unsqueeze(-1).expand_as(x), y)


@register_model(
    "image_tokens",
    inputs=[
        TensorSpec("ids", ("batch", 6), "int64", domain=Integers(0, 20)),
        TensorSpec("patches", ("batch", 6, 4)),
    ],
)
def image_tokens():
    return MaskedScatter()
