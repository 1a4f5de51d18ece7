"""What the suite's modes over torch's operators share: the base class, and how a module is copied.

A mode sees every operator that a module calls, also those inside ``torch.cond``,
``torch.while_loop`` and operators of other libraries that are written in Python.
"""

from __future__ import annotations

import contextlib
import copy
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch

from onnx_conformance.workers.torch.private import (
    CPU_KERNELS,
    DispatchMode,
    HigherOrderOperator,
    tree_leaves,
)

T = TypeVar("T")

# Operators of other namespaces are compositions: torch.library.custom_op, torchvision.
BUILT_IN = {"aten", "prim", "prims"}
HOOKS = ("_hooks", "_hooks_with_kwargs", "_hooks_always_called")  # of torch.nn.Module's tables


class OperatorMode(DispatchMode):  # type: ignore[no-untyped-call] # of the base
    """Hands every operator to :meth:`compute`; ``torch.cond`` and ``torch.while_loop`` run eagerly.

    Attributes:
        enters_compositions: whether it sees what these are made of, and not them.
    """

    supports_higher_order_operators = True
    enters_compositions = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # of the base

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator):
            return self.compute_higher_order(func, args, kwargs)
        if self.enters_compositions and func.namespace not in BUILT_IN:
            with self:
                return func.redispatch(CPU_KERNELS, *args, **kwargs)
        return self.compute(func, args, kwargs)

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The operator's result; within it the mode is off."""
        raise NotImplementedError

    def compute_higher_order(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of an operator of functions; others than these two run without the mode."""
        name = func.name()
        if name == "cond" and not kwargs:
            first, second, operands = args[1:] if len(args) > 3 else (*args[1:], ())
            chosen, other = (first, second) if bool(args[0]) else (second, first)
            return self.branch(chosen, other, operands)
        if name == "while_loop" and not kwargs:
            condition, body, carried, *rest = args
            extra = tuple(rest[0]) if rest else ()
            with self:
                while bool(condition(*carried, *extra)):
                    carried = body(*carried, *extra)
            return tuple(carried)
        return func(*args, **kwargs)

    def branch(self, chosen: Any, other: Any, operands: Any) -> Any:
        """The result of ``torch.cond``."""
        with self:
            return chosen(*operands)


@contextlib.contextmanager
def eagerly() -> Iterator[None]:
    """Within it nothing is compiled: neither ``torch.compile`` nor ``torch.cond`` traces a module.

    Hooks and modes reach every operator so, and a module's answer is eager's. Nothing is done
    while torch's compiler is not loaded, which takes as long as torch itself.
    """
    if not _compiler_loaded():
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextlib.contextmanager
def without_fused_attention() -> Iterator[None]:
    """Within it attention runs operator by operator: torch's fused one hides a whole layer."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def called_eagerly(call: Callable[[], T]) -> T:
    """What ``call`` gives within :func:`eagerly`; where it loads the compiler, a second call's."""
    before = _compiler_loaded()
    try:
        with eagerly():
            result = call()
    except Exception:
        if before or not _compiler_loaded():
            raise
    else:
        if before or not _compiler_loaded():
            return result
    with eagerly():
        return call()


def _compiler_loaded() -> bool:
    return "torch._dynamo" in sys.modules


def evaluated(module: torch.nn.Module) -> torch.nn.Module:
    """The module in eval mode; what torch.export made stays in the mode that it was made in."""
    with contextlib.suppress(NotImplementedError):
        module.eval()
    return module


class AsBuilt:
    """What the parts of a module held before it was first called, beside its parameters.

    Many keep what they computed of a first input (tables of positions, masks): an export of a
    module that was called before would have those of that input's size. Some register hooks at
    their first call, and would do so a second time beside those that a copy already has.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._held = [(part, _attributes(part)) for part in plain_parts(module).values()]
        for _, (attributes, _) in self._held:
            hooks = {n: value for n, value in attributes.items() if n.endswith(HOOKS)}
            attributes.update({n: copy.copy(value) for n, value in hooks.items()})

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """Within it, the parts hold that again."""
        later = [(part, _attributes(part)) for part, _ in self._held]
        _hold(self._held)
        try:
            yield
        finally:
            _hold(later)


def plain_parts(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The parts by path, without what is compiled by TorchScript, which takes no hooks."""
    named = module.named_modules()
    return {path: part for path, part in named if not isinstance(part, torch.jit.ScriptModule)}


@contextlib.contextmanager
def following(module: torch.nn.Module, running: list[str]) -> Iterator[None]:
    """As the module runs, the last of ``running`` is the path of the part that does."""
    hooks = []
    for path, part in plain_parts(module).items():
        enter = part.register_forward_pre_hook(
            lambda *_, path=path: running.append(path), prepend=True
        )
        leave = part.register_forward_hook(lambda *_: _drop_last(running), always_call=True)
        hooks += [enter, leave]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _drop_last(running: list[str]) -> None:
    running.pop()  # what a hook returns would replace the output


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors of arguments or results, at any depth."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _attributes(part: torch.nn.Module) -> tuple[dict[str, Any], dict[str, Any]]:
    return dict(vars(part)), dict(part._buffers)


def _hold(held: list[tuple[torch.nn.Module, tuple[dict[str, Any], dict[str, Any]]]]) -> None:
    for part, (attributes, buffers) in held:
        vars(part).clear()
        vars(part).update(attributes)
        part._buffers.clear()
        part._buffers.update(buffers)


def copied(module: torch.nn.Module, built: AsBuilt | None = None) -> torch.nn.Module:
    """A deep copy, also of a module that keeps tensors which it computed.

    torch copies no tensor that has a history, such as the ``weight`` that
    ``torch.nn.utils.weight_norm`` keeps as a plain attribute; its value is copied instead.

    Args:
        built: with what the module held then, not with what its calls left.
    """
    with built.restored() if built else contextlib.nullcontext():
        memo: dict[int, Any] = {}
        for part in module.modules():
            for leaf in tree_leaves(list(vars(part).values())):
                if isinstance(leaf, torch.Tensor) and not leaf.is_leaf:
                    memo[id(leaf)] = leaf.detach().clone()
        made = copy.deepcopy(module, memo)
    for part in plain_parts(made).values():
        _rebind(vars(part), memo)
    return made


def _rebind(attributes: dict[Any, Any], memo: dict[int, Any]) -> None:
    """Have a copy's functions (a replaced ``forward``, hooks) refer to the copy.

    ``deepcopy`` leaves functions as they are, so those that close over a part of the module or
    over a dict of its own would read and write the original's.
    """
    for name, value in list(attributes.items()):
        if isinstance(value, types.FunctionType):
            attributes[name] = _rebound(value, memo)
        elif isinstance(value, dict) and str(name).endswith("_hooks"):
            _rebind(value, memo)


def _rebound(function: types.FunctionType, memo: dict[int, Any]) -> types.FunctionType:
    cells = [_of_copy(cell, memo) for cell in function.__closure__ or ()]
    if all(new is old for new, old in zip(cells, function.__closure__ or (), strict=True)):
        return function
    made = types.FunctionType(
        function.__code__, function.__globals__, function.__name__,
        function.__defaults__, tuple(cells),
    )  # fmt: skip
    made.__kwdefaults__ = function.__kwdefaults__
    vars(made).update(vars(function))
    return made


def _of_copy(cell: types.CellType, memo: dict[int, Any]) -> types.CellType:
    try:
        value = cell.cell_contents
    except ValueError:  # an empty cell
        return cell
    if isinstance(value, types.FunctionType):
        other: Any = _rebound(value, memo)
    elif isinstance(value, types.MethodType):
        owner = memo.get(id(value.__self__), value.__self__)
        other = value if owner is value.__self__ else types.MethodType(value.__func__, owner)
    else:
        other = memo.get(id(value), value)
    return cell if other is value else types.CellType(other)
