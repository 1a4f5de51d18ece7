"""What the suite takes of torch beyond its public interface, all of it in this module.

A version of torch that keeps one of these otherwise is named when the worker starts
(:func:`self_test`), before it can make a verdict wrong.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any, NamedTuple

import torch

from onnx_conformance.core.errors import ConformanceError


def _broken(what: str) -> ConformanceError:
    return ConformanceError(
        f"PyTorch {torch.__version__} has changed {what}, which onnx-conformance relies on: "
        "install the version of constraints.txt, or a newer onnx-conformance"
    )


try:
    from torch._decomp import decomposition_table
    from torch._ops import HigherOrderOperator
    from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
    from torch.utils._pytree import tree_leaves, tree_map

    CPU_KERNELS = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
except (ImportError, AttributeError) as error:
    raise _broken(str(error)) from error

__all__ = [
    "CPU_KERNELS",
    "DispatchMode",
    "HigherOrderOperator",
    "decomposition_table",
    "modes_disabled",
    "tree_leaves",
    "tree_map",
]
modes_disabled = _disable_current_modes


class DispatchMode(TorchDispatchMode):  # type: ignore[no-untyped-call] # of the base
    """torch's base class of modes over operators, without its compiler."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not: shielding a mode from the compiler would load it, which takes as long as torch."""
        return False


class Argument(NamedTuple):
    """An argument of an operator, and whether the operator overwrites it."""

    name: str
    written: bool


def arguments_of(func: Any) -> list[Argument]:
    """The arguments of an operator, in order."""
    return [
        Argument(a.name, bool(a.alias_info and a.alias_info.is_write))
        for a in func._schema.arguments
    ]


def named_arguments(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """The values that an operator is called with, by the names of its arguments."""
    return {**{a.name: value for a, value in zip(arguments_of(func), args, strict=False)}, **kwargs}


def writes(func: Any) -> bool:
    """Whether an operator overwrites one of its arguments."""
    return bool(func._schema.is_mutable)


def overload_name(func: Any) -> str:
    """``Tensor`` of ``aten.add.Tensor``."""
    return str(func._overloadname)


class _Seen(DispatchMode):  # type: ignore[no-untyped-call] # of the base
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # of the base
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def self_test() -> None:
    """Use each of them once, to find out whether it still works.

    Triton, which torch's compiler imports later, is imported now: after TensorFlow, which a user's
    file may import, it ends the process (both bring LLVM, and its options exist once).

    Raises:
        ConformanceError: one does not do what is relied on; names the version.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")
    add, add_in_place = torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor
    x = torch.ones(2)
    with _Seen() as seen, modes_disabled():
        x + x
    with seen:
        x + x
    found = {
        "the schemas of operators": [a.name for a in arguments_of(add)]
        == ["self", "other", "alpha"]
        and [a.written for a in arguments_of(add_in_place)] == [True, False, False]
        and writes(add_in_place)
        and not writes(add)
        and overload_name(add) == "Tensor",
        "its dispatch modes": seen.names == ["add"],
        "its table of decompositions": torch.ops.aten.addcmul.default in decomposition_table,
        "its trees of tensors": tree_leaves(tree_map(lambda leaf: leaf + 1, [1, (2,)])) == [2, 3],
    }
    for what, kept in found.items():
        if not kept:
            raise _broken(what)
