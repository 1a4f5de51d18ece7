"""Rearranged patches, safe branches, rotary and grouped attention, flows, graphs, ensembles."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, stack_module_state
from torch.nn.utils import parametrize

from onnx_conformance import Integers, Lengths, Mask, TensorSpec, register_model


class PatchShuffle(nn.Module):
    """Space to depth and back as einops writes it: views and permutes."""

    def __init__(self, p=2):
        super().__init__()
        self.p = p
        self.proj = nn.Linear(3 * p * p, 12)
        self.back = nn.Linear(12, 3 * p * p)

    def forward(self, image):
        b, c, h, w = image.shape
        p = self.p
        x = image.view(b, c, h // p, p, w // p, p).permute(0, 2, 4, 3, 5, 1)
        x = x.reshape(b, (h // p) * (w // p), p * p * c)
        x = self.back(F.gelu(self.proj(x)))
        x = x.view(b, h // p, w // p, p, p, c).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(b, c, h, w) + image


@register_model(
    "einops_patches",
    inputs=[TensorSpec("image", ("batch", 3, "h", "w"))],
    axes={"h": (4, 24, 2), "w": (4, 24, 2)},
)
def einops_patches():
    return PatchShuffle()


class SafeNorm(nn.Module):
    """where with a branch that would be NaN."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(6, 10)
        self.eps = 1e-6

    def forward(self, x):
        h = self.lin(x)
        positive = h > 0
        safe = torch.where(positive, h, torch.ones_like(h))
        logged = torch.where(positive, torch.log(safe), h)
        norm2 = (x * x).sum(-1, keepdim=True)
        live = norm2 > self.eps
        unit = torch.where(
            live,
            x / torch.sqrt(torch.where(live, norm2, torch.ones_like(norm2))),
            torch.zeros_like(x),
        )
        return logged, unit


@register_model("safe_where", inputs=[TensorSpec("x", ("batch", 6))])
def safe_where():
    return SafeNorm()


class GQA(nn.Module):
    """Grouped-query attention with ALiBi and a causal and a padding mask."""

    def __init__(self, d=16, heads=4, groups=2):
        super().__init__()
        self.h, self.g, self.hd = heads, groups, d // heads
        self.emb = nn.Embedding(30, d)
        self.q, self.k = nn.Linear(d, d), nn.Linear(d, groups * self.hd, bias=False)
        self.v, self.o = nn.Linear(d, groups * self.hd, bias=False), nn.Linear(d, d)
        self.register_buffer(
            "slopes", torch.tensor([2.0 ** (-8 * (i + 1) / heads) for i in range(heads)])
        )

    def forward(self, ids, mask):
        x = self.emb(ids)
        b, t, d = x.shape
        q = self.q(x).view(b, t, self.h, self.hd).transpose(1, 2)
        k = (
            self.k(x)
            .view(b, t, self.g, self.hd)
            .transpose(1, 2)
            .repeat_interleave(self.h // self.g, 1)
        )
        v = (
            self.v(x)
            .view(b, t, self.g, self.hd)
            .transpose(1, 2)
            .repeat_interleave(self.h // self.g, 1)
        )
        place = torch.arange(t, device=x.device)
        distance = place[None, :] - place[:, None]
        bias = self.slopes[:, None, None] * distance.to(x.dtype)
        score = q @ k.transpose(-1, -2) / math.sqrt(self.hd) + bias
        seen = (distance <= 0) & (mask[:, None, None, :] != 0)
        score = score.masked_fill(~seen, torch.finfo(score.dtype).min)
        y = score.softmax(-1) @ v
        return self.o(y.transpose(1, 2).reshape(b, t, d))


@register_model(
    "alibi_grouped",
    inputs=[
        TensorSpec("ids", ("batch", "seq"), "int64", domain=Integers(0, 29)),
        TensorSpec("mask", ("batch", "seq"), "int64", domain=Mask()),
    ],
    axes={"seq": (1, 32)},
)
def alibi_grouped():
    return GQA()


class LearnedRotary(nn.Module):
    """Rotary positions whose frequencies are learnt."""

    def __init__(self, d=8):
        super().__init__()
        self.freqs = nn.Parameter(1.0 / (100 ** (torch.arange(0, d, 2).float() / d)))
        self.lin = nn.Linear(d, d)

    def forward(self, x):
        t = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
        angle = torch.outer(t, self.freqs)
        cos, sin = angle.cos().repeat_interleave(2, -1), angle.sin().repeat_interleave(2, -1)
        y = self.lin(x)
        paired = torch.stack((-y[..., 1::2], y[..., ::2]), -1).flatten(-2)
        return y * cos + paired * sin


@register_model(
    "learned_rotary", inputs=[TensorSpec("x", ("batch", "seq", 8))], axes={"seq": (1, 40)}
)
def learned_rotary():
    return LearnedRotary()


class ActNormFlow(nn.Module):
    """A normalising flow: actnorm, invertible 1x1 matrix, affine coupling; log-determinant out."""

    def __init__(self, d=6):
        super().__init__()
        self.loc, self.log_scale = (
            nn.Parameter(torch.randn(d) * 0.1),
            nn.Parameter(torch.randn(d) * 0.1),
        )
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(d, d))[0] + 0.05 * torch.randn(d, d))
        self.net = nn.Sequential(nn.Linear(d // 2, 16), nn.SiLU(), nn.Linear(16, d))

    def forward(self, x):
        z = (x + self.loc) * self.log_scale.exp()
        logdet = self.log_scale.sum().expand(x.shape[0])
        z = z @ self.weight
        logdet = logdet + torch.linalg.slogdet(self.weight)[1]
        a, b = z.chunk(2, -1)
        s, t = self.net(a).chunk(2, -1)
        s = torch.tanh(s)
        z = torch.cat([a, b * s.exp() + t], -1)
        logdet = logdet + s.sum(-1)
        prior = -0.5 * (z**2 + math.log(2 * math.pi)).sum(-1)
        return z, logdet, prior + logdet


@register_model("glow_step", inputs=[TensorSpec("x", ("batch", 6))])
def glow_step():
    return ActNormFlow()


class MessagePassing(nn.Module):
    """Mean by index_add, max by scatter_reduce over the edges of a graph."""

    def __init__(self):
        super().__init__()
        self.msg, self.upd = nn.Linear(8, 10), nn.Linear(24, 6)

    def forward(self, nodes, source, target):
        message = torch.relu(self.msg(torch.cat([nodes[source], nodes[target]], -1)))
        n = nodes.shape[0]
        total = torch.zeros(n, 10, dtype=nodes.dtype).index_add(0, target, message)
        degree = torch.zeros(n, dtype=nodes.dtype).index_add(
            0, target, torch.ones_like(target, dtype=nodes.dtype)
        )
        mean = total / degree.clamp(min=1).unsqueeze(-1)
        top = torch.zeros(n, 10, dtype=nodes.dtype).scatter_reduce(
            0, target.unsqueeze(-1).expand(-1, 10), message, "amax", include_self=True
        )
        return self.upd(torch.cat([nodes, mean, top], -1))


@register_model(
    "graph_reduce",
    inputs=[
        TensorSpec("nodes", ("n", 4)),
        TensorSpec("source", ("edges",), "int64", domain=Integers(0, 3)),
        TensorSpec("target", ("edges",), "int64", domain=Integers(0, 3)),
    ],
    axes={"n": (4, 12), "edges": (1, 30)},
)
def graph_reduce():
    return MessagePassing()


class Ensemble(nn.Module):
    """Five members at once, by vmap over functional_call."""

    def __init__(self):
        super().__init__()
        members = [nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2)) for _ in range(5)]
        params, _ = stack_module_state(members)
        self.params = nn.ParameterDict(
            {k.replace(".", "_"): nn.Parameter(v.detach()) for k, v in params.items()}
        )
        self.names = {k.replace(".", "_"): k for k in params}
        object.__setattr__(self, "base", nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2)))

    def forward(self, x):
        params = {self.names[k]: v for k, v in self.params.items()}
        every = torch.vmap(lambda p: functional_call(self.base, p, (x,)))(params)
        return every.mean(0), every.var(0, unbiased=False)


@register_model("vmapped_ensemble", inputs=[TensorSpec("x", ("batch", 5))])
def vmapped_ensemble():
    return Ensemble()


class Symmetric(nn.Module):
    def forward(self, w):
        return w.triu() + w.triu(1).transpose(-1, -2)


@register_model("parametrized_symmetric", inputs=[TensorSpec("x", ("batch", 7))])
def parametrized_symmetric():
    layer = nn.Linear(7, 7)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    return nn.Sequential(layer, nn.Hardswish(), nn.Linear(7, 3))


class Tied(nn.Module):
    """Embedding and output layer share one matrix; the encoder is a GRU on packed sequences."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(25, 12, padding_idx=0)
        self.gru = nn.GRU(12, 12, num_layers=2, batch_first=True)
        self.out = nn.Linear(12, 25, bias=True)
        self.out.weight = self.emb.weight

    def forward(self, ids, lengths):
        x = self.emb(ids)
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
        y, h = self.gru(packed)
        y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=ids.shape[1])
        return self.out(torch.tanh(y)), h[-1]


@register_model(
    "tied_packed_gru",
    inputs=[
        TensorSpec("ids", ("batch", "seq"), "int64", domain=Integers(0, 24)),
        TensorSpec("lengths", ("batch",), "int64", domain=Lengths("seq")),
    ],
    axes={"seq": (1, 20)},
)
def tied_packed_gru():
    return Tied()
