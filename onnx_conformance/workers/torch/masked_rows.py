"""Attention whose every key is masked: some programs answer 0, others the mean of all values.

Both are right, because nothing that is read depends on it: a place that attends to nothing is
itself padded. Which numbers of an answer hang on such places, a second run tells that computes
their attention otherwise: torch's own, which masks by minus infinity and answers 0, and what a
model computes by itself, of scores that a large number was taken from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from onnx_conformance.core.arrays import Arrays
from onnx_conformance.core.compute_modes import ComputeMode
from onnx_conformance.core.domains import Mask
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.ties import OPEN, SUFFIXES
from onnx_conformance.inputs.padding import grown_axes, padded_places
from onnx_conformance.workers.torch.modes import OperatorMode

# These hide the others while no gradients are recorded.
COMPOSED = ("scaled_dot_product_attention", "_scaled_dot_product_attention_math")
FUSED = "_scaled_dot_product_flash_attention_for_cpu"
SOFTMAX = ("_safe_softmax", "_softmax", "softmax")  # of attention that is not fused
MASKED = -5e3  # no score of attention is so low; masks are -1e4, -1e9, or the lowest number


class MaskedRowsOtherwise(OperatorMode):  # type: ignore[no-untyped-call] # of the base
    """Within it, attention whose every key is masked gives the mean of all values, or 0.

    The mean where torch gives 0, for a mask of minus infinity; else 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = func.overloadpacket.__name__
        if name in COMPOSED:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if name == FUSED and (mask := kwargs.get("attn_mask")) is not None:
            return (self._with(result[0], mask, args[2].mean(-2, keepdim=True)), *result[1:])
        if name in SOFTMAX and args[1] in (-1, result.ndim - 1):
            return self._with(result, args[0], torch.tensor(1 / max(1, result.shape[-1])))
        return result

    def _with(self, result: torch.Tensor, scores: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        """The result with another in the rows of a mask that is added, or of scores."""
        highest = scores.amax(-1, keepdim=True) if scores.shape[-1] else scores[..., :0]
        if not (highest < MASKED).any():
            return result
        self.found = True
        other = torch.where(highest == -torch.inf, mean.to(result.dtype), 0.0)
        return torch.where(highest < MASKED, other, result)


def left_open(
    model: ModelSpec,
    known: ComputeMode,
    inputs: Arrays,
    answer: Arrays,
    again: Callable[[], Arrays],
) -> Arrays:
    """The places of outputs, by their names and ``OPEN``, that a padded place alone decides.

    Args:
        known: how the answer was computed; only native itself tells.
        again: computes the answer once more.
    """
    masked = any(isinstance(spec.domain, Mask) for spec in model.inputs)
    if known != ComputeMode() or not masked:
        return {}
    if not _padded(model, inputs, answer):
        return {}
    with MaskedRowsOtherwise() as mode:
        other = again()
    return open_between(model, inputs, answer, other) if mode.found else {}


def open_between(model: ModelSpec, inputs: Arrays, answer: Arrays, other: Arrays) -> Arrays:
    """The padded places of outputs in which two answers differ, by their names and ``OPEN``."""
    padded = _padded(model, inputs, answer)
    found = {name: places & (other[name] != answer[name]) for name, places in padded.items()}
    return {name + OPEN: places for name, places in found.items() if places.any()}


def _padded(model: ModelSpec, inputs: Arrays, answer: Arrays) -> Arrays:
    shapes = {spec.name: spec.shape for spec in model.outputs}
    outputs = {name: array for name, array in answer.items() if not name.endswith(SUFFIXES)}
    grown = grown_axes(model.inputs, shapes, model.carries)
    return padded_places(model.inputs, inputs, shapes, outputs, grown)
