"""torch.export: an operator of one's own, written in ONNX's standard operators by onnxscript."""

import torch
from onnxscript import opset18 as op
from torch import nn

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.custom_operators import custom_operators
from onnx_conformance.core.spec import TensorSpec


@torch.library.custom_op("example::isru", mutates_args=())
def isru(x: torch.Tensor, b: float) -> torch.Tensor:
    """An S-shaped activation: x / sqrt(1 + b·x²)."""
    return x / torch.sqrt(1 + b * x * x)


@isru.register_fake
def _(x, b):
    return torch.empty_like(x)


def isru_in_onnx(x, b: float):
    """The same in opset 18: called with onnxscript's values, in the order of the operator's."""
    scaled = op.Mul(op.Constant(value_float=b), op.Mul(x, x))
    return op.Div(x, op.Sqrt(op.Add(op.Constant(value_float=1.0), scaled)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.after = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.after(isru(self.before(x), 0.5))


@register_model("isru_net", inputs=[TensorSpec("x", ("batch", 8))])
@custom_operators(dynamo={"example::isru": isru_in_onnx})
def isru_net():
    return Net()
