"""Replicas of a torch model: sums and approximations changed operator by operator as it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch

from onnx_conformance.core.compute_modes import REPLICAS
from onnx_conformance.workers.native import Approximation
from onnx_conformance.workers.replica_arithmetic import ApproximationErrors
from onnx_conformance.workers.torch import fourier
from onnx_conformance.workers.torch.modes import OperatorMode
from onnx_conformance.workers.torch.positions import CHOOSING_OPERATORS, first_of_equals
from onnx_conformance.workers.torch.private import writes
from onnx_conformance.workers.torch.sums import DEFINED_SUMS, SUMS

# Operators that hide others while no gradients are recorded.
COMPOSED = {
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "celu",
    "cosine_similarity", "gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_tanh",
    "rnn_tanh_cell", "selu", *fourier.COMPOSED,
}  # fmt: skip

Erring = Callable[
    [ApproximationErrors, torch.Tensor, torch.Tensor, tuple[Any, ...], dict[str, Any]], Any
]


class TorchReplica(OperatorMode):  # type: ignore[no-untyped-call] # of the base
    """Within it float32 computes as another runtime may.

    Sums add in another order, approximated functions err, and among equal numbers the first is
    chosen. Every other operator gives bit for bit what it gives outside.
    """

    def __init__(self, approximation: Approximation, replica: str) -> None:
        super().__init__()
        self._errors = ApproximationErrors(approximation, replica)
        self._sums = DEFINED_SUMS if replica == REPLICAS[-1] else SUMS

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        label = func.overloadpacket.__name__
        name = label.rstrip("_")
        if name in COMPOSED:
            with self, _one_by_one(name):
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if not args or not isinstance(args[0], torch.Tensor):
            return func(*args, **kwargs)
        if label in fourier.TRANSFORMS and args[0].dtype in (torch.float32, torch.complex64):
            result = fourier.TRANSFORMS[label](*args, **kwargs)
            return func(*args, **kwargs) if result is None else result
        if args[0].dtype != torch.float32:
            return func(*args, **kwargs)
        if label in self._sums and not writes(func):
            result = self._sums[label](*args, **kwargs)
            return func(*args, **kwargs) if result is None else result
        if label in CHOOSING_OPERATORS and not writes(func):
            result = first_of_equals(label, func, args, kwargs)
            return func(*args, **kwargs) if result is None else result
        if name not in ERRORS:
            return func(*args, **kwargs)
        x = args[0].clone() if label.endswith("_") else args[0]
        y = func(*args, **kwargs)
        return y.add_(ERRORS[name](self._errors, x, y, args[1:], kwargs))


def _one_by_one(name: str) -> contextlib.AbstractContextManager[Any]:
    """Without oneDNN's LSTM, whose steps are one operator."""
    flags: Any = torch.backends.mkldnn.flags
    return flags(enabled=False) if name == "lstm" else contextlib.nullcontext()


def _relative(function: str) -> Erring:
    """The error of a function's output, a share of it."""
    return lambda errors, x, y, args, kwargs: y * errors.error(function)


def _sigmoid(errors: ApproximationErrors, x: Any, y: Any, args: Any, kwargs: Any) -> Any:
    return errors.error("sigmoid")


def _silu(errors: ApproximationErrors, x: Any, y: Any, args: Any, kwargs: Any) -> Any:
    return x * errors.error("sigmoid")


def _glu(errors: ApproximationErrors, x: Any, y: Any, args: Any, kwargs: Any) -> Any:
    return x.chunk(2, dim=args[0] if args else -1)[0] * errors.error("sigmoid")


def _gelu(errors: ApproximationErrors, x: Any, y: Any, args: Any, kwargs: Any) -> Any:
    """Its tanh form, x/2·(1 + tanh); the form with erf is as exact in runtimes as in torch."""
    if kwargs.get("approximate", "none") != "tanh":
        return 0.0
    return 0.5 * x * errors.error("tanh")


def _elu(errors: ApproximationErrors, x: Any, y: Any, args: Any, kwargs: Any) -> Any:
    """alpha·(exp(x) - 1) by subtraction; ``selu`` and ``celu`` are forms of it."""
    alpha, scale = [*args, 1.0, 1.0][:2] if len(args) < 2 else args[:2]
    return (x < 0) * (alpha * scale * errors.error("elu"))


# Operator -> the error of its output. What is not here, runtimes compute as well as torch does.
ERRORS: dict[str, Erring] = {
    "elu": _elu,
    "exp": _relative("elu"),  # which is exp(x) - 1 below 0
    "gelu": _gelu,
    "glu": _glu,
    "mish": _relative("mish"),
    "sigmoid": _sigmoid,
    "silu": _silu,
    "softplus": _relative("softplus"),
    "tanh": _relative("tanh"),
}
