"""Equivalent rewrites of activations, averages and arithmetic: other operators, same function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import onnx

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Mutant, attribute
from studies.corpus.graph_edits import (
    MODERN,
    data_inputs,
    is_float,
    known_sizes,
    reduced,
    with_constant,
)
from studies.corpus.patches import Build, Patch, give, replace_site
from studies.corpus.survey import clip_bounds

FAMILY = "harmless: operators"


@fault(FAMILY, verdict="harmless", story="Relu is written as Clip from zero")
def relu_made_clip(draft: Draft) -> Iterator[Site]:
    yield from _replaced(draft, "Relu", lambda p, v: p.add("Clip", v, p.constant(0.0)))


@fault(FAMILY, verdict="harmless", story="Relu is written as a maximum with zero")
def relu_made_maximum(draft: Draft) -> Iterator[Site]:
    yield from _replaced(draft, "Relu", lambda p, v: p.add("Max", v, p.constant(0.0)))


@fault(FAMILY, verdict="harmless", story="Relu is written as LeakyRelu of slope zero")
def relu_made_leaky(draft: Draft) -> Iterator[Site]:
    yield from _replaced(draft, "Relu", lambda p, v: p.add("LeakyRelu", v, alpha=0.0))


@fault(FAMILY, verdict="harmless", story="an activation is repeated that changes nothing twice")
def relu_applied_twice(draft: Draft) -> Iterator[Site]:
    yield from _replaced(draft, "Relu", lambda p, v: p.add("Relu", p.add("Relu", v)))


@fault(FAMILY, verdict="harmless", story="Relu6 is written as minimum and maximum")
def clip_made_minimum_and_maximum(draft: Draft) -> Iterator[Site]:
    for node, low, high in _clips(draft):
        yield replace_site(node.name, partial(_bounded, low=low, high=high))


@fault(FAMILY, verdict="harmless", story="Relu6 is written as Relu and Min")
def clip_made_relu_and_minimum(draft: Draft) -> Iterator[Site]:
    for node, low, high in _clips(draft):
        if low == 0:
            yield replace_site(node.name, partial(_relu_bounded, high=high))


@fault(FAMILY, verdict="harmless", story="an exporter decomposes softmax, the maximum subtracted")
def softmax_decomposed(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Softmax"):
        if draft.opset >= MODERN:
            axis = attribute(node, "axis", -1)
            yield replace_site(node.name, partial(_softmax, axis=axis, opset=draft.opset))


@fault(FAMILY, verdict="harmless", story="an exporter decomposes the sigmoid")
def sigmoid_decomposed(draft: Draft) -> Iterator[Site]:
    yield from _replaced(draft, "Sigmoid", _sigmoid)


@fault(FAMILY, verdict="harmless", story="global pooling is written as a mean over two axes")
def global_average_made_mean(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("GlobalAveragePool"):
        sizes = known_sizes(draft, node.input[0])
        if sizes and len(sizes) == 3:
            build = partial(_mean, opset=draft.opset)
            yield replace_site(node.name, build)


@fault(FAMILY, verdict="harmless", story="a mean over height and width is global pooling")
def mean_made_global_average(draft: Draft) -> Iterator[Site]:
    for node, sizes in _plane_means(draft):
        build = partial(_pooled, shape=None if attribute(node, "keepdims", 1) else sizes[:1])
        yield replace_site(node.name, build)


@fault(FAMILY, verdict="harmless", story="a mean is written as a sum and a division")
def mean_made_sum_and_division(draft: Draft) -> Iterator[Site]:
    for node, sizes in _plane_means(draft):
        area = float(sizes[1] * sizes[2])
        keepdims = attribute(node, "keepdims", 1)
        build = partial(_sum_over, area=area, opset=draft.opset, keepdims=keepdims)
        yield replace_site(node.name, build)


@fault(FAMILY, verdict="harmless", story="an average pool with a window as large as its map")
def global_average_made_average_pool(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("GlobalAveragePool"):
        sizes = known_sizes(draft, node.input[0])
        if sizes and len(sizes) == 3:
            yield replace_site(node.name, partial(_window, size=sizes[1:]))


@fault(FAMILY, verdict="harmless", story="Flatten is written as Reshape")
def flatten_made_reshape(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Flatten"):
        sizes = known_sizes(draft, node.output[0])
        if attribute(node, "axis", 1) == 1 and sizes:
            yield replace_site(node.name, partial(_shaped, shape=(-1, *sizes)))


@fault(FAMILY, verdict="harmless", story="Reshape or Squeeze to (batch, features) is a Flatten")
def reshape_made_flatten(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Reshape", "Squeeze"):
        sizes, made = (known_sizes(draft, v) for v in (node.input[0], node.output[0]))
        flat = made is not None and len(made) == 1 and sizes is not None
        # ONNX Runtime 1.31: of no samples, ReduceMean over negative axes keeps them, and where a
        # Reshape hides that, a Flatten would refuse the empty batch.
        reduced = _reduced_from_the_end(draft, node.input[0])
        if flat and not reduced and np.prod(sizes) == made[0] and is_float(draft, node.input[0]):
            yield replace_site(node.name, lambda p, v: p.add("Flatten", v, axis=1))


def _reduced_from_the_end(draft: Draft, value: str) -> bool:
    """Whether a value is a reduction over axes that are negative, or that are not written down."""
    reducer = draft.producer(value)
    if reducer is None or not reducer.op_type.startswith("Reduce"):
        return False
    has_axes = len(reducer.input) > 1
    if has_axes and not draft.is_constant(reducer.input[1]):
        return True
    axes = draft.array(reducer.input[1]) if has_axes else attribute(reducer, "axes", [])
    return any(axis < 0 for axis in axes)


@fault(FAMILY, verdict="harmless", story="a residual is written as Sum")
def add_made_sum(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Add"):
        if data_inputs(draft, node):
            yield Site(node.name, partial(_set_operator, node=node.name, operator="Sum"))


@fault(FAMILY, verdict="harmless", story="a - b is written as a + (-b)")
def difference_made_sum(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Sub"):
        if data_inputs(draft, node):
            yield replace_site(node.name, partial(_plus_negative, other=node.input[1]))


@fault(FAMILY, verdict="harmless", story="a sum with a constant is a difference with its negative")
def sum_made_difference(draft: Draft) -> Iterator[Site]:
    for node, place in with_constant(draft, "Add"):
        if place == 1:
            yield Site(node.name, partial(_subtract, node=node.name))


@fault(FAMILY, verdict="harmless", story="division by a power of two is a product with its inverse")
def division_made_product(draft: Draft) -> Iterator[Site]:
    for node, place in with_constant(draft, "Div"):
        mantissas = np.frexp(np.abs(draft.array(node.input[place])))[0]
        if place == 1 and (mantissas == 0.5).all():
            yield Site(node.name, partial(_multiply, node=node.name))


def _replaced(draft: Draft, operator: str, build: Build) -> Iterator[Site]:
    for node in draft.nodes(operator):
        yield replace_site(node.name, build)


def _clips(draft: Draft) -> Iterator[tuple[onnx.NodeProto, float, float]]:
    """The Clips with both bounds known."""
    for node in draft.nodes("Clip"):
        bounds = clip_bounds(draft, node)
        if bounds is not None and np.isfinite(bounds).all() and is_float(draft, node.input[0]):
            yield node, *bounds


def _plane_means(draft: Draft) -> Iterator[tuple[onnx.NodeProto, tuple[int, ...]]]:
    """The means over height and width of a (batch, channels, height, width) map."""
    for node in draft.nodes("ReduceMean"):
        axes = attribute(node, "axes")
        if axes is None and len(node.input) > 1 and draft.is_constant(node.input[1]):
            axes = draft.array(node.input[1]).tolist()
        sizes = known_sizes(draft, node.input[0])
        if axes and sizes and len(sizes) == 3 and sorted(axis % 4 for axis in axes) == [2, 3]:
            yield node, sizes


def _bounded(patch: Patch, value: str, *, low: float, high: float) -> str:
    return patch.add("Min", patch.add("Max", value, patch.constant(low)), patch.constant(high))


def _relu_bounded(patch: Patch, value: str, *, high: float) -> str:
    return patch.add("Min", patch.add("Relu", value), patch.constant(high))


def _softmax(patch: Patch, value: str, *, axis: int, opset: int) -> str:
    largest = reduced(patch, "ReduceMax", value, [axis], opset)
    powers = patch.add("Exp", patch.add("Sub", value, largest))
    return patch.add("Div", powers, reduced(patch, "ReduceSum", powers, [axis], opset))


def _sigmoid(patch: Patch, value: str) -> str:
    one = patch.constant(1.0)
    return patch.add("Div", one, patch.add("Add", one, patch.add("Exp", patch.add("Neg", value))))


def _mean(patch: Patch, value: str, *, opset: int) -> str:
    return reduced(patch, "ReduceMean", value, [2, 3], opset)


def _pooled(patch: Patch, value: str, *, shape: Sequence[int] | None) -> str:
    pooled = patch.add("GlobalAveragePool", value)
    return pooled if shape is None else _shaped(patch, pooled, shape=(-1, *shape))


def _sum_over(patch: Patch, value: str, *, area: float, opset: int, keepdims: int) -> str:
    total = reduced(patch, "ReduceSum", value, [2, 3], opset, keepdims=keepdims)
    return patch.add("Div", total, patch.constant(area))


def _window(patch: Patch, value: str, *, size: Sequence[int]) -> str:
    return patch.add("AveragePool", value, kernel_shape=list(size))


def _shaped(patch: Patch, value: str, *, shape: Sequence[int]) -> str:
    return patch.add("Reshape", value, patch.constant(np.array(shape), np.int64))


def _plus_negative(patch: Patch, value: str, *, other: str) -> str:
    return patch.add("Add", value, patch.add("Neg", other))


def _set_operator(mutant: Mutant, *, node: str, operator: str) -> None:
    mutant.node(node).op_type = operator


def _subtract(mutant: Mutant, *, node: str) -> None:
    addition = mutant.node(node)
    addition.op_type = "Sub"
    give(mutant, node, 1, -mutant.array(addition.input[1]))


def _multiply(mutant: Mutant, *, node: str) -> None:
    division = mutant.node(node)
    division.op_type = "Mul"
    give(mutant, node, 1, 1 / mutant.array(division.input[1]))
