"""A network for a table: 8 numbers and 2 categories a row, a probability for each of 3 classes."""

import torch
from torch import nn

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.domains import Integers
from onnx_conformance.core.spec import TensorSpec

KINDS = 12  # of category


class Tabular(nn.Module):
    """The categories go through an Embedding, then everything through a multi-layer perceptron."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(KINDS, 4)
        self.layers = nn.Sequential(
            nn.Linear(8 + 2 * 4, 32), nn.SiLU(), nn.Linear(32, 16), nn.SiLU(), nn.Linear(16, 3)
        )

    def forward(self, numbers, categories):
        known = self.embedding(categories).flatten(1)
        return self.layers(torch.cat([numbers, known], dim=1)).softmax(dim=1)


@register_model(
    "tabular_mlp",
    inputs=[
        TensorSpec("numbers", ("batch", 8)),
        # Whole numbers need a range: 0 and above, below KINDS.
        TensorSpec("categories", ("batch", 2), "int64", domain=Integers(0, KINDS)),
    ],
)
def tabular_mlp():
    return Tabular()
