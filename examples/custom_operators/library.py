"""Kept as a custom operator in the file, and run by a library: onnxruntime-extensions' NegPos."""

import torch
from onnx.defs import OpSchema
from onnxscript import values
from torch import nn

from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.custom_operators import custom_operators
from onnx_conformance.core.spec import TensorSpec

DOMAIN, VERSION = "ai.onnx.contrib", 1


@torch.library.custom_op("example::neg_pos", mutates_args=())
def neg_pos(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What of x is below 0, and what is above."""
    return x.clamp(max=0), x.clamp(min=0)


@neg_pos.register_fake
def _(x):
    return torch.empty_like(x), torch.empty_like(x)


# torch_dynamo: onnxscript must know how many outputs the operator has; ONNX does not.
SCHEMA = OpSchema(
    "NegPos",
    DOMAIN,
    VERSION,
    inputs=[OpSchema.FormalParameter("x", "T")],
    outputs=[OpSchema.FormalParameter("negative", "T"), OpSchema.FormalParameter("positive", "T")],
    type_constraints=[("T", ["tensor(float)"], "float32 alone")],
)


def in_dynamo(x):
    return values.Op(values.Opset(DOMAIN, VERSION), "NegPos", SCHEMA)(x)


def in_torchscript(g, x):
    negative, positive = g.op(f"{DOMAIN}::NegPos", x, outputs=2)
    return negative.setType(x.type()), positive.setType(x.type())


class Net(nn.Module):
    """Each side of zero has weights of its own."""

    def __init__(self):
        super().__init__()
        self.before, self.after = nn.Linear(8, 16), nn.Linear(32, 3)

    def forward(self, x):
        return self.after(torch.cat(neg_pos(self.before(x)), dim=1))


@register_model("neg_pos_net", inputs=[TensorSpec("x", ("batch", 8))])
@custom_operators(
    dynamo={"example::neg_pos": in_dynamo},
    torchscript={"example::neg_pos": in_torchscript},
    library="onnxruntime_extensions:get_library_path",
)
def neg_pos_net():
    return Net()
