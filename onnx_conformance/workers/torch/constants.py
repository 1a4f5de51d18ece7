"""What a torch module computes of its parameters alone, and which of them it reads at all.

Runs in the worker's process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from onnx_conformance.core.native_constants import ConstantRecord, Values
from onnx_conformance.workers.torch.modes import (
    OperatorMode,
    called_eagerly,
    following,
    tensors_in,
    without_fused_attention,
)
from onnx_conformance.workers.torch.private import (
    arguments_of,
    decomposition_table,
    modes_disabled,
    named_arguments,
    tree_map,
    writes,
)

_NORMS = {"native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm", "miopen_batch_norm"}
_NUMBERS = {"_local_scalar_dense", "item", "equal", "is_nonzero"}
# Operators that read a tensor's sizes alone.
_OF_SIZES = {
    "empty_like", "full_like", "new_empty", "new_full", "new_ones", "new_zeros", "ones_like",
    "zeros_like",
}  # fmt: skip
FOLLOWED = ("cond", "while_loop")  # operators of other operators
_ERRORS = (RuntimeError, NotImplementedError, TypeError, ValueError)


@dataclass
class _Node:
    name: str
    operands: list[int] = field(default_factory=list)
    copies: list[int] = field(default_factory=list)
    used: bool = False
    values: Values | None = None


@dataclass(frozen=True)
class Constants:
    """What was seen while a module ran.

    Args:
        values: those of the records, by name, where they are kept.
        idle: native tensors from which nothing led to an output: read in training alone, or for
            a result that is discarded (BERT's pooler, where the hidden states are asked for).
        batch_statistics: how many normalisations took their statistics from the batch.
        constant_outputs: places of the outputs that no number of an input reaches.
    """

    records: tuple[ConstantRecord, ...] = ()
    values: dict[str, Values] = field(default_factory=dict)
    idle: frozenset[str] = frozenset()
    batch_statistics: int = 0
    constant_outputs: tuple[int, ...] = ()


def constants_of(
    module: torch.nn.Module, examples: Iterable[tuple[torch.Tensor, ...]]
) -> Constants:
    """Run the module on each example and follow what no input has a part in.

    The records are of the first example. A tensor is idle if none of the examples reads it: the
    others, which the module may refuse, are run only while there is one that might be read.
    """
    first: _ConstantTracer | None = None
    idle: set[str] | None = None
    for example in examples:
        if idle is not None and not any(_trained(module, name) for name in idle):
            break
        try:
            tracer = called_eagerly(partial(_traced, module, example, keep=first is None))
        except Exception:
            if first is None:
                raise
            continue
        idle = tracer.idle() if idle is None else idle & tracer.idle()
        first = first or tracer
    return first.found(idle or set()) if first is not None else Constants()


def _traced(
    module: torch.nn.Module, example: tuple[torch.Tensor, ...], *, keep: bool
) -> _ConstantTracer:
    tracer = _ConstantTracer(module, keep=keep)
    tracer.run(module, example)
    return tracer


def _trained(module: torch.nn.Module, name: str) -> bool:
    """Whether a tensor may hold trained numbers: a counter does not."""
    tensor = module.state_dict()[name]
    return bool(tensor.is_floating_point() or tensor.is_complex())


class _ConstantTracer(OperatorMode):  # type: ignore[no-untyped-call] # of the base
    """Keeps the tensors that depend on no input, and what each was computed of.

    Of those that do depend on one, it keeps which constants they were computed of, too: a constant
    is used if an output was.
    """

    enters_compositions = False

    def __init__(self, module: torch.nn.Module, *, keep: bool) -> None:
        super().__init__()
        self.batch_statistics = 0
        self.constant_outputs: tuple[int, ...] = ()
        self._numbers_taken = False  # of what depends on an input: what they lead to is not seen
        self._keep = keep
        self._nodes: list[_Node] = []
        self._natives: dict[str, int] = {}
        self._places: Any = WeakTensorKeyDictionary()  # constants -> their nodes' places
        # what depends on an input -> the places of the constants that it was computed of
        self._constants: Any = WeakTensorKeyDictionary()
        self._exact: Any = WeakTensorKeyDictionary()  # constants -> the same in float64
        self._modules: list[str] = []
        self._within = 0
        for name, tensor in module.state_dict(keep_vars=True).items():
            if tensor not in self._places:
                self._places[tensor] = self._add(_Node(name))
            self._natives[name] = self._places[tensor]

    def run(self, module: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> None:
        """Call the module. What depends on no input and is an output is used too."""
        with without_fused_attention(), torch.no_grad(), following(module, self._modules):
            for tensor in example:
                self._constants[tensor] = frozenset()
            with self:
                result = module(*example)
        outputs = tensors_in(result)
        self._use(outputs)
        fed = [tensor in self._constants for tensor in outputs]
        known = any(
            made and all(tensor is not one for one in example)
            for tensor, made in zip(outputs, fed, strict=True)
        )
        if known and not self._numbers_taken:
            self.constant_outputs = tuple(n for n, one in enumerate(fed) if not one)
        # an output in a container that torch does not know: whatever was made may lead to it
        self._use_what_leads_to(outputs if known else list(self._constants))

    def idle(self) -> set[str]:
        """The native tensors of which nothing is used."""
        live = {place for place, node in enumerate(self._nodes) if node.used}
        for place in range(len(self._nodes) - 1, -1, -1):  # operands stand before
            if place in live:
                live.update(self._nodes[place].operands)
        return {name for name, place in self._natives.items() if place not in live}

    def found(self, idle: set[str]) -> Constants:
        """What was computed, without the native tensors, and the values that were kept.

        Native tensors are operands of these records, and one that meets an input says so by a
        record of its own name.
        """
        natives = set(self._natives.values())
        found: list[ConstantRecord] = []
        for place, node in enumerate(self._nodes):
            if place in natives and not node.used:
                continue
            found.append(
                {
                    "name": node.name,
                    "operands": [self._nodes[one].name for one in node.operands],
                    "copies": [self._nodes[one].name for one in node.copies],
                    "used": node.used,
                }
            )
        values = {node.name: node.values for node in self._nodes if node.values is not None}
        return Constants(
            tuple(found), values, frozenset(idle), self.batch_statistics, self.constant_outputs
        )

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Keep what the operator makes, and of what."""
        given = [] if self._reads_no_number(func, args) else tensors_in((args, kwargs))
        result = func(*args, **kwargs)
        if all(tensor not in self._constants for tensor in given):
            self._note(func, args, kwargs, given, result)
            return result
        made, name = tensors_in(result), func.overloadpacket.__name__
        if name in _NUMBERS or not made:
            self._use_in_code(given)
        for written in self._sharing(_written(func, args, kwargs)):
            self._fed([written], [*given, written])
        self._fed(made, given)
        if not self._within and name in _NORMS:
            told = named_arguments(func, args, kwargs).get("training", False)
            self.batch_statistics += bool(told)  # to take its statistics of the batch
        return result

    def _reads_no_number(self, func: Any, args: Any) -> bool:
        """Whether an operator makes of its inputs' sizes alone what it makes: also 0 times them.

        A weight that is 0, as a layer's scale may be before training, is a number like others.
        """
        name = func.overloadpacket.__name__
        if name != "mul":
            return name in _OF_SIZES
        known = [one for one in args if not isinstance(one, torch.Tensor)]
        known += [
            one.item()
            for one in tensors_in(args)
            if not (one.ndim or one in self._places or one in self._constants)
        ]
        return 0 in known

    def compute_higher_order(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Which of its arguments the functions read is up to the model's code."""
        if func.name() not in FOLLOWED:
            raise NotImplementedError(f"which tensors {func.name()} reads")
        self._use_in_code(tensors_in((args, kwargs)))
        return super().compute_higher_order(func, args, kwargs)

    def branch(self, chosen: Any, other: Any, operands: Any) -> Any:
        """The result of ``torch.cond``, whose other branch is read at other inputs."""
        with self:
            self._use_in_code(tensors_in(other(*operands)))
            return chosen(*operands)

    def _add(self, node: _Node) -> int:
        self._nodes.append(node)
        return len(self._nodes) - 1

    def _use(self, tensors: Iterable[torch.Tensor]) -> None:
        """Mark those of the tensors that are constants as used."""
        for tensor in tensors:
            if tensor in self._places and not self._within:
                self._nodes[self._places[tensor]].used = True

    def _use_in_code(self, tensors: list[torch.Tensor]) -> None:
        """From here on they are numbers of the code's, which may use all that leads to them."""
        self._numbers_taken = True
        self._use_what_leads_to(tensors)
        self._use(tensors)

    def _fed(self, made: list[torch.Tensor], given: list[torch.Tensor]) -> None:
        """Keep of which constants tensors that depend on an input were computed."""
        own = (self._places[tensor] for tensor in given if tensor in self._places)
        constants = frozenset(own).union(*(self._constants.get(one, ()) for one in given))
        for tensor in made:
            self._places.pop(tensor, None)
            self._constants[tensor] = constants

    def _use_what_leads_to(self, tensors: Iterable[torch.Tensor]) -> None:
        """Mark the constants that these tensors were computed of as used."""
        for tensor in tensors:
            for place in self._constants.get(tensor, ()):
                self._nodes[place].used = True

    def _place(self, tensor: torch.Tensor) -> int:
        """The place of an operand; of one that nothing is known of, a new one."""
        place = self._places.get(tensor)
        if place is None:
            place = self._places[tensor] = self._add(_Node(self._name("tensor")))
            self._value(place, tensor)
        return int(place)

    def _name(self, operator: str) -> str:
        module = self._modules[-1] if self._modules else ""
        return f"{module}: {operator} #{len(self._nodes)}".lstrip(": ")

    def _note(
        self, func: Any, args: Any, kwargs: Any, given: list[torch.Tensor], result: Any
    ) -> None:
        operands = list(dict.fromkeys(self._place(tensor) for tensor in given))
        name = func.overloadpacket.__name__
        if name in _NUMBERS:  # from here on it is a number of the code's
            number = torch.as_tensor(result)
            place = self._add(_Node(self._name(name), operands, used=not self._within))
            self._value(place, number)
            return
        made = tensors_in(result)
        for tensor in self._sharing(_written(func, args, kwargs)):
            sources = list(dict.fromkeys([self._place(tensor), *operands]))
            self._exact.pop(tensor, None)
            self._places[tensor] = self._add(_Node(self._name(name), sources))
            self._value(self._places[tensor], tensor)
        if writes(func):
            return
        steps: list[torch.Tensor] | None = None
        exact: list[torch.Tensor] | None = None
        for order, tensor in enumerate(made):
            if any(tensor is one for one in given):
                continue
            alias = self._alias(tensor, given)
            if self._keep and (alias is None or given[0] in self._exact):
                exact = self._in_double(func, args, kwargs) if exact is None else exact
                same = order < len(exact) and exact[order].shape == tensor.shape
                if same and tensor.is_floating_point():
                    self._exact[tensor] = exact[order]
            if alias is not None:
                self._places[tensor] = alias
                continue
            place = self._places[tensor] = self._add(_Node(self._name(name), list(operands)))
            self._value(place, tensor)
            if tensor.is_floating_point() and operands and self._keep:
                steps = self._steps(func, args, kwargs) if steps is None else steps
                twin = self._places.get(steps[order]) if order < len(steps) else None
                self._nodes[place].copies = [twin] if twin not in (None, place) else []

    def _sharing(self, written: list[torch.Tensor]) -> list[torch.Tensor]:
        """The known tensors of which what was overwritten is a part, and it itself."""
        if not written:
            return []
        places = {tensor.untyped_storage().data_ptr() for tensor in written}
        known = [
            tensor
            for tensor in (*self._places, *self._constants)
            if tensor.untyped_storage().data_ptr() in places
        ]
        return [*known, *(t for t in written if all(t is not one for one in known))]

    def _alias(self, tensor: torch.Tensor, given: list[torch.Tensor]) -> int | None:
        """The place of the only operand if it holds the same numbers, in whatever shape."""
        if len(given) != 1 or given[0] is tensor:
            return None
        one = given[0]
        if one.numel() != tensor.numel() or one.dtype != tensor.dtype:
            return None
        views = one.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
        if views or torch.equal(one.reshape(-1), tensor.reshape(-1)):
            return self._place(one)
        return None

    def _steps(self, func: Any, args: Any, kwargs: Any) -> list[torch.Tensor]:
        """What an operator's own steps end in: exporters write some of them out."""
        steps: Callable[..., Any] | None = decomposition_table.get(func)
        if steps is None or self._within or writes(func):
            return []
        self._within += 1
        try:
            with self:
                return tensors_in(steps(*args, **kwargs))
        except _ERRORS:
            return []
        finally:
            self._within -= 1

    # -- values ------------------------------------------------------------------------------

    def _value(self, place: int, tensor: torch.Tensor) -> None:
        """Keep a floating tensor's values."""
        if not self._keep or not tensor.is_floating_point() or not tensor.numel():
            return
        exact, native = (
            one.float().contiguous().numpy().copy() for one in (self._double(tensor), tensor)
        )
        self._nodes[place].values = Values(exact, native)

    def _double(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor as float64 would have it."""
        if not tensor.is_floating_point():
            return tensor
        known: torch.Tensor | None = self._exact.get(tensor)
        return tensor.detach().double() if known is None else known

    def _in_double(self, func: Any, args: Any, kwargs: Any) -> list[torch.Tensor]:
        def widened(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return self._double(value)
            return torch.float64 if value is torch.float32 else value

        args, kwargs = tree_map(widened, (args, kwargs))
        try:
            with modes_disabled():
                return tensors_in(func(*args, **kwargs))
        except _ERRORS:
            return []


def _written(func: Any, args: Any, kwargs: Any) -> list[torch.Tensor]:
    """The arguments that an operator overwrites."""
    if not writes(func):
        return []
    values = named_arguments(func, args, kwargs)
    return tensors_in([values.get(one.name) for one in arguments_of(func) if one.written])
