"""Replicas of a Keras model: sums and approximations changed in a copy of its graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from onnx_conformance.workers.keras.rebuild import Change, rebuilt
from onnx_conformance.workers.native import Approximation
from onnx_conformance.workers.replica_arithmetic import (
    LANES,
    ApproximationErrors,
    mean_in_order,
    sum_in_lanes,
)

# (operator, its inputs, the replica's errors) -> its output
Replacement = Callable[[Any, list[Any], ApproximationErrors], Any]


def as_replica(forward: Any, approximation: Approximation, replica: str) -> Any:
    """``forward`` with float32 sums in another order and approximated functions that err.

    Args:
        forward: see :func:`rebuilt`.
    """

    def changes() -> Change:
        errors = ApproximationErrors(approximation, replica)
        return lambda operation, inputs: [FREE[operation.type](operation, inputs, errors)]

    return rebuilt(forward, changes, _is_free)


def _is_free(operation: Any) -> bool:
    if (
        operation.type not in FREE
        or not operation.outputs
        or operation.outputs[0].dtype != tf.float32
    ):
        return False
    return operation.type != "Softmax" or not _short(operation.inputs[0])


def _short(x: Any) -> bool:
    """Whether so few terms are added along the last axis that their order has little effect."""
    count = x.shape[-1]
    return count is not None and count <= LANES


def _reduced(add: Callable[..., Any]) -> Replacement:
    """A reduction whose terms are added by a function of :mod:`replica_arithmetic`."""

    def replacement(operation: Any, inputs: list[Any], errors: ApproximationErrors) -> Any:
        keepdims = operation.get_attr("keep_dims")

        def compute(array: Any, axes: Any) -> Any:
            return add(array, tuple(axes.ravel().tolist()), keepdims=keepdims)

        result = tf.numpy_function(compute, inputs, tf.float32, stateful=False)
        result.set_shape(operation.outputs[0].shape)
        return result

    return replacement


def _softmax(operation: Any, inputs: list[Any], errors: ApproximationErrors) -> Any:
    """Over the last axis."""
    [x] = inputs
    powers = tf.exp(x - tf.reduce_max(x, axis=-1, keepdims=True))
    sums = tf.numpy_function(
        lambda array: sum_in_lanes(array, (-1,), keepdims=True), [powers], tf.float32,
        stateful=False,
    )  # fmt: skip
    result = powers / sums
    result.set_shape(operation.outputs[0].shape)
    return result


def _sigmoid(operation: Any, inputs: list[Any], errors: ApproximationErrors) -> Any:
    return tf.sigmoid(inputs[0]) + errors.error("sigmoid")


def _tanh(operation: Any, inputs: list[Any], errors: ApproximationErrors) -> Any:
    return tf.tanh(inputs[0]) * (1.0 + errors.error("tanh"))


def _softplus(operation: Any, inputs: list[Any], errors: ApproximationErrors) -> Any:
    return tf.nn.softplus(inputs[0]) * (1.0 + errors.error("softplus"))


def _exponential(operation: Any, inputs: list[Any], errors: ApproximationErrors) -> Any:
    """By the error of Elu, which is exp(x) - 1 below 0."""
    return tf.exp(inputs[0]) * (1.0 + errors.error("elu"))


def _elu(operation: Any, inputs: list[Any], errors: ApproximationErrors) -> Any:
    error = tf.where(inputs[0] < 0, errors.error("elu"), 0.0)
    return tf.nn.elu(inputs[0]) + tf.cast(error, tf.float32)


def _selu(operation: Any, inputs: list[Any], errors: ApproximationErrors) -> Any:
    saturation = -1.7580993  # scale·alpha of the operator's definition
    error = tf.where(inputs[0] < 0, saturation * errors.error("elu"), 0.0)
    return tf.nn.selu(inputs[0]) + tf.cast(error, tf.float32)


# Operator -> its replacement. What is not here, runtimes compute as well as TensorFlow does.
FREE: dict[str, Replacement] = {
    "Elu": _elu,
    "Exp": _exponential,
    "Mean": _reduced(mean_in_order),
    "Selu": _selu,
    "Sigmoid": _sigmoid,
    "Softmax": _softmax,
    "Softplus": _softplus,
    "Sum": _reduced(sum_in_lanes),
    "Tanh": _tanh,
}
