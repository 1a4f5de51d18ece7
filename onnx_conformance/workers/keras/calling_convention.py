"""How Keras models take their inputs: alone, in a list, in a dict, or an argument each."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from onnx_conformance.workers.calling_convention import CallingConvention, convention_of
from onnx_conformance.workers.keras.private import inputs_structure

_KERAS_OWN = ("training", "mask")  # parameters of ``call`` that are no inputs
# What code that takes a dict raises on a list, and the other way round.
_MISTAKEN = (TypeError, KeyError, IndexError, AttributeError, ValueError)


class KerasCall:
    """A model as a function of inputs in the order of its spec.

    A subclassed model does not say whether its one argument is a list or a dict: the first call
    finds out, with a list first.
    """

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        self._model = model
        self._ways = _ways(model, list(names))

    def arguments(self, values: Sequence[Any]) -> list[Any]:
        """The positional arguments that hold the values; call the model first."""
        return self._ways[0].arguments(values)

    def __call__(self, values: Sequence[Any]) -> Any:
        """The model's result in inference mode."""
        first: Exception | None = None
        for way in list(self._ways):
            try:
                result = self._model(*way.arguments(values), training=False)
            except _MISTAKEN as error:
                first = first or error
                continue
            self._ways = [way]
            return result
        assert first is not None
        raise first


def _ways(model: Any, names: list[str]) -> list[CallingConvention]:
    """How the model may take inputs of these names, the likeliest first."""
    structure = inputs_structure(model)
    if isinstance(structure, dict):
        return [_in_dict(names if set(structure) == set(names) else list(structure))]
    if structure is not None:
        known = [tensor.name for tensor in model.inputs]
        return [_in_list(known if set(known) == set(names) else names, names)]
    call = _own_call(model, names)
    if len(names) > 1 and len(call.positional) == len(names):
        return [CallingConvention(call.positional)]
    return [_in_list(names, names), _in_dict(names)]


def _in_list(order: list[str], names: list[str]) -> CallingConvention:
    """All inputs in one list; one input alone."""
    places = tuple(names.index(name) for name in order)
    return CallingConvention(listed=places) if len(names) > 1 else CallingConvention(places)


def _in_dict(keys: list[str]) -> CallingConvention:
    return CallingConvention(bundled=tuple((key, place) for place, key in enumerate(keys)))


def _own_call(model: Any, names: list[str]) -> CallingConvention:
    """How the model's own ``call`` takes them, without the arguments that are Keras' business."""
    try:
        found = inspect.signature(model.call)
    except (TypeError, ValueError):
        return CallingConvention()
    kept = [p for name, p in found.parameters.items() if name not in _KERAS_OWN]

    def stub(*args: Any, **kwargs: Any) -> None:
        """Of the signature alone."""

    stub.__signature__ = found.replace(parameters=kept)  # type: ignore[attr-defined]
    return convention_of(stub, names)
