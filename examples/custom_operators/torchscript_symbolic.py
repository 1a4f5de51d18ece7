"""TorchScript: an operator of one's own, written in ONNX's standard operators by a symbolic."""

import torch
from torch import nn
from torch.onnx.symbolic_helper import parse_args

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.custom_operators import custom_operators
from onnx_conformance.core.spec import TensorSpec


@torch.library.custom_op("example::biweight", mutates_args=())
def biweight(x: torch.Tensor, c: float) -> torch.Tensor:
    """Tukey's: x·(1 - (x/c)²)² where ``|x| < c``, else 0."""
    return torch.where(x.abs() < c, x * (1 - (x / c) ** 2) ** 2, torch.zeros_like(x))


@biweight.register_fake
def _(x, c):
    return torch.empty_like(x)


@parse_args("v", "f")  # a value of the graph, a plain number
def biweight_in_onnx(g, x, c):
    """The same; every operator here is older than opset 9 and means the same ever since."""

    def number(value):
        return g.op("Constant", value_t=torch.tensor(value, dtype=torch.float32))

    share = g.op("Div", x, number(c))
    root = g.op("Sub", number(1.0), g.op("Mul", share, share))
    inside = g.op("Less", g.op("Abs", x), number(c))
    return g.op("Where", inside, g.op("Mul", x, g.op("Mul", root, root)), number(0.0))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.after = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.after(biweight(self.before(x), 4.0))


@register_model("biweight_net", inputs=[TensorSpec("x", ("batch", 8))])
@custom_operators(torchscript={"example::biweight": biweight_in_onnx})
def biweight_net():
    return Net()
