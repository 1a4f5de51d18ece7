"""float32 sums of a torch replica, added in another order: alone, in norms, in softmax.

Every function takes what the operator of its name takes, with float32 numbers, and returns None
where it leaves the operator as it is. Why a runtime is entitled to another order:
docs/numerics.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from onnx_conformance.workers.replica_arithmetic import (
    LANES,
    mean_in_order,
    sum_in_lanes,
    sum_in_order,
)

Tensor = torch.Tensor
EPSILON = torch.finfo(torch.float32).eps
FEW_TERMS = LANES  # so few terms are added in one order everywhere, or nearly


def total(x: Tensor, axes: Sequence[int], *, keepdim: bool = True) -> Tensor:
    """The sum over ``axes`` in lanes."""
    return torch.from_numpy(sum_in_lanes(x.detach().numpy(), tuple(axes), keepdims=keepdim))


def _running_total(x: Tensor, axes: Sequence[int], *, keepdim: bool) -> Tensor:
    """The sum over ``axes`` in one running sum, as ONNX Runtime's ReduceL1 and ReduceL2 add."""
    return torch.from_numpy(sum_in_order(x.detach().numpy(), tuple(axes), keepdims=keepdim))


def mean(x: Tensor, axes: Sequence[int], *, keepdim: bool = True) -> Tensor:
    """The mean over ``axes`` as norms take it, in lanes."""
    return total(x, axes, keepdim=keepdim) / math.prod(x.shape[axis] for axis in axes)


def _whole_mean(x: Tensor, axes: Sequence[int], *, keepdim: bool = True) -> Tensor:
    """The mean over ``axes`` in one running sum, as ONNX Runtime's GlobalAveragePool adds."""
    return torch.from_numpy(mean_in_order(x.detach().numpy(), tuple(axes), keepdims=keepdim))


def normalized(
    x: Tensor, axes: Sequence[int], epsilon: float, average: Callable[..., Tensor] = mean
) -> Tensor:
    """``x`` less its mean over ``axes``, over its standard deviation."""
    centred = x - average(x, axes)
    return centred / torch.sqrt(average(centred * centred, axes) + epsilon)


def _axes(x: Tensor, dim: Any) -> list[int]:
    if dim is None or (isinstance(dim, (list, tuple)) and not dim):
        return list(range(x.dim()))
    return [axis % x.dim() for axis in (dim if isinstance(dim, (list, tuple)) else [dim])]


def _long(x: Tensor, axes: Sequence[int]) -> bool:
    return bool(axes) and math.prod(x.shape[axis] for axis in axes) > FEW_TERMS


def _reduce(how: Callable[..., Tensor]) -> Callable[..., Tensor | None]:
    def reduced(x: Tensor, dim: Any = None, keepdim: bool = False, **rest: Any) -> Tensor | None:
        if rest.pop("dtype", None) not in (None, torch.float32) or rest:
            return None
        axes = _axes(x, dim)
        return how(x, axes, keepdim=keepdim) if _long(x, axes) else None

    return reduced


def _var(
    x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, **rest: Any
) -> Tensor | None:
    """Also of the older form, whose second argument is ``unbiased``.

    The mean is an epsilon off, as a rounded sum over a count is: of equal numbers torch's own is
    exact at any length, and their deviation is 0 in no other order.
    """
    if isinstance(dim, bool):
        unbiased, dim = dim, None
    axes = _axes(x, dim)
    count = math.prod(x.shape[axis] for axis in axes)
    if not axes or count < 2:
        return None
    less = rest.get("correction", int(unbiased))
    less = 1 if less is None else less
    average = mean(x, axes)
    off = torch.copysign(EPSILON * average.abs(), average - x.mean(axes, keepdim=True))
    centred = x - (average + off)
    return total(centred * centred, axes, keepdim=keepdim) / max(count - less, 0)


def _std(x: Tensor, *arguments: Any, **rest: Any) -> Tensor | None:
    found = _var(x, *arguments, **rest)
    return None if found is None else found.sqrt()


def _var_mean(
    x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, **rest: Any
) -> tuple[Tensor, Tensor] | None:
    found = _var(x, dim, unbiased, keepdim, **rest)
    axes = _axes(x, None if isinstance(dim, bool) else dim)
    return None if found is None else (found, mean(x, axes, keepdim=keepdim))


def _vector_norm(
    x: Tensor, order: Any = 2, dim: Any = None, keepdim: bool = False, **rest: Any
) -> Tensor | None:
    axes = _axes(x, dim)
    if order not in (1, 2) or rest.get("dtype") is not None or not _long(x, axes):
        return None
    if order == 1:
        return _running_total(x.abs(), axes, keepdim=keepdim)
    return _running_total(x * x, axes, keepdim=keepdim).sqrt()


def _softmax(x: Tensor, dim: int, dtype: Any = None) -> Tensor | None:
    if dtype not in (None, torch.float32, False) or x.dim() == 0 or not _long(x, [dim]):
        return None
    powers = torch.exp(x - x.amax(dim, keepdim=True))
    return powers / total(powers, [dim])


def _log_softmax(x: Tensor, dim: int, dtype: Any = None) -> Tensor | None:
    if dtype not in (None, torch.float32, False) or x.dim() == 0 or not _long(x, [dim]):
        return None
    shifted = x - x.amax(dim, keepdim=True)
    return shifted - torch.log(total(torch.exp(shifted), [dim]))


def _logsumexp(x: Tensor, dim: Any, keepdim: bool = False) -> Tensor | None:
    axes = _axes(x, dim)
    if not _long(x, axes):
        return None
    highest = x.amax(axes, keepdim=True)
    highest = torch.where(highest.abs() == math.inf, 0.0, highest)
    found = torch.log(total(torch.exp(x - highest), axes)) + highest
    return found if keepdim else found.squeeze(axes)


def _layer_norm(
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor | None:
    axes = list(range(x.dim() - len(shape), x.dim()))
    return _scaled(normalized(x, axes, eps), weight, bias) if _long(x, axes) else None


def _rms_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor | None:
    axes = list(range(x.dim() - len(shape), x.dim()))
    if not _long(x, axes):
        return None
    epsilon = torch.finfo(torch.float32).eps if eps is None else eps
    return _scaled(x * torch.rsqrt(mean(x * x, axes) + epsilon), weight, None)


def _group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor | None:
    rows = x.reshape(x.shape[0], groups, -1) if x.numel() else x[:, :groups]
    if not _long(rows, [-1]):
        return None
    return _scaled(normalized(rows, [-1], eps).reshape(x.shape), *_by_channel(x, weight, bias))


def _group_norm_of_squares(
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor | None:
    """The variance as ONNX defines GroupNormalization: the mean of squares less the mean squared.

    ONNX Runtime computes it so; where rounding makes that negative, it is 0 here and there NaN.
    """
    rows = x.reshape(x.shape[0], groups, -1) if x.numel() else x[:, :groups]
    if not _long(rows, [-1]):
        return None
    average = mean(rows, [-1])
    variance = (mean(rows * rows, [-1]) - average * average).clamp(min=0.0)
    found = (rows - average) / torch.sqrt(variance + eps)
    return _scaled(found.reshape(x.shape), *_by_channel(x, weight, bias))


def _instance_norm(
    x: Tensor, weight: Any, bias: Any, mean_: Any, var: Any, batch_statistics: bool,
    momentum: float, eps: float, *_: Any,
) -> Tensor | None:  # fmt: skip
    axes = list(range(2, x.dim()))
    if not batch_statistics or not _long(x, axes):
        return None
    return _scaled(normalized(x, axes, eps), *_by_channel(x, weight, bias))


def _batch_norm(
    x: Tensor, weight: Any, bias: Any, mean_: Any, var: Any, training: bool, momentum: float,
    eps: float, *_: Any,
) -> Tensor | None:  # fmt: skip
    """With the batch's own statistics; where there are running ones, those must be updated.

    A channel's numbers stand apart in each sample, so its mean is one running sum over them.
    """
    axes = [0, *range(2, x.dim())]
    if not training or mean_ is not None or not _long(x, axes):
        return None
    return _scaled(normalized(x, axes, eps, _whole_mean), *_by_channel(x, weight, bias))


def _cumsum(x: Tensor, dim: int, dtype: Any = None) -> Tensor | None:
    """torch keeps the running sum in float64."""
    if dtype not in (None, torch.float32) or x.dim() == 0:
        return None
    return torch.from_numpy(np.add.accumulate(x.detach().numpy(), axis=dim, dtype=np.float32))


def _avg_pool(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Tensor | None:
    """Windows without padding, which have the same number of terms each."""
    if math.prod(kernel) <= FEW_TERMS or any(padding) or ceil_mode or divisor is not None:
        return None
    count, windows = len(kernel), x
    for axis, (size, step) in enumerate(zip(kernel, stride or kernel, strict=True)):
        windows = windows.unfold(x.dim() - count + axis, size, step)
    return _whole_mean(windows, range(-count, 0), keepdim=False)


def _by_channel(x: Tensor, *tensors: Tensor | None) -> list[Tensor | None]:
    shape = [1, -1, *[1] * (x.dim() - 2)]
    return [None if tensor is None else tensor.reshape(shape) for tensor in tensors]


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    scaled = x if weight is None else x * weight
    return scaled if bias is None else scaled + bias


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor | None:
    """``scaled_dot_product_attention``; a row that is masked wholly gives 0, as torch's does."""
    if dropout or key.shape[-2] <= FEW_TERMS:
        return None
    if enable_gqa:
        share = query.shape[-3] // key.shape[-3]
        key, value = (t.repeat_interleave(share, -3) for t in (key, value))
    size = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * size) @ key.transpose(-2, -1)
    if is_causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -math.inf)
    elif mask is not None:
        scores = scores + mask
    highest = scores.amax(-1, keepdim=True)
    powers = torch.exp(scores - torch.where(highest == -math.inf, 0.0, highest))
    sums = total(powers, [-1])
    return torch.where(sums == 0, 0.0, powers / sums) @ value


# Operator -> the same in order.
SUMS: dict[str, Callable[..., Any]] = {
    "_log_softmax": _log_softmax,
    "_softmax": _softmax,
    "avg_pool1d": _avg_pool,
    "avg_pool2d": _avg_pool,
    "avg_pool3d": _avg_pool,
    "batch_norm": _batch_norm,
    "cumsum": _cumsum,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
    "linalg_vector_norm": _vector_norm,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "mean": _reduce(_whole_mean),
    "norm": _vector_norm,
    "rms_norm": _rms_norm,
    "scaled_dot_product_attention": _attention,
    "softmax": _softmax,
    "std": _std,
    "sum": _reduce(total),
    "var": _var,
    "var_mean": _var_mean,
}
# The same in the last replica: where definitions of ONNX round otherwise than torch's operators.
DEFINED_SUMS = {**SUMS, "group_norm": _group_norm_of_squares}
