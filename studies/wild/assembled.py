"""Parts that newer architectures are assembled from: latents, slots, forecasts, other products."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from onnx_conformance import Mask, TensorSpec, register_model

ROW = [TensorSpec("x", ("batch", 12))]
SEQ = {"inputs": [TensorSpec("x", ("batch", "seq", 8))], "axes": {"seq": (2, 20)}}
PAST = [TensorSpec("x", ("batch", 24, 3))]
IMAGE = [TensorSpec("image", ("batch", 3, 16, 16))]


class Latents(nn.Module):
    """Perceiver: learned queries read a sequence under its mask."""

    def __init__(self):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(4, 16) / 2)
        self.k, self.v, self.out = nn.Linear(8, 16), nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x, mask):
        q = self.queries.expand(x.shape[0], -1, -1)
        keep = mask[:, None, :].bool()
        y = F.scaled_dot_product_attention(q, self.k(x), self.v(x), attn_mask=keep)
        return self.out(y + q)


@register_model(
    "latents",
    inputs=[*SEQ["inputs"], TensorSpec("mask", ("batch", "seq"), "int64", domain=Mask())],
    axes=SEQ["axes"],
)
def latents():
    return Latents()


class Slots(nn.Module):
    """Slot attention: softmax over slots, three rounds of a GRU cell."""

    def __init__(self):
        super().__init__()
        self.start = nn.Parameter(torch.randn(3, 8))
        self.norm, self.k, self.v = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.q, self.cell = nn.Linear(8, 8), nn.GRUCell(8, 8)

    def forward(self, x):
        x = self.norm(x)
        k, v = self.k(x), self.v(x)
        slots = self.start.expand(x.shape[0], -1, -1)
        for _ in range(3):
            a = (self.q(slots) @ k.transpose(1, 2) / 8**0.5).softmax(1) + 1e-8
            read = (a / a.sum(-1, keepdim=True)) @ v
            slots = self.cell(read.reshape(-1, 8), slots.reshape(-1, 8)).view(-1, 3, 8)
        return slots


@register_model("slots", **SEQ)
def slots():
    return Slots()


class Beats(nn.Module):
    """N-BEATS: each block takes what it explains from the past and adds to the forecast."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 30)) for _ in range(3)
        )

    def forward(self, x):
        rest = x.transpose(1, 2)
        forecast = rest.new_zeros(rest.shape[0], 3, 6)
        for block in self.blocks:
            back, ahead = block(rest).split([24, 6], -1)
            rest, forecast = rest - back, forecast + ahead
        return forecast.transpose(1, 2)


@register_model("beats", inputs=PAST)
def beats():
    return Beats()


class Decomposed(nn.Module):
    """DLinear: trend and season, each by a line; then limits that never cross."""

    def __init__(self):
        super().__init__()
        self.trend, self.season = nn.Linear(24, 6), nn.Linear(24, 6)
        self.width = nn.Linear(24, 4)

    def forward(self, x):
        y = x.transpose(1, 2)
        slow = F.avg_pool1d(F.pad(y, (2, 2), mode="replicate"), 5, 1)
        middle = self.trend(slow) + self.season(y - slow)
        steps = F.softplus(self.width(y)).cumsum(-1)
        return middle, middle[..., :1] + steps - steps[..., 1:2]


@register_model("decomposed", inputs=PAST)
def decomposed():
    return Decomposed()


class RolledOut(nn.Module):
    """An encoder's state, then six steps that read their own forecast."""

    def __init__(self):
        super().__init__()
        self.past, self.cell, self.out = (
            nn.GRU(3, 16, batch_first=True),
            nn.GRUCell(3, 16),
            nn.Linear(16, 3),
        )

    def forward(self, x):
        state = self.past(x)[1][0]
        last, found = x[:, -1], []
        for _ in range(6):
            state = self.cell(last, state)
            last = last + self.out(state)
            found.append(last)
        return torch.stack(found, 1)


@register_model("rolled_out", inputs=PAST)
def rolled_out():
    return RolledOut()


class Causal(nn.Module):
    """A temporal convolutional net of dilated, weight-normed kernels."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv1d(8, 8, 3, dilation=2**i)) for i in range(3)
        )

    def forward(self, x):
        y = x.transpose(1, 2)
        for i, layer in enumerate(self.layers):
            y = F.relu(layer(F.pad(y, (2 * 2**i, 0))) + y)
        return y[..., -1]


@register_model("dilated_normed", **SEQ)
def dilated_normed():
    return Causal()


class Hyper(nn.Module):
    """A row's own weights, made from the row."""

    def __init__(self):
        super().__init__()
        self.make, self.out = nn.Linear(12, 12 * 6 + 6), nn.Linear(6, 2)

    def forward(self, x):
        made = self.make(x) / 3
        h = torch.baddbmm(made[:, None, 72:], x[:, None], made[:, :72].view(-1, 12, 6))
        return self.out(F.elu(h.squeeze(1)))


@register_model("hyper", inputs=ROW)
def hyper():
    return Hyper()


class Sparsemax(nn.Module):
    """Probabilities of which most are exactly 0."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(12, 10)

    def forward(self, x):
        z = self.head(x)
        ordered = z.sort(-1, descending=True)[0]
        k = torch.arange(1, 11, device=x.device, dtype=x.dtype)
        cumulated = ordered.cumsum(-1)
        support = (1 + k * ordered > cumulated).sum(-1, keepdim=True)
        limit = (cumulated.gather(-1, support - 1) - 1) / support.to(x.dtype)
        return (z - limit).clamp(min=0)


@register_model("sparsemax", inputs=ROW)
def sparsemax():
    return Sparsemax()


class MixedSoftmaxes(nn.Module):
    """A mixture of softmaxes, as a logarithm."""

    def __init__(self):
        super().__init__()
        self.prior, self.heads = nn.Linear(12, 3), nn.Linear(12, 3 * 10)

    def forward(self, x):
        prior = self.prior(x).log_softmax(-1)
        each = self.heads(x).view(-1, 3, 10).log_softmax(-1)
        return torch.logsumexp(prior[..., None] + each, 1)


@register_model("mixed_softmaxes", inputs=ROW)
def mixed_softmaxes():
    return MixedSoftmaxes()


class Remembered(nn.Module):
    """A Hopfield layer: a few rounds towards the nearest stored pattern; beside it RBF features."""

    def __init__(self):
        super().__init__()
        self.patterns, self.width = nn.Parameter(torch.randn(6, 12)), nn.Parameter(torch.zeros(6))

    def forward(self, x):
        y = x
        for _ in range(3):
            y = (2.0 * y @ self.patterns.T / 12**0.5).softmax(-1) @ self.patterns
        square = x.square().sum(-1, keepdim=True) - 2 * x @ self.patterns.T
        distance = square + self.patterns.square().sum(-1)
        return y, torch.exp(-distance * F.softplus(self.width) / 12)


@register_model("remembered", inputs=ROW)
def remembered():
    return Remembered()


class Symmetric(nn.Module):
    def forward(self, w):
        return w.triu() + w.triu(1).transpose(-1, -2)


class PairProducts(nn.Module):
    """nn.Bilinear, a symmetric quadratic form, and a Kronecker product of two small matrices."""

    def __init__(self):
        super().__init__()
        self.pair = nn.Bilinear(12, 12, 4)
        self.form = nn.Linear(12, 12, bias=False)
        parametrize.register_parametrization(self.form, "weight", Symmetric())
        self.a, self.b = nn.Parameter(torch.randn(3, 3)), nn.Parameter(torch.randn(4, 4))

    def forward(self, x):
        k = torch.kron(self.a, self.b)
        return torch.cat(
            [self.pair(x, x.flip(-1)), (x * self.form(x)).sum(-1, keepdim=True), x @ k], -1
        )


@register_model("pair_products", inputs=ROW)
def pair_products():
    return PairProducts()


class Activations(nn.Module):
    """Activations that few use."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(12, 16)
        self.kinds = nn.ModuleList(
            [nn.CELU(0.7), nn.Hardshrink(0.4), nn.Softshrink(0.3), nn.Tanhshrink()]
        )
        self.kinds.extend(
            [nn.LogSigmoid(), nn.Softsign(), nn.Threshold(0.1, -1.0), nn.RReLU(0.1, 0.4)]
        )

    def forward(self, x):
        y = self.a(x)
        return torch.cat([kind(y) for kind in self.kinds] + [F.glu(y)], -1)


@register_model("activations", inputs=ROW)
def activations():
    return Activations()


class OldVision(nn.Module):
    """Local response norm, an LP pool, a pixel norm, a blur before the stride."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3)
        self.respond, self.pool = nn.LocalResponseNorm(3), nn.LPPool2d(2, 2)
        self.register_buffer(
            "blur", torch.tensor([1.0, 2.0, 1.0]).outer(torch.tensor([1.0, 2, 1])) / 16
        )

    def forward(self, image):
        y = self.respond(F.relu(self.a(image)))
        y = y * torch.rsqrt(y.square().mean(1, keepdim=True) + 1e-6)
        y = F.conv2d(y, self.blur.expand(8, 1, 3, 3), stride=2, padding=1, groups=8)
        return self.b(self.pool(y)).flatten(1)


@register_model("old_vision", inputs=IMAGE)
def old_vision():
    return OldVision()


class Ordinal(nn.Module):
    """Grades by cumulated thresholds, and how many are passed."""

    def __init__(self):
        super().__init__()
        self.score, self.gaps = nn.Linear(12, 1), nn.Parameter(torch.randn(4))

    def forward(self, x):
        cuts = torch.cat([self.gaps[:1], self.gaps[:1] + F.softplus(self.gaps[1:]).cumsum(0)])
        p = torch.sigmoid(self.score(x) - cuts)
        ends = torch.cat([torch.ones_like(p[:, :1]), p, torch.zeros_like(p[:, :1])], -1)
        return ends[:, :-1] - ends[:, 1:], (p > 0.5).sum(-1)


@register_model("ordinal", inputs=ROW)
def ordinal():
    return Ordinal()
