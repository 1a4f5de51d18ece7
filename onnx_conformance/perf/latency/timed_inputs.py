"""Inputs of timed calls: samples whose reference is computed already."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from onnx_conformance.core.budget import Reference, stack
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.inputs.families import chosen, cut, stack_inputs
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.inputs.samples import typical_inputs
from onnx_conformance.session.noise_floor import PLAIN, NoiseFloor

SAMPLES = ("image",)  # of the pinned inputs; its samples one after the other


def timed_inputs(model: ModelSpec, seed: int, batch: int) -> Inputs:
    """``batch`` samples of :func:`_known`, repeated, or as many as the model's calls take."""
    batch = samples_of_a_call(model, batch)
    input_sets = _known(model, seed)
    return cut(stack_inputs(input_sets * _blocks(input_sets[0], batch)), 0, batch)


def timed_reference(
    model: ModelSpec,
    seed: int,
    batch: int,
    reference: Callable[[ModelSpec, Inputs, NoiseFloor], Reference],
    noise_floor: NoiseFloor = PLAIN,
) -> Reference:
    """The reference of :func:`timed_inputs`, put together from that of its samples."""
    batch = samples_of_a_call(model, batch)
    input_sets = _known(model, seed)
    known = [reference(model, inputs, noise_floor) for inputs in input_sets]
    return stack(known * _blocks(input_sets[0], batch)).rows(0, batch)


def samples_of_a_call(model: ModelSpec, batch: int) -> int:
    """How many samples one call of the model takes, where ``batch`` are asked for."""
    return batch if model.open_batch else model.group or 1


def sizes_of_calls(model: ModelSpec, batch_sizes: Iterable[int]) -> tuple[int, ...]:
    """How many samples the model's calls take, of the numbers that are asked for; each once."""
    return tuple(dict.fromkeys(samples_of_a_call(model, batch) for batch in batch_sizes))


def _known(model: ModelSpec, seed: int) -> list[Inputs]:
    """The pinned image inputs; of a model with a task its own samples, which int8 is made for."""
    return typical_inputs(model, seed)[:1] if model.task else chosen(SAMPLES, model, seed)


def _blocks(inputs: Inputs, batch: int) -> int:
    samples = len(next(iter(inputs.values())))
    return -(-batch // samples)
