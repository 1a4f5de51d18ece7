"""How torch modules take their inputs: in another order, by name, in dicts, dataclasses or caches.

Arguments are taken apart into named tensors and a plan that puts them together again; answers are
flattened by name. A cache of transformers is ``past_key_values.0.key`` where it goes in and
``present.0.key`` where it comes out.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from onnx_conformance.core.errors import UsageError
from onnx_conformance.workers.calling_convention import CallingConvention, convention_of

KINDS = ("key", "value")
CACHES = ("cache", "past_key_values")  # what versions of transformers call keys and values
PAST, PRESENT = "past_key_values", "present"
BUILT = ("DynamicCache", "EncoderDecoderCache")  # that can be put together from keys and values


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


def in_order(module: nn.Module, names: Sequence[str]) -> nn.Module:
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


# -- by name ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slot:
    """Where the tensor of this name goes."""

    name: str


@dataclass(frozen=True)
class CacheSlot:
    """Where a cache goes, made of the keys and values among the tensors.

    Args:
        nested: of a decoder that looks at an encoder too, whose keys are computed at every call.
    """

    nested: bool = False


@dataclass(frozen=True)
class ContainerSlot:
    """Where what ``kind`` makes of these parts goes: a list, a tuple, a dict, a dataclass."""

    kind: Callable[..., Any]
    parts: tuple[tuple[Any, Any], ...]
    named: bool  # parts are keyword arguments


def taken_apart(name: str, value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The plan of an argument, to be :func:`filled`; its tensors are added to ``tensors``.

    Raises:
        UsageError: it is of a type that cannot be put together again.
    """
    if torch.is_tensor(value):
        tensors[name] = value
        return Slot(name)
    if value is None or isinstance(value, (bool, int, float, str, torch.dtype, torch.device)):
        return value
    if type(value).__name__ in BUILT:
        tensors.update(of_cache(PAST, value))
        return CacheSlot(hasattr(value, "self_attention_cache"))
    kind: Callable[..., Any]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind, items, named = type(value), _items(value), True
    elif isinstance(value, Mapping):
        kind, items, named = dict, _items(value), False
    elif isinstance(value, (list, tuple)):
        kind, items, named = type(value), _items(value), hasattr(value, "_fields")
    else:
        raise UsageError(
            f"argument '{name}' is a {type(value).__name__}, which cannot be put together from "
            "tensors; call the model with tensors, lists, dicts, dataclasses or transformers' "
            "DynamicCache, or register a module whose forward takes tensors"
        )
    parts = tuple((key, taken_apart(f"{name}.{key}", one, tensors)) for key, one in items)
    return ContainerSlot(kind, parts, named)


def filled(plan: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """The argument of a plan with these tensors in it."""
    if isinstance(plan, Slot):
        return tensors[plan.name]
    if isinstance(plan, CacheSlot):
        from transformers import DynamicCache, EncoderDecoderCache

        cache = cache_of(tensors)
        return EncoderDecoderCache(cache, DynamicCache()) if plan.nested else cache
    if not isinstance(plan, ContainerSlot):
        return plan
    parts = [(key, filled(one, tensors)) for key, one in plan.parts]
    if plan.named:
        return plan.kind(**dict(parts))
    return dict(parts) if plan.kind is dict else plan.kind(one for _, one in parts)


def cache_of(tensors: Mapping[str, torch.Tensor], kind: str = "") -> Any:
    """transformers' cache of the keys and values of one kind; empty without any."""
    from transformers import DynamicCache

    layers: list[tuple[torch.Tensor, ...]] = []
    while f"{PAST}.{len(layers)}.{kind}{KINDS[0]}" in tensors:
        layers.append(tuple(tensors[f"{PAST}.{len(layers)}.{kind}{one}"] for one in KINDS))
    return DynamicCache(layers) if layers else DynamicCache()


def of_cache(name: str, cache: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Keys and values of each layer of a cache by name; nothing of one of another kind."""
    own = getattr(cache, "self_attention_cache", cache)
    for place, layer in enumerate(getattr(own, "layers", ())):
        pair: list[Any] = [getattr(layer, f"{kind}s", None) for kind in KINDS]
        if all(torch.is_tensor(one) for one in pair):
            yield from ((f"{name}.{place}.{k}", one) for k, one in zip(KINDS, pair, strict=True))


def named_tensors(answer: Any, *, with_cache: bool) -> dict[str, torch.Tensor]:
    """An answer's tensors by name; those of a plain tuple are ``output_0`` and so on.

    Args:
        with_cache: whether a cache belongs to it; one that did not go in is left out.
    """
    if isinstance(answer, (list, tuple)) and not hasattr(answer, "_fields"):
        answer = {f"output_{place}": one for place, one in enumerate(answer)}
    found = dict(_flattened("", answer, with_cache=with_cache))
    return dict(zip(["output"], found.values(), strict=True)) if len(found) == 1 else found


def _flattened(name: str, value: Any, *, with_cache: bool) -> Iterator[tuple[str, torch.Tensor]]:
    if torch.is_tensor(value):
        yield name or "output", value
    elif type(value).__name__ in BUILT or name in CACHES:
        yield from of_cache(PRESENT, value) if with_cache else ()
    else:
        for key, one in _items(value):
            path = f"{name}.{key}" if name else str(key)
            yield from _flattened(path, one, with_cache=with_cache)


def _items(value: Any) -> list[tuple[Any, Any]]:
    if dataclasses.is_dataclass(value):
        return [(one.name, getattr(value, one.name)) for one in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        return list(value.items())
    if hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    return list(enumerate(value)) if isinstance(value, (list, tuple)) else []


class ByName(nn.Module):
    """A model that takes tensors in the order of their names, and gives tensors by name.

    Args:
        arguments: the plans of its positional arguments, and of those by keyword.
        left_out: outputs that are no answers, such as one that went in.
    """

    def __init__(
        self,
        model: nn.Module,
        names: Sequence[str],
        arguments: tuple[Sequence[Any], Mapping[str, Any]],
        left_out: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.model, self.names, self.left_out = model, tuple(names), tuple(left_out)
        self.plans, self.plans_by_name = tuple(arguments[0]), dict(arguments[1])
        self.with_cache = any(name.startswith(f"{PAST}.") for name in names)

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        tensors = dict(zip(self.names, inputs, strict=True))
        by_name = {name: filled(plan, tensors) for name, plan in self.plans_by_name.items()}
        answer = self.model(*(filled(plan, tensors) for plan in self.plans), **by_name)
        found = named_tensors(answer, with_cache=self.with_cache)
        return {name: tensor for name, tensor in found.items() if name not in self.left_out}
