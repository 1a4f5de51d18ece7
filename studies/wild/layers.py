"""Sorting, decoders, resizes, old layers, cells, metrics, likelihoods, filters."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from onnx_conformance import Integers, Mask, TensorSpec, register_model

IMG = [TensorSpec("image", ("batch", 3, 16, 18))]
SEQ = {"inputs": [TensorSpec("x", ("batch", "seq", 8))], "axes": {"seq": (2, 24)}}


class Denoised(nn.Module):
    """float in, bytes out: rounded, clamped, cast."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, image):
        y = torch.sigmoid(self.b(F.elu(self.a(image))))
        return (y * 255.0 + 0.5).clamp(0, 255).to(torch.uint8)


@register_model("bytes_out", inputs=IMG)
def bytes_out():
    return Denoised()


class Sorted(nn.Module):
    def __init__(self):
        super().__init__()
        self.key, self.val = nn.Linear(8, 1), nn.Linear(8, 5)

    def forward(self, x):
        order = self.key(x).squeeze(-1).argsort(dim=-1, descending=True)
        return torch.gather(self.val(x), 1, order.unsqueeze(-1).expand(-1, -1, 5)).cumsum(1)


@register_model("sorted_by_key", **SEQ)
def sorted_by_key():
    return Sorted()


class Median(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(8, 6)

    def forward(self, x):
        h = self.lin(x)
        values = h.sort(dim=1).values
        return values[:, 0], values[:, -1], values.flip(1)[:, 0], h.std(1, unbiased=False)


@register_model("order_statistics", **SEQ)
def order_statistics():
    return Median()


class Decoder(nn.Module):
    """nn.TransformerDecoder with a causal mask made inside and a memory of another length."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(20, 16)
        layer = nn.TransformerDecoderLayer(
            16, 4, 24, batch_first=True, norm_first=True, activation="gelu"
        )
        self.dec, self.out = nn.TransformerDecoder(layer, 2, nn.LayerNorm(16)), nn.Linear(16, 20)
        pe = torch.zeros(64, 16)
        pos, div = (
            torch.arange(64).unsqueeze(1),
            torch.exp(torch.arange(0, 16, 2) * (-math.log(1e4) / 16)),
        )
        pe[:, 0::2], pe[:, 1::2] = torch.sin(pos * div), torch.cos(pos * div)
        self.register_buffer("pe", pe)

    def forward(self, ids, memory):
        t = ids.size(1)
        x = self.emb(ids) * math.sqrt(16) + self.pe[:t]
        mask = torch.triu(torch.full((t, t), float("-inf")), diagonal=1)
        return self.out(self.dec(x, memory, tgt_mask=mask))


@register_model(
    "transformer_decoder",
    inputs=[
        TensorSpec("ids", ("batch", "target"), "int64", domain=Integers(0, 19)),
        TensorSpec("memory", ("batch", "source", 16)),
    ],
    axes={"target": (1, 16), "source": (1, 16)},
)
def transformer_decoder():
    return Decoder()


class Attended(nn.Module):
    """MultiheadAttention with its weights out, key padding as bool."""

    def __init__(self):
        super().__init__()
        self.mha = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x, pad):
        y, w = self.mha(
            x, x, x, key_padding_mask=pad == 0, need_weights=True, average_attn_weights=False
        )
        return y, w


@register_model(
    "attention_weights_out",
    inputs=[
        TensorSpec("x", ("batch", 6, 8)),
        TensorSpec("pad", ("batch", 6), "int64", domain=Mask()),
    ],
)
def attention_weights_out():
    return Attended()


class Resizes(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image):
        x = self.c(image)
        return (
            F.interpolate(x, scale_factor=1.5, mode="bicubic", align_corners=False),
            F.interpolate(x, size=(8, 9), mode="area"),
            F.interpolate(x, size=(11, 7), mode="bilinear", align_corners=False),
            F.pixel_unshuffle(x, 2),
        )


@register_model("resizes", inputs=IMG)
def resizes():
    return Resizes()


class OldPools(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.LocalResponseNorm(3),
            nn.PReLU(8),
            nn.LPPool2d(2, 2),
            nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
            nn.CELU(0.7),
            nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
            nn.Softmin(1),
        )

    def forward(self, image):
        return self.net(image)


@register_model("old_layers", inputs=IMG)
def old_layers():
    return OldPools()


class CellLoop(nn.Module):
    """LSTMCell and GRUCell stepped by hand over six steps."""

    def __init__(self):
        super().__init__()
        self.l, self.g, self.o = nn.LSTMCell(5, 7), nn.GRUCell(7, 7), nn.Linear(7, 2)

    def forward(self, x):
        h = c = x.new_zeros(x.shape[0], 7)
        s, out = torch.zeros_like(h), []
        for t in range(x.shape[1]):
            h, c = self.l(x[:, t], (h, c))
            s = self.g(h, s)
            out.append(self.o(s))
        return torch.stack(out, 1), c


@register_model("cells_by_hand", inputs=[TensorSpec("x", ("batch", 6, 5))])
def cells_by_hand():
    return CellLoop()


class Metric(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(8, 6)
        self.register_buffer("anchors", torch.randn(9, 6))

    def forward(self, x):
        z = self.proj(x)
        d = torch.cdist(z, self.anchors.expand(x.shape[0], 9, 6), p=2.0)
        c = F.cosine_similarity(z.unsqueeze(2), self.anchors, dim=-1, eps=1e-6)
        return torch.exp(-d.square()), c, F.pairwise_distance(z[:, 0], z[:, -1])


@register_model("distances", **SEQ)
def distances():
    return Metric()


class Likelihood(nn.Module):
    """Negative log-likelihoods: Student t, negative binomial, with lgamma written by Stirling."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 12), nn.SELU(), nn.Linear(12, 3))

    def forward(self, x, y):
        mu, s, v = self.net(x).unbind(-1)
        s, v = F.softplus(s) + 1e-3, F.softplus(v) + 2.0
        z = (y - mu) / s
        return (
            0.5 * (v + 1) * torch.log1p(z * z / v) + torch.log(s),
            torch.logaddexp(mu, s),
            torch.logit(torch.sigmoid(mu).clamp(1e-4, 1 - 1e-4)),
        )


@register_model("likelihoods", inputs=[TensorSpec("x", ("batch", 6)), TensorSpec("y", ("batch",))])
def likelihoods():
    return Likelihood()


class SincBank(nn.Module):
    """Band-pass filters made in forward from learnt edges."""

    def __init__(self, k=21):
        super().__init__()
        self.low, self.band = (
            nn.Parameter(torch.rand(6) * 0.2 + 0.02),
            nn.Parameter(torch.rand(6) * 0.1 + 0.02),
        )
        n = torch.arange(-(k // 2), k // 2 + 1).float()
        self.register_buffer("n", n)
        self.register_buffer("window", 0.54 + 0.46 * torch.cos(2 * math.pi * n / k))

    def forward(self, sound):
        low = self.low.abs().unsqueeze(1)
        high = (low + self.band.abs().unsqueeze(1)).clamp(max=0.5)
        f = (
            2 * high * torch.sinc(2 * high * self.n) - 2 * low * torch.sinc(2 * low * self.n)
        ) * self.window
        y = F.conv1d(sound.unsqueeze(1), f.unsqueeze(1), padding="same")
        return torch.log1p(y.abs()).amax(-1)


@register_model(
    "sinc_filters", inputs=[TensorSpec("sound", ("batch", "samples"))], axes={"samples": (32, 200)}
)
def sinc_filters():
    return SincBank()
