"""A torch model in a class of less precision: roundings put in operator by operator, or on CUDA."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onnx_conformance.core import bfloat16
from onnx_conformance.core.compute_modes import FLOAT32, FLOAT64, ComputeMode
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.workers.native import Approximation
from onnx_conformance.workers.replica_arithmetic import STORED, TF32, eleven_bits
from onnx_conformance.workers.torch.float64 import in_float64
from onnx_conformance.workers.torch.modes import (
    OperatorMode,
    eagerly,
    tensors_in,
    without_fused_attention,
)
from onnx_conformance.workers.torch.private import tree_map, writes

CUDA = "cuda"
TYPES = {name: getattr(torch, name) for name in STORED}
# What torch.autocast computes in float32 though its neighbours are in half precision.
KEPT_IN_FLOAT32 = {
    "exp", "expm1", "log", "log10", "log1p", "log2", "log_softmax", "_log_softmax", "logsumexp",
    "norm", "pow", "prod", "reciprocal", "rsqrt", "sinh", "softmax", "_softmax", "softplus", "sum",
    "cosh", "cumsum", "cumprod", "dist", "erfinv", "tan", "acos", "asin", "layer_norm",
    "native_layer_norm", "group_norm",
}  # fmt: skip
# What multiplies in matrix units, which read TF32.
PRODUCTS = {
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "conv1d", "conv2d", "conv3d",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "dot", "einsum",
    "gru", "gru_cell", "linear", "lstm", "lstm_cell", "matmul", "mm", "mv", "rnn_relu", "rnn_tanh",
    "scaled_dot_product_attention",
}  # fmt: skip


@contextlib.contextmanager
def computing(
    mode: ComputeMode, approximation: Approximation | None = None, precision: str = FLOAT32
) -> Iterator[None]:
    """Within it, modules compute in the compute mode.

    Args:
        approximation: of a replica; its rounding would be lost in fewer bits.
        precision: the class that the model computes in.

    Raises:
        CapabilityMissing: torch has no such device.
    """
    from onnx_conformance.workers.torch.replicas import TorchReplica

    with contextlib.ExitStack() as stack:
        if mode.device:
            stack.enter_context(_on_device(mode))
        elif mode.rounded:
            stack.enter_context(without_fused_attention())
            stack.enter_context(TorchRounding(mode.precision))
        if approximation is not None and mode.replica and not mode.rounded:
            stack.enter_context(TorchReplica(approximation, mode.replica))
        if mode.precision == FLOAT64:
            stack.enter_context(in_float64(precision))
        yield


def require(device: str) -> None:
    """Raise CapabilityMissing unless torch has the device, and has it compute."""
    if device != CUDA or not torch.cuda.is_available():
        raise CapabilityMissing("torch sees no CUDA device")
    if not _sums(device):
        raise CapabilityMissing("torch sees a CUDA device and cannot compute on it")


@functools.cache
def _sums(device: str) -> bool:
    """Whether two ones are two there: a GPU is also seen by a torch that was built for others."""
    try:
        return float(torch.ones(2, device=device).sum()) == 2.0
    except RuntimeError:
        return False


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Within it, CUDA multiplies in TF32 or it does not, whatever the model's own file said.

    In the words of torch 2.9: beside them the older ``allow_tf32`` raises where it is read, and
    does not reach what a file has set for all backends.
    """
    cudnn: Any = torch.backends.cudnn  # its stub knows no parts
    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = TF32 if allowed else "ieee"
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision


@contextlib.contextmanager
def _on_device(compute_mode: ComputeMode) -> Iterator[None]:
    require(compute_mode.device)
    narrow = compute_mode.precision in STORED
    mixed = torch.autocast(compute_mode.device, TYPES.get(compute_mode.precision), enabled=narrow)
    with tf32(compute_mode.precision == TF32), mixed:
        yield


class Narrowest(OperatorMode):  # type: ignore[no-untyped-call] # of the base
    """Within it, the least exact type that is multiplied in is written down, and what it reaches.

    What is computed from a tensor of half precision shares its storage, or is a result of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.precision = FLOAT32
        self._reached: dict[int, torch.Tensor] = {}  # kept, so that no other takes their place

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func.overloadpacket.__name__ in PRODUCTS:
            kinds = {tensor.dtype for tensor in tensors_in(args)}
            for name in STORED:
                if TYPES[name] in kinds and self.precision != STORED[-1]:
                    self.precision = name
        result = func(*args, **kwargs)
        if any(map(self.reaches, tensors_in((args, kwargs, result)))):
            self._reached |= {_storage(tensor): tensor for tensor in tensors_in(result)}
        return result

    def reaches(self, tensor: torch.Tensor) -> bool:
        """Whether it is of half precision, or computed from what is."""
        return tensor.dtype in TYPES.values() or _storage(tensor) in self._reached


def _storage(tensor: torch.Tensor) -> int:
    """The place of its numbers, which views share; sparse tensors have none of their own."""
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else 0


def precision_of(call: Callable[[], Any]) -> tuple[str, set[int]]:
    """The class of precision that a module's call multiplies in, as far as it can be watched.

    And the places of those of its outputs that nothing in half precision reaches.
    """
    seen, found = Narrowest(), []
    with contextlib.suppress(Exception), eagerly(), seen:
        found = tensors_in(call())
    return seen.precision, {n for n, tensor in enumerate(found) if not seen.reaches(tensor)}


class TorchRounding(OperatorMode):  # type: ignore[no-untyped-call] # of the base
    """Within it, float32 operators compute in a class of less precision."""

    def __init__(self, precision: str) -> None:
        super().__init__()
        self._type = TYPES.get(precision)

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = func.overloadpacket.__name__.rstrip("_")
        if self._type is not None:
            result = func(*args, **kwargs)
            if not (func.is_view or name in KEPT_IN_FLOAT32):
                kept = _handed_on(func, args, kwargs)
                for tensor in tensors_in(result):
                    if _storage(tensor) not in kept:
                        _narrow(tensor, self._type)
            return result
        if name in PRODUCTS:
            args = tree_map(_operand, args)
        return func(*args, **kwargs)


def narrowed(module: torch.nn.Module, precision: str) -> torch.nn.Module:
    """The module with its float32 weights rounded to the class's type, in place."""
    for tensor in tensors_in(module.state_dict()):
        _narrow(tensor, TYPES[precision])
    return module


def narrowed_input(tensor: torch.Tensor, precision: str) -> torch.Tensor:
    """A float32 input rounded to the class's type; any other as it is."""
    return tensor.to(TYPES[precision]).float() if tensor.dtype == torch.float32 else tensor


def array_of(tensor: torch.Tensor) -> NDArray[Any]:
    """The tensor on the host; the narrow types, which mixed precision leaves, as float32."""
    return weight_array(tensor.float() if tensor.dtype in TYPES.values() else tensor)


def weight_array(tensor: torch.Tensor) -> NDArray[Any]:
    """The tensor on the host: a sparse one with its zeros, bfloat16 as float32.

    Complex numbers are pairs, real and imaginary part, along a last axis: files have them so.
    """
    here = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    dense = here if here.layout == torch.strided else here.to_dense()
    dense = torch.view_as_real(dense.resolve_conj()) if dense.is_complex() else dense
    found: NDArray[Any] = dense.detach().cpu().numpy()
    return found


def weight_like(array: NDArray[Any], tensor: torch.Tensor) -> torch.Tensor:
    """The tensor that :func:`weight_array` made the array of, to be copied into one like it."""
    found = torch.from_numpy(np.array(array))
    found = torch.view_as_complex(found) if tensor.is_complex() else found
    return found if tensor.layout == torch.strided else found.to_sparse()


def tensor_of(array: NDArray[Any], dtype: str = "") -> torch.Tensor:
    """A copy of the array as a tensor; one of bfloat16 comes in float32."""
    tensor = torch.from_numpy(np.array(array))
    return tensor.bfloat16() if dtype == bfloat16.NAME else tensor


def _handed_on(func: Any, args: Any, kwargs: Any) -> set[int]:
    """The storages of an operator's arguments, where it must leave them as they are.

    Some hand an argument on though their schema does not say so (a dropout in eval mode,
    ``broadcast_tensors``). To round that in place would round a constant that the model shares
    with native and its oracle, and of an expanded tensor torch refuses it.
    """
    if writes(func):  # what it writes is its result
        return set()
    return {_storage(tensor) for tensor in tensors_in((args, kwargs))}


def _narrow(tensor: torch.Tensor, kind: torch.dtype) -> None:
    """In place: what shares memory with the tensor must see it."""
    if tensor.dtype == torch.float32:
        tensor.copy_(tensor.to(kind))


def _operand(argument: Any) -> Any:
    floating = isinstance(argument, torch.Tensor) and argument.dtype == torch.float32
    return eleven_bits(argument) if floating else argument
