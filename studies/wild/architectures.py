"""Small networks of many kinds, as their authors write them: graphs, flows, experts, diffusion."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from onnx_conformance import Bounded, Choice, Integers, Lengths, Mask, TensorSpec, register_model

IMAGE = [TensorSpec("image", ("batch", 3, 32, 32))]
SEQUENCE = [TensorSpec("x", ("batch", "time", 16))]
IDS = TensorSpec("ids", ("batch", "time"), "int64", domain=Integers(0, 40))


@register_model(
    "graph_convolution",
    inputs=[
        TensorSpec("x", ("nodes", 6)),
        TensorSpec("edges", (2, "links"), "int64", domain=Integers(0, 3)),
    ],
    axes={"nodes": (4, 20), "links": (1, 40)},
)
def graph_convolution():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(6, 8)

        def forward(self, x, edges):
            source, target = edges[0], edges[1]
            heard = torch.zeros(x.shape[0], 8, dtype=x.dtype)
            heard = heard.index_add(0, target, self.a(x)[source])
            return F.relu(self.b(x) + heard)

    return Net()


@register_model(
    "graph_attention",
    inputs=[TensorSpec("x", ("batch", 7, 6)), TensorSpec("adj", ("batch", 7, 7), "bool")],
)
def graph_attention():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Linear(6, 8, bias=False)
            self.a = nn.Parameter(torch.randn(16) / 3)

        def forward(self, x, adj):
            h = self.w(x)
            n = h.size(1)
            pairs = torch.cat([h.repeat_interleave(n, dim=1), h.repeat(1, n, 1)], dim=-1)
            e = F.leaky_relu(pairs @ self.a, 0.2).view(-1, n, n)
            adj = adj | torch.eye(n, dtype=torch.bool)
            return torch.softmax(e.masked_fill(~adj, -9e15), dim=2) @ h

    return Net()


@register_model("coupling_flow", inputs=[TensorSpec("x", ("batch", 6))])
def coupling_flow():
    class Coupling(nn.Module):
        def __init__(self, flip):
            super().__init__()
            self.flip = flip
            self.net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 6))

        def forward(self, x):
            a, b = x.chunk(2, -1)
            if self.flip:
                a, b = b, a
            s, t = self.net(a).chunk(2, -1)
            s = torch.tanh(s)
            b = b * s.exp() + t
            return torch.cat([a, b], -1), s.sum(-1)

    class Flow(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(Coupling(i % 2 == 1) for i in range(4))

        def forward(self, x):
            total = x.new_zeros(x.shape[0])
            for layer in self.layers:
                x, part = layer(x)
                total = total + part
            prior = torch.distributions.Normal(torch.zeros(6), torch.ones(6))
            return x, prior.log_prob(x).sum(-1) + total

    return Flow()


@register_model("spline_flow", inputs=[TensorSpec("x", ("batch", 4), domain=Bounded(-2, 2))])
def spline_flow():
    class Spline(nn.Module):
        def __init__(self, bins=5):
            super().__init__()
            self.w, self.h = nn.Parameter(torch.randn(4, bins)), nn.Parameter(torch.randn(4, bins))
            self.d = nn.Parameter(torch.randn(4, bins + 1))

        def forward(self, x):
            w = F.softmax(self.w, -1) * 4
            h = F.softmax(self.h, -1) * 4
            d = F.softplus(self.d) + 1e-3
            xk = F.pad(w.cumsum(-1), (1, 0)) - 2
            yk = F.pad(h.cumsum(-1), (1, 0)) - 2
            k = (x.unsqueeze(-1) >= xk[:, :-1]).sum(-1) - 1
            k = k.clamp(0, w.shape[-1] - 1).unsqueeze(-1)

            def pick(t):
                return t.expand(x.shape[0], -1, -1).gather(-1, k).squeeze(-1)

            x0, y0, wk, hk = pick(xk), pick(yk), pick(w), pick(h)
            d0, d1 = pick(d), d[:, 1:].expand(x.shape[0], -1, -1).gather(-1, k).squeeze(-1)
            s = hk / wk
            t = ((x - x0) / wk).clamp(0, 1)
            num = hk * (s * t**2 + d0 * t * (1 - t))
            return y0 + num / (s + (d1 + d0 - 2 * s) * t * (1 - t))

    return Spline()


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


@register_model("switch_experts", inputs=[TensorSpec("x", ("batch", 16))])
def switch_experts():
    class Switch(nn.Module):
        def __init__(self):
            super().__init__()
            self.router = nn.Linear(16, 3)
            self.experts = nn.ModuleList(
                nn.Sequential(nn.Linear(16, 20), nn.GELU(), nn.Linear(20, 16)) for _ in range(3)
            )

        def forward(self, x):
            probs = self.router(x).softmax(-1)
            best, which = probs.max(-1)
            out = torch.zeros_like(x)
            for number, expert in enumerate(self.experts):
                mask = (which == number).unsqueeze(-1)
                out = out + torch.where(mask, expert(x), torch.zeros_like(x))
            return out * best.unsqueeze(-1)

    return Switch()


@register_model(
    "diffusion_unet",
    inputs=[
        TensorSpec("sample", ("batch", 3, 16, 16)),
        TensorSpec("timestep", ("batch",), "int64", domain=Integers(0, 999)),
        TensorSpec("context", ("batch", 5, 12)),
    ],
)
def diffusion_unet():
    class Res(nn.Module):
        def __init__(self, a, b):
            super().__init__()
            self.n1, self.c1 = nn.GroupNorm(2, a), nn.Conv2d(a, b, 3, padding=1)
            self.t = nn.Linear(16, b)
            self.n2, self.c2 = nn.GroupNorm(2, b), nn.Conv2d(b, b, 3, padding=1)
            self.skip = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

        def forward(self, x, t):
            h = self.c1(F.silu(self.n1(x))) + self.t(F.silu(t))[:, :, None, None]
            return self.skip(x) + self.c2(F.silu(self.n2(h)))

    class Cross(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.norm = nn.LayerNorm(c)
            self.attn = nn.MultiheadAttention(c, 2, kdim=12, vdim=12, batch_first=True)

        def forward(self, x, context):
            b, c, h, w = x.shape
            y = x.flatten(2).transpose(1, 2)
            y = y + self.attn(self.norm(y), context, context, need_weights=False)[0]
            return y.transpose(1, 2).reshape(b, c, h, w)

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.time = nn.Sequential(nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 16))
            self.inp = nn.Conv2d(3, 8, 3, padding=1)
            self.r1, self.down = Res(8, 8), nn.Conv2d(8, 8, 3, 2, 1)
            self.mid, self.x = Res(8, 12), Cross(12)
            self.up = nn.ConvTranspose2d(12, 8, 4, 2, 1)
            self.r2, self.out = Res(16, 8), nn.Conv2d(8, 3, 3, padding=1)

        def forward(self, sample, timestep, context):
            f = torch.exp(-math.log(10000) * torch.arange(8, dtype=torch.float32) / 8)
            a = timestep[:, None].float() * f[None, :]
            t = self.time(torch.cat([torch.cos(a), torch.sin(a)], -1))
            h1 = self.r1(self.inp(sample), t)
            h = self.x(self.mid(self.down(h1), t), context)
            h = F.interpolate(h, scale_factor=2.0, mode="nearest")
            h = self.up(F.avg_pool2d(h, 2))
            return {"sample": self.out(self.r2(torch.cat([h, h1], 1), t))}

    return UNet()


@register_model(
    "deep_and_wide",
    inputs=[
        TensorSpec("dense", ("batch", 5)),
        TensorSpec("sparse", ("batch", 4), "int64", domain=Integers(0, 19)),
    ],
)
def deep_and_wide():
    class DLRM(nn.Module):
        def __init__(self):
            super().__init__()
            self.tables = nn.ModuleList(nn.EmbeddingBag(20, 8, mode="sum") for _ in range(4))
            self.bottom = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU())
            self.top = nn.Sequential(
                nn.Linear(8 + 10, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid()
            )

        def forward(self, dense, sparse):
            x = self.bottom(dense)
            found = [t(sparse[:, i : i + 1]) for i, t in enumerate(self.tables)]
            z = torch.stack([x, *found], 1)
            pairs = torch.bmm(z, z.transpose(1, 2))
            i, j = torch.tril_indices(5, 5, -1)
            return self.top(torch.cat([x, pairs[:, i, j]], 1)).squeeze(1)

    return DLRM()


@register_model(
    "factorisation_machine",
    inputs=[TensorSpec("fields", ("batch", 6), "int64", domain=Integers(0, 9))],
)
def factorisation_machine():
    class FM(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("offsets", torch.arange(0, 60, 10))
            self.linear, self.factors = nn.Embedding(60, 1), nn.Embedding(60, 8)
            self.bias = nn.Parameter(torch.zeros(1))

        def forward(self, fields):
            x = fields + self.offsets
            v = self.factors(x)
            pair = 0.5 * (v.sum(1).pow(2) - v.pow(2).sum(1)).sum(1, keepdim=True)
            return torch.sigmoid(self.linear(x).sum(1) + self.bias + pair)

    return FM()


@register_model(
    "tabular_transformer",
    inputs=[
        TensorSpec("numbers", ("batch", 5)),
        TensorSpec("kinds", ("batch", 3), "int64", domain=Integers(0, 6)),
    ],
)
def tabular_transformer():
    class Tab(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.b = (
                nn.Parameter(torch.randn(5, 16) / 4),
                nn.Parameter(torch.randn(5, 16) / 4),
            )
            self.kinds = nn.ModuleList(nn.Embedding(7, 16) for _ in range(3))
            self.cls = nn.Parameter(torch.randn(1, 1, 16))
            layer = nn.TransformerEncoderLayer(
                16, 2, 24, activation="gelu", batch_first=True, norm_first=True
            )
            self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(16, 2)

        def forward(self, numbers, kinds):
            n = numbers.unsqueeze(-1) * self.w + self.b
            k = torch.stack([e(kinds[:, i]) for i, e in enumerate(self.kinds)], 1)
            x = torch.cat([self.cls.expand(numbers.shape[0], -1, -1), n, k], 1)
            return self.head(self.body(x)[:, 0])

    return Tab()


@register_model("tabnet_like", inputs=[TensorSpec("x", ("batch", 8))])
def tabnet_like():
    class Sparsemax(nn.Module):
        def forward(self, z):
            s = torch.sort(z, dim=-1, descending=True)[0]
            k = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype)
            c = s.cumsum(-1)
            size = ((1 + k * s) > c).sum(-1, keepdim=True)
            tau = (c.gather(-1, size - 1) - 1) / size
            return torch.clamp(z - tau, min=0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn, self.att = nn.BatchNorm1d(8), nn.Linear(8, 8)
            self.fc, self.glu, self.out = nn.Linear(8, 24), nn.GLU(), nn.Linear(12, 3)
            self.sparse = Sparsemax()

        def forward(self, x):
            x = self.bn(x)
            mask = self.sparse(self.att(x) * 3)
            return self.out(self.glu(self.fc(x * mask))), mask

    return Net()


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


@register_model("squeeze_and_excite", inputs=IMAGE)
def squeeze_and_excite():
    class SE(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.fc = nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(c, 4, 1),
                nn.SiLU(),
                nn.Conv2d(4, c, 1),
                nn.Hardsigmoid(),
            )

        def forward(self, x):
            return x * self.fc(x)

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.Hardswish(),
        SE(16),
        nn.Conv2d(16, 16, 5, padding=2, groups=16),
        nn.ReLU6(),
        nn.Conv2d(16, 8, 1),
        nn.AdaptiveMaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 5),
    )


@register_model(
    "super_resolution",
    inputs=[TensorSpec("image", ("batch", 3, "height", "width"), domain=Bounded(0, 1))],
    axes={"height": (8, 32), "width": (8, 32)},
)
def super_resolution():
    class ESPCN(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 5, padding=2), nn.Conv2d(16, 12, 3, padding=1)
            self.shuffle = nn.PixelShuffle(2)

        def forward(self, image):
            base = F.interpolate(image, scale_factor=2, mode="bicubic", align_corners=False)
            return torch.clamp(base + self.shuffle(self.b(torch.tanh(self.a(image)))), 0.0, 1.0)

    return ESPCN()


@register_model("style_transfer", inputs=[TensorSpec("image", ("batch", 3, 24, 24))])
def style_transfer():
    return nn.Sequential(
        nn.ReflectionPad2d(4),
        nn.Conv2d(3, 8, 9),
        nn.InstanceNorm2d(8, affine=True),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.ReflectionPad2d(1),
        nn.Conv2d(8, 3, 3, 2),
    )


@register_model(
    "adaptive_norm",
    inputs=[TensorSpec("content", ("batch", 4, 8, 8)), TensorSpec("style", ("batch", 4, 10, 10))],
)
def adaptive_norm():
    class AdaIN(nn.Module):
        def forward(self, content, style):
            size, c = content.size(), content.flatten(2)
            s = style.flatten(2)
            m, v = s.mean(-1)[..., None, None], s.var(-1)[..., None, None] + 1e-5
            cm, cv = c.mean(-1)[..., None, None], c.var(-1)[..., None, None] + 1e-5
            return ((content - cm.expand(size)) / cv.sqrt().expand(size)) * v.sqrt() + m

    return AdaIN()


@register_model(
    "modulated_convolution",
    inputs=[TensorSpec("x", ("batch", 4, 8, 8)), TensorSpec("style", ("batch", 6))],
)
def modulated_convolution():
    class Mod(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.affine = nn.Parameter(torch.randn(5, 4, 3, 3)), nn.Linear(6, 4)

        def forward(self, x, style):
            b, c, h, w = x.shape
            s = self.affine(style) + 1
            k = self.weight[None] * s[:, None, :, None, None]
            k = k * torch.rsqrt(k.pow(2).sum([2, 3, 4], keepdim=True) + 1e-8)
            y = F.conv2d(x.reshape(1, b * c, h, w), k.reshape(b * 5, c, 3, 3), padding=1, groups=b)
            return y.reshape(b, 5, h, w)

    return Mod()


@register_model("deformable", inputs=[TensorSpec("x", ("batch", 4, 10, 10))])
def deformable():
    import torchvision

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset = nn.Conv2d(4, 18, 3, padding=1)
            self.conv = torchvision.ops.DeformConv2d(4, 5, 3, padding=1)

        def forward(self, x):
            return self.conv(x, self.offset(x))

    return Net()


@register_model(
    "region_pooling",
    inputs=[
        TensorSpec("image", (1, 3, 32, 32)),
        TensorSpec("boxes", ("count", 4), domain=Bounded(0, 31)),
    ],
)
def region_pooling():
    import torchvision

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 6, 3, 2, 1), nn.Linear(6 * 16, 5)

        def forward(self, image, boxes):
            lo, hi = (
                torch.minimum(boxes[:, :2], boxes[:, 2:]),
                torch.maximum(boxes[:, :2], boxes[:, 2:]),
            )
            rois = torch.cat([torch.zeros_like(lo[:, :1]), lo, hi], 1)
            y = torchvision.ops.roi_align(self.conv(image), rois, 4, 0.5, 2, aligned=True)
            return self.head(y.flatten(1))

    return Net()


@register_model(
    "warped",
    inputs=[TensorSpec("image", ("batch", 3, 12, 14)), TensorSpec("flow", ("batch", 2, 12, 14))],
)
def warped():
    class Warp(nn.Module):
        def forward(self, image, flow):
            b, _, h, w = image.shape
            y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            grid = torch.stack([x, y]).float()[None] + flow
            grid = torch.stack([2 * grid[:, 0] / (w - 1) - 1, 2 * grid[:, 1] / (h - 1) - 1], -1)
            return F.grid_sample(image, grid, align_corners=True, padding_mode="border")

    return Warp()


@register_model(
    "correlation_volume",
    inputs=[TensorSpec("a", ("batch", 4, 8, 8)), TensorSpec("b", ("batch", 4, 8, 8))],
)
def correlation_volume():
    class Volume(nn.Module):
        def forward(self, a, b):
            padded = F.pad(b, (1, 1, 1, 1))
            maps = [
                (a * padded[:, :, i : i + 8, j : j + 8]).mean(1) for i in range(3) for j in range(3)
            ]
            return torch.stack(maps, 1)

    return Volume()


@register_model(
    "point_cloud", inputs=[TensorSpec("points", ("batch", "count", 3))], axes={"count": (8, 40)}
)
def point_cloud():
    class PointNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.t = nn.Sequential(
                nn.Conv1d(3, 8, 1),
                nn.ReLU(),
                nn.AdaptiveMaxPool1d(1),
                nn.Flatten(),
                nn.Linear(8, 9),
            )
            self.f, self.head = nn.Conv1d(3, 16, 1), nn.Linear(16, 4)

        def forward(self, points):
            x = points.transpose(2, 1)
            t = self.t(x).view(-1, 3, 3) + torch.eye(3)
            x = torch.bmm(points, t).transpose(2, 1)
            return F.log_softmax(self.head(torch.max(F.relu(self.f(x)), 2)[0]), 1)

    return PointNet()


@register_model("nearest_neighbours", inputs=[TensorSpec("points", ("batch", 12, 3))])
def nearest_neighbours():
    class EdgeConv(nn.Module):
        def __init__(self):
            super().__init__()
            self.mlp = nn.Linear(6, 8)

        def forward(self, points):
            inner = -2 * points @ points.transpose(1, 2)
            square = points.pow(2).sum(-1, keepdim=True)
            near = (-square - inner - square.transpose(1, 2)).topk(4, -1)[1]
            b, n, k = near.shape
            flat = (near + torch.arange(b)[:, None, None] * n).view(-1)
            neighbours = points.reshape(b * n, 3)[flat].view(b, n, k, 3)
            centre = points.unsqueeze(2).expand(-1, -1, k, -1)
            return F.leaky_relu(self.mlp(torch.cat([neighbours - centre, centre], -1)), 0.2).amax(2)

    return EdgeConv()


@register_model("radiance_field", inputs=[TensorSpec("rays", ("rays", 6), domain=Bounded(-1, 1))])
def radiance_field():
    class NeRF(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(27, 24), nn.ReLU(), nn.Linear(24, 4))

        def forward(self, rays):
            o, d = rays.split(3, -1)
            z = torch.linspace(0.5, 2.0, 6)
            p = o[:, None] + d[:, None] * z[:, None]
            e = torch.cat(
                [p, *(f(p * 2.0**k) for k in range(4) for f in (torch.sin, torch.cos))], -1
            )
            y = self.net(e)
            alpha = 1 - torch.exp(-F.relu(y[..., 3]) * 0.3)
            t = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-10], 1), 1)[
                :, :-1
            ]
            return ((t * alpha)[..., None] * y[..., :3].sigmoid()).sum(1)

    return NeRF()


@register_model(
    "variational_autoencoder",
    inputs=[TensorSpec("image", ("batch", 1, 16, 16), domain=Bounded(0, 1))],
)
def variational_autoencoder():
    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = nn.Sequential(
                nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 8)
            )
            self.dec = nn.Sequential(
                nn.Linear(4, 512), nn.Unflatten(1, (8, 8, 8)), nn.ConvTranspose2d(8, 1, 4, 2, 1)
            )

        def forward(self, image):
            mean, logvar = self.enc(image).chunk(2, 1)
            z = mean + torch.randn_like(mean) * (0.5 * logvar).exp() if self.training else mean
            return self.dec(z).sigmoid(), mean, logvar

    return VAE()


@register_model("vector_quantised", inputs=[TensorSpec("x", ("batch", 4, 6, 6))])
def vector_quantised():
    class VQ(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.codes = nn.Conv2d(4, 8, 1), nn.Embedding(16, 8)
            self.out = nn.Conv2d(8, 4, 1)

        def forward(self, x):
            z = self.conv(x).permute(0, 2, 3, 1)
            flat = z.reshape(-1, 8)
            d = (
                flat.pow(2).sum(1, keepdim=True)
                - 2 * flat @ self.codes.weight.t()
                + self.codes.weight.pow(2).sum(1)
            )
            q = self.codes(d.argmin(1)).view(z.shape)
            q = z + (q - z).detach()
            return self.out(q.permute(0, 3, 1, 2))

    return VQ()


@register_model(
    "pixel_attention_mask",
    inputs=[TensorSpec("image", ("batch", 3, 16, 16)), TensorSpec("mask", ("batch", 4, 4), "bool")],
)
def pixel_attention_mask():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = nn.Conv2d(3, 8, 4, 4)
            self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
            self.query = nn.Parameter(torch.randn(5, 8))

        def forward(self, image, mask):
            x = self.patch(image).flatten(2).transpose(1, 2)
            q = self.query.unsqueeze(0).expand(image.shape[0], -1, -1)
            blocked = mask.flatten(1).clone()
            blocked[:, 0] = False
            return self.attn(q, x, x, key_padding_mask=blocked)

    return Net()


@register_model("detr_like", inputs=IMAGE)
def detr_like():
    class DETR(nn.Module):
        def __init__(self):
            super().__init__()
            self.back, self.proj = nn.Conv2d(3, 8, 7, 4, 3), nn.Conv2d(8, 16, 1)
            self.t = nn.Transformer(16, 2, 1, 1, 24)
            self.cls, self.box = nn.Linear(16, 5), nn.Linear(16, 4)
            self.query = nn.Parameter(torch.rand(6, 16))
            self.row, self.col = nn.Parameter(torch.rand(10, 8)), nn.Parameter(torch.rand(10, 8))

        def forward(self, image):
            h = self.proj(self.back(image).relu())
            b, _, a, w = h.shape
            pos = torch.cat(
                [
                    self.col[:w].unsqueeze(0).repeat(a, 1, 1),
                    self.row[:a].unsqueeze(1).repeat(1, w, 1),
                ],
                -1,
            )
            pos = pos.flatten(0, 1).unsqueeze(1)
            y = self.t(
                pos + 0.1 * h.flatten(2).permute(2, 0, 1), self.query.unsqueeze(1).repeat(1, b, 1)
            ).transpose(0, 1)
            return {"pred_logits": self.cls(y), "pred_boxes": self.box(y).sigmoid()}

    return DETR()


@register_model("anchor_decoder", inputs=[TensorSpec("image", (1, 3, 32, 32))])
def anchor_decoder():
    class Yolo(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.SiLU(), nn.Conv2d(8, 3 * 7, 1))
            self.register_buffer(
                "anchors", torch.tensor([[4.0, 6], [8, 8], [12, 5]]).view(1, 3, 1, 1, 2)
            )

        def forward(self, image):
            p = self.a(image)
            b, _, h, w = p.shape
            p = p.view(b, 3, 7, h, w).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
            y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            grid = torch.stack((x, y), 2).view(1, 1, h, w, 2).float()
            xy = (p[..., :2] * 2 - 0.5 + grid) * 4
            wh = (p[..., 2:4] * 2) ** 2 * self.anchors
            return torch.cat((xy, wh, p[..., 4:]), -1).view(b, -1, 7)

    return Yolo()


@register_model("heat_map_peaks", inputs=[TensorSpec("image", ("batch", 3, 16, 16))])
def heat_map_peaks():
    class CenterNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.off = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)

        def forward(self, image):
            heat = self.conv(image).sigmoid()
            keep = (F.max_pool2d(heat, 3, 1, 1) == heat).float()
            scores, places = (heat * keep).flatten(1).topk(5)
            cells = places % 256
            xs, ys = (cells % 16).float(), torch.div(cells, 16, rounding_mode="floor").float()
            off = self.off(image).flatten(2).gather(2, cells[:, None].expand(-1, 2, -1))
            return scores, torch.stack([xs, ys], 1) + off

    return CenterNet()


@register_model("capsules", inputs=[TensorSpec("x", ("batch", 6, 4))])
def capsules():
    class Caps(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(6, 3, 5, 4) / 2)

        def forward(self, x):
            u = torch.einsum("ijkl,bil->bijk", self.w, x)
            logits = torch.zeros(x.shape[0], 6, 3)
            for _ in range(3):
                s = (logits.softmax(2).unsqueeze(-1) * u).sum(1)
                n = (s**2).sum(-1, keepdim=True)
                v = n / (1 + n) * s / (n.sqrt() + 1e-8)
                logits = logits + (u * v.unsqueeze(1)).sum(-1)
            return v.norm(dim=-1)

    return Caps()


@register_model("kolmogorov_arnold", inputs=[TensorSpec("x", ("batch", 4), domain=Bounded(-1, 1))])
def kolmogorov_arnold():
    class KAN(nn.Module):
        def __init__(self):
            super().__init__()
            grid = torch.arange(-3, 9) * 0.4 - 1
            self.register_buffer("grid", grid.expand(4, -1).contiguous())
            self.base, self.spline = (
                nn.Parameter(torch.randn(3, 4)),
                nn.Parameter(torch.randn(3, 4, 8)),
            )

        def forward(self, x):
            y, g = x.unsqueeze(-1), self.grid
            b = ((y >= g[:, :-1]) & (y < g[:, 1:])).to(x.dtype)
            for k in range(1, 4):
                left = (y - g[:, : -(k + 1)]) / (g[:, k:-1] - g[:, : -(k + 1)])
                right = (g[:, k + 1 :] - y) / (g[:, k + 1 :] - g[:, 1:-k])
                b = left * b[..., :-1] + right * b[..., 1:]
            return F.linear(F.silu(x), self.base) + F.linear(b.flatten(1), self.spline.flatten(1))

    return KAN()


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


@register_model(
    "siamese_distance", inputs=[TensorSpec("a", ("batch", 8)), TensorSpec("b", ("batch", 8))]
)
def siamese_distance():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(8, 12), nn.PReLU(), nn.Linear(12, 6))

        def forward(self, a, b):
            u, v = self.net(a), self.net(b)
            return F.pairwise_distance(u, v), F.cosine_similarity(u, v)

    return Net()


@register_model(
    "actor_critic",
    inputs=[TensorSpec("obs", ("batch", 5)), TensorSpec("done", ("batch",), domain=Choice((0, 1)))],
)
def actor_critic():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(5, 12), nn.Tanh())
            self.mu, self.value = nn.Linear(12, 2), nn.Linear(12, 1)
            self.log_std = nn.Parameter(torch.zeros(2) - 0.5)

        def forward(self, obs, done):
            h = self.body(obs) * (1 - done).unsqueeze(-1)
            dist = torch.distributions.Normal(self.mu(h), self.log_std.exp())
            return dist.mean.tanh(), dist.entropy().sum(-1) + 0 * done, self.value(h).squeeze(-1)

    return Net()


@register_model("mixture_density", inputs=[TensorSpec("x", ("batch", 3))])
def mixture_density():
    class MDN(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 10), nn.Softplus(), nn.Linear(10, 12))

        def forward(self, x):
            pi, mu, sigma = self.net(x).chunk(3, -1)
            return pi.softmax(-1), mu, nn.functional.elu(sigma) + 1 + 1e-6

    return MDN()


@register_model("hook_features", inputs=IMAGE)
def hook_features():
    class Extractor(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 6, 3, 2), nn.ReLU()
            )
            self.kept = {}
            for name in ("1", "3"):
                dict(self.net.named_modules())[name].register_forward_hook(self.keep(name))

        def keep(self, name):
            def hook(module, args, result):
                self.kept[name] = result

            return hook

        def forward(self, image):
            self.net(image)
            return self.kept["1"].mean((2, 3)), self.kept["3"].mean((2, 3))

    return Extractor()


@register_model("kernel_by_hand", inputs=[TensorSpec("image", ("batch", 1, 12, 12))])
def kernel_by_hand():
    class Sobel(nn.Module):
        def __init__(self):
            super().__init__()
            k = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
            self.register_buffer("k", torch.stack([k, k.t()]).unsqueeze(1))

        def forward(self, image):
            g = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), self.k)
            return torch.sqrt(g.pow(2).sum(1, keepdim=True) + 1e-6), torch.atan2(g[:, :1], g[:, 1:])

    return Sobel()


@register_model("fold_unfold", inputs=[TensorSpec("x", ("batch", 2, 8, 8))])
def fold_unfold():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(8, 8)

        def forward(self, x):
            p = F.unfold(x, 2, stride=2).transpose(1, 2)
            return F.fold(self.lin(p).transpose(1, 2), (8, 8), 2, stride=2)

    return Net()
