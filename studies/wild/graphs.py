"""Graphs, point sets, recommenders and policies."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from onnx_conformance import Bounded, Integers, Mask, TensorSpec, register_model

NODES = 10
GRAPH = {
    "inputs": [
        TensorSpec("x", (NODES, 6)),
        TensorSpec("edge_index", (2, "edges"), "int64", domain=Integers(0, NODES)),
    ],
    "axes": {"edges": (4, 40)},
}
POINTS = {"inputs": [TensorSpec("points", ("batch", 3, "n"))], "axes": {"n": (24, 64)}}


def mlp(*sizes):
    layers = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Isomorphism(nn.Module):
    """GIN: neighbours are added up with scatter_add_, as torch_scatter does it."""

    def __init__(self):
        super().__init__()
        self.mlps = nn.ModuleList([mlp(6, 16, 16), mlp(16, 16, 16)])
        self.eps = nn.Parameter(torch.tensor([0.1, 0.2]))
        self.out = nn.Linear(22, 3)

    def forward(self, x, edge_index):
        src, dst = edge_index[0], edge_index[1]
        h, pooled = x, [x.sum(0)]
        for i, net in enumerate(self.mlps):
            index = dst.unsqueeze(-1).expand(-1, h.shape[1])
            message = torch.zeros_like(h).scatter_add_(0, index, h[src])
            h = net((1 + self.eps[i]) * h + message)
        pooled.append(h.sum(0))
        return self.out(torch.cat(pooled))


@register_model("graph_isomorphism", **GRAPH)
def graph_isomorphism():
    return Isomorphism()


class SegmentAttention(nn.Module):
    """GATv2: a softmax over the edges of each node, by scatter_reduce and scatter_add."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(6, 16), nn.Linear(6, 16)
        self.a = nn.Parameter(torch.randn(2, 8))

    def forward(self, x, edge_index):
        src, dst = edge_index
        h = (self.left(x)[src] + self.right(x)[dst]).view(-1, 2, 8)
        score = (F.leaky_relu(h, 0.2) * self.a).sum(-1)
        index = dst[:, None].expand_as(score)
        top = torch.full((x.shape[0], 2), -1e30).to(x)
        top = top.scatter_reduce(0, index, score, reduce="amax", include_self=True)
        weight = (score - top[dst]).exp()
        total = torch.zeros(x.shape[0], 2).to(x).scatter_add(0, index, weight)
        weight = weight / (total[dst] + 1e-16)
        out = torch.zeros(x.shape[0], 2, 8).to(x)
        value = self.left(x)[src].view(-1, 2, 8) * weight[..., None]
        return F.elu(out.index_add(0, dst, value).flatten(1))


@register_model("segment_attention", **GRAPH)
def segment_attention():
    return SegmentAttention()


class MeanOfNeighbours(nn.Module):
    """GraphSAGE on a dense adjacency of truth values."""

    def __init__(self):
        super().__init__()
        self.own, self.other = nn.Linear(5, 8), nn.Linear(5, 8, bias=False)

    def forward(self, x, adjacency):
        a = adjacency.to(x.dtype)
        mean = a @ x / a.sum(-1, keepdim=True).clamp(min=1)
        return F.normalize(torch.relu(self.own(x) + self.other(mean)), dim=-1)


@register_model(
    "graph_sage_dense",
    inputs=[
        TensorSpec("x", ("batch", "n", 5)),
        TensorSpec("adjacency", ("batch", "n", "n"), "bool"),
    ],
    axes={"n": (3, 12)},
)
def graph_sage_dense():
    return MeanOfNeighbours()


class Equivariant(nn.Module):
    """EGNN: distances inform messages, which move the coordinates."""

    def __init__(self):
        super().__init__()
        self.edge, self.node = mlp(9, 16, 8), mlp(12, 16, 4)
        self.move = nn.Linear(8, 1, bias=False)

    def forward(self, h, coord):
        n = h.shape[1]
        d = coord[:, :, None] - coord[:, None]
        d2 = d.pow(2).sum(-1, keepdim=True)
        pair = torch.cat(
            [h[:, :, None].expand(-1, -1, n, -1), h[:, None].expand(-1, n, -1, -1), d2], -1
        )
        m = F.silu(self.edge(pair))
        coord = coord + (d / (d2 + 1).sqrt() * self.move(m)).mean(2)
        return h + self.node(torch.cat([h, m.sum(2)], -1)), coord


@register_model(
    "equivariant_graph",
    inputs=[TensorSpec("h", ("batch", "atoms", 4)), TensorSpec("coord", ("batch", "atoms", 3))],
    axes={"atoms": (2, 9)},
)
def equivariant_graph():
    return Equivariant()


class ContinuousFilter(nn.Module):
    """SchNet: Gaussians of distances, a cosine cutoff, atoms masked by their number 0."""

    def __init__(self):
        super().__init__()
        self.atom = nn.Embedding(20, 16, padding_idx=0)
        self.register_buffer("centre", torch.linspace(0, 5, 12))
        self.filter, self.head = mlp(12, 16, 16), mlp(16, 8, 1)

    def forward(self, numbers, positions):
        mask = (numbers > 0).unsqueeze(-1)
        d = (positions.unsqueeze(1) - positions.unsqueeze(2)).pow(2).sum(-1).add(1e-6).sqrt()
        rbf = torch.exp(-2.0 * (d[..., None] - self.centre) ** 2)
        cut = 0.5 * (torch.cos(d * torch.pi / 5) + 1) * (d < 5)
        w = self.filter(rbf) * cut[..., None]
        x = self.atom(numbers)
        x = x + torch.einsum("bjf,bijf->bif", x, w)
        return (self.head(F.softplus(x) - 0.6931472) * mask).sum((1, 2))


@register_model(
    "continuous_filter",
    inputs=[
        TensorSpec("numbers", ("batch", "atoms"), "int64", domain=Integers(0, 20)),
        TensorSpec("positions", ("batch", "atoms", 3)),
    ],
    axes={"atoms": (2, 9)},
)
def continuous_filter():
    return ContinuousFilter()


def square_distance(a, b):
    return (a**2).sum(-1)[:, :, None] + (b**2).sum(-1)[:, None] - 2 * a @ b.transpose(1, 2)


class EdgeConvolution(nn.Module):
    """DGCNN: the nearest in the space of features, gathered by a flat index."""

    def __init__(self, k=6):
        super().__init__()
        self.k = k
        self.conv = nn.Sequential(
            nn.Conv2d(6, 16, 1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(0.2)
        )
        self.head = nn.Linear(32, 5)

    def forward(self, points):
        b, c, n = points.size()
        inner = -2 * torch.matmul(points.transpose(2, 1), points)
        xx = torch.sum(points**2, dim=1, keepdim=True)
        idx = (-xx - inner - xx.transpose(2, 1)).topk(k=self.k, dim=-1)[1]
        idx = (idx + torch.arange(0, b, device=points.device).view(-1, 1, 1) * n).view(-1)
        x = points.transpose(2, 1).contiguous()
        near = x.view(b * n, -1)[idx, :].view(b, n, self.k, c)
        x = x.view(b, n, 1, c).repeat(1, 1, self.k, 1)
        x = self.conv(torch.cat((near - x, x), dim=3).permute(0, 3, 1, 2)).max(dim=-1)[0]
        return self.head(
            torch.cat([F.adaptive_max_pool1d(x, 1), F.adaptive_avg_pool1d(x, 1)], 1)[..., 0]
        )


@register_model("edge_convolution", **POINTS)
def edge_convolution():
    return EdgeConvolution()


class SetAbstraction(nn.Module):
    """PointNet++: farthest points, a ball around each, a maximum over it."""

    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Linear(16, 4)

    def farthest(self, xyz, count):
        b, n, _ = xyz.shape
        chosen = [torch.zeros(b, dtype=torch.long, device=xyz.device)]
        distance = torch.full((b, n), 1e10).to(xyz)
        for _ in range(count - 1):
            centre = xyz.gather(1, chosen[-1].view(b, 1, 1).expand(-1, -1, 3))
            distance = torch.minimum(distance, ((xyz - centre) ** 2).sum(-1))
            chosen.append(distance.argmax(-1))
        return torch.stack(chosen, 1)

    def forward(self, points):
        xyz = points.transpose(1, 2)
        b, n, _ = xyz.shape
        first = self.farthest(xyz, 8)
        centres = xyz.gather(1, first[..., None].expand(-1, -1, 3))
        far = square_distance(centres, xyz) > 1.5**2
        group = torch.arange(n, device=xyz.device).expand(b, 8, n).masked_fill(far, n)
        group = group.sort(dim=-1)[0][:, :, :6]
        group = torch.where(group == n, group[:, :, :1], group)
        near = xyz.gather(1, group.reshape(b, -1, 1).expand(-1, -1, 3)).view(b, 8, 6, 3)
        x = self.mlp((near - centres[:, :, None]).permute(0, 3, 2, 1)).amax(2)
        return self.head(x.transpose(1, 2)), centres


@register_model("set_abstraction", **POINTS)
def set_abstraction():
    return SetAbstraction()


class Interactions(nn.Module):
    """DLRM: bags of ids, and the lower triangle of all products."""

    def __init__(self):
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(n, 8, mode="sum") for n in (30, 50, 17))
        self.bottom, self.top = mlp(13, 16, 8), mlp(14, 16, 1)
        self.register_buffer("low", torch.tril_indices(4, 4, -1), persistent=False)

    def forward(self, dense, sparse):
        found = [self.bottom(dense)] + [t(sparse[:, i]) for i, t in enumerate(self.tables)]
        t = torch.stack(found, 1)
        z = torch.bmm(t, t.transpose(1, 2))[:, self.low[0], self.low[1]]
        return torch.sigmoid(self.top(torch.cat([found[0], z], 1)))


@register_model(
    "dlrm",
    inputs=[
        TensorSpec("dense", ("batch", 13)),
        TensorSpec("sparse", ("batch", 3, 4), "int64", domain=Integers(0, 17)),
    ],
)
def dlrm():
    return Interactions()


class Crossed(nn.Module):
    """DCN-v2: crosses of low rank, mixed by gates."""

    def __init__(self):
        super().__init__()
        self.u = nn.ParameterList(nn.Parameter(torch.randn(3, 10, 4) / 4) for _ in range(2))
        self.v = nn.ParameterList(nn.Parameter(torch.randn(3, 4, 10) / 4) for _ in range(2))
        self.gates = nn.ModuleList(nn.Linear(10, 1, bias=False) for _ in range(3))
        self.out = nn.Linear(10, 1)

    def forward(self, x):
        y = x
        for u, v in zip(self.u, self.v, strict=True):
            gate = torch.stack([g(y) for g in self.gates], 1).softmax(1)
            experts = x[:, None] * torch.einsum("erd,bd,eor->beo", v, y, u)
            y = y + (gate * experts).sum(1)
        return self.out(y)


@register_model("crossed_low_rank", inputs=[TensorSpec("x", ("batch", 10))])
def crossed_low_rank():
    return Crossed()


class TargetAttention(nn.Module):
    """DIN: the history is weighted by its likeness to the candidate."""

    def __init__(self):
        super().__init__()
        self.item, self.score, self.head = nn.Embedding(40, 8), mlp(32, 12, 1), mlp(24, 8, 2)
        self.act = nn.PReLU(8)

    def forward(self, history, mask, candidate):
        h, c = self.item(history), self.item(candidate)
        q = c.unsqueeze(1).expand_as(h)
        s = self.score(torch.cat([q, h, q - h, q * h], -1)).squeeze(-1)
        s = s.masked_fill(~mask, -(2**32) + 1).softmax(-1)
        user = self.act((s.unsqueeze(1) @ h).squeeze(1))
        return self.head(torch.cat([user, c, user * c], -1))


@register_model(
    "target_attention",
    inputs=[
        TensorSpec("history", ("batch", "seq"), "int64", domain=Integers(0, 40)),
        TensorSpec("mask", ("batch", "seq"), "bool", domain=Mask()),
        TensorSpec("candidate", ("batch",), "int64", domain=Integers(0, 40)),
    ],
    axes={"seq": (1, 15)},
)
def target_attention():
    return TargetAttention()


class Act(NamedTuple):
    action: torch.Tensor
    log_prob: torch.Tensor


class SquashedGaussian(nn.Module):
    """SAC's actor; its noise comes from outside."""

    def __init__(self):
        super().__init__()
        self.net, self.mean, self.log_std = mlp(11, 32, 32), nn.Linear(32, 3), nn.Linear(32, 3)

    def forward(self, observation, noise):
        x = self.net(observation)
        log_std = torch.clamp(self.log_std(x), -20, 2)
        u = self.mean(x) + noise * log_std.exp()
        log_prob = (
            torch.distributions.Normal(self.mean(x), log_std.exp(), validate_args=False)
            .log_prob(u)
            .sum(-1)
        )
        log_prob = log_prob - (2 * (0.6931471805599453 - u - F.softplus(-2 * u))).sum(-1)
        return Act(torch.tanh(u), log_prob)


@register_model(
    "squashed_gaussian",
    inputs=[TensorSpec("observation", ("batch", 11)), TensorSpec("noise", ("batch", 3))],
)
def squashed_gaussian():
    return SquashedGaussian()


class GumbelChoice(nn.Module):
    """Several categorical actions at once, drawn with uniform noise from outside."""

    def __init__(self):
        super().__init__()
        self.net = mlp(7, 24, 9)

    def forward(self, state, uniform):
        logits = self.net(state)
        noisy = logits - torch.log(-torch.log(uniform))
        parts = torch.split(noisy, [2, 3, 4], dim=-1)
        return torch.stack([p.argmax(-1) for p in parts], -1), logits.log_softmax(-1)


@register_model(
    "gumbel_choice",
    inputs=[
        TensorSpec("state", ("batch", 7)),
        TensorSpec("uniform", ("batch", 9), domain=Bounded(0.01, 0.99)),
    ],
)
def gumbel_choice():
    return GumbelChoice()


class Distributional(nn.Module):
    """C51: a distribution over a support, and actions that an input allows."""

    def __init__(self):
        super().__init__()
        self.net = mlp(8, 32, 4 * 21)
        self.register_buffer("support", torch.linspace(-10, 10, 21))

    def forward(self, state, allowed):
        p = self.net(state).view(-1, 4, 21).softmax(-1)
        q = (p * self.support).sum(-1)
        return {"q": q.masked_fill(~allowed, float("-inf")), "p": p}


@register_model(
    "distributional_policy",
    inputs=[TensorSpec("state", ("batch", 8)), TensorSpec("allowed", ("batch", 4), "bool")],
)
def distributional_policy():
    return Distributional()


class Triplet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )
        self.project = nn.Linear(32, 12)

    def embed(self, x):
        return F.normalize(self.project(self.body(x)), p=2, dim=1)

    def forward(self, *, anchor, positive, negative):
        a, p, n = self.embed(anchor), self.embed(positive), self.embed(negative)
        return (
            F.cosine_similarity(a, p),
            F.pairwise_distance(a, n),
            torch.cdist(a[:, None], n[:, None])[:, 0, 0],
        )


@register_model(
    "triplet_by_keyword",
    inputs=[TensorSpec(name, ("batch", 1, 10, 10)) for name in ("anchor", "positive", "negative")],
)
def triplet_by_keyword():
    return Triplet()
