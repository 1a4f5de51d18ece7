"""Modules in the forms that strangers write: what goes in and out, and what is around them."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from onnx_conformance import Bounded, Integers, Mask, TensorSpec, register_model

X = [TensorSpec("x", ("batch", 8))]
ROWS = [TensorSpec("x", ("batch", "time", 8))]
IDS = TensorSpec("ids", ("batch", "time"), "int64", domain=Integers(0, 30))
MASK = TensorSpec("mask", ("batch", "time"), "int64", domain=Mask())


class Base(nn.Module):
    def __init__(self, outs: int = 6) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, outs))


@register_model("ordered_dict", inputs=X)
def ordered_dict():
    class Net(Base):
        def forward(self, x):
            y = self.net(x)
            return OrderedDict([("out", y), ("aux", y.sum(-1, keepdim=True))])

    return Net()


@register_model("nested_dict", inputs=X)
def nested_dict():
    class Net(Base):
        def forward(self, x):
            y = self.net(x)
            return {"logits": y, "hidden": [x * 2, {"deep": y.tanh()}], "loss": None}

    return Net()


@dataclass
class Answer:
    logits: torch.Tensor
    hidden: torch.Tensor | None = None


@register_model("dataclass_output", inputs=X)
def dataclass_output():
    class Net(Base):
        def forward(self, x):
            y = self.net(x)
            return Answer(logits=y, hidden=y.relu())

    return Net()


Pair = namedtuple("Pair", ["mean", "scale"])


@register_model("named_tuple", inputs=X)
def named_tuple():
    class Net(Base):
        def forward(self, x):
            mean, scale = self.net(x).chunk(2, -1)
            return Pair(mean, nn.functional.softplus(scale))

    return Net()


class Typed(NamedTuple):
    a: torch.Tensor
    b: torch.Tensor | None


@register_model("typed_tuple_none", inputs=X)
def typed_tuple_none():
    class Net(Base):
        def forward(self, x):
            return Typed(self.net(x), None)

    return Net()


@register_model("tuple_with_none", inputs=X)
def tuple_with_none():
    class Net(Base):
        def forward(self, x):
            y = self.net(x)
            return y, None, y.exp()

    return Net()


@register_model("list_of_maps", inputs=[TensorSpec("image", ("batch", 3, 16, 16))])
def list_of_maps():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stages = nn.ModuleList(
                nn.Conv2d(a, b, 3, 2, 1) for a, b in ((3, 4), (4, 6), (6, 8))
            )

        def forward(self, image):
            found = []
            for stage in self.stages:
                image = stage(image).relu()
                found.append(image)
            return found

    return Net()


@register_model("loss_when_training", inputs=X)
def loss_when_training():
    class Net(Base):
        def forward(self, x, targets=None):
            logits = self.net(x)
            if targets is None:
                return {"logits": logits}
            return {"logits": logits, "loss": nn.functional.cross_entropy(logits, targets)}

    return Net()


@register_model("optional_mask", inputs=[IDS, MASK])
def optional_mask():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(31, 8)
            self.head = nn.Linear(8, 3)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None, **kwargs):
            x = self.table(ids)
            if mask is not None:
                x = x * mask[..., None]
                x = x.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
            else:
                x = x.mean(1)
            return self.head(x)

    return Net()


@register_model("only_kwargs", inputs=[IDS, MASK])
def only_kwargs():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(31, 8)

        def forward(self, **inputs):
            return (self.table(inputs["ids"]) * inputs["mask"].unsqueeze(-1)).sum(1)

    return Net()


@register_model("flags_with_defaults", inputs=X)
def flags_with_defaults():
    class Net(Base):
        def forward(self, x, return_dict=True, scale=1.0, output_hidden=False):
            y = self.net(x) * scale
            if output_hidden:
                return y, x
            return {"y": y} if return_dict else (y,)

    return Net()


@register_model("state_as_list", inputs=[*X, TensorSpec("h", (2, "batch", 6))])
def state_as_list():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells = nn.ModuleList([nn.GRUCell(8, 6), nn.GRUCell(6, 6)])

        def forward(self, x, h):
            states = []
            for i, cell in enumerate(self.cells):
                x = cell(x, h[i])
                states.append(x)
            return x, torch.stack(states)

    return Net()


@register_model(
    "lstm_cell_tuple", inputs=[*X, TensorSpec("h", ("batch", 6)), TensorSpec("c", ("batch", 6))]
)
def lstm_cell_tuple():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.LSTMCell(8, 6)

        def forward(self, x, h, c):
            h, c = self.cell(x, (h, c))
            return h, (h, c)

    return Net()


@register_model("data_parallel", inputs=X)
def data_parallel():
    return nn.DataParallel(nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4)))


@register_model("compiled", inputs=X)
def compiled():
    return torch.compile(nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4)))


@register_model("compiled_inside", inputs=X)
def compiled_inside():
    class Net(Base):
        def __init__(self):
            super().__init__()
            self.net = torch.compile(self.net, backend="eager")

        def forward(self, x):
            return self.net(x) + 1

    return Net()


@register_model("scripted", inputs=X)
def scripted():
    class Net(Base):
        def forward(self, x):
            y = self.net(x)
            if y.shape[-1] > 3:
                y = y * 2
            return y

    return torch.jit.script(Net())


@register_model("scripted_inside", inputs=X)
def scripted_inside():
    @torch.jit.script
    def swish(x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(x)

    class Net(Base):
        def forward(self, x):
            return swish(self.net(x))

    return Net()


@register_model("traced_inside", inputs=X)
def traced_inside():
    class Net(Base):
        def __init__(self):
            super().__init__()
            self.net = torch.jit.trace(self.net, torch.zeros(2, 8))

        def forward(self, x):
            return self.net(x).tanh()

    return Net()


@register_model("hooked", inputs=X)
def hooked():
    class Net(Base):
        def forward(self, x):
            return self.net(x)

    net = Net()
    net.net[0].register_forward_hook(lambda module, args, result: result * 1.5)
    net.net[2].register_forward_pre_hook(lambda module, args: (args[0] + 0.25,))
    return net


@register_model("functools_forward", inputs=X)
def functools_forward():
    import functools

    net = nn.Linear(8, 4)
    plain = net.forward

    @functools.wraps(plain)
    def forward(*args, **kwargs):
        return plain(*args, **kwargs) * 3

    net.forward = forward
    return net


@register_model("caches_in_self", inputs=ROWS)
def caches_in_self():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.table = nn.Linear(8, 8), None

        def positions(self, length):
            if self.table is None or self.table.shape[0] < length:
                self.table = torch.sin(torch.arange(length).float()[:, None] / torch.arange(1, 9.0))
            return self.table[:length]

        def forward(self, x):
            return self.q(x) + self.positions(x.shape[1])

    return Net()


@register_model("counts_calls", inputs=X)
def counts_calls():
    class Net(Base):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros((), dtype=torch.long))

        def forward(self, x):
            self.calls += 1
            return self.net(x)

    return Net()


@register_model("unpersistent_buffer", inputs=ROWS)
def unpersistent_buffer():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = nn.Linear(8, 8)
            self.register_buffer("mask", torch.ones(64, 64).tril().bool(), persistent=False)

        def forward(self, x):
            n = x.shape[1]
            s = self.q(x) @ x.transpose(1, 2)
            return s.masked_fill(~self.mask[:n, :n], float("-inf")).softmax(-1) @ x

    return Net()


@register_model("parameter_list", inputs=X)
def parameter_list():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.ParameterList(nn.Parameter(torch.randn(8, 8) / 3) for _ in range(3))
            self.b = nn.ParameterDict({"a": nn.Parameter(torch.randn(8))})

        def forward(self, x):
            for w in self.w:
                x = torch.relu(x @ w + self.b["a"])
            return x

    return Net()


@register_model("tied_weights", inputs=[IDS])
def tied_weights():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(31, 8)
            self.head = nn.Linear(8, 31, bias=False)
            self.head.weight = self.table.weight

        def forward(self, ids):
            return self.head(self.table(ids).cumsum(1).tanh())

    return Net()


@register_model("checkpointed", inputs=X)
def checkpointed():
    from torch.utils.checkpoint import checkpoint

    class Net(Base):
        def forward(self, x):
            return checkpoint(self.net, x, use_reentrant=False)

    return Net()


@register_model("no_grad_inside", inputs=X)
def no_grad_inside():
    class Net(Base):
        @torch.no_grad()
        def forward(self, x):
            with torch.autocast("cpu", enabled=False):
                return self.net(x).detach()

    return Net()


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x * 4) / 4

    @staticmethod
    def backward(ctx, grad):
        return grad


@register_model("autograd_function", inputs=X)
def autograd_function():
    class Net(Base):
        def forward(self, x):
            return self.net(Straight.apply(x))

    return Net()


@register_model("parametrized", inputs=X)
def parametrized():
    class Symmetric(nn.Module):
        def forward(self, w):
            return w.triu() + w.triu(1).T

    net = nn.Linear(8, 8)
    nn.utils.parametrize.register_parametrization(net, "weight", Symmetric())
    return nn.Sequential(net, nn.Tanh(), nn.Linear(8, 3))


@register_model("pruned", inputs=X)
def pruned():
    from torch.nn.utils import prune

    net = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4))
    prune.l1_unstructured(net[0], "weight", 0.5)
    prune.random_structured(net[2], "weight", 0.3, dim=1)
    return net


@register_model("scalar_flag", inputs=[*X, TensorSpec("temperature", (), domain=Bounded(0.5, 2))])
def scalar_flag():
    class Net(Base):
        def forward(self, x, temperature):
            return (self.net(x) / temperature).softmax(-1)

    return Net()


@register_model("returns_its_input", inputs=X)
def returns_its_input():
    class Net(Base):
        def forward(self, x):
            return x, self.net(x)

    return Net()


@register_model("same_tensor_twice", inputs=X)
def same_tensor_twice():
    class Net(Base):
        def forward(self, x):
            y = self.net(x)
            return y, y

    return Net()


@register_model("constant_beside", inputs=X)
def constant_beside():
    class Net(Base):
        def __init__(self):
            super().__init__()
            self.register_buffer("anchors", torch.arange(12.0).reshape(6, 2))

        def forward(self, x):
            return self.net(x), self.anchors

    return Net()


@register_model("python_number_beside", inputs=X)
def python_number_beside():
    class Net(Base):
        def forward(self, x):
            return {"y": self.net(x), "classes": 6, "name": "net"}

    return Net()


@register_model("fx_traced", inputs=X)
def fx_traced():
    class Net(Base):
        def forward(self, x):
            return self.net(x).clamp(-1, 1)

    return torch.fx.symbolic_trace(Net())


@register_model("exported_program", inputs=[TensorSpec("x", (2, 8))])
def exported_program():
    net = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4))
    return torch.export.export(net, (torch.zeros(2, 8),)).module()
