"""A traced TensorFlow graph with the roundings of a class of less precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from onnx_conformance.workers.keras.rebuild import (
    Change,
    copied,
    functions_of,
    operations_in,
    rebuilt,
)
from onnx_conformance.workers.replica_arithmetic import STORED, eleven_bits

# What Keras' policy mixed_float16, or its layers themselves, compute in float32.
KEPT_IN_FLOAT32 = {"Exp", "Log", "LogSoftmax", "Pow", "Softmax", "Softplus", "Sum"}
# What multiplies in matrix units, which read TF32.
PRODUCTS = {
    "BatchMatMulV2", "BatchMatMulV3", "Conv2D", "Conv2DBackpropInput", "Conv3D",
    "DepthwiseConv2dNative", "Einsum", "MatMul",
}  # fmt: skip


def rounded(forward: Any, precision: str) -> Any:
    """``forward`` in a class of precision; it shares the variables, which keep all their bits.

    A model whose own layers compute in that class, as those of ``mixed_float16`` do, is as it is:
    what it keeps in float32, its file does too.

    Args:
        forward: a ``tf.function`` with one input signature, whose outputs are a flat list.
    """
    operations = operations_in(forward.get_concrete_function().graph)
    if any(t.dtype.name == precision for operation in operations for t in operation.outputs):
        return forward
    change = _stored(tf.as_dtype(precision)) if precision in STORED else _tf32
    return rebuilt(forward, lambda: change, lambda operation: True)


def exact_outputs(function: Any, arrays: Sequence[Any]) -> set[int]:
    """Places of the outputs that nothing in half precision reaches.

    Args:
        function: of tensors like ``arrays``; gives a flat list of tensors.
    """
    tensors = [tf.constant(array) for array in arrays]
    graph = tf.function(function).get_concrete_function(*tensors).graph
    reached: set[str] = set()
    for operation in graph.get_operations():  # in the order of their creation
        inner = (one for called in functions_of(operation) for one in operations_in(called))
        made = (tensor for one in (operation, *inner) for tensor in one.outputs)
        narrow = any(tensor.dtype.name in STORED for tensor in made)
        if narrow or any(tensor.op.name in reached for tensor in operation.inputs):
            reached.add(operation.name)
    return {place for place, t in enumerate(graph.outputs) if t.op.name not in reached}


def _stored(kind: Any) -> Change:
    """Round weights where they are read, like any other tensor."""

    def narrow(tensor: Any) -> Any:
        if tensor.dtype != tf.float32:
            return tensor
        return tf.cast(tf.cast(tensor, kind), tf.float32)

    def change(operation: Any, inputs: list[Any]) -> list[Any]:
        # arguments of the model, which no operator of the copy makes
        made = copied(operation, [narrow(tensor) for tensor in inputs])
        return made if operation.type in KEPT_IN_FLOAT32 else [narrow(tensor) for tensor in made]

    return change


def _tf32(operation: Any, inputs: list[Any]) -> list[Any]:
    if operation.type in PRODUCTS:
        inputs = [eleven_bits(x) if x.dtype == tf.float32 else x for x in inputs]
    return copied(operation, inputs)
