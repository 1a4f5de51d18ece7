"""The model: handwritten digits, 8 x 8 pixels, to the logits of ten classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DigitsNet(nn.Module):
    """Two layers with a batch norm between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 32)
        self.norm = nn.BatchNorm1d(32)
        self.last = nn.Linear(32, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits ``(batch, 10)`` of pixels ``(batch, 64)`` in 0..1."""
        return self.last(torch.relu(self.norm(self.first(pixels))))


def load_model() -> DigitsNet:
    """The model as it is deployed; here with weights of a fixed seed, for want of a checkpoint."""
    torch.manual_seed(0)
    return DigitsNet().eval()
