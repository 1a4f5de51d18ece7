"""Small models with symbolic sizes, small inputs and whole-number outputs, for faults of sizes."""

import torch
from torch import nn
from torch.nn import functional as F

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.domains import Integers
from onnx_conformance.core.spec import TensorSpec


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(300, 8), nn.Embedding(64, 8)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, ids):
        places = torch.arange(ids.shape[1], device=ids.device)
        return self.head(self.norm(self.tokens(ids) + self.places(places)))


class Maps(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, image):
        return self.last(F.relu(self.first(image)))


class Labels(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(16, 32), nn.LayerNorm(32), nn.Linear(32, 6)

    def forward(self, x):
        scores = self.last(F.gelu(self.norm(self.first(x))))
        return {"label": scores.argmax(1), "over": scores > 0.25}


@register_model(
    "tokens", inputs=[TensorSpec("ids", ("batch", "seq"), "int64", domain=Integers(0, 300))],
    axes={"seq": (1, 64)},
)  # fmt: skip
def tokens():
    return Tokens()


@register_model(
    "maps", inputs=[TensorSpec("image", ("batch", 3, "height", "width"))],
    axes={"height": (16, 32, 16), "width": (16, 32, 16)},
)  # fmt: skip
def maps():
    return Maps()


@register_model("labels", inputs=[TensorSpec("x", ("batch", 16))])
def labels():
    return Labels()


@register_model("scores", inputs=[TensorSpec("x", ("batch", 16))])
def scores():
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 6))
