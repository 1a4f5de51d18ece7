"""Outputs of a torch model that are positions, and the numbers they were chosen from."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from onnx_conformance.core.arrays import Arrays
from onnx_conformance.core.ties import CANDIDATES, LAYOUT, layout
from onnx_conformance.workers.torch.modes import OperatorMode
from onnx_conformance.workers.torch.precision import array_of
from onnx_conformance.workers.torch.private import arguments_of, named_arguments, writes

# Operator -> which of its results are positions, and the place of its ``dim`` argument.
CHOOSING_OPERATORS = {
    "argmax": (None, 1), "argmin": (None, 1), "argsort": (None, 1), "kthvalue": (1, 2),
    "max": (1, 1), "median": (1, 1), "min": (1, 1), "sort": (1, 1), "topk": (1, 2),
}  # fmt: skip
MOST_CANDIDATES = 2**20  # numbers beside an output: of a segmenter's classes there are more
LAST_AXIS_OPERATORS = {"argsort", "kthvalue", "sort", "topk"}  # unless told otherwise
FIRST = {"argmax", "argmin"}  # torch documents that they take the first of equals, as ONNX does
SAME = {
    "_to_copy", "alias", "clone", "contiguous", "detach", "flatten", "reshape", "squeeze", "to",
    "unsqueeze", "view", "_unsafe_view",
}  # fmt: skip


class Choosing(OperatorMode):  # type: ignore[no-untyped-call] # of the base
    """Within it the operators that answer positions are written down.

    So is what follows from them without a change of order.
    """

    def __init__(self) -> None:
        super().__init__()
        self._made: Any = WeakTensorKeyDictionary()

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name in CHOOSING_OPERATORS and args and not writes(func):
            self._note(name, func, args, kwargs, result)
        elif name in SAME and args and isinstance(result, torch.Tensor):
            source = args[0]
            if source in self._made and result is not source:
                self._made[result] = self._made[source]
        return result

    def _note(self, name: str, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        which, place = CHOOSING_OPERATORS[name]
        arguments = named_arguments(func, args, kwargs)
        numbers, axis = args[0], arguments.get("dim", -1 if name in LAST_AXIS_OPERATORS else None)
        tupled = isinstance(result, tuple)
        if axis is None or tupled != (which is not None) or numbers.dim() < 2:
            return
        if name in FIRST and not numbers.is_floating_point():  # nothing rounds, and the first wins
            return
        positions, axis = (result if which is None else result[which]), axis % numbers.dim()
        if axis == 0 or not isinstance(positions, torch.Tensor) or numbers.is_complex():
            return
        kept = positions.dim() == numbers.dim()
        ranked = bool(arguments.get("sorted", True))
        candidates = numbers.detach().movedim(axis, -1).contiguous()
        shape = tuple(positions.shape)
        self._made[positions] = (candidates, layout(axis if kept else None, ranked, shape))

    def beside(self, outputs: list[str], tensors: list[torch.Tensor]) -> Arrays:
        """What the judge must know beside outputs that are positions."""
        found: Arrays = {}
        for name, tensor in zip(outputs, tensors, strict=False):
            if tensor in self._made:
                candidates, where = self._made[tensor]
                if candidates.numel() > MOST_CANDIDATES:
                    continue
                found[name + CANDIDATES] = array_of(candidates)
                found[name + LAYOUT] = where
        return found


def whole(tensors: list[torch.Tensor]) -> bool:
    """Whether some output may be positions."""
    return any(not t.is_floating_point() and t.dtype != torch.bool for t in tensors)


def first_of_equals(name: str, func: Any, args: Any, kwargs: Any) -> Any:
    """The operator's result with the first position among equal numbers, as ONNX has it.

    torch leaves open which one it takes; a replica of native takes the first. None where the
    operator has no position to choose, and of numbers that are no numbers.
    """
    labels = [argument.name for argument in arguments_of(func)]
    arguments = named_arguments(func, args, kwargs)
    x, axis = args[0], arguments.get("dim", -1 if name in LAST_AXIS_OPERATORS else None)
    if axis is None or not x.dim() or not x.numel() or bool(x.isnan().any()):
        return None
    if name in ("argmax", "argmin", "max", "min"):
        if name in ("max", "min") and "keepdim" not in labels:  # of two tensors
            return None
        keep = bool(arguments.get("keepdim", False))
        best = x.amax(axis, keepdim=True) if name.endswith("max") else x.amin(axis, keepdim=True)
        shape = [-1 if place == axis % x.dim() else 1 for place in range(x.dim())]
        places = torch.arange(x.shape[axis]).reshape(shape)
        found = torch.where(x == best, places, x.shape[axis]).amin(axis, keepdim=keep)
        if name.startswith("arg"):
            return found
        return torch.return_types.max((best if keep else best.squeeze(axis), found))
    if name in ("sort", "argsort", "topk"):
        downwards = bool(arguments.get("descending", arguments.get("largest", name == "topk")))
        values, found = torch.sort(x, dim=axis, descending=downwards, stable=True)
        if name == "topk":
            count = int(arguments["k"])
            values, found = values.narrow(axis, 0, count), found.narrow(axis, 0, count)
        return found if name == "argsort" else torch.return_types.sort((values, found))
    return None
