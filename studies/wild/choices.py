"""Models that choose: ranks, positions, thresholds, rounding, sorting, sizes that values decide."""

import torch
from torch import nn
from torch.nn import functional as F

from onnx_conformance import Bounded, Choice, Integers, TensorSpec, register_model

ROW = [TensorSpec("x", ("batch", 16))]


class Function(nn.Module):
    def __init__(self, function, *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x):
        return self.function(self.parts, x)


@register_model("argmax", inputs=ROW)
def argmax():
    return Function(lambda m, x: m[0](x).argmax(-1), nn.Linear(16, 7))


@register_model("top_probabilities", inputs=ROW)
def top_probabilities():
    return Function(lambda m, x: tuple(m[0](x).softmax(-1).topk(3)), nn.Linear(16, 7))


@register_model("sorted", inputs=ROW)
def sort():
    return Function(lambda m, x: tuple(m[0](x).sort(-1, descending=True)), nn.Linear(16, 9))


@register_model("argsort", inputs=ROW)
def argsort():
    return Function(lambda m, x: m[0](x).argsort(-1), nn.Linear(16, 9))


@register_model("decision_and_score", inputs=ROW)
def decision_and_score():
    def forward(m, x):
        score = torch.sigmoid(m[0](x)).squeeze(-1)
        return {"score": score, "alarm": score > 0.5}

    return Function(forward, nn.Linear(16, 1))


@register_model("nonzero", inputs=[TensorSpec("x", (12, 4))])
def nonzero():
    return Function(
        lambda m, x: torch.nonzero(m[0](x).squeeze(-1) > 0).squeeze(-1), nn.Linear(4, 1)
    )


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = (
            nn.Linear(8, 4),
            nn.Parameter(torch.randn(4, 8, 6) / 3),
            nn.Parameter(torch.randn(4, 6, 8) / 3),
        )

    def forward(self, x):
        weight, chosen = self.gate(x).softmax(-1).topk(2, -1)
        weight = weight / weight.sum(-1, keepdim=True)
        every = torch.einsum("bh,ehd->bed", x, self.up).relu()
        every = torch.einsum("bed,edh->beh", every, self.down)
        return (every.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 8)) * weight.unsqueeze(-1)).sum(
            1
        )


@register_model("mixture_of_experts", inputs=[TensorSpec("x", ("batch", 8))])
def mixture_of_experts():
    return Gate()


@register_model("quantise_and_back", inputs=ROW)
def quantise_and_back():
    def forward(m, x):
        y = m[0](x)
        return m[1]((y / 0.05).round().clamp(-128, 127) * 0.05)

    return Function(forward, nn.Linear(16, 12), nn.Linear(12, 3))


@register_model("fake_quantised", inputs=ROW)
def fake_quantised():
    def forward(m, x):
        return m[1](torch.fake_quantize_per_tensor_affine(m[0](x).relu(), 0.02, 0, 0, 255))

    return Function(forward, nn.Linear(16, 12), nn.Linear(12, 3))


@register_model("codebook", inputs=ROW)
def codebook():
    def forward(m, x):
        code = torch.cdist(m[0](x), m[1].weight).argmin(-1)
        return code, m[1](code)

    return Function(forward, nn.Linear(16, 6), nn.Embedding(12, 6))


@register_model("bucketize", inputs=ROW)
def bucketize():
    def forward(m, x):
        return m[0]((x.unsqueeze(-1) > torch.tensor([-1.0, -0.3, 0.2, 0.9])).sum(-1)).flatten(1)

    return Function(forward, nn.Embedding(5, 3))


@register_model("cumulative", inputs=ROW)
def cumulative():
    return Function(lambda m, x: m[0](x).exp().cumsum(-1).log(), nn.Linear(16, 8))


@register_model(
    "one_hot_ids", inputs=[TensorSpec("kind", ("batch", 3), "int64", domain=Integers(0, 12))]
)
def one_hot_ids():
    return Function(lambda m, x: m[0](F.one_hot(x, 12).float().flatten(1)), nn.Linear(36, 4))


@register_model(
    "hash_ids", inputs=[TensorSpec("key", ("batch",), "int64", domain=Integers(0, 100_000))]
)
def hash_ids():
    return Function(lambda m, x: m[0]((x * 2654435761 + 12345) % 64), nn.Embedding(64, 4))


@register_model(
    "floor_division", inputs=[TensorSpec("minute", ("batch",), "int64", domain=Integers(0, 1440))]
)
def floor_division():
    return Function(
        lambda m, x: m[0](x // 60) + m[1](x % 60), nn.Embedding(24, 4), nn.Embedding(60, 4)
    )


@register_model("pixels", inputs=[TensorSpec("image", ("batch", 16, 16, 3), "uint8")])
def pixels():
    def forward(m, x):
        x = x.permute(0, 3, 1, 2).float() / 255
        return m[0]((x - 0.45) / 0.22).mean((2, 3))

    return Function(forward, nn.Conv2d(3, 5, 3))


@register_model("segment", inputs=[TensorSpec("image", ("batch", 3, 16, 16), domain=Bounded(0, 1))])
def segment():
    return Function(lambda m, x: m[0](x).argmax(1).to(torch.uint8), nn.Conv2d(3, 4, 3, padding=1))


@register_model("medians", inputs=ROW)
def medians():
    return Function(lambda m, x: m[0](x).median(-1).values, nn.Linear(16, 9))


@register_model("batch_free_norm", inputs=[TensorSpec("x", ("batch", 4, 8))])
def batch_free_norm():
    return nn.Sequential(
        nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6, track_running_stats=False), nn.GELU()
    )


@register_model("contrastive", inputs=ROW)
def contrastive():
    def forward(m, x):
        y = F.normalize(m[0](x), dim=-1)
        return y @ y.T

    return Function(forward, nn.Linear(16, 6))


@register_model(
    "counts", inputs=[TensorSpec("kind", ("batch", 9), "int64", domain=Choice((0, 1, 2)))]
)
def counts():
    return Function(lambda m, x: torch.stack([(x == k).sum(-1) for k in range(3)], -1))


@register_model("rolled", inputs=[TensorSpec("image", ("batch", 2, 6, 6))])
def rolled():
    return Function(lambda m, x: torch.roll(x, (1, 2), (2, 3)).flip(-1))


@register_model("grid_sampled", inputs=[TensorSpec("image", ("batch", 3, 12, 12))])
def grid_sampled():
    def forward(m, x):
        theta = torch.tanh(m[0](x.mean((2, 3)))).view(-1, 2, 3)
        return F.grid_sample(
            x, F.affine_grid(theta, [x.shape[0], 3, 8, 8], align_corners=False), align_corners=False
        )

    return Function(forward, nn.Linear(3, 6))
