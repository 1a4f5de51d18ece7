"""Which places of a model's inputs and outputs its masks pad."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.domains import Mask
from onnx_conformance.core.size_expressions import names_in
from onnx_conformance.core.spec import Dim, Shape, TensorSpec

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

    Args:
        arrays, answers: one call's inputs and outputs, in the model's own layout.
        outputs: the shapes of the outputs as their specs write them.
    """
    found: dict[str, Places] = {}
    for spec in inputs:
        if not isinstance(spec.domain, Mask) or spec.batch_axis is None:
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
    """The places of one output that one mask pads, of the output's shape; None for none."""
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
        return np.broadcast_to(turned.reshape(shape), answer.shape)
    return None
