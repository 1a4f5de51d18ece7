"""Operators whose definitions ``onnx.reference`` lacks, gets wrong or takes minutes to compute.

Each function computes one operator in the dtype of its inputs, as its specification of those
opsets says (https://onnx.ai/onnx/operators/ and, for ``com.microsoft``,
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). Whether it is right is
not believed: :mod:`onnx_conformance.workers.onnx.agreement` compares every node with ONNX Runtime.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnx_conformance.core.arrays import Array
from onnx_conformance.workers.onnx.recurrent import gru, lstm, rnn
from onnx_conformance.workers.onnx.windows import (
    average_pool,
    conv,
    deform_conv,
    global_max_pool,
    max_pool,
)

Definition = Callable[..., Any]  # (inputs, None where one is left out; attributes that are set)
CONTRIB_DOMAIN = "com.microsoft"
LATEST = 10_000


@dataclass(frozen=True)
class Version:
    """A definition and the opsets ``first`` to ``last`` (inclusive) that it is of.

    Args:
        outputs: how many outputs it computes; a node with more is left to ``onnx.reference``.
    """

    first: int
    last: int
    compute: Definition
    outputs: int = 1


def definition_of(domain: str, operator: str, opset: int, outputs: int = 1) -> Definition | None:
    """The definition of an operator at an opset, or None where ``onnx.reference``'s will do.

    Args:
        outputs: how many the node has.
    """
    versions = DEFINITIONS.get((domain, operator), ())
    chosen = (v for v in versions if v.first <= opset <= v.last and outputs <= v.outputs)
    return next((version.compute for version in chosen), None)


def is_older(domain: str, operator: str, opset: int) -> bool:
    """Whether the operator has another meaning, or another form, at later opsets."""
    versions = DEFINITIONS.get((domain, operator), ())
    return any(v.first <= opset <= v.last < LATEST for v in versions)


# -- softmax and its kin, before opset 13: all axes from ``axis`` on are one ----------------------


def _as_matrix(array: Array, axis: int) -> Array:
    axis = axis + array.ndim if axis < 0 else axis
    return array.reshape(math.prod(array.shape[:axis]), math.prod(array.shape[axis:]))


def _shifted(rows: Array) -> Array:
    return rows - rows.max(axis=1, keepdims=True) if rows.size else rows


def softmax_1(x: Array, axis: int = 1) -> Array:
    """Softmax before opset 13: over all axes from ``axis`` on."""
    powers = np.exp(_shifted(_as_matrix(x, axis)))
    result: Array = (powers / powers.sum(axis=1, keepdims=True)).reshape(x.shape)
    return result


def log_softmax_1(x: Array, axis: int = 1) -> Array:
    """LogSoftmax before opset 13: over all axes from ``axis`` on."""
    shifted = _shifted(_as_matrix(x, axis))
    result: Array = (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))).reshape(x.shape)
    return result


def hardmax_1(x: Array, axis: int = 1) -> Array:
    """Hardmax before opset 13: over all axes from ``axis`` on."""
    rows = _as_matrix(x, axis)
    chosen = np.zeros_like(rows)
    if rows.size:
        chosen[np.arange(len(rows)), rows.argmax(axis=1)] = 1
    return chosen.reshape(x.shape)


def log_softmax_13(x: Array, axis: int = -1) -> Array:
    """``onnx.reference`` takes the logarithm of the softmax, which is -inf where it underflows."""
    if not x.size:
        return x
    shifted = x - x.max(axis=axis, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    return result


def erf(x: Array) -> Array:
    """``onnx.reference`` computes it in float32."""
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x)).astype(x.dtype)


# -- normalisation --------------------------------------------------------------------------------


def batch_normalization_7(
    x: Array,
    scale: Array,
    bias: Array,
    mean: Array,
    variance: Array,
    epsilon: float = 1e-5,
    spatial: int = 1,
    **_: Any,
) -> Array:
    """Of opsets 7 to 13 with one output: the given statistics, and never the batch's."""
    per_channel = (-1, *[1] * (x.ndim - 2))
    s, b, m, v = (
        one.reshape(per_channel) if spatial else one for one in (scale, bias, mean, variance)
    )
    result: Array = s * (x - m) / np.sqrt(v + epsilon) + b
    return result


def group_normalization_18(
    x: Array, scale: Array, bias: Array, num_groups: int, epsilon: float = 1e-5, **_: Any
) -> Array:
    """Of opsets 18 to 20: one scale and bias a group, not a channel."""
    grouped = x.reshape(x.shape[0], num_groups, -1)
    centred = grouped - grouped.mean(axis=2, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=2, keepdims=True) + epsilon)
    result: Array = centred / deviation * scale.reshape(1, -1, 1) + bias.reshape(1, -1, 1)
    return result.reshape(x.shape)


def mean_variance_normalization(x: Array, axes: Sequence[int] = (0, 2, 3)) -> Array:
    """With the 1e-9 of the operator's definition beside the deviation."""
    centred = x - x.mean(axis=tuple(axes), keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=tuple(axes), keepdims=True))
    result: Array = centred / (deviation + 1e-9)
    return result


def simplified_layer_normalization(
    x: Array, scale: Array, axis: int = -1, epsilon: float = 1e-5, **_: Any
) -> Array:
    """Divides by the root of the mean square (RMSNorm)."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    result: Array = x / np.sqrt((x**2).mean(axis=axes, keepdims=True) + epsilon) * scale
    return result


def skip_layer_normalization(
    x: Array,
    skip: Array,
    gamma: Array,
    beta: Array | None = None,
    bias: Array | None = None,
    epsilon: float = 1e-12,
) -> tuple[Array, ...]:
    """``com.microsoft``: LayerNormalization of a sum, which is its fourth output."""
    total = x + skip + (0 if bias is None else bias)
    mean = total.mean(axis=-1, keepdims=True)
    variance = ((total - mean) ** 2).mean(axis=-1, keepdims=True)
    result = (total - mean) / np.sqrt(variance + epsilon) * gamma + (0 if beta is None else beta)
    return result, mean, 1 / np.sqrt(variance + epsilon), total


# -- activations of com.microsoft -----------------------------------------------------------------


def gelu(x: Array) -> Array:
    """By the error function."""
    result: Array = x * (1 + erf(x / math.sqrt(2))) / 2
    return result


def bias_gelu(x: Array, bias: Array) -> Array:
    """``com.microsoft``: of a sum."""
    return gelu(x + bias)


def fast_gelu(x: Array, bias: Array | None = None) -> Array:
    """By the hyperbolic tangent."""
    y = x if bias is None else x + bias
    result: Array = y * (1 + np.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3))) / 2
    return result


def quick_gelu(x: Array, alpha: float = 1.702) -> Array:
    """``com.microsoft``: by the logistic function."""
    with np.errstate(over="ignore"):
        result: Array = x / (1 + np.exp(-alpha * x))
    return result


def fused_matmul(
    a: Array, b: Array, alpha: float = 1.0, transA: int = 0, transB: int = 0, **others: int
) -> Array:
    """``com.microsoft``: a scaled MatMul of transposed operands."""
    if any(others.values()):
        raise NotImplementedError("FusedMatMul with transposed batches")
    left = a.swapaxes(-1, -2) if transA and a.ndim > 1 else a
    right = b.swapaxes(-1, -2) if transB and b.ndim > 1 else b
    result: Array = alpha * np.matmul(left, right)
    return result


# -- places ---------------------------------------------------------------------------------------


def scatter_9(data: Array, indices: Array, updates: Array, axis: int = 0) -> Array:
    """ScatterElements by its first name."""
    result = data.copy()
    places = np.where(indices < 0, indices + data.shape[axis], indices)
    np.put_along_axis(result, places, updates, axis)
    return result


def upsample_7(x: Array, scales: Sequence[float], mode: str = "nearest") -> Array:
    """Upsample of opsets 7 and 8, whose scales are an attribute."""
    return resize_10(x, np.asarray(scales), mode)


def resize_10(x: Array, scales: Array, mode: str = "nearest") -> Array:
    """Upsample of opset 9 and Resize of opset 10: place i of the output is i / scale of the input.

    The nearest place is the one below; in linear mode places past the last are the last.
    """
    result = x
    for axis, scale in enumerate(np.asarray(scales, np.float32)):
        if scale == 1:
            continue
        size = result.shape[axis]
        places = np.arange(int(np.floor(np.float32(size) * scale))) / np.float32(scale)
        below = np.minimum(np.floor(places).astype(int), size - 1)
        if mode == "nearest":
            result = np.take(result, below, axis)
            continue
        share = (np.minimum(places, size - 1) - below).astype(x.dtype)
        share = share.reshape(-1, *[1] * (result.ndim - axis - 1))
        above = np.minimum(below + 1, size - 1)
        result = np.take(result, below, axis) * (1 - share) + np.take(result, above, axis) * share
    return result


DEFINITIONS: dict[tuple[str, str], tuple[Version, ...]] = {
    ("", "Softmax"): (Version(1, 12, softmax_1),),
    ("", "LogSoftmax"): (Version(1, 12, log_softmax_1), Version(13, LATEST, log_softmax_13)),
    ("", "Hardmax"): (Version(1, 12, hardmax_1),),
    ("", "Erf"): (Version(9, LATEST, erf),),
    ("", "BatchNormalization"): (Version(7, 13, batch_normalization_7),),
    ("", "GroupNormalization"): (Version(18, 20, group_normalization_18),),
    ("", "MeanVarianceNormalization"): (Version(9, LATEST, mean_variance_normalization),),
    ("", "Scatter"): (Version(9, LATEST, scatter_9),),
    ("", "Upsample"): (Version(7, 8, upsample_7), Version(9, 9, resize_10)),
    ("", "Resize"): (Version(10, 10, resize_10),),
    ("", "Conv"): (Version(1, LATEST, conv),),
    ("", "DeformConv"): (Version(19, LATEST, deform_conv),),
    ("", "MaxPool"): (Version(1, LATEST, max_pool),),
    ("", "AveragePool"): (Version(7, LATEST, average_pool),),
    ("", "GlobalMaxPool"): (Version(1, LATEST, global_max_pool),),
    ("", "LSTM"): (Version(7, LATEST, lstm, 3),),
    ("", "GRU"): (Version(7, LATEST, gru, 2),),
    ("", "RNN"): (Version(7, LATEST, rnn, 2),),
    ("", "SimplifiedLayerNormalization"): (Version(1, LATEST, simplified_layer_normalization),),
    (CONTRIB_DOMAIN, "SkipLayerNormalization"): (Version(1, LATEST, skip_layer_normalization, 4),),
    (CONTRIB_DOMAIN, "Gelu"): (Version(1, LATEST, gelu),),
    (CONTRIB_DOMAIN, "BiasGelu"): (Version(1, LATEST, bias_gelu),),
    (CONTRIB_DOMAIN, "FastGelu"): (Version(1, LATEST, fast_gelu),),
    (CONTRIB_DOMAIN, "QuickGelu"): (Version(1, LATEST, quick_gelu),),
    (CONTRIB_DOMAIN, "FusedMatMul"): (Version(1, LATEST, fused_matmul),),
}
