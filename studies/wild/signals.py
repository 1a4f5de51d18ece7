"""Spectrograms, decoding, filters, running sums, pooling, scalars, adapters, beams, streams."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from onnx_conformance import Bounded, Lengths, Mask, TensorSpec, register_model


class STFT(nn.Module):
    """torch.stft, power, mel filters, log with a floor."""

    def __init__(self, n=64, hop=16):
        super().__init__()
        self.n, self.hop = n, hop
        self.register_buffer("window", torch.hann_window(n, periodic=True))
        self.register_buffer("mel", torch.rand(10, n // 2 + 1))
        self.conv = nn.Conv1d(10, 6, 3, padding=1)

    def forward(self, sound):
        s = torch.stft(
            sound, self.n, self.hop, window=self.window, center=True, return_complex=True
        )
        power = torch.view_as_real(s).pow(2).sum(-1)
        logmel = torch.log10((self.mel @ power).clamp(min=1e-8))
        logmel = (logmel + 4) / 4
        return self.conv(logmel)


@register_model(
    "mel_front_end",
    inputs=[TensorSpec("sound", ("batch", "samples"), domain=Bounded(-1, 1))],
    axes={"samples": (128, 512, 16)},
)
def mel_front_end():
    return STFT()


class CTC(nn.Module):
    """A small recogniser with greedy decoding: blanks and repeats marked."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(6, 12, 3, padding=1)
        self.head = nn.Linear(12, 9)

    def forward(self, frames, lengths):
        h = F.relu(self.conv(frames.transpose(1, 2))).transpose(1, 2)
        logp = self.head(h).log_softmax(-1)
        best = logp.argmax(-1)
        before = F.pad(best[:, :-1], (1, 0), value=-1)
        inside = torch.arange(best.shape[1], device=best.device)[None] < lengths[:, None]
        kept = (best != 0) & (best != before) & inside
        return logp, torch.where(kept, best, torch.full_like(best, -1)), kept.sum(-1)


@register_model(
    "ctc_greedy",
    inputs=[
        TensorSpec("frames", ("batch", "time", 6)),
        TensorSpec("lengths", ("batch",), "int64", domain=Lengths("time")),
    ],
    axes={"time": (2, 30)},
)
def ctc_greedy():
    return CTC()


class Kalman(nn.Module):
    """One predict and update of an extended filter, with an inverse."""

    def __init__(self):
        super().__init__()
        self.F_ = nn.Parameter(torch.eye(4) + 0.1 * torch.randn(4, 4))
        self.H = nn.Parameter(torch.randn(2, 4))
        self.logq, self.logr = (
            nn.Parameter(torch.randn(4) * 0.1),
            nn.Parameter(torch.randn(2) * 0.1),
        )

    def forward(self, state, factor, z):
        cov = factor @ factor.transpose(-1, -2) + 0.1 * torch.eye(4)
        m = state @ self.F_.T
        P = self.F_ @ cov @ self.F_.T + torch.diag(self.logq.exp())
        S = self.H @ P @ self.H.T + torch.diag(self.logr.exp())
        a, b, c, d = S[:, 0, 0], S[:, 0, 1], S[:, 1, 0], S[:, 1, 1]
        det = a * d - b * c
        inv = (
            torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
            / det[:, None, None]
        )
        K = P @ self.H.T @ inv
        m = m + (K @ (z - m @ self.H.T).unsqueeze(-1)).squeeze(-1)
        return m, P - K @ self.H @ P


@register_model(
    "filter_update",
    inputs=[
        TensorSpec("state", ("batch", 4)),
        TensorSpec("factor", ("batch", 4, 4)),
        TensorSpec("z", ("batch", 2)),
    ],
)
def filter_update():
    return Kalman()


class Cumulative(nn.Module):
    """cumsum, cummax by hand, differences, running mean, logcumsumexp."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(5))

    def forward(self, x):
        total = (x * self.w).cumsum(1)
        count = torch.arange(1, x.shape[1] + 1, dtype=x.dtype, device=x.device).view(1, -1, 1)
        mean = total / count
        back = x.flip(1).cumsum(1).flip(1)
        diff = torch.diff(x, dim=1, prepend=torch.zeros_like(x[:, :1]))
        return mean, torch.cumprod(torch.sigmoid(x), 1), back.exp().log1p(), diff


@register_model(
    "running_sums", inputs=[TensorSpec("x", ("batch", "time", 5))], axes={"time": (1, 24)}
)
def running_sums():
    return Cumulative()


@dataclass
class Found:
    embedding: torch.Tensor
    score: torch.Tensor


torch.utils._pytree.register_dataclass(Found)


class Pooled(nn.Module):
    """Masked mean, max and attention pooling; a dataclass out; bool mask in."""

    def __init__(self):
        super().__init__()
        self.att, self.proj = nn.Linear(8, 1), nn.Linear(24, 6)

    def forward(self, x, keep):
        m = keep.unsqueeze(-1)
        f = m.to(x.dtype)
        mean = (x * f).sum(1) / f.sum(1).clamp(min=1.0)
        top = x.masked_fill(~m, -1e4).amax(1)
        a = self.att(x).masked_fill(~m, -1e4).softmax(1)
        e = F.normalize(self.proj(torch.cat([mean, top, (a * x).sum(1)], -1)), dim=-1)
        return Found(embedding=e, score=e.sum(-1))


@register_model(
    "masked_pools",
    inputs=[
        TensorSpec("x", ("batch", "seq", 8)),
        TensorSpec("keep", ("batch", "seq"), "bool", domain=Mask()),
    ],
    axes={"seq": (1, 20)},
)
def masked_pools():
    return Pooled()


class Scalars(nn.Module):
    """A 0-d temperature beside the logits; a 0-d output."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(5, 7)

    def forward(self, x, temperature):
        logits = self.lin(x) / temperature.abs().clamp(min=0.05)
        p = logits.softmax(-1)
        return p, -(p * (p + 1e-9).log()).sum(-1).mean()


@register_model(
    "zero_d_temperature",
    inputs=[TensorSpec("x", ("batch", 5)), TensorSpec("temperature", (), domain=Bounded(0.1, 2))],
)
def zero_d_temperature():
    return Scalars()


class HalfHead(nn.Module):
    """The head computes in half precision, the body in float32."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 16), nn.GELU())
        self.head = nn.Linear(16, 4).half()
        self.other = nn.Linear(16, 3)

    def forward(self, x):
        h = self.body(x)
        return self.head(h.half()).float(), self.other(h)


@register_model("half_head", inputs=[TensorSpec("x", ("batch", 10))])
def half_head():
    return HalfHead()


class LoRA(nn.Module):
    def __init__(self, base, r=2, alpha=4):
        super().__init__()
        self.base, self.scale = base, alpha / r
        self.a = nn.Parameter(torch.randn(r, base.in_features) * 0.3)
        self.b = nn.Parameter(torch.randn(base.out_features, r) * 0.3)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        return self.base(x) + F.linear(F.linear(self.dropout(x), self.a), self.b) * self.scale


@register_model("lora_compiled", inputs=[TensorSpec("x", ("batch", 8))])
def lora_compiled():
    net = nn.Sequential(
        LoRA(nn.Linear(8, 12)),
        nn.Mish(),
        nn.utils.parametrizations.spectral_norm(nn.Linear(12, 12)),
        nn.Softsign(),
        LoRA(nn.Linear(12, 3)),
    )
    return torch.compile(net)


class Beam(nn.Module):
    """One step of a beam search: scores of 3 beams over a vocabulary, the best 3 of all."""

    def __init__(self, v=11):
        super().__init__()
        self.v = v
        self.lin = nn.Linear(6, v)

    def forward(self, hidden, score):
        logp = self.lin(hidden).log_softmax(-1)
        total = (score.unsqueeze(-1) + logp).flatten(1)
        best, flat = total.topk(3, -1)
        beam = torch.div(flat, self.v, rounding_mode="floor")
        token = flat % self.v
        state = torch.gather(hidden, 1, beam.clamp(max=2).unsqueeze(-1).expand(-1, -1, 6))
        return best, beam, token, state


@register_model(
    "beam_of_three",
    inputs=[TensorSpec("hidden", ("batch", 3, 6)), TensorSpec("score", ("batch", 3))],
)
def beam_of_three():
    return Beam()


class Counter(nn.Module):
    """A streaming filter: the state goes in and comes out, a buffer holds its taps."""

    def __init__(self):
        super().__init__()
        self.register_buffer("taps", torch.randn(5))
        self.gain = nn.Parameter(torch.rand(3) + 0.5)

    def forward(self, chunk, past):
        x = torch.cat([past, chunk], -1)
        y = x.unfold(-1, 5, 1) @ self.taps
        return torch.tanh(y * self.gain[:, None]), x[..., -4:]


@register_model(
    "streaming_taps",
    inputs=[TensorSpec("chunk", ("batch", 3, 8)), TensorSpec("past", ("batch", 3, 4))],
    carries={"new_past": "past"},
    outputs=["y", "new_past"],
)
def streaming_taps():
    return Counter()
