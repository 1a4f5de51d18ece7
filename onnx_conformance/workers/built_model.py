"""User models: how a framework takes what users hand in, and what a built model can tell."""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnx_conformance.core.arrays import Arrays
from onnx_conformance.core.plain_outputs import is_keys, is_maps, named
from onnx_conformance.core.spec import Axes, TensorSpec
from onnx_conformance.inputs.recipes import Inputs


@dataclass(frozen=True)
class FileOracle:
    """How an ONNX file is computed in float64.

    Args:
        by_runtime: domains and kinds of the operators that ONNX Runtime's float64 kernels compute.
        problem: why it cannot be computed so; empty if it can.
        basis: one sentence: what a verdict against this file rests on.
    """

    by_runtime: frozenset[tuple[str, str]]
    problem: str
    basis: str

    @property
    def kernels(self) -> tuple[str, ...]:
        """The operators that ONNX Runtime computes, as texts, which a request carries."""
        return tuple(sorted(f"{domain}:{kind}" for domain, kind in self.by_runtime))


@dataclass
class Observed:
    """What the calls of a model showed so far, where its framework can tell.

    Args:
        precision: the class of precision in which its first call multiplied, or its layers ask to;
            empty before that call, and for float32.
        bfloat16: places of the outputs that were given in bfloat16.
        exact: places of the outputs that nothing in half precision reached in the first call.
        in_float64: its answers in float64, of what ``float64_problem`` was asked.
    """

    precision: str = ""
    bfloat16: set[int] = field(default_factory=set)
    exact: set[int] | None = None
    in_float64: list[Arrays] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class BuiltModel:
    """A built model as validation and inference of its spec see it, whatever it is written in.

    Args:
        framework: the name of its record.
        parameters: what the model calls its inputs, where it does.
        inputs: their specs, where the model itself knows them.
        digest: of the weights that it was built with.
        run: its outputs on inputs, named in order.
        changed: whether its weights are no longer those that it was built with.
        float64_problem: why it cannot be computed in float64, or None.
        refuses: why it does not take inputs of some names; empty where it does.
        axes: the sizes of symbolic axes, where the model itself was found to need others.
        notes: what a reader should know of its inputs, a line each.
        oracle: of an ONNX file, how it is computed in float64.
        weights: how many numbers its weights hold, without tables that are read by index; 0 where
            nobody knows.
        seen: what its calls show, as they are made.
    """

    framework: str
    parameters: tuple[str, ...]
    run: Callable[[Inputs], Arrays]
    inputs: tuple[TensorSpec, ...] = ()
    digest: str = ""
    changed: Callable[[], bool] = lambda: False
    float64_problem: Callable[[Inputs], str | None] = lambda input_set: None
    refuses: Callable[[Sequence[str]], str] = lambda names: ""
    axes: Axes = ()
    notes: tuple[str, ...] = ()
    oracle: Callable[[Sequence[Inputs]], FileOracle] | None = None
    weights: int = 0
    seen: Observed = field(default_factory=Observed)


class UserModels(ABC):
    """How a framework takes the models that users hand in.

    A subclass in ``workers/<framework>/user_models.py``, which the framework's record names. It is
    imported only where the framework is.
    """

    @abstractmethod
    def owns(self, model: Any) -> bool:
        """Whether what a builder returned is a model of this framework."""

    @abstractmethod
    def built(
        self, name: str, model: Any, threads: int | None, declared: Sequence[TensorSpec] = ()
    ) -> BuiltModel:
        """``model`` in inference mode, ready to be run.

        Args:
            name: of the model, for messages.
            threads: to compute with; None leaves them as they are.
            declared: the inputs, where its registration names them.

        Raises:
            UsageError: it cannot be judged.
        """

    def seed(self, seed: int) -> None:  # noqa: B027 - nothing to do but where it is overridden
        """Seed what builders draw weights from."""

    def settings(self) -> Any:
        """What a builder may change of the framework, for :meth:`restore`."""
        return None

    def restore(self, settings: Any) -> None:  # noqa: B027 - as above
        """Undo what a builder changed; ``settings`` are None where it imported the framework."""

    def copier(self, model: Any) -> Callable[[], Any]:
        """A function that copies a live model as it is now, for workers in this process."""
        return lambda: copy.deepcopy(model)

    def save(self, model: Any, folder: Path) -> tuple[str, str]:
        """Write a live model for a worker of its own: a builder (module:name) and its argument.

        Only frameworks whose record says ``runs_live=False`` have this.
        """
        raise NotImplementedError


def takes_only(parameters: Sequence[str]) -> Callable[[Sequence[str]], str]:
    """A ``refuses`` of a :class:`BuiltModel` that takes as many inputs as it has parameters."""

    def refuses(names: Sequence[str]) -> str:
        if len(names) == len(parameters):
            return ""
        return (
            f"takes {len(parameters)} inputs ({', '.join(parameters) or 'unnamed'}), "
            f"but its spec has {len(names)}: {', '.join(names)}"
        )

    return refuses


def parameters_of(function: Any) -> tuple[str, ...]:
    """Names of a function's positional parameters; none where it tells none."""
    kinds = inspect.Parameter
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    plain = (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    return tuple(parameter.name for parameter in found if parameter.kind in plain)


def labels_of(result: Any) -> tuple[str, ...]:
    """What a dict or a named tuple calls its outputs; nothing where they are nested deeper."""
    parts = result._asdict() if hasattr(result, "_asdict") else result
    if not isinstance(parts, Mapping):
        return ()
    members = {str(name): part for name, part in parts.items() if part is not None}
    plain = all(hasattr(part, "shape") or is_maps(part) for part in members.values())
    return tuple(members) if plain else ()


def with_names(found: list[Any], names: tuple[str, ...] = ()) -> Arrays:
    """Outputs under their own names, or ``output``, or ``output_0`` and so on."""
    if len(set(names)) == len(names) == len(found) and len(found) > 1:
        return named(names, found)
    return named(_numbered(len(found)), found)


def _numbered(count: int) -> list[str]:
    """What outputs without names of their own are called."""
    return ["output"] if count == 1 else [f"output_{place}" for place in range(count)]


def unnamed(names: Sequence[str]) -> tuple[str, ...]:
    """The outputs, where nobody named them: all or none."""
    own = [name for name in names if not is_keys(name)]
    return tuple(names) if own == _numbered(len(own)) else ()
