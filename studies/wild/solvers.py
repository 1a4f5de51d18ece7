"""Integrators, gradients, transport, wavelets, bags, gates, pointers, trees, windows."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from onnx_conformance import Bounded, Integers, TensorSpec, register_model

IMG = [TensorSpec("image", ("batch", 3, 16, 18))]
SEQ = {"inputs": [TensorSpec("x", ("batch", "seq", 8))], "axes": {"seq": (2, 24)}}


class RungeKutta(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 4))

    def field(self, t, y):
        return self.f(torch.cat([y, t.expand(y.shape[0], 1)], -1))

    def forward(self, state, dt):
        y, h = state, dt.view(1, 1)
        for k in range(3):
            t = k * h
            a = self.field(t, y)
            b = self.field(t + h / 2, y + h / 2 * a)
            c = self.field(t + h / 2, y + h / 2 * b)
            d = self.field(t + h, y + h * c)
            y = y + h / 6 * (a + 2 * b + 2 * c + d)
        return y


@register_model(
    "runge_kutta",
    inputs=[TensorSpec("state", ("batch", 4)), TensorSpec("dt", (1,), domain=Bounded(0.01, 0.2))],
)
def runge_kutta():
    return RungeKutta()


class Forces(nn.Module):
    """An energy and the forces, which are its gradient, by torch.func."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 10), nn.Linear(10, 1)

    def energy(self, x):
        return self.b(torch.tanh(self.a(x))).sum()

    def forward(self, x):
        return self.b(torch.tanh(self.a(x))), -torch.func.grad(self.energy)(x)


@register_model("gradient_inside", inputs=[TensorSpec("x", ("batch", 6))])
def gradient_inside():
    return Forces()


class Sinkhorn(nn.Module):
    """Optimal transport between two point sets, eight iterations in logarithms."""

    def __init__(self):
        super().__init__()
        self.f = nn.Linear(3, 4)

    def forward(self, a, b):
        cost = (self.f(a).unsqueeze(2) - self.f(b).unsqueeze(1)).pow(2).sum(-1)
        k = -cost / 0.5
        u, v = torch.zeros_like(k[:, :, 0]), torch.zeros_like(k[:, 0])
        for _ in range(8):
            u = -math.log(k.shape[1]) - torch.logsumexp(k + v.unsqueeze(1), 2)
            v = -math.log(k.shape[2]) - torch.logsumexp(k + u.unsqueeze(2), 1)
        plan = (k + u.unsqueeze(2) + v.unsqueeze(1)).exp()
        return plan, (plan * cost).sum((1, 2))


@register_model(
    "sinkhorn", inputs=[TensorSpec("a", ("batch", 5, 3)), TensorSpec("b", ("batch", 7, 3))]
)
def sinkhorn():
    return Sinkhorn()


class Wavelet(nn.Module):
    """Two levels of a Haar transform, soft-thresholded, and back."""

    def __init__(self):
        super().__init__()
        self.t = nn.Parameter(torch.tensor([0.1, 0.2]))

    def forward(self, x):
        parts, a = [], x
        for level in range(2):
            e, o = a[..., ::2], a[..., 1::2]
            d = (e - o) / math.sqrt(2)
            parts.append(torch.sign(d) * F.relu(d.abs() - self.t[level]))
            a = (e + o) / math.sqrt(2)
        for d in reversed(parts):
            a = torch.stack([(a + d) / math.sqrt(2), (a - d) / math.sqrt(2)], -1).flatten(-2)
        return a, parts[-1]


@register_model(
    "haar_wavelets", inputs=[TensorSpec("x", ("batch", 2, "time"))], axes={"time": (8, 64, 4)}
)
def haar_wavelets():
    return Wavelet()


class Bag(nn.Module):
    """Categories by a bag with per-sample weights, numbers standardised by buffers, NaN filled."""

    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(50, 6, mode="sum")
        self.bi = nn.Bilinear(6, 4, 5)
        self.register_buffer("mu", torch.randn(4))
        self.register_buffer("sd", torch.rand(4) + 0.5)

    def forward(self, ids, weights, numbers):
        x = torch.nan_to_num((numbers - self.mu) / self.sd, nan=0.0, posinf=3.0, neginf=-3.0)
        x = x.clamp(-3, 3)
        return self.bi(self.bag(ids, per_sample_weights=weights), x)


@register_model(
    "weighted_bag",
    inputs=[
        TensorSpec("ids", ("batch", 5), "int64", domain=Integers(0, 49)),
        TensorSpec("weights", ("batch", 5)),
        TensorSpec("numbers", ("batch", 4)),
    ],
)
def weighted_bag():
    return Bag()


class Gated(nn.Module):
    """WaveNet blocks: dilated causal convolutions with weight norm, gates, skips; GLU head."""

    def __init__(self):
        super().__init__()
        wn = nn.utils.parametrizations.weight_norm
        self.inp = nn.Conv1d(2, 8, 1)
        self.gates = nn.ModuleList(wn(nn.Conv1d(8, 16, 2, dilation=d)) for d in (1, 2, 4))
        self.res = nn.ModuleList(nn.Conv1d(8, 8, 1) for _ in range(3))
        self.out = nn.Conv1d(8, 8, 1)

    def forward(self, x):
        h, skip = self.inp(x), 0.0
        for gate, res, d in zip(self.gates, self.res, (1, 2, 4), strict=False):
            a, b = gate(F.pad(h, (d, 0))).chunk(2, 1)
            g = torch.tanh(a) * torch.sigmoid(b)
            h, skip = h + res(g), skip + g
        return F.glu(self.out(F.relu(skip)), dim=1)


@register_model(
    "wavenet_gates", inputs=[TensorSpec("x", ("batch", 2, "time"))], axes={"time": (1, 40)}
)
def wavenet_gates():
    return Gated()


class Pointer(nn.Module):
    """Greedy tour of a pointer network: argmax steps, visited points masked."""

    def __init__(self):
        super().__init__()
        self.q, self.k = nn.Linear(4, 8), nn.Linear(2, 8)

    def forward(self, points):
        b, n, _ = points.shape
        k, state = self.k(points), points[:, 0]
        visited = torch.zeros(b, n, dtype=torch.bool)
        tour, logp = [], 0.0
        for _ in range(3):
            s = (k @ self.q(torch.cat([state, points.mean(1)], -1)).unsqueeze(-1)).squeeze(
                -1
            ) / math.sqrt(8)
            s = (10 * torch.tanh(s)).masked_fill(visited, -1e9)
            lp = s.log_softmax(-1)
            best = lp.argmax(-1)
            logp = logp + lp.gather(1, best.unsqueeze(1)).squeeze(1)
            visited = visited | F.one_hot(best, n).bool()
            state = points[torch.arange(b), best]
            tour.append(best)
        return torch.stack(tour, 1), logp


@register_model("pointer_tour", inputs=[TensorSpec("points", ("batch", 6, 2))])
def pointer_tour():
    return Pointer()


class Half(nn.Module):
    """float16 in and out, with a float32 softmax in the middle."""

    def __init__(self):
        super().__init__()
        self.q, self.v = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        a = (self.q(x) @ x.transpose(-1, -2)).float()
        return (a / (8**0.5)).softmax(-1).to(x.dtype) @ self.v(x)


@register_model("half_attention", inputs=[TensorSpec("x", ("batch", 5, 8), "float16")])
def half_attention():
    return Half().half()


class Tree(nn.Module):
    """A soft decision tree: products of gates along the paths, leaves mixed."""

    def __init__(self, depth=3):
        super().__init__()
        self.depth, self.gate = depth, nn.Linear(6, 2**depth - 1)
        self.leaves = nn.Parameter(torch.randn(2**depth, 3))

    def forward(self, x):
        g, p = torch.sigmoid(self.gate(x) * 1.5), x.new_ones(x.shape[0], 1)
        start = 0
        for level in range(self.depth):
            k = 2**level
            here = g[:, start : start + k]
            p = torch.stack([p * here, p * (1 - here)], -1).flatten(1)
            start += k
        return p @ self.leaves, p


@register_model("soft_tree", inputs=[TensorSpec("x", ("batch", 6))])
def soft_tree():
    return Tree()


class Windows(nn.Module):
    """Overlapping windows by unfold, each normalised, attended, folded back by overlap-add."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(8, 8)
        self.register_buffer("hann", torch.hann_window(8))

    def forward(self, x):
        frames = x.unfold(1, 8, 4)
        mu, var = frames.mean(-1, keepdim=True), frames.var(-1, keepdim=True, unbiased=True)
        y = self.lin((frames - mu) * torch.rsqrt(var + 1e-5)) * self.hann
        return (
            F.fold(y.transpose(1, 2), (1, x.shape[1]), (1, 8), stride=(1, 4)).squeeze(1).squeeze(1)
        )


@register_model("overlap_add", inputs=[TensorSpec("x", ("batch", 32))])
def overlap_add():
    return Windows()


class Coordinates(nn.Module):
    """CoordConv, soft-argmax key points with a learnt temperature, integral of heat maps."""

    def __init__(self):
        super().__init__()
        self.c, self.t = nn.Conv2d(5, 4, 3, padding=1), nn.Parameter(torch.tensor(3.0))

    def forward(self, image):
        b, _, h, w = image.shape
        ys = (torch.arange(h, dtype=image.dtype) / (h - 1)).view(1, 1, h, 1).expand(b, 1, h, w)
        xs = (torch.arange(w, dtype=image.dtype) / (w - 1)).view(1, 1, 1, w).expand(b, 1, h, w)
        p = (self.c(torch.cat([image, ys, xs], 1)) * self.t).flatten(2).softmax(-1).view(b, 4, h, w)
        return torch.stack([(p * xs).sum((2, 3)), (p * ys).sum((2, 3))], -1), p.amax((2, 3))


@register_model(
    "soft_argmax",
    inputs=[TensorSpec("image", ("batch", 3, "h", "w"))],
    axes={"h": (4, 20), "w": (4, 20)},
)
def soft_argmax():
    return Coordinates()
