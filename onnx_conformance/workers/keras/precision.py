"""A traced TensorFlow graph rebuilt operator by operator, with roundings put in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from onnx_conformance.workers.liberties import STORED, eleven_bits

# From an operator of the old graph and its new inputs to its new outputs.
Change = Callable[[Any, list[Any]], list[Any]]


def rebuilt(forward: Any, changes: Callable[[], Change]) -> Any:
    """``forward`` with every operator made by what ``changes`` gives for one trace.

    Args:
        forward: a ``tf.function`` with one input signature, whose outputs are a flat list.

    Returns:
        A ``tf.function`` that shares the variables of ``forward``.
    """
    traced = forward.get_concrete_function()

    def replayed(*inputs: Any) -> list[Any]:
        given = dict(zip(_names(traced.inputs), [*inputs, *traced.captured_inputs], strict=True))
        return _replay(traced, given, changes())

    return tf.function(replayed, input_signature=forward.input_signature)


def copied(operation: Any, inputs: list[Any]) -> list[Any]:
    """The operator's outputs in the graph that is being traced, unchanged."""
    attributes = operation.node_def.attr.items()
    copy = tf.compat.v1.get_default_graph().create_op(
        operation.type,
        inputs,
        [tensor.dtype for tensor in operation.outputs],
        attrs={key: value for key, value in attributes if not key.startswith("_")},
        name=operation.name,
    )
    return list(copy.outputs)


def _names(tensors: Any) -> list[str]:
    return [tensor.name for tensor in tensors]


def _replay(traced: Any, known: dict[str, Any], change: Change) -> list[Any]:
    """Build the operators of a traced graph anew in the graph that is being traced.

    Args:
        known: the new tensors of the graph's inputs, by their old names.
    """
    for operation in traced.graph.get_operations():  # in the order of their creation
        if all(tensor.name in known for tensor in operation.outputs) and operation.outputs:
            continue
        made = change(operation, [known[tensor.name] for tensor in operation.inputs])
        known.update(zip(_names(operation.outputs), made, strict=True))
    return [known[name] for name in _names(traced.outputs)]


# What Keras' policy mixed_float16, or its layers themselves, compute in float32.
KEPT_IN_FLOAT32 = {"Exp", "Log", "LogSoftmax", "Pow", "Softmax", "Softplus", "Sum"}
# What multiplies in matrix units, which read TF32.
PRODUCTS = {
    "BatchMatMulV2", "BatchMatMulV3", "Conv2D", "Conv2DBackpropInput", "Conv3D",
    "DepthwiseConv2dNative", "Einsum", "MatMul",
}  # fmt: skip


def rounded(forward: Any, precision: str) -> Any:
    """``forward`` in a class of precision; it shares the variables, which keep all their bits.

    Args:
        forward: a ``tf.function`` with one input signature, whose outputs are a flat list.
    """
    change = _stored(tf.as_dtype(precision)) if precision in STORED else _tf32
    return rebuilt(forward, lambda: change)


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
