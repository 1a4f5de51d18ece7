"""torch modules whose ``forward`` does not take the model's inputs in their order, by position."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from onnx_conformance.workers.calling_convention import CallingConvention, convention_of


class InOrder:
    """A ``forward`` that takes a model's inputs in the order of its spec, by position.

    It stands in the module's own place, so that parameters keep their names in every export. A
    deep copy of the module has a copy of it, which calls the copy.
    """

    def __init__(
        self, forward: Callable[..., Any], call: CallingConvention, names: Sequence[str]
    ) -> None:
        self._forward = forward
        self._call = call
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        labels = [name if name.isidentifier() else f"input_{i}" for i, name in enumerate(names)]
        self.__code__ = type(self).__call__.__code__  # which torch.export reads of a forward
        self.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in labels])

    def __call__(self, *inputs: Any) -> Any:
        return self._call(self._forward, inputs)


def in_order(module: torch.nn.Module, names: Sequence[str]) -> torch.nn.Module:
    """The module, which from now on takes its inputs, called ``names``, in order by position.

    Raises:
        TypeError: its ``forward`` does not take such inputs.
    """
    call = convention_of(module.forward, names)
    if call.problem:
        raise TypeError(f"the model {call.problem}")
    if not call.plain:
        setattr(module, "forward", InOrder(module.forward, call, names))  # noqa: B010 # mypy
    return module
