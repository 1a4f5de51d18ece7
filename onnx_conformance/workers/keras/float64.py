"""The float64 oracle of a Keras model with operators that TensorFlow has no float64 kernel of."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from onnx_conformance.workers.keras.precision import Change, copied, rebuilt


def with_kernels(forward: Any) -> Any:
    """``forward`` with every such operator written as others; itself where it has none.

    Args:
        forward: a ``tf.function`` with one input signature, whose outputs are a flat list.
    """
    operations = forward.get_concrete_function().graph.get_operations()
    if not any(_lacks_kernel(operation) for operation in operations):
        return forward

    def changes() -> Change:
        def change(operation: Any, inputs: list[Any]) -> list[Any]:
            if _lacks_kernel(operation):
                return [WRITTEN_OUT[operation.type](operation, inputs)]
            return copied(operation, inputs)

        return change

    return rebuilt(forward, changes)


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
