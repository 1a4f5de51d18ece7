"""Weights of the suite's own: what keeps a torch model's outputs alive."""

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")

from onnx_conformance.workers.torch.calibrate import calibrate  # noqa: E402

pytestmark = pytest.mark.slow


class ScaledBranch(torch.nn.Module):
    """A class token that sees the image through a branch alone, as CaiT's does."""

    def __init__(self, scale):
        super().__init__()
        self.token = torch.nn.Parameter(torch.randn(6))
        self.branch, self.head = torch.nn.Linear(12, 6), torch.nn.Linear(6, 3)
        self.scale = torch.nn.Parameter(torch.as_tensor(scale))
        self.norm = torch.nn.LayerNorm(6)

    def forward(self, x):
        return self.head(self.norm(self.token + self.scale * self.branch(x.flatten(1))))


@pytest.mark.parametrize(
    ("scale", "woken"),
    [
        (torch.full((6,), 1e-5), True),
        (torch.full((6, 1, 1), 1e-6).flatten(), True),
        (torch.linspace(1e-5, 2e-5, 6), False),  # not one number: trained, or meant
        (torch.zeros(6), False),
        (torch.full((6,), 0.5), False),
    ],
)
def test_layer_scales_of_untrained_models_let_their_branches_through(scale, woken):
    model = ScaledBranch(scale.clone()).eval()
    calibrate(model, ("batch", 3, 2, 2), seed=0)
    assert (not torch.equal(model.scale, scale)) is woken
    if woken:
        few, many = model(torch.randn(2, 3, 2, 2))
        assert (few - many).abs().max() > 0.1


def test_every_gain_and_bias_that_is_not_trained_matters():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(12, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 3)
    )
    torch.nn.init.zeros_(model[1].bias)
    trained = model[1].weight.clone()
    calibrate(model.eval(), ("batch", 3, 2, 2), seed=0)
    for vector in (model[1].bias, model[2].weight, model[2].bias):
        assert vector.std() > 0.03
    assert torch.equal(model[1].weight, trained)
