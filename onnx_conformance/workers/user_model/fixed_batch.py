"""A batch that the spec fixes: found by asking the model whether its first axis holds samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnx_conformance.core.plain_outputs import coded
from onnx_conformance.core.spec import BATCH_NAMES, Axes, TensorSpec
from onnx_conformance.inputs.recipes import Inputs, Recipe
from onnx_conformance.workers.user_model.build import Looked

BATCH = BATCH_NAMES[0]
PROBES = (Recipe("normal", seed=1), Recipe("normal", seed=2))
SAME = 1e-4  # of the largest element: far above float32's rounding, far below another sample


def grouped(
    inputs: tuple[TensorSpec, ...], axes: Axes, looked: Looked
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
    if known or not isinstance(group, int) or not _holds_samples(inputs, axes, looked, group):
        return inputs, 0
    return with_batch(inputs), group


def with_batch(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """The specs with their first axis named as the batch."""
    return tuple(replace(spec, shape=(BATCH, *spec.shape[1:])) for spec in specs)


def _holds_samples(inputs: tuple[TensorSpec, ...], axes: Axes, looked: Looked, group: int) -> bool:
    """Whether changing one sample changes that sample of every output, and no other."""
    base, other = (_call(recipe, inputs, axes) for recipe in PROBES)
    try:
        before = looked.run(base)
        leading = all(array.ndim and len(array) == group for array in before.values())
        if not leading or group == 1:
            return leading
        for slot in range(group):
            mixed = Inputs((name, array.copy()) for name, array in base.items())
            for name, array in mixed.items():
                array[slot] = other[name][slot]
            after = looked.run(mixed)
            for name, array in before.items():
                moved = [_moved(array[row], after[name][row]) for row in range(group)]
                if any(moved[:slot] + moved[slot + 1 :]) or not moved[slot]:
                    return False
    except Exception:  # noqa: BLE001 - what it refuses is told where its spec is checked
        return False
    return True


def _call(recipe: Recipe, inputs: tuple[TensorSpec, ...], axes: Axes) -> Inputs:
    rows = recipe.inputs(inputs, axes)
    return Inputs((name, array[0].copy()) for name, array in rows.items())


def _moved(before: np.ndarray, after: np.ndarray) -> bool:
    if before.shape != after.shape:
        return True
    one, other = (np.asarray(coded(array), np.float64) for array in (before, after))
    size = max(float(np.abs(one).max(initial=0.0)), float(np.finfo(np.float32).tiny))
    return bool((np.abs(other - one) > SAME * size).any())
