"""The float64 oracle of a Keras model: operators without a kernel, code that names float32."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from onnx_conformance.workers.keras.rebuild import (
    Change,
    copied,
    created,
    operations_in,
    rebuilt,
)

_NARROW = (tf.float16, tf.bfloat16, tf.float32)
_TYPES = frozenset(kind.as_datatype_enum for kind in _NARROW)
_WIDER = dict.fromkeys(_TYPES, tf.float64.as_datatype_enum)


def with_kernels(forward: Any) -> Any:
    """``forward`` with every such operator written as others; itself where it has none.

    Args:
        forward: a ``tf.function`` with one input signature, whose outputs are a flat list.
    """
    if not any(map(_lacks_kernel, operations_in(forward.get_concrete_function().graph))):
        return forward

    def changes() -> Change:
        def change(operation: Any, inputs: list[Any]) -> list[Any]:
            if _lacks_kernel(operation):
                return [WRITTEN_OUT[operation.type](operation, inputs)]
            return copied(operation, inputs)

        return change

    return rebuilt(forward, changes, _lacks_kernel)


def widened(forward: Any) -> Any:
    """``forward``, a float32 one, with every floating tensor in float64.

    Of a model that cannot be built in float64: its code casts to float32, or names it. Weights are
    read as they are, and cast. It shares the variables of ``forward``.
    """
    replayed = rebuilt(forward, lambda: _wide, _is_narrow).python_function
    signature = [
        tf.TensorSpec(spec.shape, _wider(spec.dtype), name=spec.name)
        for spec in forward.input_signature
    ]
    return tf.function(replayed, input_signature=signature, autograph=False)


def _wider(kind: Any) -> Any:
    return tf.float64 if kind in _NARROW else kind


def _widened(tensor: Any) -> Any:
    return tf.cast(tensor, tf.float64) if tensor.dtype in _NARROW else tensor


def _is_narrow(operation: Any) -> bool:
    """Whether the operator names a narrow floating type: for what it takes, gives or keeps."""
    values = operation.node_def.attr.values()
    return any(a.type in _TYPES or _TYPES.intersection(a.list.type) for a in values)


def _wide(operation: Any, inputs: list[Any]) -> list[Any]:
    inputs = [_widened(tensor) for tensor in inputs]  # of tensors that the model keeps
    if operation.type == "Const" and operation.outputs[0].dtype in _NARROW:
        value = tf.make_ndarray(operation.get_attr("value"))
        return [tf.constant(value.astype("float64"))]
    if operation.type in WRITTEN_OUT:
        return [WRITTEN_OUT[operation.type](operation, inputs)]
    if operation.type == "ResourceGather":
        handle, indices = inputs
        table = tf.raw_ops.ReadVariableOp(resource=handle, dtype=operation.get_attr("dtype"))
        batch = operation.get_attr("batch_dims")
        return [tf.gather(_widened(table), indices, batch_dims=batch)]
    if operation.type in ("ReadVariableOp", "VarHandleOp"):
        return [_widened(tensor) for tensor in copied(operation, inputs)]
    attributes = {}
    for key, value in operation.node_def.attr.items():
        if key.startswith("_"):
            continue
        attributes[key] = other = type(value)()
        other.CopyFrom(value)
        if value.type in _TYPES:
            other.type = _WIDER[value.type]
        for place, kind in enumerate(value.list.type):
            other.list.type[place] = _WIDER.get(kind, kind)
    return [_widened(tensor) for tensor in created(operation, inputs, attributes)]


def _lacks_kernel(operation: Any) -> bool:
    return operation.type in WRITTEN_OUT and operation.outputs[0].dtype == tf.float64


def _pool3d(operation: Any, inputs: list[Any], pool: Any) -> Any:
    """A pooling over depth, height and width: over the last two, then over the first.

    The mean of a window's means is its mean, also at a border: each of those has as many terms.
    """
    size, steps = list(operation.get_attr("ksize")), list(operation.get_attr("strides"))
    padding = operation.get_attr("padding").decode()
    [x] = inputs
    if operation.get_attr("data_format").decode() != "NDHWC":
        raise ValueError(f"{operation.type} is known with channels last only")
    batch, depth, height, width, channels = tf.unstack(tf.shape(x))
    planes = tf.reshape(x, [batch * depth, height, width, channels])
    planes = pool(planes, size[2:4], steps[2:4], padding)
    _, rows, columns, _ = tf.unstack(tf.shape(planes))
    lines = tf.reshape(planes, [batch, depth, rows * columns, channels])
    lines = pool(lines, [size[1], 1], [steps[1], 1], padding)
    result = tf.reshape(lines, [batch, tf.shape(lines)[1], rows, columns, channels])
    result.set_shape(operation.outputs[0].shape)
    return result


WRITTEN_OUT = {
    "AvgPool3D": lambda operation, inputs: _pool3d(operation, inputs, tf.nn.avg_pool2d),
    "MaxPool3D": lambda operation, inputs: _pool3d(operation, inputs, tf.nn.max_pool2d),
}
