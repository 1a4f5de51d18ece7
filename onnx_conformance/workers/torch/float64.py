"""The float64 oracle of a torch model whose own code casts to float32.

``module.double()`` widens parameters and buffers. Many models compute parts in float32 whatever
their inputs are (``x.float()``, ``softmax(dtype=torch.float32)``, tables of ``torch.arange(...,
dtype=torch.float32)``), and those parts would share float32's errors with what is judged. Within
:func:`in_float64` such casts give float64, and numbers without a dtype are float64's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from onnx_conformance.core.compute_modes import FLOAT32, FLOAT64
from onnx_conformance.workers.torch.modes import OperatorMode
from onnx_conformance.workers.torch.private import arguments_of, tree_map

# Operators whose dtype argument reads the same bits anew instead of casting numbers.
REINTERPRETING_OPERATORS = {"view"}
WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}
HALVES = {torch.float16: torch.float64, torch.bfloat16: torch.float64}


@contextlib.contextmanager
def in_float64(precision: str = FLOAT32) -> Iterator[None]:
    """Within it, operators that would compute in float32 compute in float64.

    Args:
        precision: the class that the model computes in; one of half precision has its casts to
            half precision widened too.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with Widening(WIDER if precision == FLOAT32 else WIDER | HALVES):
            yield
    finally:
        torch.set_default_dtype(before)


def without_gradients(precision: str) -> Any:
    """In float64 without inference mode, which refuses a view of a tensor that was widened."""
    return torch.no_grad() if precision == FLOAT64 else torch.inference_mode()


class Widening(OperatorMode):  # type: ignore[no-untyped-call] # of the base
    """Replaces float32 by float64 in operators' arguments: tensors, and dtypes that are asked for.

    Casts to half precision stay where the model multiplies in float32: they are part of the
    function, and its file has them too.
    """

    def __init__(self, wider: dict[torch.dtype, torch.dtype] = WIDER) -> None:
        super().__init__()
        self._wider = wider

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func.overloadpacket.__name__ in REINTERPRETING_OPERATORS:
            return func(*args, **kwargs)
        arguments = arguments_of(func)
        wide = [
            value
            if place < len(arguments) and arguments[place].written
            else tree_map(self._widened, value)
            for place, value in enumerate(args)
        ]
        written = {argument.name for argument in arguments if argument.written}
        rest = {
            name: value if name in written else tree_map(self._widened, value)
            for name, value in kwargs.items()
        }
        return func(*wide, **rest)

    def _widened(self, value: Any) -> Any:
        if isinstance(value, torch.dtype):
            return self._wider.get(value, value)
        if isinstance(value, torch.Tensor) and value.dtype in self._wider:
            return value.to(self._wider[value.dtype])
        return value
