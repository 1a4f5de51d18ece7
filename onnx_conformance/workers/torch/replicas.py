"""The liberties of a torch replica, taken operator by operator while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from onnx_conformance.workers.liberties import Liberties, mean_in_order
from onnx_conformance.workers.native import Approximation

# Operators that hide others while no gradients are recorded.
COMPOSED = {"adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "celu", "selu"}

# Operators of other namespaces are compositions: torch.library.custom_op, torchvision.
BUILT_IN = {"aten", "prim", "prims"}
KERNELS = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)

Erring = Callable[[Liberties, torch.Tensor, torch.Tensor, tuple[Any, ...], dict[str, Any]], Any]


class TorchLiberties(TorchDispatchMode):  # type: ignore[no-untyped-call] # of the base
    """Within it, float32 means add in order and approximated functions err.

    Every other operator gives bit for bit what it gives outside.
    """

    def __init__(self, approximation: Approximation, replica: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # of the base
        self._liberties = Liberties(approximation, replica)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        label = func.overloadpacket.__name__
        name = label.rstrip("_")
        if func.namespace not in BUILT_IN:
            with self:
                return func.redispatch(KERNELS, *args, **kwargs)
        if name in COMPOSED:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if not args or not isinstance(args[0], torch.Tensor) or args[0].dtype != torch.float32:
            return func(*args, **kwargs)
        if name == "mean":
            return _mean(func, args, kwargs)
        if name not in ERRORS:
            return func(*args, **kwargs)
        x = args[0].clone() if label.endswith("_") else args[0]
        y = func(*args, **kwargs)
        return y.add_(ERRORS[name](self._liberties, x, y, args[1:], kwargs))


def _mean(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x = args[0]
    axes = args[1] if len(args) > 1 else kwargs.get("dim")
    if axes is None or len(axes) == 0:
        axes = range(x.dim())
    if kwargs.get("dtype") not in (None, torch.float32) or "out" in kwargs:
        return func(*args, **kwargs)
    keepdims = bool(args[2] if len(args) > 2 else kwargs.get("keepdim", False))
    return torch.from_numpy(mean_in_order(x.numpy(), tuple(axes), keepdims=keepdims))


def _sigmoid(own: Liberties, x: Any, y: Any, args: Any, kwargs: Any) -> Any:
    return own.error("sigmoid")


def _silu(own: Liberties, x: Any, y: Any, args: Any, kwargs: Any) -> Any:
    return x * own.error("sigmoid")


def _glu(own: Liberties, x: Any, y: Any, args: Any, kwargs: Any) -> Any:
    return x.chunk(2, dim=args[0] if args else -1)[0] * own.error("sigmoid")


def _tanh(own: Liberties, x: Any, y: Any, args: Any, kwargs: Any) -> Any:
    return y * own.error("tanh")


def _gelu(own: Liberties, x: Any, y: Any, args: Any, kwargs: Any) -> Any:
    """Its tanh form, x/2·(1 + tanh); the form with erf is as exact in runtimes as in torch."""
    if kwargs.get("approximate", "none") != "tanh":
        return 0.0
    return 0.5 * x * own.error("tanh")


def _elu(own: Liberties, x: Any, y: Any, args: Any, kwargs: Any) -> Any:
    """alpha·(exp(x) - 1) by subtraction; ``selu`` and ``celu`` are forms of it."""
    alpha, scale = [*args, 1.0, 1.0][:2] if len(args) < 2 else args[:2]
    return (x < 0) * (alpha * scale * own.error("elu"))


def _softplus(own: Liberties, x: Any, y: Any, args: Any, kwargs: Any) -> Any:
    return y * own.error("softplus")


def _mish(own: Liberties, x: Any, y: Any, args: Any, kwargs: Any) -> Any:
    return y * own.error("mish")


# Operator -> the error of its output. What is not here, runtimes compute as well as torch does.
ERRORS: dict[str, Erring] = {
    "elu": _elu,
    "gelu": _gelu,
    "glu": _glu,
    "mish": _mish,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "softplus": _softplus,
    "tanh": _tanh,
}
