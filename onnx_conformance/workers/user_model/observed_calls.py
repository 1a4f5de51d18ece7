"""Specs of a torch model from calls of it, those that ``generate`` makes too."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from onnx_conformance.core.arrays import Arrays
from onnx_conformance.core.errors import UsageError
from onnx_conformance.workers.torch.calling_convention import (
    PAST,
    PRESENT,
    ByName,
    CacheSlot,
    named_tensors,
    taken_apart,
)
from onnx_conformance.workers.torch.precision import weight_array
from onnx_conformance.workers.user_model.build import built_model
from onnx_conformance.workers.user_model.examples import specs_of_examples

MOST_CALLS = 64  # calls that are kept


@dataclass(frozen=True)
class _Call:
    """One call: its tensors by name, the plans of its arguments, and what it answered."""

    inputs: Arrays
    plans: tuple[tuple[Any, ...], tuple[tuple[str, Any], ...]]
    outputs: Arrays

    @property
    def kind(self) -> tuple[Any, ...]:
        """Equal for calls that differ in their tensors' sizes and values alone."""
        return frozenset(self.inputs), self.plans


class Calls:
    """The calls that :func:`observe` recorded.

    ``print(calls.spec())``, or ``certify(calls.model, calls.examples, carries=calls.carries)``.
    """

    def __init__(self, model: nn.Module) -> None:
        self._observed, self._seen = model, list[_Call]()

    def _add(self, call: _Call) -> None:
        if len(self._seen) < MOST_CALLS:
            self._seen.append(call)

    def _most_frequent(self) -> list[_Call]:
        """The calls of the most frequent kind.

        Raises:
            UsageError: there was no call.
        """
        if not self._seen:
            raise UsageError(
                f"observe saw no call of {type(self._observed).__name__}; call it, or a method "
                "of it that does, within the with block"
            )
        kinds = [call.kind for call in self._seen]
        most = max(kinds, key=kinds.count)
        return [call for call in self._seen if call.kind == most]

    @property
    def examples(self) -> list[Arrays]:
        """The inputs of each call by name, in the order in which :attr:`model` takes them."""
        kept = self._most_frequent()
        return [{name: call.inputs[name] for name in kept[-1].inputs} for call in kept]

    @property
    def model(self) -> ByName:
        """The observed model as one that takes tensors, with its other arguments as they were."""
        last = self._most_frequent()[-1]  # a first call has its past at the end
        return ByName(self._observed, list(last.inputs), (last.plans[0], dict(last.plans[1])))

    @property
    def carries(self) -> dict[str, str]:
        """The outputs that were an input of the next call, by value."""
        kept = self._most_frequent()
        pairs = Counter(
            (new, old)
            for before, after in zip(kept, kept[1:], strict=False)
            for old, array in after.inputs.items()
            if array.size > 1 and not _equal(array, before.inputs[old])
            for new, answer in before.outputs.items()
            if _equal(answer, array)
        )
        found: dict[str, str] = {}
        for (new, old), _ in pairs.most_common():
            if new not in found and old not in found.values():
                found[new] = old
        return found

    def spec(self) -> str:
        """The inputs, axes and memory as a registration says them, to paste.

        Raises:
            UsageError: there was no call, or the calls do not make one spec.
        """
        label = type(self._observed).__name__
        built = built_model(label, self.model, None)
        found = str(specs_of_examples(label, self.examples, built))
        found += f", carries={self.carries}" if self.carries else ""
        others = len(self._seen) - len(self._most_frequent())
        return found + (f"  # {others} calls with other arguments are left out" if others else "")

    def __str__(self) -> str:
        return self.spec()


@contextmanager
def observe(model: nn.Module) -> Iterator[Calls]:
    """Record the calls of ``model`` within the block; ``generate`` and other methods may make them.

    Tensors are copied, at most of 64 calls. Dicts, lists, dataclasses and caches are taken apart
    into tensors by name; numbers, truth values and texts stay as they were in the first call.

    Raises:
        UsageError: it is no ``torch.nn.Module``, or an argument of a call cannot be taken apart.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"observe takes a torch.nn.Module, not a {type(model).__name__}; of other models give "
            "certify example arrays by name"
        )
    calls, begun = Calls(model), list[tuple[Arrays, Any]]()

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        begun.append(_arguments(module, args, kwargs))

    def after(module: nn.Module, args: Any, kwargs: Any, answer: Any) -> None:
        inputs, plans = begun.pop()
        cached = any(isinstance(plan, CacheSlot) for _, plan in plans[1])
        found = named_tensors(answer, with_cache=cached)
        outputs = {name: _array(tensor) for name, tensor in found.items()}
        calls._add(_Call(_with_past(inputs, outputs, cached=cached), plans, outputs))

    handles = [
        model.register_forward_pre_hook(before, with_kwargs=True),
        model.register_forward_hook(after, with_kwargs=True),
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _arguments(module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> tuple[Arrays, Any]:
    """The arguments of a call: arrays by name, and the plans of those by place and by keyword."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    by_place = [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_POSITIONAL]
    labels = [*by_place, *(f"input_{place}" for place in range(len(by_place), len(args)))]
    tensors: dict[str, torch.Tensor] = {}
    places = tuple(taken_apart(n, one, tensors) for n, one in zip(labels, args, strict=False))
    by_name = tuple((name, taken_apart(name, one, tensors)) for name, one in kwargs.items())
    return {name: _array(tensor) for name, tensor in tensors.items()}, (places, by_name)


def _with_past(inputs: Arrays, outputs: Arrays, *, cached: bool) -> Arrays:
    """The inputs with the past of a first call: as what came out, of no length."""
    if not cached or any(name.startswith(f"{PAST}.") for name in inputs):
        return inputs
    came = {name: one for name, one in outputs.items() if name.startswith(f"{PRESENT}.")}
    empty = {name.replace(PRESENT, PAST, 1): one[:, :, :0] for name, one in came.items()}
    return {**inputs, **empty}


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    return np.array(weight_array(tensor.detach().cpu()))


def _equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and bool((one == other).all())
