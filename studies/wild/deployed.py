"""Models as people deploy them: with what goes before and after, tables, graphs, numbers."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from onnx_conformance import Integers, Mask, TensorSpec, register_model

ROW = [TensorSpec("x", ("batch", 12))]
SEQ = {"inputs": [TensorSpec("x", ("batch", "seq", 8))], "axes": {"seq": (2, 20)}}
IMAGE = [TensorSpec("image", ("batch", 3, 16, 16))]
TEXT = [
    TensorSpec("ids", ("batch", "seq"), "int64", domain=Integers(0, 60)),
    TensorSpec("mask", ("batch", "seq"), "int64", domain=Mask()),
]


class AttentivePool(nn.Module):
    """Tokens under a mask, pooled by learned scores, to probabilities by name."""

    def __init__(self):
        super().__init__()
        self.tokens, self.score = nn.Embedding(60, 16, padding_idx=0), nn.Linear(16, 1)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 4)

    def forward(self, ids, mask):
        x = self.norm(self.tokens(ids))
        weights = self.score(x).squeeze(-1).masked_fill(~mask.bool(), float("-inf")).softmax(-1)
        pooled = torch.einsum("bs,bsd->bd", weights, x)
        probabilities = self.head(pooled).softmax(-1)
        return {"label": probabilities.argmax(-1), "probabilities": probabilities}


@register_model("attentive_pool", inputs=TEXT, axes={"seq": (1, 24)})
def attentive_pool():
    return AttentivePool()


class GreedyCaption(nn.Module):
    """Five tokens, each the likeliest after those before it."""

    def __init__(self):
        super().__init__()
        self.start, self.cell = nn.Linear(12, 16), nn.GRUCell(16, 16)
        self.tokens, self.out = nn.Embedding(20, 16), nn.Linear(16, 20)

    def forward(self, x):
        state = torch.tanh(self.start(x))
        token = torch.ones(x.shape[0], dtype=torch.long, device=x.device)
        chosen = []
        for _ in range(5):
            state = self.cell(self.tokens(token), state)
            token = self.out(state).argmax(-1)
            chosen.append(token)
        return torch.stack(chosen, 1), state


@register_model("greedy_caption", inputs=ROW)
def greedy_caption():
    return GreedyCaption()


class ReconstructionAlarm(nn.Module):
    """How badly a narrow autoencoder repeats the row, and whether that is too badly."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 12))
        self.register_buffer("centre", torch.linspace(-1, 1, 12))
        self.register_buffer("threshold", torch.tensor(1.2))

    def forward(self, x):
        scaled = (x - self.centre) / 1.5
        error = (self.net(scaled) - scaled).square().mean(-1)
        return error, error > self.threshold


@register_model("reconstruction_alarm", inputs=ROW)
def reconstruction_alarm():
    return ReconstructionAlarm()


class Mahalanobis(nn.Module):
    """The nearest of three Gaussians, and the distance to it."""

    def __init__(self):
        super().__init__()
        self.centres = nn.Parameter(torch.randn(3, 12))
        self.roots = nn.Parameter(torch.eye(12) + 0.1 * torch.randn(3, 12, 12))

    def forward(self, x):
        d = torch.einsum("kij,bkj->bki", self.roots, x[:, None] - self.centres)
        nearest, which = d.norm(dim=-1).min(-1)
        return nearest, which


@register_model("mahalanobis", inputs=ROW)
def mahalanobis():
    return Mahalanobis()


class DenoisingStep(nn.Module):
    """One step of DDIM: the noise schedule is a table, the network knows the step."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.cumprod(1 - torch.linspace(1e-4, 0.02, 100), 0))
        self.step, self.mix = nn.Embedding(100, 16), nn.Conv2d(3, 16, 3, padding=1)
        self.norm, self.out = nn.GroupNorm(4, 16), nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, image, t):
        h = self.mix(image) + self.step(t)[:, :, None, None]
        noise = self.out(F.silu(self.norm(h)))
        now = self.kept[t].view(-1, 1, 1, 1)
        then = self.kept[(t - 10).clamp(min=0)].view(-1, 1, 1, 1)
        clean = ((image - (1 - now).sqrt() * noise) / now.sqrt()).clamp(-1, 1)
        return then.sqrt() * clean + (1 - then).sqrt() * noise


@register_model(
    "denoising_step",
    inputs=[*IMAGE, TensorSpec("t", ("batch",), "int64", domain=Integers(0, 100))],
)
def denoising_step():
    return DenoisingStep()


class FeatureTokens(nn.Module):
    """FT-Transformer: each column a token, and the transformer before the last norm."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12, 16) / 4)
        self.bias = nn.Parameter(torch.randn(12, 16) / 4)
        self.first = nn.Parameter(torch.randn(1, 1, 16))
        self.block = nn.TransformerEncoderLayer(
            16, 4, 32, 0.1, "gelu", batch_first=True, norm_first=True
        )
        self.head = nn.Linear(16, 1)

    def forward(self, x):
        tokens = x[..., None] * self.weight + self.bias
        tokens = torch.cat([self.first.expand(x.shape[0], -1, -1), tokens], 1)
        return self.head(self.block(tokens)[:, 0])


@register_model("feature_tokens", inputs=ROW)
def feature_tokens():
    return FeatureTokens()


class EdgeSoftmax(nn.Module):
    """Attention over the edges that reach a node, with edge_index as PyG has it."""

    def __init__(self):
        super().__init__()
        self.a, self.source, self.target = nn.Linear(6, 8), nn.Linear(8, 1), nn.Linear(8, 1)

    def forward(self, x, edge_index):
        h = self.a(x)
        source, target = edge_index[0], edge_index[1]
        s = F.leaky_relu(self.source(h)[source] + self.target(h)[target], 0.2).squeeze(-1)
        highest = torch.full_like(h[:, 0], -1e9).scatter_reduce(0, target, s, "amax")
        e = (s - highest[target]).exp()
        total = torch.zeros_like(h[:, 0]).index_add(0, target, e)
        weight = e / (total[target] + 1e-16)
        return torch.zeros_like(h).index_add(0, target, weight[:, None] * h[source])


@register_model(
    "edge_softmax",
    inputs=[
        TensorSpec("x", ("nodes", 6)),
        TensorSpec("edge_index", (2, "edges"), "int64", domain=Integers(0, 4)),
    ],
    axes={"nodes": (4, 12), "edges": (1, 20)},
)
def edge_softmax():
    return EdgeSoftmax()


class LowPass(nn.Module):
    """An image without its high frequencies."""

    def __init__(self):
        super().__init__()
        y, x = torch.fft.fftfreq(16)[:, None], torch.fft.rfftfreq(16)[None]
        self.register_buffer("keep", torch.exp(-8 * (x**2 + y**2)))
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, image):
        return self.conv(torch.fft.irfft2(torch.fft.rfft2(image) * self.keep, s=(16, 16)))


@register_model("low_pass", inputs=IMAGE)
def low_pass():
    return LowPass()


class Nucleus(nn.Module):
    """Logits after a penalty of what was said, a temperature, and a cut at 0.9 of probability."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(12, 30)

    def forward(self, x, said):
        logits = self.head(x)
        before = logits.gather(1, said)
        logits = logits.scatter(1, said, torch.where(before < 0, before * 1.3, before / 1.3)) / 0.8
        ordered, places = logits.sort(-1, descending=True)
        p = ordered.softmax(-1)
        ordered = ordered.masked_fill(p.cumsum(-1) - p > 0.9, -1e4)
        return torch.zeros_like(logits).scatter(1, places, ordered)


@register_model(
    "nucleus",
    inputs=[*ROW, TensorSpec("said", ("batch", 4), "int64", domain=Integers(0, 30))],
)
def nucleus():
    return Nucleus()


class Imputed(nn.Module):
    """Missing numbers, marked by a flag, take a learned value; then a scaler in float64."""

    def __init__(self):
        super().__init__()
        self.fill = nn.Parameter(torch.randn(12))
        self.register_buffer("mean", torch.linspace(-1, 1, 12, dtype=torch.float64))
        self.register_buffer("deviation", torch.linspace(0.5, 2, 12, dtype=torch.float64))
        self.net = nn.Sequential(nn.Linear(24, 16), nn.SiLU(), nn.Linear(16, 2))

    def forward(self, x, present):
        x = torch.where(present.bool(), x, self.fill)
        scaled = ((x.double() - self.mean) / self.deviation).to(self.fill.dtype)
        return self.net(torch.cat([scaled, present.to(scaled.dtype)], -1))


@register_model(
    "imputed",
    inputs=[*ROW, TensorSpec("present", ("batch", 12), "int64", domain=Integers(0, 2))],
)
def imputed():
    return Imputed()


class MinuteOfDay(nn.Module):
    """Seconds since 1970 as sine and cosine of day and week, beside a table of weekdays."""

    def __init__(self):
        super().__init__()
        self.days, self.net = nn.Embedding(7, 4), nn.Linear(8, 3)

    def forward(self, seconds):
        day = torch.remainder(torch.div(seconds, 86400, rounding_mode="floor") + 3, 7)
        a = (seconds % 86400).to(self.net.weight.dtype) / 86400 * (2 * math.pi)
        b = day.to(self.net.weight.dtype) / 7 * (2 * math.pi)
        return self.net(
            torch.cat([torch.stack([a.sin(), a.cos(), b.sin(), b.cos()], -1), self.days(day)], -1)
        )


@register_model(
    "minute_of_day",
    inputs=[TensorSpec("seconds", ("batch",), "int64", domain=Integers(0, 2_000_000_000))],
)
def minute_of_day():
    return MinuteOfDay()


class Calibrated(nn.Module):
    """A score, mapped by the line between the two knots beside it."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(12, 1)
        self.register_buffer("knots", torch.linspace(-2, 2, 9))
        self.register_buffer("values", torch.sigmoid(torch.linspace(-3, 3, 9)) ** 2)

    def forward(self, x):
        s = self.net(x).squeeze(-1).clamp(-2, 2)
        right = torch.searchsorted(self.knots, s).clamp(1, 8)
        left = right - 1
        t = (s - self.knots[left]) / (self.knots[right] - self.knots[left])
        return torch.lerp(self.values[left], self.values[right], t)


@register_model("calibrated", inputs=ROW)
def calibrated():
    return Calibrated()


class EditDistance(nn.Module):
    """Whole numbers alone: the edit distance of two words of five letters."""

    def forward(self, a, b):
        row = [torch.full_like(a[:, 0], j) for j in range(6)]
        for i in range(5):
            last, row = row, [torch.full_like(a[:, 0], i + 1)]
            for j in range(5):
                same = last[j] + (a[:, i] != b[:, j]).long()
                row.append(torch.minimum(torch.minimum(last[j + 1], row[j]) + 1, same))
        return row[-1]


@register_model(
    "edit_distance",
    inputs=[TensorSpec(n, ("batch", 5), "int64", domain=Integers(0, 4)) for n in ("a", "b")],
)
def edit_distance():
    return EditDistance()


class Letterbox(nn.Module):
    """A camera's bytes, squared with grey, resized, normalised, to probabilities."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 5)
        self.register_buffer("mean", torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1))

    def forward(self, frame):
        x = frame.permute(0, 3, 1, 2).to(self.mean.dtype)
        x = F.pad(x, (0, 0, 4, 4), value=114.0)
        x = F.interpolate(x, size=(16, 16), mode="bilinear", align_corners=False)
        x = F.relu(self.conv((x - self.mean) / 58.0)).mean((2, 3))
        return self.head(x).softmax(-1)


@register_model(
    "letterbox",
    inputs=[TensorSpec("frame", ("batch", 16, 24, 3), "uint8", domain=Integers(0, 256))],
)
def letterbox():
    return Letterbox()
