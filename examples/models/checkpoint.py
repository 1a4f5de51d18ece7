"""Trained weights from a checkpoint on disk.

``python examples/models/checkpoint.py`` trains for a few seconds and writes moons.pt again.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

CHECKPOINT = Path(__file__).with_name("moons.pt")


def network():
    return nn.Sequential(
        nn.Linear(2, 32), nn.BatchNorm1d(32), nn.ReLU(),
        nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU(),
        nn.Linear(32, 2),
    )  # fmt: skip


def two_moons(count, seed):
    """Points on two half circles that reach into each other, and on which of the two each lies."""
    rng = np.random.default_rng(seed)
    moon = rng.integers(0, 2, count)
    angle = np.pi * rng.random(count)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points[moon == 1] = [1.0, 0.5] - points[moon == 1]
    points += 0.1 * rng.standard_normal(points.shape)
    return torch.tensor(points, dtype=torch.float32), torch.tensor(moon)


def train():
    torch.manual_seed(0)
    model, (points, moon) = network(), two_moons(2_000, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(points), moon).backward()
        optimizer.step()
    torch.save(model.state_dict(), CHECKPOINT)
    points, moon = two_moons(1_000, seed=1)
    right = (model.eval()(points).argmax(dim=1) == moon).float().mean()
    print(f"{CHECKPOINT.name}: {right:.1%} of 1,000 new points are right")


if __name__ == "__main__":
    train()
else:
    from onnx_conformance.catalog.models import register_model
    from onnx_conformance.core.spec import TensorSpec

    @register_model("moons", inputs=[TensorSpec("points", ("batch", 2))])
    def moons():
        model = network()
        # weights_only: a checkpoint may hold tensors, and no code that loading would run
        model.load_state_dict(torch.load(CHECKPOINT, weights_only=True))
        return model
