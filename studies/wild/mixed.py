"""Models of many other kinds: towers, graphs, filters, splines, odd units, beams, vocoders."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from onnx_conformance import Bounded, Integers, TensorSpec, register_model

X8 = [TensorSpec("x", ("batch", 8))]


def mlp(*sizes, act=nn.ReLU):
    layers = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


class SimCLR(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.bn, self.g = nn.Linear(8, 16, bias=False), nn.BatchNorm1d(16), nn.Linear(16, 8)
        self.queue = nn.Parameter(F.normalize(torch.randn(8, 20), dim=0), requires_grad=False)
        self.temperature = 0.07

    def forward(self, x):
        z = F.normalize(self.g(F.relu(self.bn(self.f(x)))), dim=1)
        return z, z @ self.queue / self.temperature


@register_model("moco_queue", inputs=X8)
def moco_queue():
    return SimCLR()


class EMA(nn.Module):
    """A student beside its EMA teacher: only the teacher runs."""

    def __init__(self):
        super().__init__()
        self.student = mlp(8, 16, 4, act=nn.SELU)
        self.teacher = copy.deepcopy(self.student)
        for p in self.teacher.parameters():
            p.requires_grad_(False)
            p.mul_(0.9).add_(0.05 * torch.randn_like(p))
        self.register_buffer("centre", torch.randn(1, 4))
        self.register_buffer("steps", torch.tensor(1234))
        self.register_buffer("decay", torch.tensor(0.999))

    def forward(self, x):
        return F.softmax((self.teacher(x) - self.centre) / 0.04, -1)


@register_model("ema_teacher", inputs=X8)
def ema_teacher():
    return EMA()


class GIN(nn.Module):
    """A graph whose edges have types: messages are added by scatter_add, degrees likewise."""

    def __init__(self):
        super().__init__()
        self.eps = nn.Parameter(torch.tensor(0.3))
        self.a, self.b = mlp(5, 12, 12), nn.Linear(12, 3)
        self.e = nn.Embedding(4, 5)

    def forward(self, x, edge_index, edge_type):
        src, dst = edge_index[0], edge_index[1]
        m = F.relu(x[src] + self.e(edge_type))
        agg = torch.zeros_like(x).scatter_add(0, dst[:, None].expand(-1, 5), m)
        h = self.a((1 + self.eps) * x + agg)
        deg = torch.zeros(x.shape[0], dtype=x.dtype, device=x.device).scatter_add(
            0, dst, torch.ones_like(dst, dtype=x.dtype)
        )
        return self.b(h / deg.clamp(min=1)[:, None]), h.mean(0)


@register_model(
    "edge_typed_graph",
    inputs=[
        TensorSpec("x", ("nodes", 5)),
        TensorSpec("edge_index", (2, "edges"), "int64", domain=Integers(0, 6)),
        TensorSpec("edge_type", ("edges",), "int64", domain=Integers(0, 4)),
    ],
    axes={"nodes": (6, 20), "edges": (1, 30)},
)
def edge_typed_graph():
    return GIN()


class Recsys(nn.Module):
    """Two towers: users x items scores; a bag with offsets-free history and a hashed id."""

    def __init__(self):
        super().__init__()
        self.user, self.item = nn.Embedding(200, 8), nn.Embedding(300, 8, max_norm=None)
        self.hist = nn.EmbeddingBag(300, 8, mode="sum", padding_idx=0)
        self.bias = nn.Embedding(300, 1)

    def forward(self, user, history, item):
        u = self.user(user) + self.hist(history)
        return torch.sigmoid(u @ self.item(item).T + self.bias(item).T)


@register_model(
    "two_towers",
    inputs=[
        TensorSpec("user", ("users",), "int64", domain=Integers(0, 200)),
        TensorSpec("history", ("users", 6), "int64", domain=Integers(0, 300)),
        TensorSpec("item", ("items",), "int64", domain=Integers(0, 300)),
    ],
)
def two_towers():
    return Recsys()


class Robust(nn.Module):
    """Quantile scaling with learned sorted edges: searchsorted, linear interpolation in a table."""

    def __init__(self):
        super().__init__()
        self.register_buffer("edges", torch.sort(torch.randn(8, 11)).values)
        self.register_buffer("levels", torch.linspace(0, 1, 11))
        self.net = mlp(8, 12, 2)

    def forward(self, x):
        i = (x.unsqueeze(-1) >= self.edges).sum(-1).clamp(1, 10)
        e = self.edges.unsqueeze(0).expand(x.shape[0], -1, -1)
        lo, hi = (
            e.gather(2, (i - 1).unsqueeze(-1)).squeeze(-1),
            e.gather(2, i.unsqueeze(-1)).squeeze(-1),
        )
        t = ((x - lo) / (hi - lo)).clamp(0, 1)
        return self.net(self.levels[i - 1] + t * (self.levels[i] - self.levels[i - 1]))


@register_model("quantile_scaler", inputs=X8)
def quantile_scaler():
    return Robust()


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = mlp(8, 8, 3), nn.Linear(8, 3)

    def forward(self, x):
        return torch.cond(x.abs().mean() > 0.8, lambda x: self.a(x) * 2, lambda x: self.b(x), (x,))


@register_model("conditional", inputs=[TensorSpec("x", (4, 8))])
def conditional():
    return Branch()


class Tiny(nn.Module):
    """Physical units: a potential near 1e-8 and energies near 1e6."""

    def __init__(self):
        super().__init__()
        self.net = mlp(3, 16, 16, 2, act=nn.Tanh)

    def forward(self, r):
        y = self.net(r)
        return y[:, :1] * 1.6e-8, y[:, 1:] * 3e5 + 1e6


@register_model("physical_units", inputs=[TensorSpec("r", ("batch", 3), domain=Bounded(-2, 2))])
def physical_units():
    return Tiny()


class Inplace(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = mlp(8, 8, 2)

    def forward(self, x):
        x -= 0.5
        x.clamp_(-2, 2)
        x[:, 0] *= 3
        return self.net(x)


@register_model("changes_its_input", inputs=X8)
def changes_its_input():
    return Inplace()


class Bayes(nn.Module):
    """Returns (dict, tuple) from a dict of features with a categorical."""

    def __init__(self):
        super().__init__()
        self.cat, self.net = nn.Embedding(6, 3), mlp(8 + 3, 16, 2, act=nn.Mish)

    def forward(self, features):
        y = self.net(torch.cat([features["numeric"], self.cat(features["kind"]).flatten(1)], -1))
        mean, raw = y.unbind(-1)
        return {"gauss": (mean, F.softplus(raw) + 1e-4), "flag": raw > 0}


@register_model(
    "features_dict",
    inputs=[
        TensorSpec("numeric", ("batch", 8)),
        TensorSpec("kind", ("batch", 1), "int64", domain=Integers(0, 6)),
    ],
)
def features_dict():
    return Bayes()


class BSpline(nn.Module):
    """B-spline layer by Cox-de Boor, silu base."""

    def __init__(self, i=4, o=3, g=5, k=3):
        super().__init__()
        h = 2 / g
        self.register_buffer(
            "grid", (torch.arange(-k, g + k + 1) * h - 1).expand(i, -1).contiguous()
        )
        self.base, self.spline, self.k = (
            nn.Parameter(torch.randn(o, i)),
            nn.Parameter(torch.randn(o, i, g + k) * 0.3),
            k,
        )

    def forward(self, x):
        s, g = x.unsqueeze(-1), self.grid
        b = ((s >= g[:, :-1]) & (s < g[:, 1:])).to(x.dtype)
        for k in range(1, self.k + 1):
            b = (s - g[:, : -(k + 1)]) / (g[:, k:-1] - g[:, : -(k + 1)]) * b[..., :-1] + (
                g[:, k + 1 :] - s
            ) / (g[:, k + 1 :] - g[:, 1:-k]) * b[..., 1:]
        return F.linear(F.silu(x), self.base) + F.linear(b.flatten(1), self.spline.flatten(1))


@register_model("spline_edges", inputs=[TensorSpec("x", ("batch", 4))])
def spline_edges():
    return nn.Sequential(BSpline(4, 6), BSpline(6, 2))


class HalfBackbone(nn.Module):
    """Half-precision convolution inside, float32 head, temperature in float32."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()
        ).half()
        self.head = nn.Linear(8, 4)

    def forward(self, image):
        x = self.body(image.half()).float().mean((2, 3))
        return self.head(x) / 0.7


@register_model(
    "half_backbone", inputs=[TensorSpec("image", ("batch", 3, 16, 16), domain=Bounded(0, 1))]
)
def half_backbone():
    return HalfBackbone()


class Kalman(nn.Module):
    """One filter step: predict, innovate, gain with an explicit 2x2 inverse."""

    def __init__(self):
        super().__init__()
        self.register_buffer(
            "F", torch.tensor([[1.0, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.1], [0, 0, 0, 1]])
        )
        self.register_buffer("H", torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0]]))
        self.q, self.r = nn.Parameter(torch.tensor(-2.0)), nn.Parameter(torch.tensor(-1.0))

    def forward(self, state, factor, z):
        P = factor @ factor.transpose(-1, -2) + torch.eye(4)
        x = state @ self.F.T
        P = self.F @ P @ self.F.T + self.q.exp() * torch.eye(4)
        S = self.H @ P @ self.H.T + self.r.exp() * torch.eye(2)
        a, b, c, d = S[..., 0, 0], S[..., 0, 1], S[..., 1, 0], S[..., 1, 1]
        inv = torch.stack([d, -b, -c, a], -1).view(-1, 2, 2) / (a * d - b * c)[:, None, None]
        K = P @ self.H.T @ inv
        x = x + (K @ (z - x @ self.H.T).unsqueeze(-1)).squeeze(-1)
        return x, (torch.eye(4) - K @ self.H) @ P


@register_model(
    "kalman_step",
    inputs=[
        TensorSpec("state", ("batch", 4)),
        TensorSpec("factor", ("batch", 4, 4)),
        TensorSpec("z", ("batch", 2)),
    ],
)
def kalman_step():
    return Kalman()


class Beam(nn.Module):
    """One step of a beam: log-softmax, top-k over beams x vocabulary, parents by division."""

    def __init__(self):
        super().__init__()
        self.o = nn.Linear(8, 12)

    def forward(self, hidden, scores):
        lp = self.o(hidden).log_softmax(-1) + scores.unsqueeze(-1)
        v, i = lp.flatten(1).topk(3, -1)
        parent, token = i // 12, i % 12
        return v, parent, token, hidden.gather(1, parent.unsqueeze(-1).expand(-1, -1, 8))


@register_model(
    "beam_step", inputs=[TensorSpec("hidden", ("batch", 3, 8)), TensorSpec("scores", ("batch", 3))]
)
def beam_step():
    return Beam()


class WN(nn.Module):
    """Old weight_norm and spectral_norm side by side, as GAN vocoders have them; ceil pooling."""

    def __init__(self):
        super().__init__()
        self.up = nn.utils.weight_norm(nn.ConvTranspose1d(6, 8, 8, 4, 2))
        self.res = nn.ModuleList(
            nn.utils.weight_norm(nn.Conv1d(8, 8, 3, dilation=d, padding=d)) for d in (1, 3)
        )
        self.post = nn.utils.spectral_norm(nn.Conv1d(8, 1, 7, padding=3))

    def forward(self, mel):
        x = self.up(mel)
        for r in self.res:
            x = x + r(F.leaky_relu(x, 0.1))
        x = torch.tanh(self.post(F.leaky_relu(x)))
        return x, F.avg_pool1d(x, 4, 3, ceil_mode=True)


@register_model(
    "vocoder_norms", inputs=[TensorSpec("mel", ("batch", 6, "frames"))], axes={"frames": (4, 20)}
)
def vocoder_norms():
    return WN()
