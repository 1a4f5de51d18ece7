"""torch.export: an operator of one's own, written in ONNX's standard operators by onnxscript."""

import torch
from onnxscript import opset18 as op
from torch import nn

from fixtures import TensorSpec, custom_operators, register_model


@torch.library.custom_op("example::squareplus", mutates_args=())
def squareplus(x: torch.Tensor, b: float) -> torch.Tensor:
    """A smooth ReLU: (x + sqrt(x² + b)) / 2."""
    return (x + torch.sqrt(x * x + b)) / 2


@squareplus.register_fake
def _(x, b):
    return torch.empty_like(x)


def squareplus_in_onnx(x, b: float):
    """The same in opset 18: called with onnxscript's values, in the order of the operator's."""
    root = op.Sqrt(op.Add(op.Mul(x, x), op.Constant(value_float=b)))
    return op.Mul(op.Add(x, root), op.Constant(value_float=0.5))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.after = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.after(squareplus(self.before(x), 0.5))


@register_model("squareplus_net", inputs=[TensorSpec("x", ("batch", 8))])
@custom_operators(dynamo={"example::squareplus": squareplus_in_onnx})
def squareplus_net():
    return Net()
