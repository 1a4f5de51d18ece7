"""Which places of a model's inputs and outputs its masks pad, and which of those are left open."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.compute_modes import ULP
from onnx_conformance.core.domains import Mask
from onnx_conformance.core.size_expressions import names_in
from onnx_conformance.core.spec import BATCH_NAMES, Dim, ModelSpec, Shape, TensorSpec
from onnx_conformance.inputs.loops import Loop, of_call
from onnx_conformance.inputs.recipes import Inputs, RawInputs

Places = NDArray[np.bool_]


def grown_axes(
    inputs: Sequence[TensorSpec],
    outputs: Mapping[str, Shape],
    carries: Sequence[tuple[str, str]],
) -> set[str]:
    """The axes of a model's state that are longer when it comes out."""
    taken = {spec.name: spec.shape for spec in inputs}
    return {
        str(before)
        for new, old in carries
        for dim, before in zip(outputs[new], taken[old], strict=True)
        if dim != before
    }


def places_along(dim: Dim, whole: str, size: int, total: int, grown: Collection[str]) -> slice:
    """Which places of a mask an axis has; none where it is another's.

    Args:
        dim, size: of the axis.
        whole, total: of the mask's last axis, such as ``past+new``: what grows comes first.
        grown: the axes that grow from call to call.
    """
    if dim == whole:
        return slice(0, total)
    if isinstance(dim, str) and dim in names_in(whole):
        first = 0 if dim in grown else total - size
        return slice(first, first + size)
    return slice(0, 0)


def padded_places(
    inputs: Sequence[TensorSpec],
    arrays: Outputs,
    outputs: Mapping[str, Shape],
    answers: Outputs,
    grown: Collection[str],
) -> dict[str, Places]:
    """The places of outputs that a mask pads, by name; those of which it pads none are left out.

    Axes along which all places are padded alike have a size of 1.

    Args:
        arrays, answers: one call's inputs and outputs, in the layout of the specs.
        outputs: the shapes of the outputs as their specs write them.
    """
    found: dict[str, Places] = {}
    for spec in inputs:
        known = isinstance(spec.domain, Mask) and spec.name in arrays
        if not known or spec.batch_axis is None:
            continue
        mask = np.moveaxis(np.asarray(arrays[spec.name]), spec.batch_axis, 0)
        padded = mask.reshape(len(mask), -1, mask.shape[-1])[:, -1] == 0
        for name, shape in outputs.items() if padded.any() else ():
            places = _padded(
                padded, str(spec.shape[-1]), TensorSpec(name, shape), answers[name], grown
            )
            if places is not None:
                found[name] = found[name] | places if name in found else places
    return found


def _padded(
    padded: Places, whole: str, spec: TensorSpec, answer: Array, grown: Collection[str]
) -> Places | None:
    """The places of one output that one mask pads; None for none."""
    batch = spec.batch_axis
    if batch is None or answer.ndim != len(spec.shape) or answer.shape[batch] != len(padded):
        return None
    for axis, dim in enumerate(spec.shape):
        size = answer.shape[axis]
        kept = padded[:, places_along(dim, whole, size, padded.shape[-1], grown)]
        if axis == batch or not size or kept.shape[-1] != size or not kept.any():
            continue
        turned = kept if batch < axis else kept.T
        shape = [n if place in (batch, axis) else 1 for place, n in enumerate(answer.shape)]
        return turned.reshape(shape)
    return None


def open_by_error(
    model: ModelSpec, inputs: Inputs, oracle: Outputs, natives: Sequence[Outputs], factor: float
) -> dict[str, Places]:
    """The padded places of floating outputs, ``(batch, ...)``, that native's precision leaves open.

    A mask of -1e9 that is added to every score leaves nothing of them in float32: what attends to
    nothing attends to all places alike there, and as if unmasked in float64. None is open where
    native hands the places without padding on as they came: a model that fills what is missing of
    a series, say, whose padded places are its answer.

    Args:
        inputs, oracle, natives: a row for each sample.
        factor: a place is open where native errs by more than so many times its largest error in
            that output's places without padding.
    """
    found = {}
    for name, padded in _rows_padded(model, inputs, oracle):
        sides = [native[name] for native in natives if native[name].shape == oracle[name].shape]
        with np.errstate(invalid="ignore"):
            errors = [np.abs(np.asarray(side, np.float64) - oracle[name]) for side in sides]
        if not errors or oracle[name].dtype.kind != "f":
            continue  # of whole numbers, each of native's ways is right in any case
        error = np.nan_to_num(np.max(errors, axis=0), nan=0.0, posinf=0.0)
        alike = tuple(axis for axis, size in enumerate(padded.shape) if size == 1)
        by_place = error.max(axis=alike, keepdims=True, initial=0.0)
        unpadded = by_place[~padded]
        if unpadded.size and not unpadded.any():
            continue  # they are inputs, handed on: how well native computes is seen nowhere else
        usual = max(
            float(unpadded.max(initial=0.0)),
            ULP * float(np.nan_to_num(np.abs(oracle[name]), posinf=0.0).max(initial=0.0)),
        )
        places = padded & (by_place > factor * usual)
        if places.any():
            found[name] = np.broadcast_to(places, oracle[name].shape)
    return found


def _rows_padded(
    model: ModelSpec, inputs: Inputs, answers: Outputs
) -> Iterator[tuple[str, Places]]:
    """What :func:`padded_places` says of rows, of calls in a row too, under the answers' names."""
    if isinstance(inputs, RawInputs):
        return
    specs, outputs = _in_rows(model.inputs), _in_rows(model.outputs)
    shapes = {spec.name: spec.shape for spec in outputs}
    carried = {spec.name: spec.shape for spec in model.outputs}
    grown = grown_axes(model.inputs, carried, model.carries)
    if not isinstance(inputs, Loop):
        yield from padded_places(specs, inputs, shapes, answers, grown).items()
        return
    for call, fed in enumerate(inputs.calls):
        named = {name: answers[of_call(name, call)] for name in shapes}
        for name, places in padded_places(specs, fed, shapes, named, grown).items():
            yield of_call(name, call), places


def _in_rows(specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """The specs of what has a batch, with it as axis 0."""
    return [
        replace(spec, shape=(BATCH_NAMES[0], *spec.sample))
        for spec in specs
        if spec.batch_axis is not None
    ]
