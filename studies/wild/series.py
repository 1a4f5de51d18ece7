"""Time series, sequences and linear algebra."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from onnx_conformance import Bounded, Integers, Lengths, Mask, TensorSpec, register_model

SEQ = {"inputs": [TensorSpec("x", ("batch", "seq", 8))], "axes": {"seq": (2, 20)}}
IDS = [TensorSpec("ids", ("batch", "seq"), "int64", domain=Integers(0, 50))]


class ProbabilisticSparse(nn.Module):
    """Informer: the queries that tell most attend, the others take the mean; then distilled."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
        self.down = nn.Conv1d(8, 8, 3, padding=1, padding_mode="circular")
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x):
        q, k, v = self.q(x), self.k(x), self.v(x)
        s = q @ k.transpose(-2, -1) / 8**0.5
        m = s.max(-1)[0] - s.sum(-1) / s.shape[-1]
        top = m.topk(4, sorted=False)[1]
        rows = torch.gather(s, 1, top[..., None].expand(-1, -1, s.shape[-1]))
        out = v.mean(1, keepdim=True).expand_as(v).clone()
        y = out.scatter(1, top[..., None].expand(-1, -1, 8), rows.softmax(-1) @ v)
        y = F.elu(self.norm(self.down((x + y).transpose(1, 2))))
        return F.max_pool1d(y, 3, 2, 1).transpose(1, 2)


@register_model("probabilistic_sparse", inputs=[TensorSpec("x", ("batch", 12, 8))])
def probabilistic_sparse():
    return ProbabilisticSparse()


class AutoCorrelation(nn.Module):
    """Autoformer: trend by a moving average, delays found with an FFT, series rolled by them."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        ends = torch.cat([x[:, :1].repeat(1, 2, 1), x, x[:, -1:].repeat(1, 2, 1)], 1)
        trend = F.avg_pool1d(ends.permute(0, 2, 1), 5, 1).permute(0, 2, 1)
        s = x - trend
        q, k = (torch.fft.rfft(f(s).permute(0, 2, 1), dim=-1) for f in (self.q, self.k))
        r = torch.fft.irfft(q * torch.conj(k), n=16, dim=-1).mean(1)
        w, delay = torch.topk(r, 3, dim=-1)
        w, v = w.softmax(-1), self.v(s)
        index = (torch.arange(16)[None, None] + delay[..., None]) % 16
        rolled = v[:, None].expand(-1, 3, -1, -1).gather(2, index[..., None].expand(-1, -1, -1, 4))
        return (rolled * w[..., None, None]).sum(1) + trend


@register_model("auto_correlation", inputs=[TensorSpec("x", ("batch", 16, 4))])
def auto_correlation():
    return AutoCorrelation()


class DiagonalStates(nn.Module):
    """S4D: a kernel from complex exponentials of the parameters, convolved by an FFT."""

    def __init__(self):
        super().__init__()
        self.log_dt = nn.Parameter(torch.rand(8) * 2 - 3)
        self.c = nn.Parameter(torch.randn(8, 4, 2))
        self.log_a, self.imag = (
            nn.Parameter(torch.full((8, 4), math.log(0.5))),
            nn.Parameter(math.pi * torch.arange(4.0).repeat(8, 1)),
        )
        self.d, self.out = nn.Parameter(torch.randn(8)), nn.Conv1d(8, 16, 1)

    def forward(self, x):
        u = x.transpose(1, 2)
        dt, a = self.log_dt.exp(), -self.log_a.exp() + 1j * self.imag
        da = a * dt[:, None]
        c = torch.view_as_complex(self.c) * (da.exp() - 1) / a
        k = 2 * torch.einsum("hn,hnl->hl", c, torch.exp(da[..., None] * torch.arange(16))).real
        y = torch.fft.irfft(torch.fft.rfft(k, n=32) * torch.fft.rfft(u, n=32), n=32)[..., :16]
        return F.glu(self.out(F.gelu(y + u * self.d[:, None])), dim=1).transpose(1, 2)


@register_model("diagonal_states", inputs=[TensorSpec("x", ("batch", 16, 8))])
def diagonal_states():
    return DiagonalStates()


class ReceptanceKeyValue(nn.Module):
    """RWKV: a recurrence kept stable by a running maximum, and a token shift."""

    def __init__(self):
        super().__init__()
        self.k, self.v, self.r, self.o = (nn.Linear(8, 8, bias=False) for _ in range(4))
        self.decay, self.first = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8))
        self.mix = nn.Parameter(torch.rand(3, 8))

    def forward(self, x):
        before = F.pad(x, (0, 0, 1, -1))
        k, v, r = (
            f(x * m + before * (1 - m))
            for f, m in zip((self.k, self.v, self.r), self.mix, strict=True)
        )
        a = b = torch.zeros_like(k[:, 0])
        top = torch.full_like(a, -1e38)
        w, out = -torch.exp(self.decay), []
        for t in range(6):
            q = torch.maximum(top, self.first + k[:, t])
            e1, e2 = torch.exp(top - q), torch.exp(self.first + k[:, t] - q)
            out.append((e1 * a + e2 * v[:, t]) / (e1 * b + e2))
            q = torch.maximum(top + w, k[:, t])
            e1, e2 = torch.exp(top + w - q), torch.exp(k[:, t] - q)
            a, b, top = e1 * a + e2 * v[:, t], e1 * b + e2, q
        return self.o(torch.sigmoid(r) * torch.stack(out, 1))


@register_model("receptance_key_value", inputs=[TensorSpec("x", ("batch", 6, 8))])
def receptance_key_value():
    return ReceptanceKeyValue()


class SlidingDecoder(nn.Module):
    """A decoder with rotary places, grouped heads, a window of 5 and padding, without a cache."""

    def __init__(self):
        super().__init__()
        self.table, self.norm = nn.Embedding(50, 16), nn.RMSNorm(16, eps=1e-6)
        self.q, self.kv, self.o = (
            nn.Linear(16, 16, bias=False),
            nn.Linear(16, 16, bias=False),
            nn.Linear(16, 16, bias=False),
        )
        self.gate, self.up, self.down = nn.Linear(16, 24), nn.Linear(16, 24), nn.Linear(24, 16)
        self.register_buffer("inv", 1.0 / 10000 ** (torch.arange(0, 4, 2) / 4), persistent=False)

    def turned(self, x, position):
        angle = (position[..., None] * self.inv).repeat(1, 1, 2)[:, None]
        half = torch.cat([-x[..., 2:], x[..., :2]], -1)
        return x * angle.cos() + half * angle.sin()

    def forward(self, ids, attention_mask):
        b, n = ids.shape
        x = self.table(ids)
        h = self.norm(x)
        position = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        q = self.turned(self.q(h).view(b, n, 4, 4).transpose(1, 2), position)
        k, v = self.kv(h).view(b, n, 2, 2, 4).permute(2, 0, 3, 1, 4)
        i = torch.arange(n, device=ids.device)
        window = (i[:, None] >= i) & (i[:, None] - i < 5)
        mask = window & (attention_mask[:, None, None] > 0) | torch.eye(
            n, device=ids.device, dtype=torch.bool
        )
        y = F.scaled_dot_product_attention(
            q, self.turned(k, position), v, attn_mask=mask, enable_gqa=True
        )
        x = x + self.o(y.transpose(1, 2).reshape(b, n, 16))
        h = self.norm(x)
        return F.linear(x + self.down(F.silu(self.gate(h)) * self.up(h)), self.table.weight)


@register_model(
    "sliding_decoder",
    inputs=[
        *IDS,
        TensorSpec("attention_mask", ("batch", "seq"), "int64", domain=Mask(side="left")),
    ],
    axes={"seq": (1, 16)},
)
def sliding_decoder():
    return SlidingDecoder()


class LastOfEach(nn.Module):
    """A bidirectional GRU; what counts is the last valid step, the mean and the maximum."""

    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(8, 6, bidirectional=True, batch_first=True), nn.Linear(36, 3)

    def forward(self, x, lengths):
        y, _ = self.gru(x)
        mask = torch.arange(x.size(1), device=x.device)[None] < lengths[:, None]
        last = y.gather(1, (lengths - 1).view(-1, 1, 1).expand(-1, 1, y.size(2))).squeeze(1)
        mean = (y * mask[..., None]).sum(1) / lengths[:, None]
        top = y.masked_fill(~mask[..., None], float("-inf")).amax(1)
        return self.head(torch.cat([last, mean, top], 1))


@register_model(
    "last_of_each",
    inputs=[
        TensorSpec("x", ("batch", "seq", 8)),
        TensorSpec("lengths", ("batch",), "int64", domain=Lengths("seq")),
    ],
    axes={"seq": (1, 14)},
)
def last_of_each():
    return LastOfEach()


@torch.jit.script
def ema(x: torch.Tensor, rate: float) -> torch.Tensor:
    state = torch.zeros_like(x[:, 0])
    out: list[torch.Tensor] = []
    for t in range(x.size(1)):
        state = rate * state + (1.0 - rate) * x[:, t]
        out.append(state)
    return torch.stack(out, dim=1)


class Smoothed(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(torch.tanh(ema(x, 0.7) - x))


@register_model("smoothed_by_script", **SEQ)
def smoothed_by_script():
    return Smoothed()


class Binarise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0).to(x)

    @staticmethod
    def backward(ctx, grad):
        return grad * (ctx.saved_tensors[0].abs() <= 1)


class BinaryNet(nn.Module):
    """Weights and activations of one bit, by an autograd.Function without a symbolic."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 24), nn.Linear(24, 4)

    def forward(self, x):
        h = Binarise.apply(self.first(x))
        w = self.second.weight
        return F.linear(h, Binarise.apply(w) * w.abs().mean(1, keepdim=True), self.second.bias)


@register_model("binary_net", inputs=[TensorSpec("x", ("batch", 8))])
def binary_net():
    return BinaryNet()


class GaussianProcess(nn.Module):
    """A posterior by Cholesky: ONNX has no such operator."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.randn(9, 3))
        self.y = nn.Parameter(torch.randn(9, 1))

    def forward(self, x):
        k = torch.exp(-0.5 * torch.cdist(self.seen, self.seen) ** 2) + 0.1 * torch.eye(9)
        ks = torch.exp(-0.5 * torch.cdist(x, self.seen.expand(len(x), 9, 3)[0]) ** 2)
        low = torch.linalg.cholesky(k + 0 * x.sum())
        return ks @ torch.cholesky_solve(self.y, low)


@register_model("gaussian_process", inputs=[TensorSpec("x", ("batch", 3))])
def gaussian_process():
    return GaussianProcess()


class Whitened(nn.Module):
    """The same from parameters alone: a constant, which an exporter can compute itself."""

    def __init__(self):
        super().__init__()
        self.a, self.head = nn.Parameter(torch.randn(6, 6)), nn.Linear(6, 3)

    def forward(self, x):
        c = self.a @ self.a.T + torch.eye(6)
        w = torch.linalg.solve_triangular(torch.linalg.cholesky(c), torch.eye(6).to(c), upper=False)
        return self.head(torch.tanh(x @ w.T))


@register_model("whitened_by_parameters", inputs=[TensorSpec("x", ("batch", 6))])
def whitened_by_parameters():
    return Whitened()


class Procrustes(nn.Module):
    def forward(self, a, b):
        u, _, v = torch.linalg.svd(a.transpose(1, 2) @ b)
        return u @ v


@register_model(
    "procrustes", inputs=[TensorSpec("a", ("batch", 7, 3)), TensorSpec("b", ("batch", 7, 3))]
)
def procrustes():
    return Procrustes()


class Determinants(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(5, 9)

    def forward(self, x):
        m = self.net(x).view(-1, 3, 3) + 2 * torch.eye(3)
        return torch.det(m), torch.linalg.cross(m[:, 0], m[:, 1]), m.diagonal(dim1=1, dim2=2)


@register_model("determinants", inputs=[TensorSpec("x", ("batch", 5))])
def determinants():
    return Determinants()


class Performer(nn.Module):
    """FAVOR+: positive random features, which a buffer keeps."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.register_buffer("proj", torch.linalg.qr(torch.randn(8, 8))[0] * 8**0.5)

    def feature(self, x, query):
        d = x @ self.proj.T * 8**-0.25
        h = (x**2).sum(-1, keepdim=True) / 2 * 8**-0.5
        top = d.amax(-1, keepdim=True) if query else d.amax((-1, -2), keepdim=True)
        return 8**-0.5 * (torch.exp(d - h - top.detach()) + 1e-4)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        q, k = self.feature(q, True), self.feature(k, False)
        d = 1.0 / torch.einsum("bnd,bd->bn", q, k.sum(1))
        return torch.einsum("bde,bnd,bn->bne", torch.einsum("bnd,bne->bde", k, v), q, d)


@register_model("random_features", **SEQ)
def random_features():
    return Performer()


class Nystrom(nn.Module):
    """Landmarks, and a pseudo-inverse by six steps of an iteration."""

    def __init__(self):
        super().__init__()
        self.qkv, self.conv = (
            nn.Linear(8, 24),
            nn.Conv2d(2, 2, (5, 1), padding=(2, 0), groups=2, bias=False),
        )

    def inverse(self, m):
        eye = torch.eye(4).to(m)
        v = m.transpose(-1, -2) / m.sum(-2).amax(-1)[..., None, None]
        for _ in range(6):
            mv = m @ v
            v = 0.25 * v @ (13 * eye - mv @ (15 * eye - mv @ (7 * eye - mv)))
        return v

    def forward(self, x):
        q, k, v = self.qkv(x).view(-1, 16, 3, 2, 4).permute(2, 0, 3, 1, 4)
        ql, kl = (t.reshape(-1, 2, 4, 4, 4).mean(3) for t in (q, k))
        a, b, c = (
            (s @ t.transpose(-1, -2) / 2).softmax(-1) for s, t in ((q, kl), (ql, kl), (ql, k))
        )
        return (a @ self.inverse(b) @ (c @ v) + self.conv(v)).transpose(1, 2).flatten(2)


@register_model("nystrom_landmarks", inputs=[TensorSpec("x", ("batch", 16, 8))])
def nystrom_landmarks():
    return Nystrom()


class DecayedGaps(nn.Module):
    """GRU-D: what is missing decays from the last that was seen to the mean."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.randn(4))
        self.gx, self.gh = nn.Parameter(torch.rand(4)), nn.Linear(4, 6)
        self.cell, self.head = nn.GRUCell(8, 6), nn.Linear(6, 1)

    def forward(self, x, observed, gap):
        m, last = observed.to(x.dtype), self.mean.expand(x.shape[0], 4)
        h = x.new_zeros(x.shape[0], 6)
        for t in range(5):
            d = gap[:, t]
            g = torch.exp(-F.relu(d * self.gx))
            last = torch.where(observed[:, t], x[:, t], last)
            v = m[:, t] * x[:, t] + (1 - m[:, t]) * (g * last + (1 - g) * self.mean)
            h = self.cell(torch.cat([v, m[:, t]], 1), h * torch.exp(-F.relu(self.gh(d))))
        return torch.sigmoid(self.head(h))


@register_model(
    "decayed_gaps",
    inputs=[
        TensorSpec("x", ("batch", 5, 4)),
        TensorSpec("observed", ("batch", 5, 4), "bool"),
        TensorSpec("gap", ("batch", 5, 4), domain=Bounded(0, 5)),
    ],
)
def decayed_gaps():
    return DecayedGaps()


class AdaptiveVocabulary(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 12)
        self.head = nn.AdaptiveLogSoftmaxWithLoss(12, 50, cutoffs=[10, 30], div_value=2.0)

    def forward(self, ids):
        return self.head.log_prob(self.table(ids).mean(1))


@register_model("adaptive_vocabulary", inputs=IDS, axes={"seq": (1, 9)})
def adaptive_vocabulary():
    return AdaptiveVocabulary()


class CopyOrGenerate(nn.Module):
    """A pointer-generator: attention is added to the vocabulary by scatter_add."""

    def __init__(self):
        super().__init__()
        self.table, self.rnn = nn.Embedding(50, 8), nn.LSTM(8, 8, batch_first=True)
        self.vocabulary, self.switch = nn.Linear(16, 50), nn.Linear(16, 1)

    def forward(self, ids):
        y, (h, _) = self.rnn(self.table(ids))
        a = (y @ h[-1].unsqueeze(-1)).squeeze(-1).softmax(-1)
        both = torch.cat([h[-1], (a.unsqueeze(1) @ y).squeeze(1)], -1)
        p = torch.sigmoid(self.switch(both))
        return (p * self.vocabulary(both).softmax(-1)).scatter_add(1, ids, (1 - p) * a)


@register_model("copy_or_generate", inputs=IDS, axes={"seq": (1, 12)})
def copy_or_generate():
    return CopyOrGenerate()


class Hyperbolic(nn.Module):
    def __init__(self):
        super().__init__()
        self.items = nn.Parameter(torch.randn(7, 4) * 0.2)

    def forward(self, x):
        x = torch.tanh(x.norm(dim=-1, keepdim=True).clamp(min=1e-5)) * F.normalize(x, dim=-1) * 0.95
        d2 = (x[:, None] - self.items).pow(2).sum(-1)
        a, b = 1 - x.pow(2).sum(-1, keepdim=True), 1 - self.items.pow(2).sum(-1)
        return torch.acosh(1 + 2 * d2 / (a * b).clamp(min=1e-5) + 1e-5)


@register_model("hyperbolic_distance", inputs=[TensorSpec("x", ("batch", 4))])
def hyperbolic_distance():
    return Hyperbolic()


class ReversibleNorm(nn.Module):
    """RevIN with DLinear: a window is normalised, forecast, and brought back; gaps are NaN-free."""

    def __init__(self):
        super().__init__()
        self.trend, self.rest = nn.Linear(24, 6), nn.Linear(24, 6)
        self.gain, self.bias = nn.Parameter(torch.rand(3) + 0.5), nn.Parameter(torch.randn(3))

    def forward(self, window, future_covariate=None):
        mean = window.mean(1, keepdim=True).detach()
        std = torch.sqrt(torch.var(window, dim=1, keepdim=True, unbiased=False) + 1e-5).detach()
        x = ((window - mean) / std * self.gain + self.bias).transpose(1, 2)
        t = F.avg_pool1d(F.pad(x, (2, 2), mode="replicate"), 5, 1)
        y = (self.trend(t) + self.rest(x - t)).transpose(1, 2)
        if future_covariate is not None:
            y = y + future_covariate
        return (y - self.bias) / (self.gain + 1e-10) * std + mean


@register_model("reversible_norm", inputs=[TensorSpec("window", ("batch", 24, 3))])
def reversible_norm():
    return ReversibleNorm()
