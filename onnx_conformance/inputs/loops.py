"""Calls in a row of a model with memory: what is fed to each, and what all of them answer.

The state goes in at the first call; from then on each call gets what the one before gave, on either
side its own. A loop is one set of inputs, and what it answers one set of outputs, whose names say
which call they are of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.carries import (
    first_rows,
    flow_axis,
    growth,
    initial_sizes,
    next_sizes,
)
from onnx_conformance.core.domains import Bounded, Choice, Integers, Mask
from onnx_conformance.core.size_expressions import names_in
from onnx_conformance.core.spec import MIDDLE, ModelSpec, TensorSpec
from onnx_conformance.core.ties import SUFFIXES
from onnx_conformance.inputs.batch_layout import BatchLayout
from onnx_conformance.inputs.recipes import Inputs, Recipe

CALLS = 8
LEAST_CALLS = 2
CALLS_OF_ONE_SAMPLE = 4  # calls that one sample is fed by itself
LOOP_SEED = 300  # after those of other recipes
SAMPLES = 3
CALL = " (call "


def of_call(name: str, call: int) -> str:
    """What an input or output of one of the calls is called: ``logits (call 3)``."""
    return f"{name}{CALL}{call + 1})"


def without_call(name: str) -> str:
    """An output's name without its call: the inverse of :func:`of_call`."""
    return name.rpartition(CALL)[0] or name


class Loop(Inputs):
    """The inputs of calls in a row; those of a state are in the first alone.

    Args:
        calls: the inputs of each.
    """

    def __init__(self, calls: Sequence[Inputs]) -> None:
        super().__init__(
            (of_call(name, place), array)
            for place, call in enumerate(calls)
            for name, array in call.items()
        )
        self.calls = tuple(calls)

    def groups(self, layout: BatchLayout) -> list[list[Inputs]]:
        """The calls as a worker takes them, in order, for each group of samples of a call."""
        return [list(calls) for calls in zip(*map(layout.calls, self.calls), strict=True)]

    def rows(self, layout: BatchLayout, groups: Sequence[Sequence[Outputs]]) -> dict[str, Array]:
        """What the groups' calls answered, a row for each sample, under names that say the call."""
        found: dict[str, Array] = {}
        for place, answers in enumerate(zip(*groups, strict=True)):
            for name, array in layout.rows(self.calls[place], answers).items():
                suffix = next((one for one in SUFFIXES if name.endswith(one)), "")
                found[of_call(name.removesuffix(suffix), place) + suffix] = array
        return found


def judged_at(model: ModelSpec, call: int) -> tuple[TensorSpec, ...]:
    """The specs of what one of the calls answers."""
    return tuple(replace(spec, name=of_call(spec.name, call)) for spec in model.judged)


@lru_cache(maxsize=16)
def loops(model: ModelSpec, seed: int) -> dict[str, Loop]:
    """The loops that a model with memory is fed, by description; none for another model.

    One begins as a deployed model does, with the state that the spec gives, else one of zeros or a
    past of its smallest size, and all of each mask; one with a state that is drawn, near the
    largest past; and one is the first again, its last sample without the others.
    """
    if not model.carries or model.by_values:
        return {}
    first = Recipe("normal", batch=SAMPLES, seed=seed + LOOP_SEED, full=True)
    later = Recipe("normal", batch=SAMPLES, seed=seed + 2 * LOOP_SEED)
    given = any(spec.initial is not None for spec in model.inputs)
    begin = "from the given state" if given else "from an empty state"
    made = {
        begin: _loop(model, first, {**_start(model, 0), **initial_sizes(model)}, empty=True),
        "from a state in use": _loop(model, later, _start(model, CALLS), empty=False),
    }
    if model.open_batch:
        made["of one sample alone"] = _of_last_sample(made[begin])
    return {
        description: loop for description, loop in made.items() if len(loop.calls) >= LEAST_CALLS
    }


def _of_last_sample(loop: Loop) -> Loop:
    """The first calls of a loop with its last sample alone."""
    return Loop(
        [
            Inputs((name, array[-1:]) for name, array in call.items())
            for call in loop.calls[:CALLS_OF_ONE_SAMPLE]
        ]
    )


def _start(model: ModelSpec, calls: int) -> dict[str, int]:
    """Sizes of the growing axes: the smallest, or such that so many calls reach the largest."""
    axes, found = dict(model.axes), {}
    for axis in growth(model):
        low = {name: one.low for name, one in model.axes}
        step = next_sizes(model, low)[axis] - low[axis]
        found[axis] = max(low[axis], axes[axis].high - step * (calls - 1)) if calls else low[axis]
    return found


def _loop(model: ModelSpec, recipe: Recipe, start: dict[str, int], *, empty: bool) -> Loop:
    """A loop of CALLS calls, or of fewer where a growing axis reaches its largest size."""
    axes, kept, growing = dict(model.axes), dict(start), set(growth(model))
    calls: list[Inputs] = []
    states = {old for _, old in model.carries}
    steady = _steady(model, growing)
    for place in range(CALLS):
        if any(size > axes[axis].high for axis, size in kept.items()):
            break
        extent = 0.0 if place else MIDDLE  # a first call may take much at once
        sizes = {**{name: axis.size(extent) for name, axis in model.axes}, **kept}
        one = replace(recipe, seed=recipe.seed + place, sizes=tuple(sizes.items()))
        inputs = one.inputs(model.inputs, model.axes)
        for spec in model.inputs:
            if spec.name in states and empty and not place:
                inputs[spec.name] = _first_state(spec, inputs[spec.name], growing)
            elif spec.name in states and place:
                del inputs[spec.name]
            elif spec.name in steady and place:
                inputs[spec.name] = calls[0][spec.name]
            elif place and _grows_with(spec, growing):
                inputs[spec.name] = _continued(spec, inputs[spec.name], calls[-1][spec.name])
        calls.append(Inputs(inputs))
        after = next_sizes(model, sizes)
        kept = {axis: after[axis] for axis in kept}
    return Loop(calls)


def _grows_with(spec: TensorSpec, grown: set[str]) -> bool:
    """Whether it is a mask of the past too."""
    last = spec.shape[-1] if spec.shape else 0
    mask = isinstance(spec.domain, Mask) and not spec.domain.lengths
    return mask and isinstance(last, str) and bool(grown & set(names_in(last)))


def _continued(spec: TensorSpec, drawn: Array, before: Array) -> Array:
    """A mask that says of the past what it said before: what is padded stays so.

    What is new is ones where padding is on the left, else what the last place was.
    """
    assert isinstance(spec.domain, Mask)
    found, size = np.array(drawn), before.shape[-1]
    found[..., :size] = before
    if spec.domain.side == "left":
        found[..., size:] = 1
    elif size:
        found[..., size:] = before[..., -1:]
    return found


def _steady(model: ModelSpec, grown: set[str]) -> set[str]:
    """The inputs that stay as they are from call to call: what samples share, and conditions.

    Beside an axis along which a sequence goes on, what has neither that axis nor one that grows is
    no part of the sequence, such as what an encoder said.
    """
    shared = {s.name for s in model.inputs if model.batched and s.batch_axis is None}
    flow = flow_axis(model)
    moving = grown | {flow}
    still = {
        spec.name
        for spec in model.inputs
        if not any(isinstance(dim, str) and moving & set(names_in(dim)) for dim in spec.sample)
    }
    return shared | (still if flow else set())


def _first_state(spec: TensorSpec, drawn: Array, growing: set[str]) -> Array:
    """A state as a model that is deployed begins: as given, else zeros, else as drawn.

    Zeros where it is of one size, and they are in its domain.
    """
    if spec.initial is not None:
        return first_rows(spec, drawn)
    domain = spec.domain
    if isinstance(domain, Choice):
        zero = 0 in domain.values
    else:
        zero = not isinstance(domain, (Bounded, Integers)) or domain.low <= 0 <= domain.high
    return np.zeros_like(drawn) if zero and not growing & set(map(str, spec.shape)) else drawn
