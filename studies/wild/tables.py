"""Networks of rows, sets and graphs, as their authors write them: flows, recommenders, policies."""

import torch
import torch.nn.functional as F
from torch import nn

from onnx_conformance import Bounded, Choice, Integers, TensorSpec, register_model


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
