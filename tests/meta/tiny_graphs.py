"""Small graphs that between them have a site for every fault of the corpus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from studies.corpus.drafts import Array

SIZE = 8  # pixels; even, so that a strided layer may be padded at one end alone


@dataclass
class Net:
    """A graph in the making; each method adds a node and gives back its output."""

    seed: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.generator = np.random.default_rng(self.seed)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node of one output."""
        name = f"{operator}_{len(self.nodes)}"
        node = helper.make_node(operator, list(inputs), [f"{name}_out"], name=name, **attributes)
        self.nodes.append(node)
        return str(node.output[0])

    def constant(self, array: Array, dtype: Any = np.float32) -> str:
        """An initialiser."""
        name = f"constant_{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def normal(self, *shape: int, scale: float = 0.4) -> Array:
        """Normal numbers of that shape."""
        return self.generator.normal(size=shape) * scale

    def conv(self, value: str, *shape: int, bias: bool = True, **attributes: Any) -> str:
        """A Conv with a kernel of that shape."""
        inputs = [value, self.constant(self.normal(*shape))]
        if bias:
            inputs.append(self.constant(self.normal(shape[0])))
        return self.add("Conv", *inputs, kernel_shape=list(shape[2:]), **attributes)

    def dense(self, value: str, *shape: int, beta: float = 1.0) -> str:
        """A Gemm with a weight of that shape, (out, in)."""
        weight, bias = self.constant(self.normal(*shape)), self.constant(self.normal(shape[0]))
        return self.add("Gemm", value, weight, bias, transB=1, beta=beta)

    def statistics(self, channels: int, stem: str) -> dict[str, Array]:
        """A batch normalisation's tensors, kept among the native weights."""
        made = {
            "weight": self.generator.uniform(0.7, 1.3, channels),
            "bias": self.normal(channels),
            "running_mean": self.normal(channels),
            "running_var": self.generator.uniform(0.02, 2, channels),
        }
        self.weights |= {f"{stem}.{name}": value.astype(np.float32) for name, value in made.items()}
        return made

    def norm(self, value: str, channels: int) -> str:
        """A BatchNormalization node."""
        made = self.statistics(channels, f"norm{len(self.nodes)}")
        inputs = [self.constant(array) for array in made.values()]
        return self.add("BatchNormalization", value, *inputs, epsilon=1e-3)

    def folded(self, value: str, *shape: int, apart: bool = False, **attributes: Any) -> str:
        """A Conv with a normalisation in its weight and bias, or as a Mul and an Add behind it."""
        stem = f"norm{len(self.nodes)}"
        made = self.statistics(shape[0], stem)
        kernel = self.normal(*shape)
        self.weights[f"{stem}.conv.weight"] = kernel.astype(np.float32)
        scale = made["weight"] / np.sqrt(made["running_var"] + 1e-3)
        shift = made["bias"] - made["running_mean"] * scale
        if apart:
            found = self.add("Conv", value, self.constant(kernel), **attributes)
            found = self.add("Mul", found, self.constant(scale[None, :, None, None]))
            return self.add("Add", found, self.constant(shift[None, :, None, None]))
        kernel = kernel * scale[:, None, None, None]
        return self.add("Conv", value, self.constant(kernel), self.constant(shift), **attributes)

    def model(self, result: str, shape: tuple[int, ...], opset: int) -> onnx.ModelProto:
        """The model from ``input`` of that shape, after the batch axis, to ``output``."""
        for node in self.nodes:
            node.output[:] = ["output" if value == result else value for value in node.output]
        image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *shape])
        output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 5])
        graph = helper.make_graph(self.nodes, "tiny", [image], [output], self.tensors)
        opsets = [helper.make_opsetid("", opset)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        onnx.checker.check_model(made, full_check=True)
        return made


def residual() -> tuple[onnx.ModelProto, dict[str, Array]]:
    """As torch exports a residual network without folding."""
    net = Net(1)
    stem = net.norm(net.conv("input", 6, 3, 3, 3, bias=False, pads=[1] * 4), 6)
    pool = net.add("MaxPool", stem, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    x = net.add("Relu", net.norm(net.conv(pool, 6, 6, 1, 1, bias=False), 6))
    x = net.add("Relu", net.conv(x, 6, 6, 3, 3, pads=[1] * 4, strides=[2, 2]))
    short = net.conv(pool, 6, 6, 1, 1, strides=[2, 2])
    x = net.add("Relu", net.add("Add", net.conv(x, 6, 6, 3, 3, pads=[1] * 4), short))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    return net.model(net.dense(net.dense(x, 5, 6), 5, 5), (3, SIZE, SIZE), 17), net.weights


def mobile() -> tuple[onnx.ModelProto, dict[str, Array]]:
    """As tf2onnx converts an inverted residual with a gate, folded, from NHWC."""
    net = Net(2)
    zero, six = net.constant(0.0), net.constant(6.0)
    x = net.add("Transpose", "input", perm=[0, 3, 1, 2])
    x = net.add("Clip", net.folded(x, 8, 3, 3, 3, strides=[2, 2], pads=[0, 0, 1, 1]), zero, six)
    x = net.add("Clip", net.folded(x, 8, 8, 1, 1), zero, six)
    pads = net.constant(np.array([0, 0, 0, 0, 0, 0, 1, 1]), np.int64)
    x = net.add("Pad", x, pads)
    x = net.add("Clip", net.folded(x, 8, 1, 3, 3, apart=True, group=8, pads=[1] * 4), zero, six)
    gate = net.add("Relu", net.conv(net.add("GlobalAveragePool", x), 4, 8, 1, 1))
    x = net.add("Mul", x, net.add("Sigmoid", net.conv(gate, 8, 4, 1, 1)))
    x = net.add("HardSwish", net.folded(x, 8, 8, 1, 1))
    x = net.add("Mul", x, net.add("Sigmoid", x))
    x = net.add("ReduceMean", x, net.constant(np.array([2, 3]), np.int64), keepdims=0)
    x = net.add("Relu", net.add("MatMul", x, net.constant(net.normal(8, 6))))
    x = net.add("MatMul", x, net.constant(net.normal(6, 5)))
    x = net.add("Add", x, net.constant(net.normal(5)))
    return net.model(net.add("Softmax", x, axis=-1), (SIZE, SIZE, 3), 18), net.weights


def assorted() -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Operators that the image models at hand lack."""
    net = Net(3)
    x = net.add("LeakyRelu", net.conv("input", 4, 3, 3, 3, pads=[2] * 4, dilations=[2, 2]))
    x = net.add("PRelu", net.conv(x, 4, 2, 3, 3, group=2, pads=[0, 0, 2, 2]), _slopes(net))
    x = net.add("Elu", net.conv(x, 4, 4, 1, 1), alpha=0.5)
    x = net.add("Tanh", net.add("Erf", net.conv(x, 4, 4, 1, 1)))
    x = net.add("Gelu", net.conv(x, 4, 4, 1, 1))
    ceil: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [3, 3], "ceil_mode": 1}
    x = net.add("AveragePool", x, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
    x = net.add("AveragePool", net.add("AveragePool", x, kernel_shape=[2, 2]), **ceil)
    x = net.add("HardSigmoid", net.conv(x, 4, 4, 1, 1), alpha=0.2)
    x = net.add("Flatten", x)
    x = net.dense(x, 5, 36, beta=0.5)
    return net.model(x, (3, SIZE + 1, SIZE + 1), 20), net.weights


def gated() -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Two dense layers, a gate and a softmax; small weights keep it from saturating early."""
    net = Net(4)
    x = net.add("MatMul", "input", net.constant(net.normal(10, 8, scale=0.1)))
    x = net.add("Relu", net.add("Add", x, net.constant(net.normal(8))))
    gate = net.add("MatMul", x, net.constant(net.normal(8, 8, scale=0.1)))
    x = net.add("Mul", x, net.add("Sigmoid", gate))
    x = net.add("MatMul", x, net.constant(net.normal(8, 5, scale=0.1)))
    x = net.add("Softmax", net.add("Add", x, net.constant(net.normal(5))), axis=-1)
    return net.model(x, (10,), 17), net.weights


def _slopes(net: Net) -> str:
    return net.constant(net.generator.uniform(0.1, 0.5, (4, 1, 1)))


GRAPHS: dict[str, Callable[[], tuple[onnx.ModelProto, dict[str, Array]]]] = {
    "residual": residual,
    "mobile": mobile,
    "assorted": assorted,
    "gated": gated,
}
