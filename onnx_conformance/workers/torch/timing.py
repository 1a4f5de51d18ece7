"""Timed calls of a torch model: eager, compiled, channels last, and on CUDA."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch

from onnx_conformance.core.arrays import Arrays
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.workers.native import input_names, named_outputs
from onnx_conformance.workers.stopwatch import TimedCall
from onnx_conformance.workers.torch.modes import tensors_in
from onnx_conformance.workers.torch.precision import CUDA, array_of, require, tf32

Tensors = list[torch.Tensor]
Prepared = tuple[Callable[..., Any], Tensors]


def make_timed_call(
    form: str, module: torch.nn.Module, model: ModelSpec, input_set: Arrays
) -> TimedCall:
    """One inference in eval mode without gradients; tensors are made before the clock starts.

    Raises:
        ValueError: an unknown form.
        CapabilityMissing: the form does not work for this model or on this machine.
    """
    if form not in FORMS:
        raise ValueError(f"torch is not timed as '{form}'; known: {', '.join(FORMS)}")
    function, inputs = FORMS[form](
        module, [torch.from_numpy(input_set[n]) for n in input_names(model)]
    )

    def call() -> Any:
        with torch.inference_mode():
            return function(*inputs)

    def arrays(result: Any) -> Arrays:
        return named_outputs(model, (array_of(tensor) for tensor in tensors_in(result)))

    if form in ON_CUDA:
        return TimedCall(_awaited(call), arrays, _by_events(call))
    return TimedCall(call, arrays)


def _channels_last(module: torch.nn.Module, inputs: Tensors) -> Prepared:
    if not all(any(t.dim() == 4 for t in side) for side in (inputs, module.parameters())):
        raise CapabilityMissing("channels_last is for models that convolve images; this has none")
    layout = torch.channels_last
    changed: Any = copy.deepcopy(module)  # the memory format of the original must not change
    laid = [t.contiguous(memory_format=layout) if t.dim() == 4 else t for t in inputs]
    return _working("channels_last", changed.to(memory_format=layout), laid)


def _compile(module: torch.nn.Module, inputs: Tensors) -> Prepared:
    return _working("torch.compile", torch.compile(module), inputs)


def _working(form: str, function: Callable[..., Any], inputs: Tensors) -> Prepared:
    """The form as it is, once the model was called in it.

    Raises:
        CapabilityMissing: the model refuses it, as code with ``view`` refuses channels last.
    """
    try:
        with torch.inference_mode():
            function(*inputs)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise CapabilityMissing(f"{form} does not work here: {reason}") from error
    return function, inputs


def _cuda_float16(module: torch.nn.Module, inputs: Tensors) -> Prepared:
    halves = [tensor.half() if tensor.is_floating_point() else tensor for tensor in inputs]
    return _on_cuda(copy.deepcopy(module).half(), halves, fast=False)


def _on_cuda(module: torch.nn.Module, inputs: Tensors, *, fast: bool) -> Prepared:
    """The switch is the process's, so it is set in every call."""
    require(CUDA)
    there = copy.deepcopy(module).to(CUDA)

    def call(*tensors: torch.Tensor) -> Any:
        with tf32(fast):
            return there(*tensors)

    return call, [tensor.to(CUDA) for tensor in inputs]


def _awaited(call: Callable[[], Any]) -> Callable[[], Any]:
    """The call until its result is there: a worker is suspended after it, and a GPU is not."""

    def awaited() -> Any:
        result = call()
        torch.cuda.synchronize()
        return result

    return awaited


def _by_events(call: Callable[[], Any]) -> Callable[[], float]:
    """Seconds by CUDA's own events, because a call returns before the device is done."""

    def seconds() -> float:
        event: Any = torch.cuda.Event
        start, end = event(enable_timing=True), event(enable_timing=True)
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000

    return seconds


Form = Callable[[torch.nn.Module, Tensors], Prepared]
ON_CUDA: dict[str, Form] = {
    "cuda": functools.partial(_on_cuda, fast=False),
    "cuda_tf32": functools.partial(_on_cuda, fast=True),
    "cuda_float16": _cuda_float16,
}
FORMS: dict[str, Form] = {
    "eager": lambda module, inputs: (module, inputs),
    "channels_last": _channels_last,
    "compile": _compile,
    **ON_CUDA,
}
