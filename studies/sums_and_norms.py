"""Right models whose errors are large or strange: long sums, norms and recurrent layers.

Float32's own error is larger in them than in layers of products, and grows with equal numbers, so
they are where an error budget raises false alarms first (:mod:`studies.false_alarms`).
"""

import torch
from torch import nn
from torch.nn import functional as F

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.domains import Integers, Lengths
from onnx_conformance.core.spec import TensorSpec

IMAGE = TensorSpec("image", ("batch", 4, 24, 24))
SEQUENCE = TensorSpec("x", ("batch", "time", 6))


class Norms(nn.Module):
    """Batch, group, instance and layer norm, one after another."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(4, 8, 3), nn.Conv2d(8, 4, 1)
        self.norms = nn.Sequential(
            nn.BatchNorm2d(8), nn.GroupNorm(2, 8), nn.SiLU(), nn.InstanceNorm2d(8, affine=True)
        )
        self.layer = nn.LayerNorm(22)

    def forward(self, image):
        return self.last(F.gelu(self.layer(self.norms(self.first(image)))))


class RootMeanSquare(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)
        self.scale = nn.Parameter(torch.rand(16))

    def forward(self, x):
        x = self.first(x)
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale
        return self.last(F.normalize(torch.tanh(x), dim=-1))


class Sums(nn.Module):
    """Sums, means, variances and norms over whole images, and running sums."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, padding=1)

    def forward(self, image):
        x = self.conv(image).flatten(2)
        spread = x.std(-1), x.logsumexp(-1), x.norm(dim=-1), x.abs().amax(-1)
        return x.sum(-1), x.mean(-1), torch.cat(spread, 1), x.cumsum(-1)[..., ::64]


class Squeeze(nn.Module):
    """Gates made of means over large maps."""

    def __init__(self):
        super().__init__()
        self.conv, self.gate = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, image):
        x = F.hardswish(self.conv(image))
        x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1)).softmax(-1)


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.cells = kind(6, 10, batch_first=True, **options)
        self.head = nn.Linear(10 * (1 + self.cells.bidirectional), 3)

    def forward(self, x):
        every, state = self.cells(x)
        last = state[0] if isinstance(state, tuple) else state
        return self.head(every), last.transpose(0, 1)


class LastOfEach(nn.Module):
    """What a GRU says at each sample's last place."""

    def __init__(self):
        super().__init__()
        self.cells, self.head = nn.GRU(6, 10, batch_first=True), nn.Linear(10, 4)

    def forward(self, x, length):
        every, _ = self.cells(x)
        place = (length - 1)[:, None, None].expand(-1, 1, 10)
        return self.head(every.gather(1, place)[:, 0])


class Causal(nn.Module):
    """Attention to what came before, by minus infinity, and masked logits."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix = nn.Embedding(50, 16), nn.Linear(16, 48)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 50)

    def forward(self, ids):
        x, count = self.embed(ids), ids.shape[1]
        query, key, value = self.mix(x).chunk(3, -1)
        later = torch.triu(torch.ones(count, count, dtype=torch.bool), 1)
        seen = (query @ key.transpose(1, 2) / 4).masked_fill(later, float("-inf"))
        logits = self.head(self.norm(x + seen.softmax(-1) @ value))
        return logits.masked_fill(torch.arange(50) % 7 == 3, float("-inf"))


MODELS = {
    "norms": (Norms, [IMAGE]),
    "root_mean_square": (RootMeanSquare, [SEQUENCE]),
    "sums": (Sums, [IMAGE]),
    "squeeze": (Squeeze, [IMAGE]),
    "gru": (lambda: Recurrent(nn.GRU), [SEQUENCE]),
    "lstm_both_ways": (lambda: Recurrent(nn.LSTM, bidirectional=True), [SEQUENCE]),
    "rnn_of_two": (lambda: Recurrent(nn.RNN, num_layers=2), [SEQUENCE]),
    "last_of_each": (
        LastOfEach,
        [SEQUENCE, TensorSpec("length", ("batch",), "int64", domain=Lengths("time"))],
    ),
    "causal": (
        Causal,
        [TensorSpec("ids", ("batch", "time"), "int64", domain=Integers(0, 50))],
    ),
}

for _name, (_build, _inputs) in MODELS.items():
    _axes = {"time": (2, 20)} if any("time" in spec.shape for spec in _inputs) else None
    register_model(_name, inputs=_inputs, axes=_axes)(_build)
