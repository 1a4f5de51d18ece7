"""A spec that a model takes, where it refuses the one that was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from onnx_conformance.core.spec import BATCH_NAMES, Axes, Shape, TensorSpec
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.inputs.sample_arrays import layout_of
from onnx_conformance.workers.user_model.build import Looked

BATCH = BATCH_NAMES[0]
PROBE = Recipe("uniform", batch=2)

Specs = tuple[TensorSpec, ...]


def suggestion(looked: Looked, inputs: Specs, axes: Axes) -> str:
    """The first spec near the written one that the model takes, in words; empty if none is."""
    for candidate in _near(inputs):
        try:
            looked.run(layout_of(candidate, (), 0).calls(PROBE.inputs(candidate, axes))[0])
        except Exception:  # noqa: BLE001 - it refuses this one too
            continue
        return "it takes " + ", ".join(f'TensorSpec("{s.name}", {s.shape})' for s in candidate)
    return ""


def _near(inputs: Specs) -> Iterator[Specs]:
    """The inputs with a batch of 1, without their batch, or with one before all."""
    if any(spec.batch_axis is not None for spec in inputs):
        yield tuple(replace(spec, shape=_with_one(spec)) for spec in inputs)
        yield tuple(replace(spec, shape=spec.sample) for spec in inputs)
    else:
        yield tuple(replace(spec, shape=(BATCH, *spec.shape)) for spec in inputs)


def _with_one(spec: TensorSpec) -> Shape:
    return tuple(1 if axis == spec.batch_axis else dim for axis, dim in enumerate(spec.shape))
