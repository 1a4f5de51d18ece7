"""Calling conventions of user models: inputs by position, by name, or all in one dict or list."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_KINDS = inspect.Parameter
_DICTS = ("dict", "mapping", "typeddict")
_LISTS = ("list", "sequence", "iterable", "tuple")


@dataclass(frozen=True)
class CallingConvention:
    """How inputs are passed to a function.

    Args:
        positional: places among the inputs of what is given by position, in order.
        named: parameters and places of what is given by name.
        bundled: names and places of what is given as one dict, by position.
        listed: the same of what is given as one list, or as one tuple.
        in_tuple: whether it is a tuple.
        plain: whether the function takes the inputs in their order, each as a parameter.
        problem: why the function cannot be called so; empty where it can.
        otherwise: of a dict that no annotation asks for, what to say where it is refused.
    """

    positional: tuple[int, ...] = ()
    named: tuple[tuple[str, int], ...] = ()
    bundled: tuple[tuple[str, int], ...] = ()
    listed: tuple[int, ...] = ()
    in_tuple: bool = False
    plain: bool = False
    problem: str = ""
    otherwise: str = ""

    def __call__(self, function: Callable[..., Any], inputs: Sequence[Any]) -> Any:
        """The function's result on the inputs, given in the order of the model's spec.

        Raises:
            TypeError: it takes one input, and neither a tensor nor a dict of these.
        """
        try:
            named = {name: inputs[place] for name, place in self.named}
            return function(*self.arguments(inputs), **named)
        except (TypeError, AttributeError, KeyError) as error:
            if not self.otherwise:
                raise
            raise TypeError(f"the model {self.otherwise} ({error!r})") from error

    def arguments(self, inputs: Sequence[Any]) -> list[Any]:
        """What of the inputs is given by position."""
        first = [inputs[place] for place in self.positional]
        if self.bundled:
            first.append({name: inputs[place] for name, place in self.bundled})
        if self.listed:
            given = [inputs[place] for place in self.listed]
            first.append(tuple(given) if self.in_tuple else given)
        return first


def convention_of(function: Callable[..., Any], names: Sequence[str]) -> CallingConvention:
    """How to pass inputs of these ``names`` to ``function``.

    An input goes to the parameter of its name; those that no parameter is called take the other
    parameters in order. A function gets all inputs as one dict or list where an annotation asks for
    it, and as a dict where it has one parameter, of another name, for several of them.
    """
    in_order = tuple(range(len(names)))
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of a built-in
        return CallingConvention(in_order, plain=True)
    slots = [
        p for p in parameters if p.kind in (_KINDS.POSITIONAL_ONLY, _KINDS.POSITIONAL_OR_KEYWORD)
    ]
    kinds = {p.kind for p in parameters}
    alone = slots and all(p.default is not _KINDS.empty and p.name not in names for p in slots[1:])
    asked = _annotated(slots[0]) if alone else ""
    if asked in _DICTS:
        return CallingConvention(bundled=tuple(zip(names, in_order, strict=True)))
    if asked in _LISTS and len(names) > 1:  # one tensor is a list of its samples
        return CallingConvention(listed=in_order, in_tuple=asked == "tuple")
    if len(parameters) == len(slots) == 1 < len(names) and slots[0].name not in names:
        failing = f"{_unlike(slots, parameters, names)}; given them as one dict, it fails"
        return CallingConvention(
            bundled=tuple(zip(names, in_order, strict=True)), otherwise=failing
        )
    if _KINDS.VAR_POSITIONAL in kinds:
        return CallingConvention(in_order, problem=_missing(slots[len(names) :], slots, names))
    return _matched(parameters, slots, names, anything=_KINDS.VAR_KEYWORD in kinds)


def _annotated(parameter: inspect.Parameter) -> str:
    """The plain name of a parameter's annotation: ``dict`` of ``typing.Dict[str, Tensor]``."""
    label = parameter.annotation
    text = str(label) if "[" in str(label) else getattr(label, "__name__", "") or str(label)
    return text.partition("[")[0].rpartition(".")[2].lower()


def _matched(
    parameters: list[inspect.Parameter],
    slots: list[inspect.Parameter],
    names: Sequence[str],
    *,
    anything: bool,
) -> CallingConvention:
    by_name = {
        p.name for p in parameters if p.kind in (_KINDS.POSITIONAL_OR_KEYWORD, _KINDS.KEYWORD_ONLY)
    }
    places = {name: place for place, name in enumerate(names) if name in by_name}
    free = [p for p in slots if p.name not in places]
    others = [place for place, name in enumerate(names) if name not in places]
    filled = dict(zip((p.name for p in free), others, strict=False))
    left = others[len(free) :]
    if left and not anything:
        return CallingConvention(problem=_unlike(slots, parameters, names))
    filled_slots = {**places, **filled, **{names[place]: place for place in left}}
    lacking = [p for p in parameters if p.name not in filled_slots]
    problem = _missing(lacking, slots, names)
    first: list[int] = []
    for slot in slots:
        if slot.name not in filled_slots:
            break
        first.append(filled_slots.pop(slot.name))
    return CallingConvention(
        tuple(first), tuple(filled_slots.items()), problem=problem,
        plain=not filled_slots and first == list(range(len(names))),
    )  # fmt: skip


def _missing(
    lacking: Sequence[inspect.Parameter], slots: Sequence[inspect.Parameter], names: Sequence[str]
) -> str:
    needed = [
        p.name
        for p in lacking
        if p.default is _KINDS.empty and p.kind not in (_KINDS.VAR_POSITIONAL, _KINDS.VAR_KEYWORD)
    ]
    return _unlike(slots, lacking, names) if needed else ""


def _unlike(
    slots: Sequence[inspect.Parameter],
    parameters: Sequence[inspect.Parameter],
    names: Sequence[str],
) -> str:
    """Refuse a spec with more or fewer inputs than the model takes."""
    known = list(slots) + [p for p in parameters if p.kind is _KINDS.KEYWORD_ONLY]
    unique = list(dict.fromkeys(p.name for p in known))
    least = sum(p.default is _KINDS.empty for p in {p.name: p for p in known}.values())
    takes = f"{least}" if least == len(unique) else f"{least} to {len(unique)}"
    return (
        f"takes {takes} inputs ({', '.join(unique) or 'unnamed'}), but its spec has {len(names)}: "
        f"{', '.join(names)}"
    )
