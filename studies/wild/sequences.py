"""Networks of sequences, as their authors write them: decoders, speech, experts, scans."""

import torch
import torch.nn.functional as F
from torch import nn

from onnx_conformance import Integers, Lengths, Mask, TensorSpec, register_model

SEQUENCE = [TensorSpec("x", ("batch", "time", 16))]
IDS = TensorSpec("ids", ("batch", "time"), "int64", domain=Integers(0, 40))


@register_model("top_two_experts", inputs=SEQUENCE)
def top_two_experts():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.Linear(16, 4, bias=False)
            self.up = nn.Parameter(torch.randn(4, 16, 24) / 4)
            self.down = nn.Parameter(torch.randn(4, 24, 16) / 4)

        def forward(self, x):
            w, i = self.gate(x).softmax(-1).topk(2, -1)
            w = w / w.sum(-1, keepdim=True)
            y = torch.einsum("btd,edh->bteh", x, self.up)
            y = torch.einsum("bteh,ehd->bted", F.silu(y), self.down)
            chosen = y.gather(2, i.unsqueeze(-1).expand(-1, -1, -1, 16))
            return (chosen * w.unsqueeze(-1)).sum(2)

    return Experts()


@register_model("causal_convolutions", inputs=SEQUENCE)
def causal_convolutions():
    class Block(nn.Module):
        def __init__(self, dilation):
            super().__init__()
            self.pad = 2 * dilation
            self.conv = nn.utils.parametrizations.weight_norm(
                nn.Conv1d(16, 32, 3, dilation=dilation)
            )
            self.res = nn.Conv1d(16, 16, 1)

        def forward(self, x):
            a, b = self.conv(F.pad(x, (self.pad, 0))).chunk(2, 1)
            return x + self.res(a.tanh() * b.sigmoid())

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(Block(2**i) for i in range(3))

        def forward(self, x):
            x = x.mT
            for block in self.blocks:
                x = block(x)
            return x.mT

    return Net()


@register_model("conformer_block", inputs=SEQUENCE)
def conformer_block():
    class Conformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.ff = nn.Sequential(
                nn.LayerNorm(16), nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 16)
            )
            self.norm, self.qkv, self.o = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)
            self.ln, self.pw = nn.LayerNorm(16), nn.Conv1d(16, 32, 1)
            self.dw = nn.Conv1d(16, 16, 5, padding=2, groups=16)
            self.bn, self.pw2 = nn.BatchNorm1d(16), nn.Conv1d(16, 16, 1)

        def forward(self, x):
            b, t, d = x.size()
            x = x + 0.5 * self.ff(x)
            q, k, v = self.qkv(self.norm(x)).reshape(b, t, 3, 2, 8).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v)
            x = x + self.o(y.transpose(1, 2).reshape(b, t, d))
            c = F.glu(self.pw(self.ln(x).transpose(1, 2)), 1)
            return x + self.pw2(F.silu(self.bn(self.dw(c)))).transpose(1, 2)

    return Conformer()


@register_model(
    "subsampled_speech",
    inputs=[
        TensorSpec("features", ("batch", "frames", 20)),
        TensorSpec("lengths", ("batch",), "int64", domain=Lengths("frames")),
    ],
    axes={"frames": (12, 60, 4)},
)
def subsampled_speech():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.c1, self.c2 = nn.Conv2d(1, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)
            self.proj = nn.Linear(20, 16)
            layer = nn.TransformerEncoderLayer(16, 2, 24, 0.1, batch_first=True)
            self.body = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
            self.ctc = nn.Linear(16, 7)

        def forward(self, features, lengths):
            x = self.c2(self.c1(features.unsqueeze(1)).relu()).relu()
            x = self.proj(x.permute(0, 2, 1, 3).flatten(2))
            lengths = (lengths + 3) // 4
            pad = torch.arange(x.shape[1])[None] >= lengths[:, None]
            return self.ctc(self.body(x, src_key_padding_mask=pad)).log_softmax(-1), lengths

    return Encoder()


@register_model("rms_rope_gated", inputs=[IDS])
def rms_rope_gated():
    class RMS(nn.Module):
        def __init__(self, d, eps=1e-6):
            super().__init__()
            self.eps, self.weight = eps, nn.Parameter(torch.rand(d) + 0.5)

        def forward(self, x):
            return self.weight * (
                x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
            ).type_as(x)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.n1, self.n2 = RMS(16), RMS(16)
            self.wq, self.wk = nn.Linear(16, 16, False), nn.Linear(16, 8, False)
            self.wv, self.wo = nn.Linear(16, 8, False), nn.Linear(16, 16, False)
            self.w1, self.w2, self.w3 = (
                nn.Linear(16, 24, False),
                nn.Linear(24, 16, False),
                nn.Linear(16, 24, False),
            )

        def forward(self, x, cos, sin):
            b, t, _ = x.shape
            h = self.n1(x)

            def rotate(y):
                a, c = y[..., ::2], y[..., 1::2]
                return torch.stack([a * cos - c * sin, a * sin + c * cos], -1).flatten(-2)

            q = rotate(self.wq(h).view(b, t, 4, 4).transpose(1, 2))
            k = rotate(self.wk(h).view(b, t, 2, 4).transpose(1, 2))
            v = self.wv(h).view(b, t, 2, 4).transpose(1, 2)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            x = x + self.wo(y.transpose(1, 2).reshape(b, t, -1))
            return x + self.w2(F.silu(self.w1(self.n2(x))) * self.w3(self.n2(x)))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(41, 16)
            self.blocks = nn.ModuleList(Block() for _ in range(2))
            self.norm = RMS(16)

        def forward(self, ids):
            t = torch.arange(ids.shape[1])[:, None] * (10000 ** (-torch.arange(2) / 2))
            x = self.table(ids)
            for block in self.blocks:
                x = block(x, t.cos(), t.sin())
            return self.norm(x) @ self.table.weight.T

    return Net()


@register_model(
    "decoder_with_cache",
    inputs=[
        TensorSpec("ids", ("batch", 1), "int64", domain=Integers(0, 40)),
        TensorSpec("past_k", ("batch", 2, "past", 8)),
        TensorSpec("past_v", ("batch", 2, "past", 8)),
    ],
)
def decoder_with_cache():
    class Step(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.pos = nn.Embedding(41, 16), nn.Embedding(64, 16)
            self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 41)

        def forward(self, ids, past_k, past_v):
            x = self.table(ids) + self.pos(torch.tensor([past_k.shape[2]]))
            q, k, v = self.qkv(x).view(-1, 1, 3, 2, 8).permute(2, 0, 3, 1, 4)
            k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
            y = F.scaled_dot_product_attention(q, k, v)
            return self.out(y.transpose(1, 2).flatten(2)), k, v

    return Step()


@register_model(
    "sequence_to_sequence",
    inputs=[TensorSpec("source", ("batch", "from", 8)), TensorSpec("target", ("batch", "to", 8))],
)
def sequence_to_sequence():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)

        def forward(self, source, target):
            mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
            return self.body(source, target, tgt_mask=mask)

    return Net()


@register_model("gru_attention_translator", inputs=[IDS, TensorSpec("state", ("batch", 12))])
def gru_attention_translator():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(41, 8)
            self.encoder = nn.GRU(8, 6, bidirectional=True, batch_first=True)
            self.w, self.v = nn.Linear(24, 10), nn.Linear(10, 1, bias=False)
            self.cell = nn.GRUCell(12, 12)

        def forward(self, ids, state):
            h, _ = self.encoder(self.table(ids))
            s = state.unsqueeze(1).repeat(1, h.size(1), 1)
            a = F.softmax(self.v(torch.tanh(self.w(torch.cat([h, s], -1)))).squeeze(-1), -1)
            context = torch.bmm(a.unsqueeze(1), h).squeeze(1)
            return self.cell(context, state), a

    return Net()


@register_model(
    "packed_lstm", inputs=[IDS, TensorSpec("lengths", ("batch",), "int64", domain=Lengths("time"))]
)
def packed_lstm():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.rnn = nn.Embedding(41, 8), nn.LSTM(8, 6, batch_first=True)

        def forward(self, ids, lengths):
            x = nn.utils.rnn.pack_padded_sequence(
                self.table(ids), lengths.cpu(), batch_first=True, enforce_sorted=False
            )
            y, (h, c) = self.rnn(x)
            y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=ids.shape[1])
            return y, h[-1]

    return Net()


@register_model("selective_scan", inputs=[TensorSpec("x", ("batch", 10, 8))])
def selective_scan():
    class SSM(nn.Module):
        def __init__(self):
            super().__init__()
            self.log_a = nn.Parameter(torch.log(torch.arange(1, 5).float()).repeat(8, 1))
            self.proj, self.d = nn.Linear(8, 9), nn.Parameter(torch.ones(8))

        def forward(self, x):
            dt, b, c = self.proj(x).split([1, 4, 4], -1)
            dt = F.softplus(dt)
            a = torch.exp(dt.unsqueeze(-1) * -torch.exp(self.log_a))
            u = dt.unsqueeze(-1) * b.unsqueeze(2) * x.unsqueeze(-1)
            h, out = torch.zeros(x.shape[0], 8, 4), []
            for t in range(x.shape[1]):
                h = a[:, t] * h + u[:, t]
                out.append((h * c[:, t].unsqueeze(1)).sum(-1))
            return torch.stack(out, 1) + x * self.d

    return SSM()


@register_model("linear_attention", inputs=SEQUENCE)
def linear_attention():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(16, 48)

        def forward(self, x):
            q, k, v = self.qkv(x).chunk(3, -1)
            q, k = F.elu(q) + 1, F.elu(k) + 1
            kv = torch.einsum("btd,bte->bde", k, v)
            return torch.einsum("btd,bde->bte", q, kv) / (q @ k.sum(1).unsqueeze(-1) + 1e-6)

    return Net()


@register_model("relative_positions", inputs=SEQUENCE)
def relative_positions():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.bias = nn.Linear(16, 16), nn.Linear(16, 16), nn.Embedding(17, 1)

        def forward(self, x):
            t = x.size(1)
            p = torch.arange(t, device=x.device)
            r = (p[None, :] - p[:, None]).clamp(-8, 8) + 8
            s = self.q(x) @ self.k(x).transpose(-2, -1) / 4 + self.bias(r).squeeze(-1)
            mask = torch.full((t, t), float("-inf")).triu(1)
            return F.softmax(s + mask, -1) @ x

    return Net()


@register_model(
    "crf_scores",
    inputs=[
        TensorSpec("emissions", ("batch", 7, 4)),
        TensorSpec("mask", ("batch", 7), "bool", domain=Mask()),
    ],
)
def crf_scores():
    class CRF(nn.Module):
        def __init__(self):
            super().__init__()
            self.start, self.trans = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4, 4))

        def forward(self, emissions, mask):
            score = self.start + emissions[:, 0]
            for t in range(1, emissions.shape[1]):
                new = torch.logsumexp(
                    score.unsqueeze(2) + self.trans + emissions[:, t].unsqueeze(1), 1
                )
                score = torch.where(mask[:, t].unsqueeze(1), new, score)
            return torch.logsumexp(score, 1)

    return CRF()


@register_model("viterbi", inputs=[TensorSpec("emissions", ("batch", 6, 4))])
def viterbi():
    class Viterbi(nn.Module):
        def __init__(self):
            super().__init__()
            self.trans = nn.Parameter(torch.randn(4, 4))

        def forward(self, emissions):
            score, back = emissions[:, 0], []
            for t in range(1, 6):
                best, which = (score.unsqueeze(2) + self.trans).max(1)
                score = best + emissions[:, t]
                back.append(which)
            tag = score.argmax(1)
            path = [tag]
            for which in reversed(back):
                tag = which.gather(1, tag.unsqueeze(1)).squeeze(1)
                path.append(tag)
            return torch.stack(path[::-1], 1), score.max(1)[0]

    return Viterbi()
