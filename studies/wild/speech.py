"""Speech and text models as strangers write them: joints, pooling, filters, memory, randomness."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from onnx_conformance import Bounded, Integers, Lengths, Mask, TensorSpec, register_model


class Joint(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc, self.pred, self.out = (
            nn.Linear(10, 12),
            nn.Linear(8, 12, bias=False),
            nn.Linear(12, 9),
        )

    def forward(self, encoder_out, decoder_out):
        y = torch.tanh(self.enc(encoder_out).unsqueeze(2) + self.pred(decoder_out).unsqueeze(1))
        return self.out(y).log_softmax(-1)


@register_model(
    "transducer_joint",
    inputs=[
        TensorSpec("encoder_out", ("batch", "frames", 10)),
        TensorSpec("decoder_out", ("batch", "tokens", 8)),
    ],
)
def transducer_joint():
    return Joint()


class CTC(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(20, 16, 5, stride=2, padding=2)
        self.rnn = nn.LSTM(16, 12, bidirectional=True, num_layers=2, dropout=0.2)
        self.out = nn.Linear(24, 10)

    def forward(self, features, lengths):
        x = F.hardtanh(self.conv(features), 0, 20)
        x, _ = self.rnn(x.permute(2, 0, 1))
        lp = F.log_softmax(self.out(x), -1).transpose(0, 1)
        return lp, torch.div(lengths + 1, 2, rounding_mode="floor"), lp.argmax(-1)


@register_model(
    "ctc_speech",
    inputs=[
        TensorSpec("features", ("batch", 20, "frames")),
        TensorSpec("lengths", ("batch",), "int64", domain=Lengths("frames")),
    ],
    axes={"frames": (4, 40)},
)
def ctc_speech():
    return CTC()


class Speaker(nn.Module):
    """TDNN with masked statistics pooling and a unit-length embedding."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(12, 24, 5),
            nn.ReLU(),
            nn.BatchNorm1d(24),
            nn.Conv1d(24, 24, 3, dilation=2),
            nn.ReLU(),
            nn.BatchNorm1d(24),
        )
        self.att = nn.Conv1d(24, 24, 1)
        self.fc = nn.Linear(48, 16)

    def forward(self, fbank):
        x = fbank - fbank.mean(dim=1, keepdim=True)
        x = self.layers(x.transpose(1, 2))
        a = torch.softmax(self.att(torch.tanh(x)), dim=2)
        mu = (x * a).sum(2)
        sg = torch.sqrt((a * (x - mu.unsqueeze(2)) ** 2).sum(2).clamp(min=1e-7))
        return F.normalize(self.fc(torch.cat((mu, sg), 1)), p=2, dim=1)


@register_model(
    "speaker_embedding",
    inputs=[TensorSpec("fbank", ("batch", "frames", 12))],
    axes={"frames": (10, 60)},
)
def speaker_embedding():
    return Speaker()


class StdPool(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.o = nn.Conv1d(8, 16, 3, padding=1), nn.Linear(32, 4)

    def forward(self, x):
        x = self.c(x).relu()
        return self.o(torch.cat([x.mean(-1), x.std(-1)], 1))


@register_model(
    "mean_and_std", inputs=[TensorSpec("x", ("batch", 8, "time"))], axes={"time": (2, 50)}
)
def mean_and_std():
    return StdPool()


class MelConv(nn.Module):
    """A mel front end by convolution: pre-emphasis, a Fourier basis, power, log, norm."""

    def __init__(self, n=64, hop=16, mels=12):
        super().__init__()
        k = torch.arange(n // 2 + 1)[:, None] * torch.arange(n)[None] * 2 * math.pi / n
        w = torch.hann_window(n)
        self.register_buffer("basis", torch.cat([torch.cos(k) * w, -torch.sin(k) * w])[:, None])
        self.register_buffer("mel", torch.rand(mels, n // 2 + 1) / 10)
        self.hop, self.n = hop, n

    def forward(self, audio):
        audio = torch.cat([audio[:, :1], audio[:, 1:] - 0.97 * audio[:, :-1]], 1)
        x = F.pad(audio.unsqueeze(1), (self.n // 2, self.n // 2), mode="reflect")
        s = F.conv1d(x, self.basis, stride=self.hop)
        re, im = s.chunk(2, 1)
        m = torch.matmul(self.mel, re.square() + im.square())
        m = torch.log(m + 2**-24)
        return (m - m.mean(-1, keepdim=True)) / (m.std(-1, keepdim=True) + 1e-5)


@register_model(
    "mel_by_convolution",
    inputs=[TensorSpec("audio", ("batch", "samples"), domain=Bounded(-1, 1))],
    axes={"samples": (100, 400)},
)
def mel_by_convolution():
    return MelConv()


class Retention(nn.Module):
    def __init__(self, d=16, h=2):
        super().__init__()
        self.h = h
        self.q, self.k, self.v, self.g, self.o = (nn.Linear(d, d, bias=False) for _ in range(5))
        self.gn = nn.GroupNorm(h, d, affine=False)
        self.register_buffer("gamma", 1 - 2.0 ** (-5 - torch.arange(h, dtype=torch.float)))

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = (f(x).view(B, T, self.h, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        n = torch.arange(T, device=x.device)
        d = (n[:, None] - n[None]).float()
        m = torch.where(d >= 0, self.gamma[:, None, None] ** d.clamp(min=0), torch.zeros_like(d))
        y = (q @ k.transpose(-1, -2) * (D // self.h) ** -0.5 * m) @ v
        y = self.gn(y.transpose(1, 2).reshape(B * T, D)).view(B, T, D)
        return self.o(F.silu(self.g(x)) * y)


@register_model("retention", inputs=[TensorSpec("x", ("batch", "time", 16))])
def retention():
    return Retention()


class Alibi(nn.Module):
    def __init__(self, d=16, h=4):
        super().__init__()
        self.h = h
        self.emb = nn.Embedding(60, d)
        self.qkv, self.o = nn.Linear(d, 3 * d), nn.Linear(d, 60)
        self.register_buffer(
            "slopes", torch.tensor([2 ** (-8 * (i + 1) / h) for i in range(h)]), persistent=False
        )

    def forward(self, input_ids, attention_mask):
        x = self.emb(input_ids)
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, self.h, -1).chunk(3, -1)
        pos = attention_mask.cumsum(-1) - 1
        bias = (
            self.slopes[None, :, None, None] * (pos[:, None, None] - pos[:, None, :, None]).float()
        )
        keep = (
            torch.ones(T, T, dtype=torch.bool, device=x.device).tril()
            & attention_mask[:, None, None].bool()
        )
        a = torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(D // self.h) + bias
        a = a.masked_fill(~keep, torch.finfo(a.dtype).min).softmax(-1)
        y = torch.einsum("bhts,bshd->bthd", a, v).reshape(B, T, D)
        logits = self.o(y)
        last = attention_mask.sum(-1) - 1
        return logits[torch.arange(B, device=x.device), last]


@register_model(
    "alibi_last_token",
    inputs=[
        TensorSpec("input_ids", ("batch", "seq"), "int64", domain=Integers(0, 60)),
        TensorSpec("attention_mask", ("batch", "seq"), "int64", domain=Mask()),
    ],
    axes={"seq": (1, 20)},
)
def alibi_last_token():
    return Alibi()


class S4D(nn.Module):
    """A diagonal state space as a recurrent step over a fixed window, in real arithmetic."""

    def __init__(self, d=6, n=8):
        super().__init__()
        self.log_a, self.b, self.c, self.d = (
            nn.Parameter(torch.randn(d, n) * 0.5),
            nn.Parameter(torch.randn(d, n)),
            nn.Parameter(torch.randn(d, n)),
            nn.Parameter(torch.randn(d)),
        )
        self.dt = nn.Linear(d, d)

    def forward(self, u, state):
        out = []
        for t in range(u.shape[1]):
            x = u[:, t]
            dt = F.softplus(self.dt(x)).unsqueeze(-1)
            state = torch.exp(-dt * self.log_a.exp()) * state + dt * self.b * x.unsqueeze(-1)
            out.append((state * self.c).sum(-1) + self.d * x)
        return torch.stack(out, 1), state


@register_model(
    "state_space_chunk",
    inputs=[TensorSpec("u", ("batch", 6, 6)), TensorSpec("state", ("batch", 6, 8))],
    carries={},
)
def state_space_chunk():
    return S4D()


class EnergyVad(nn.Module):
    """Streaming GRU with hidden state, one frame, fixed batch 1; int16 samples in."""

    def __init__(self):
        super().__init__()
        self.gru, self.o = nn.GRUCell(5, 8), nn.Linear(8, 1)
        self.register_buffer("bands", torch.rand(160, 5))

    def forward(self, pcm, h):
        x = pcm.to(torch.float32) / 32768.0
        f = torch.log10(x.pow(2) @ self.bands + 1e-6)
        h = self.gru(f, h)
        return torch.sigmoid(self.o(h)), h


@register_model(
    "streaming_pcm",
    inputs=[
        TensorSpec("pcm", (1, 160), "int16", domain=Integers(-32768, 32768)),
        TensorSpec("h", (1, 8)),
    ],
)
def streaming_pcm():
    return EnergyVad()


class Tacotron(nn.Module):
    """Location-sensitive attention, one decoder step, dropout prenet left on as in the original."""

    def __init__(self, on=True):
        super().__init__()
        self.on = on
        self.pre, self.rnn, self.q, self.loc, self.v, self.o = (
            nn.Linear(8, 8),
            nn.LSTMCell(8 + 10, 12),
            nn.Linear(12, 6),
            nn.Conv1d(1, 6, 5, padding=2),
            nn.Linear(6, 1),
            nn.Linear(22, 8),
        )
        self.m = nn.Linear(10, 6)

    def forward(self, frame, memory, h, c, weights):
        x = F.dropout(F.relu(self.pre(frame)), 0.5, training=self.on)
        ctx = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
        h, c = self.rnn(torch.cat([x, ctx], -1), (h, c))
        e = self.v(
            torch.tanh(
                self.q(h).unsqueeze(1)
                + self.m(memory)
                + self.loc(weights.unsqueeze(1)).transpose(1, 2)
            )
        ).squeeze(-1)
        w = F.softmax(e, -1)
        ctx = torch.bmm(w.unsqueeze(1), memory).squeeze(1)
        return self.o(torch.cat([h, ctx], -1)), h, c, w


TAC = [
    TensorSpec("frame", ("batch", 8)),
    TensorSpec("memory", ("batch", "chars", 10)),
    TensorSpec("h", ("batch", 12)),
    TensorSpec("c", ("batch", 12)),
    TensorSpec("weights", ("batch", "chars"), domain=Bounded(0, 1)),
]


@register_model("prenet_dropout_on", inputs=TAC)
def prenet_dropout_on():
    return Tacotron()


@register_model("location_attention", inputs=TAC)
def location_attention():
    return Tacotron(False)


class Sampler(nn.Module):
    def __init__(self):
        super().__init__()
        self.mu, self.lv, self.dec = nn.Linear(8, 4), nn.Linear(8, 4), nn.Linear(4, 8)

    def forward(self, x):
        mu, lv = self.mu(x), self.lv(x)
        return self.dec(mu + torch.randn_like(mu) * torch.exp(0.5 * lv))


@register_model("reparametrised", inputs=[TensorSpec("x", ("batch", 8))])
def reparametrised():
    return Sampler()
