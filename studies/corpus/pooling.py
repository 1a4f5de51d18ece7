"""Pools that take the wrong mean, the wrong window or the wrong border."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from math import prod

import numpy as np
import onnx

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Mutant, attribute, remove_attribute, set_attribute
from studies.corpus.patches import Build, Patch, detour_for, detour_site, names_of
from studies.corpus.survey import can_be_negative
from studies.corpus.windows import Window, set_window, windows

FAMILY = "pooling"
COMMON = ("kernel_shape", "strides", "pads", "auto_pad", "ceil_mode", "dilations")


def turned_pool(node: onnx.NodeProto, operator: str, kept: tuple[str, ...], **more: int) -> Site:
    """The site of a fault that makes a pool another operator over the same window."""

    def strike(mutant: Mutant) -> None:
        pool = mutant.node(node.name)
        old = {a.name: attribute(pool, a.name) for a in pool.attribute if a.name in kept}
        pool.op_type = operator
        del pool.attribute[:]
        for key, value in (old | more).items():
            set_attribute(pool, key, value)

    return Site(node.name, strike, (node.name,))


def global_means(draft: Draft) -> Iterator[tuple[onnx.NodeProto, int]]:
    """The nodes that average an image, (N, C, H, W) or (N, H, W, C), and its size H * W."""
    for node in draft.nodes("GlobalAveragePool", "ReduceMean"):
        shape = draft.shapes.get(node.input[0], ())
        axes = _axes(draft, node)
        extents = [shape[axis] for axis in axes] if len(shape) == 4 and axes else []
        if len(extents) == 2 and all(isinstance(one, int) and one > 1 for one in extents):
            yield node, prod(int(one or 0) for one in extents)


@fault(
    FAMILY,
    link="https://github.com/pytorch/pytorch/issues/13934",
    story="count_include_pad is true by default in torch and false in ONNX",
)
def padding_counted_otherwise(draft: Draft) -> Iterator[Site]:
    for node, old in windows(draft, "AveragePool"):
        if any(old.pads):
            other = 1 - attribute(node, "count_include_pad", 0)
            yield turned_pool(node, "AveragePool", COMMON, count_include_pad=other)


@fault(FAMILY, story="a table of operators off by one: the mean is taken where the maximum was")
def average_for_maximum(draft: Draft) -> Iterator[Site]:
    for node, old in windows(draft, "MaxPool"):
        if set(old.dilation) == {1} and prod(old.kernel) > 1:
            yield turned_pool(node, "AveragePool", COMMON[:5])


@fault(FAMILY, story="a table of operators off by one: the maximum is taken where the mean was")
def maximum_for_average(draft: Draft) -> Iterator[Site]:
    for node, old in windows(draft, "AveragePool"):
        if prod(old.kernel) > 1:
            yield turned_pool(node, "MaxPool", COMMON)


@fault(FAMILY, story="global pooling='max' for 'avg'")
def global_maximum_for_average(draft: Draft) -> Iterator[Site]:
    for node, _ in global_means(draft):
        operator = "GlobalMaxPool" if node.op_type == "GlobalAveragePool" else "ReduceMax"
        if operator == "GlobalMaxPool" or draft.opset >= 18 or len(node.input) == 1:
            yield turned_pool(node, operator, ("axes", "keepdims"))


@fault(FAMILY, story="the image's norm for its mean: GlobalLpPool, the neighbour in the list")
def global_norm_for_average(draft: Draft) -> Iterator[Site]:
    for node, _ in global_means(draft):
        if node.op_type == "GlobalAveragePool":
            yield turned_pool(node, "GlobalLpPool", (), p=2)
        elif draft.opset >= 18 or len(node.input) == 1:
            yield turned_pool(node, "ReduceL2", ("axes", "keepdims"))


@fault(FAMILY, story="the sum divided by n - 1, as a sample's variance is")
def average_divided_by_one_less(draft: Draft) -> Iterator[Site]:
    for node, count in global_means(draft):
        build = partial(_times, factor=count / (count - 1))
        yield dataclasses.replace(detour_site(node.output[0], build), place=node.name)


@fault(FAMILY, story="averaged along one axis; of the other the first row is taken")
def average_over_one_axis(draft: Draft) -> Iterator[Site]:
    for node, _ in global_means(draft):
        last = _axes(draft, node)[-1]
        build = partial(_first, axis=last)
        strike = partial(detour_for, name=node.name, place=0, build=build)
        yield Site(node.name, strike, (node.name, *names_of(f"{node.name}__0", build)))


@fault(
    FAMILY,
    link="https://github.com/PINTO0309/onnx2tf/issues/207",
    story="symmetric pads of a pool became TensorFlow's SAME: its windows start a pixel later",
)
def pool_padding_shifted(draft: Draft) -> Iterator[Site]:
    for node, old in windows(draft, "MaxPool", "AveragePool"):
        before = tuple(max(b - 1, 0) for b in old.before)
        after = tuple(
            min(a + b - n, k - 1)
            for a, b, n, k in zip(old.after, old.before, before, old.kernel, strict=True)
        )
        new = dataclasses.replace(old, before=before, after=after)
        if any(old.before) and new.output == old.output:
            yield Site(node.name, partial(set_window, name=node.name, pads=new.pads), (node.name,))


@fault(FAMILY, story="a window one pixel too small, its padding too: the shape does not tell")
def pool_window_too_small(draft: Draft) -> Iterator[Site]:
    for node, old in windows(draft, "MaxPool", "AveragePool"):
        new = _smaller(old)
        if new is not None and old.is_known and new.output == old.output:
            strike = partial(set_window, name=node.name, pads=new.pads, kernel_shape=new.kernel)
            yield Site(node.name, strike, (node.name,))


@fault(
    FAMILY,
    link="https://github.com/onnx/onnx/issues/4958",
    story="ceil_mode is lost, and padding written that gives the same shape: the border differs",
)
def ceil_mode_by_padding(draft: Draft) -> Iterator[Site]:
    for node, old in windows(draft, "AveragePool"):
        if attribute(node, "ceil_mode", 0) and draft.opset >= 10:
            after = tuple(a + s - 1 for a, s in zip(old.after, old.stride, strict=True))
            new = dataclasses.replace(old, after=after)
            if all(a < k for a, k in zip(after, old.kernel, strict=True)):
                strike = partial(_floor_mode, name=node.name, pads=new.pads)
                yield Site(node.name, strike, (node.name,))


@fault(FAMILY, story="a maximum pool's border is zero, not minus infinity")
def maximum_padded_with_zero(draft: Draft) -> Iterator[Site]:
    for node, old in windows(draft, "MaxPool"):
        if any(old.pads) and draft.opset >= 11 and can_be_negative(draft, node.input[0]):
            build = partial(_pad, pads=old.pads)
            strike = partial(_pad_in_front, name=node.name, build=build)
            yield Site(node.name, strike, (node.name, *names_of(f"{node.name}__0", build)))


def _axes(draft: Draft, node: onnx.NodeProto) -> list[int]:
    if node.op_type == "GlobalAveragePool":
        return [2, 3]
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1 and draft.is_constant(node.input[1]):
        axes = draft.array(node.input[1]).tolist()
    found = sorted(axis % 4 for axis in axes or ())
    return found if found in ([2, 3], [1, 2]) else []


def _smaller(old: Window) -> Window | None:
    if min(old.kernel) < 3 or min(old.before) < 1:
        return None
    kernel = tuple(k - 1 for k in old.kernel)
    return dataclasses.replace(old, kernel=kernel, before=tuple(b - 1 for b in old.before))


def _times(patch: Patch, value: str, *, factor: float) -> str:
    return patch.add("Mul", value, patch.constant(factor))


def _first(patch: Patch, value: str, *, axis: int) -> str:
    return patch.add("Gather", value, patch.constant(np.array([0]), np.int64), axis=axis)


def _floor_mode(mutant: Mutant, *, name: str, pads: list[int]) -> None:
    set_attribute(mutant.node(name), "ceil_mode", 0)
    set_attribute(mutant.node(name), "count_include_pad", 1)
    set_window(mutant, name=name, pads=pads)


def _pad(patch: Patch, value: str, *, pads: list[int]) -> str:
    """All but zero: ONNX Runtime fuses a Pad of zeros into the pool, whose border is not zero."""
    half = len(pads) // 2
    everywhere = patch.constant(np.array([0, 0, *pads[:half], 0, 0, *pads[half:]]), np.int64)
    return patch.add("Pad", value, everywhere, patch.constant(1e-30), mode="constant")


def _pad_in_front(mutant: Mutant, *, name: str, build: Build) -> None:
    detour_for(mutant, name, 0, build)
    remove_attribute(mutant.node(name), "auto_pad")
    remove_attribute(mutant.node(name), "pads")
