"""A NumPy function and ONNX files of it, right and wrong: cases that no framework is needed for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MODELS = """
import numpy as np
from onnx_conformance import TensorSpec, register_model

WEIGHTS = np.random.default_rng(1).standard_normal((10, 5)).astype(np.float32)


@register_model("product", inputs=[TensorSpec("x", ("n", 10))])
def product():
    return lambda x: np.maximum(x @ WEIGHTS, 0)
"""


def write_models(path: Path) -> Path:
    """A file that registers the function as the model ``product``."""
    path.write_text(MODELS)
    return path


def write_product(path: Path, *, wrong: bool = False, producer: str = "") -> Path:
    """An ONNX file of the function; a wrong one has one weight of another sign."""
    weights = np.random.default_rng(1).standard_normal((10, 5)).astype(np.float32)
    if wrong:
        weights[3, 2] *= -1
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 10])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(weights, "w")],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    model.producer_name = producer
    onnx.save(model, path)
    return path
