"""A built user model of any kind: how it is run, its parameters, and names of its outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_conformance.core.plain_outputs import is_keys, is_maps, named
from onnx_conformance.core.spec import Axes, TensorSpec
from onnx_conformance.inputs.recipes import Inputs

if TYPE_CHECKING:
    from onnx_conformance.workers.onnx.agreement import Oracle

Answer = dict[str, np.ndarray[Any, Any]]
MANY = 1_000  # inputs that a signature with *args may have


@dataclass(frozen=True)
class BuiltModel:
    """A built model as validation and inference of its spec see it, whatever it is written in.

    Args:
        parameters: what the model calls its inputs, where it does.
        arity: the fewest and the most inputs that it accepts.
        refuses: why it does not take inputs of some names; empty where it does.
        inputs: their specs, where the model itself knows them.
        digest: of the weights that it was built with.
        run: its outputs on inputs, named in order.
        changed: whether its weights are no longer those that it was built with.
        float64_problem: why it cannot be computed in float64, or None.
        axes: the sizes of symbolic axes, where the model itself was found to need others.
        notes: what a reader should know of its inputs, a line each.
        oracle: of an ONNX file, how it is computed in float64.
        weights: how many numbers its weights hold, without tables that are read by index; 0 where
            nobody knows.
        computes: the class of precision in which its first call multiplied, or its layers ask to;
            empty before that call, and for float32.
        bfloat16: places of the outputs that its calls so far gave in bfloat16.
        exact: places of the outputs that nothing in half precision reached in its first call.
        in_float64: its answers in float64, of what ``float64_problem`` was asked.
    """

    framework: str
    parameters: tuple[str, ...]
    arity: tuple[int, int]
    inputs: tuple[TensorSpec, ...]
    digest: str
    run: Callable[[Inputs], Answer]
    changed: Callable[[], bool]
    float64_problem: Callable[[Inputs], str | None]
    refuses: Callable[[Sequence[str]], str] = lambda names: ""
    axes: Axes = ()
    notes: tuple[str, ...] = ()
    oracle: Callable[[Sequence[Inputs]], Oracle] | None = None
    weights: int = 0
    computes: Sequence[str] = ()
    bfloat16: Collection[int] = ()
    exact: Collection[int] = ()
    in_float64: Sequence[Answer] = ()


def signature(function: Any) -> tuple[tuple[str, ...], int, int]:
    """Names of its positional parameters, and the fewest and the most of them."""
    kinds = inspect.Parameter
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return (), 1, MANY
    plain = [p for p in found if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    least = sum(p.default is kinds.empty for p in plain)
    most = MANY if any(p.kind is kinds.VAR_POSITIONAL for p in found) else len(plain)
    return tuple(p.name for p in plain), least, most


def labels_of(result: Any) -> tuple[str, ...]:
    """What a dict or a named tuple calls its outputs; nothing where they are nested deeper."""
    parts = result._asdict() if hasattr(result, "_asdict") else result
    if not isinstance(parts, Mapping):
        return ()
    members = {str(name): part for name, part in parts.items() if part is not None}
    plain = all(hasattr(part, "shape") or is_maps(part) for part in members.values())
    return tuple(members) if plain else ()


def with_names(found: list[Any], names: tuple[str, ...] = ()) -> Answer:
    """Outputs under their own names, or ``output``, or ``output_0`` and so on."""
    if len(set(names)) == len(names) == len(found) and len(found) > 1:
        return named(names, found)
    return named(_made_up(len(found)), found)


def _made_up(count: int) -> list[str]:
    """What outputs without names of their own are called."""
    return ["output"] if count == 1 else [f"output_{place}" for place in range(count)]


def unnamed(names: Sequence[str]) -> tuple[str, ...]:
    """The outputs, where nobody named them: all or none."""
    own = [name for name in names if not is_keys(name)]
    return tuple(names) if own == _made_up(len(own)) else ()
