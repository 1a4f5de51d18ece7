"""Wrong axes, and indices that are off by one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import onnx

from studies.corpus import Site, fault
from studies.corpus.drafts import Array, Draft, Mutant, attribute, set_attribute
from studies.corpus.graph_edits import MODERN, data_inputs, is_float, known_sizes, maps, sliced
from studies.corpus.patches import Patch, detour_for, detour_site, give, names_of, replace_site

FAMILY = "graph"


@fault(FAMILY, story="NCHW's axis is kept in NHWC: joined along another axis, then reshaped to fit")
def joined_along_another_axis(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Concat"):
        sizes = known_sizes(draft, node.output[0])
        parts = {known_sizes(draft, value) for value in node.input}
        axis = attribute(node, "axis", 1)
        if not sizes or len(sizes) < 2 or len(parts) > 1 or not data_inputs(draft, node):
            continue
        axis += len(sizes) + 1 if axis < 0 else 0
        other = next((a for a in range(1, len(sizes) + 1) if a != axis and sizes[a - 1] > 1), None)
        if other and axis > 0:
            build = partial(_joined, inputs=tuple(node.input), axis=other, shape=(-1, *sizes))
            yield replace_site(node.name, build)


@fault(FAMILY, story="softmax over the height, not the channels, after a change of layout")
def softmax_along_another_axis(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Softmax", "LogSoftmax"):
        sizes = known_sizes(draft, node.output[0])
        axis = attribute(node, "axis", -1)
        if sizes and len(sizes) > 1 and draft.opset >= MODERN:
            axis += len(sizes) + 1 if axis < 0 else 0
            others = [a for a in range(1, len(sizes) + 1) if a != axis and sizes[a - 1] > 1]
            for other in others[:1]:
                strike = partial(_set_axis, node=node.name, axis=other)
                yield Site(node.name, strike, (node.name,))


@fault(FAMILY, story="a sum for a mean: the divisor is forgotten")
def sum_for_mean(draft: Draft) -> Iterator[Site]:
    for node, one in _averages(draft):
        area = float(one[1] * one[2])
        if area > 1:
            yield detour_site(node.output[0], partial(_times, factor=area))


@fault(FAMILY, story="a half-open range is taken for a closed one: the last row is left out")
def mean_without_the_last_row(draft: Draft) -> Iterator[Site]:
    for node, one in _averages(draft):
        if draft.opset >= MODERN and one[1] > 1:
            build = partial(_without_last, size=one[1], axis=2)
            strike = partial(detour_for, name=node.name, place=0, build=build)
            root_cause = (*names_of(f"{node.name}__0", build), node.name)
            yield Site(node.name, strike, root_cause)


@fault(FAMILY, story="the mean is over one axis of the map and the first column is kept")
def mean_over_the_height_alone(draft: Draft) -> Iterator[Site]:
    for node, one in _averages(draft):
        if draft.opset >= MODERN and one[2] > 1:
            build = partial(_part, start=0, end=1, axis=3)
            strike = partial(detour_for, name=node.name, place=0, build=build)
            root_cause = (*names_of(f"{node.name}__0", build), node.name)
            yield Site(node.name, strike, root_cause)


@fault(FAMILY, story="a slice starts one element late or early")
def slice_off_by_one(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Slice"):
        if not is_float(draft, node.input[0]) or len(node.input) < 4:
            continue
        bounds = [draft.array(v) if draft.is_constant(v) else None for v in node.input[1:4]]
        sizes = known_sizes(draft, node.input[0])
        if sizes and all(bound is not None and bound.size == 1 for bound in bounds):
            start, end, axis = (int(bound.item()) for bound in bounds if bound is not None)
            step = _step(start, end, sizes[axis - 1]) if axis > 0 else 0
            if step:
                strike = partial(_shift_bounds, node=node.name, step=step)
                yield Site(node.name, strike, (node.name,))


@fault(FAMILY, story="indices count from one in one framework and from zero in the other")
def gather_off_by_one(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Gather"):
        if not is_float(draft, node.input[0]) or not draft.is_constant(node.input[1]):
            continue
        sizes, axis = known_sizes(draft, node.input[0]), attribute(node, "axis", 0)
        if sizes and axis > 0 and sizes[axis - 1] > 1:
            wrong = (draft.array(node.input[1]) + 1) % sizes[axis - 1]
            yield Site(node.name, partial(_give, node=node.name, array=wrong), (node.name,))


@fault(FAMILY, story="a channel index is off by one: each channel stands in the next one's place")
def channels_rolled(draft: Draft) -> Iterator[Site]:
    for one in maps(draft, "Conv"):
        if one.channels > 1:
            order = np.roll(np.arange(one.channels), 1)
            yield detour_site(one.value, partial(_gathered, order=order))


@fault(FAMILY, story="channel shuffle with groups and channels per group exchanged")
def channels_shuffled(draft: Draft) -> Iterator[Site]:
    for one in maps(draft, "Conv"):
        if one.channels > 2 and one.channels % 2 == 0:
            order = np.arange(one.channels).reshape(2, -1).T.reshape(-1)
            yield detour_site(one.value, partial(_gathered, order=order))


@fault(FAMILY, story="a map is cropped and padded at the wrong ends: it moves by one pixel")
def map_moved_by_a_pixel(draft: Draft) -> Iterator[Site]:
    for one in maps(draft, "Conv"):
        if draft.opset >= MODERN and min(one.height, one.width) > 2:
            yield detour_site(one.value, partial(_moved, width=one.width))


@fault(FAMILY, story="the two halves of a split are taken in the other order")
def halves_exchanged(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Split"):
        first, last = node.output[0], node.output[-1]
        if known_sizes(draft, first) == known_sizes(draft, last) and first != last:
            strike = partial(_exchange_outputs, node=node.name)
            yield Site(node.name, strike, (node.name,))


def _averages(draft: Draft) -> Iterator[tuple[onnx.NodeProto, tuple[int, ...]]]:
    """The averages over a whole (batch, channels, height, width) map, with its sizes."""
    for node in draft.nodes("GlobalAveragePool", "ReduceMean"):
        sizes, made = (known_sizes(draft, v) for v in (node.input[0], node.output[0]))
        if sizes and len(sizes) == 3 and made and made[0] == sizes[0] == np.prod(made):
            yield node, sizes


def _times(patch: Patch, value: str, *, factor: float) -> str:
    return patch.add("Mul", value, patch.constant(factor))


def _without_last(patch: Patch, value: str, *, size: int, axis: int) -> str:
    return sliced(patch, value, 0, size - 1, axis)


def _part(patch: Patch, value: str, *, start: int, end: int, axis: int) -> str:
    return sliced(patch, value, start, end, axis)


def _gathered(patch: Patch, value: str, *, order: Array) -> str:
    return patch.add("Gather", value, patch.constant(order, np.int64), axis=1)


def _moved(patch: Patch, value: str, *, width: int) -> str:
    pads = patch.constant(np.array([0, 0, 0, 1, 0, 0, 0, 0]), np.int64)
    return sliced(patch, patch.add("Pad", value, pads), 0, width, 3)


def _joined(
    patch: Patch, _: str, *, inputs: tuple[str, ...], axis: int, shape: tuple[int, ...]
) -> str:
    together = patch.add("Concat", *inputs, axis=axis)
    return patch.add("Reshape", together, patch.constant(np.array(shape), np.int64))


def _step(start: int, end: int, size: int) -> int:
    """By how much a range of a known extent can be moved within it; 0 if not at all."""
    if 0 < start < min(end, size):
        return -1
    return 1 if 0 <= start < end < size else 0


def _shift_bounds(mutant: Mutant, *, node: str, step: int) -> None:
    for place in (1, 2):
        give(mutant, node, place, mutant.array(mutant.node(node).input[place]) + step)


def _give(mutant: Mutant, *, node: str, array: Array) -> None:
    give(mutant, node, 1, array)


def _set_axis(mutant: Mutant, *, node: str, axis: int) -> None:
    set_attribute(mutant.node(node), "axis", axis)


def _exchange_outputs(mutant: Mutant, *, node: str) -> None:
    split = mutant.node(node)
    split.output[:] = list(split.output)[::-1]
