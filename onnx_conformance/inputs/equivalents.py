"""Calls in a row to which a model of a kind gives the same answers as to others.

The same sequence divided into other calls; the same calls with other values under the padding.
Whether a model is of that kind, its native form tells.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.carries import flow_axis, growth
from onnx_conformance.core.domains import Mask
from onnx_conformance.core.size_expressions import names_in
from onnx_conformance.core.spec import Axis, ModelSpec, TensorSpec
from onnx_conformance.inputs.loops import Loop, judged_at, loops, of_call
from onnx_conformance.inputs.padding import places_along
from onnx_conformance.inputs.recipes import Inputs

MOST_MERGED = 3  # calls that a longer one takes the place of


@dataclass(frozen=True)
class Equivalent:
    """Two loops to which a model may give the same answers.

    Args:
        label, other: what each of them is, in words.
        asked: what the session is fed.
        wanted: what native answers, which is compared.
        joined: whether what calls answer is joined along the sequence first.
    """

    label: str
    asked: Loop
    other: str
    wanted: Loop
    joined: bool

    def specs(self, model: ModelSpec) -> tuple[TensorSpec, ...]:
        """The specs of what is compared."""
        if self.joined:
            return model.outputs
        return tuple(
            spec for call in range(len(self.asked.calls)) for spec in judged_at(model, call)
        )

    def answered(self, model: ModelSpec, outputs: Outputs, loop: Loop) -> Outputs:
        """What one of the loops answered, under the names of :meth:`specs`."""
        return joined_along(model, outputs, len(loop.calls)) if self.joined else outputs


@lru_cache(maxsize=16)
def equivalents(model: ModelSpec, seed: int) -> Mapping[str, Equivalent]:
    """Those of a model with memory, by the check that asks."""
    return dict(_equivalents(model, loops(model, seed)))


def _equivalents(model: ModelSpec, known: dict[str, Loop]) -> Iterator[tuple[str, Equivalent]]:
    if not known:
        return
    begin, loop = next(iter(known.items()))
    label = f"{len(loop.calls)} calls in a row {begin}"
    if flow_axis(model):
        whole = Loop([merged(model, loop.calls)])
        yield "one_pass", Equivalent(label, loop, "one call with all of it", whole, joined=True)
        chunks = _chunks(model, loop)
        if len(chunks.calls) < len(loop.calls):
            longer = f"{len(chunks.calls)} longer calls {begin}"
            yield "chunks", Equivalent(longer, chunks, label, loop, joined=True)
    for begin, loop in known.items():
        padded = _padded(model, loop)
        if padded is not None:
            label = f"{len(loop.calls)} calls in a row {begin}, padded"
            other = "the same with other values under the padding"
            yield "mask", Equivalent(label, padded, other, _refilled(model, padded), joined=False)
            return


# -- other divisions -------------------------------------------------------------------------------


def merged(model: ModelSpec, calls: Sequence[Inputs]) -> Inputs:
    """One call that takes what some calls take in turn, along the flow axis."""
    flow, inputs = flow_axis(model), Inputs()
    for spec in model.inputs:
        parts = [call[spec.name] for call in calls if spec.name in call]
        if not parts:  # a state, which the calls before gave
            continue
        along = flow in spec.sample
        inputs[spec.name] = (
            np.concatenate(parts, 1 + spec.sample.index(flow)) if along else parts[-1]
        )
    return inputs


def joined_along(model: ModelSpec, outputs: Outputs, calls: int) -> dict[str, Array]:
    """What a loop answered as one call would: joined along the flow axis, or of the last call."""
    flow, found = flow_axis(model), {}
    for spec in model.outputs:
        parts = [outputs[of_call(spec.name, place)] for place in range(calls)]
        along = flow in spec.sample
        found[spec.name] = (
            np.concatenate(parts, 1 + spec.sample.index(flow)) if along else parts[-1]
        )
    return found


def _chunks(model: ModelSpec, loop: Loop) -> Loop:
    """The calls of a loop in fewer, each as long as the flow axis allows."""
    flow = flow_axis(model)
    longest = dict(model.axes).get(flow, Axis()).high
    found: list[list[Inputs]] = []
    for call in loop.calls:
        group = [*found[-1], call] if found else []
        if group and len(group) <= MOST_MERGED and _length(model, group) <= longest:
            found[-1] = group
        else:
            found.append([call])
    return Loop([merged(model, group) for group in found])


def _length(model: ModelSpec, calls: Sequence[Inputs]) -> int:
    """How much of the flow axis some calls take together."""
    flow = flow_axis(model)
    spec = next(spec for spec in model.inputs if flow in spec.sample and spec.name in calls[-1])
    return sum(call[spec.name].shape[1 + spec.sample.index(flow)] for call in calls)


# -- padding ---------------------------------------------------------------------------------------


def _masks(model: ModelSpec) -> list[TensorSpec]:
    """The masks that can be padded alike at each call.

    Those that do not grow, and of those that do the ones that are padded on the left: places that
    are padded at the first call are so at the later ones.
    """
    moving = {flow_axis(model), *growth(model)}
    return [
        spec
        for spec in model.inputs
        if isinstance(spec.domain, Mask)
        and not spec.domain.lengths
        and isinstance(spec.shape[-1], str)
        and (spec.domain.side == "left" or not moving & set(names_in(spec.shape[-1])))
    ]


def _padded(model: ModelSpec, loop: Loop) -> Loop | None:
    """The loop with masks of which each sample pads another number of places; None without room."""
    masks = _masks(model)
    sizes = {mask.name: loop.calls[0][mask.name].shape[-1] for mask in masks}
    if max(sizes.values(), default=0) < 2:
        return None

    def fill(call: Inputs) -> Inputs:
        filled = {}
        for mask in masks:
            array = np.ones_like(call[mask.name])
            for sample, row in enumerate(array):
                row[..., _places(mask, sample % sizes[mask.name], array.shape[-1])] = 0
            filled[mask.name] = array
        return Inputs({**call, **filled})

    return Loop([fill(call) for call in loop.calls])


def _places(mask: TensorSpec, count: int, size: int) -> slice:
    """Which places of a mask's last axis are padded."""
    assert isinstance(mask.domain, Mask)
    return slice(0, count) if mask.domain.side == "left" else slice(size - count, size)


def _refilled(model: ModelSpec, padded: Loop) -> Loop:
    """The padded loop, where each sample has another's values in its own padded places."""
    masks = _masks(model)

    def fill(call: Inputs) -> Inputs:
        filled = dict(call)
        for spec in model.inputs:
            if spec.name in call and not isinstance(spec.domain, Mask):
                filled[spec.name] = _with_others(spec, call, masks, growth(model))
        return Inputs(filled)

    return Loop([fill(call) for call in padded.calls])


def _with_others(
    spec: TensorSpec, call: Inputs, masks: Sequence[TensorSpec], grown: Collection[str]
) -> Array:
    """An input with another sample's values wherever one of the masks pads it."""
    array = np.array(call[spec.name])
    others = np.roll(array, 1, axis=0)
    for mask in masks:
        kept = call[mask.name].reshape(len(array), -1, call[mask.name].shape[-1])[:, -1]
        for axis, dim in enumerate(spec.sample, start=1):
            size, total = array.shape[axis], kept.shape[-1]
            places = places_along(dim, str(mask.shape[-1]), size, total, grown)
            if places.stop - places.start < size:
                continue
            for sample, row in enumerate(kept[:, places]):
                at = (sample, *[slice(None)] * (axis - 1), row == 0)
                array[at] = others[at]
    return array
