"""A batch that the spec fixes: found by asking the model whether its first axis holds samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onnx_conformance.core.arrays import Array, Arrays
from onnx_conformance.core.plain_outputs import coded
from onnx_conformance.core.spec import BATCH_NAMES, Axes, TensorSpec
from onnx_conformance.inputs.recipes import Inputs, Recipe
from onnx_conformance.workers.built_model import BuiltModel

BATCH = BATCH_NAMES[0]
PROBES = (Recipe("normal", seed=1), Recipe("normal", seed=2))
SAME_WITHIN = 1e-4  # of the largest element: far above float32's rounding, far below another sample
MOST_SAMPLES = 8  # that are changed, one by one

Place = tuple[str, int]  # an input and an axis of it


def grouped(
    inputs: tuple[TensorSpec, ...], axes: Axes, built: BuiltModel
) -> tuple[tuple[TensorSpec, ...], int]:
    """The inputs, with their first axis named as the batch where it is one of fixed size.

    That is so where no axis is called the batch, every input and output begins with the same
    number, and each sample of the answer follows from its own sample alone.

    Returns:
        The inputs, and how many samples every call takes; 0 where the batch is none or open.
    """
    sizes = {spec.shape[0] if spec.shape else None for spec in inputs}
    group = sizes.pop() if len(sizes) == 1 else None
    known = any(spec.batch_axis is not None for spec in inputs)
    if known or not isinstance(group, int) or not _holds_samples(inputs, axes, built, group):
        return inputs, 0
    return with_batch(inputs), group


def with_batch(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """The specs with their first axis named as the batch."""
    return tuple(replace(spec, shape=(BATCH, *spec.shape[1:])) for spec in specs)


def _holds_samples(
    inputs: tuple[TensorSpec, ...], axes: Axes, built: BuiltModel, group: int
) -> bool:
    """Whether every output begins with the samples, and changing one changes that one alone."""
    base, other = (_call(recipe, inputs, axes) for recipe in PROBES)
    try:
        leading = all(array.ndim and len(array) == group for array in built.run(base).values())
        places = [(spec.name, 0) for spec in inputs]
        return leading and (group == 1 or are_samples(built, base, other, places, leading=True))
    except Exception:  # noqa: BLE001 - what it refuses is told where its spec is checked
        return False


def _call(recipe: Recipe, inputs: tuple[TensorSpec, ...], axes: Axes) -> Inputs:
    rows = recipe.inputs(inputs, axes)
    return Inputs((name, array[0].copy()) for name, array in rows.items())


def are_samples(
    built: BuiltModel,
    base: Arrays,
    other: Arrays,
    places: Sequence[Place],
    *,
    leading: bool = False,
) -> bool:
    """Whether changing one sample of the inputs changes that sample of every output, and no other.

    Args:
        base, other: two sets of inputs of equal sizes, of which one sample after another is taken.
        places: the inputs' axes that hold the samples.
        leading: whether an output's samples must be its axis 0.
    """
    count = base[places[0][0]].shape[places[0][1]]
    before = built.run(Inputs(base))
    for sample in range(min(count, MOST_SAMPLES)):
        changed = dict(base)
        for label, axis in places:
            there = (slice(None),) * axis + (sample,)
            changed[label] = base[label].copy()
            changed[label][there] = other[label][there]
        after = built.run(Inputs(changed))
        if not all(_moves_one_place(before[n], after[n], count, sample, leading) for n in before):
            return False
    return True


def _moves_one_place(before: Array, after: Array, count: int, sample: int, leading: bool) -> bool:
    """Whether two answers differ, and that in one place of an axis of ``count`` alone."""
    if before.shape != after.shape:
        return False
    one, two = (np.asarray(coded(array), np.float64) for array in (before, after))
    size = max(float(np.abs(one).max(initial=0.0)), float(np.finfo(np.float32).tiny))
    moved = np.abs(two - one) > SAME_WITHIN * size
    rest = [place for place in range(count) if place != sample]
    axes = [axis for axis, length in enumerate(before.shape) if length == count]
    chosen = [0] if leading else axes
    return bool(moved.any()) and any(not np.take(moved, rest, axis).any() for axis in chosen)
