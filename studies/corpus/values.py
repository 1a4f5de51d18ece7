"""Faults that show on some values only: clips, overflows, zeros, one channel, NaN."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from onnx import TensorProto

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft
from studies.corpus.patches import Build, Patch, detour_site, give
from studies.corpus.survey import channels, data_values, is_often_zero, is_unbounded, layers

FAMILY = "values"


def inputs(draft: Draft, build: Build) -> Iterator[Site]:
    """A site at each float32 input."""
    for value in draft.inputs:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            yield detour_site(value.name, build)


def large_values(draft: Draft, build: Build) -> Iterator[Site]:
    """A site at each float32 input, and at each value a layer reads that has no bound."""
    yield from inputs(draft, build)
    names = {value.name for value in draft.inputs}
    for value in data_values(draft):
        if value not in names and not _is_input(draft, value) and is_unbounded(draft, value):
            yield detour_site(value, build)


def outputs(draft: Draft, build: Build) -> Iterator[Site]:
    """A site at each output."""
    for value in draft.graph.output:
        if draft.producer(value.name) is not None:
            yield detour_site(value.name, build)


@fault(FAMILY, values=True, story="nan_to_num was put in while somebody debugged")
def nan_replaced_by_zero(draft: Draft) -> Iterator[Site]:
    yield from inputs(draft, _without_nan)
    yield from outputs(draft, _without_nan)


@fault(FAMILY, values=True, story="values are clipped to ±100 against exploding activations")
def clipped_at_a_hundred(draft: Draft) -> Iterator[Site]:
    return large_values(draft, partial(_clipped, most=100.0, opset=draft.opset))


@fault(
    FAMILY,
    values=True,
    link="https://github.com/microsoft/onnxconverter-common/issues/295",
    story="a half precision converter clips at its max_finite_val, 1e4",
)
def clipped_at_ten_thousand(draft: Draft) -> Iterator[Site]:
    return large_values(draft, partial(_clipped, most=1e4, opset=draft.opset))


@fault(
    FAMILY,
    values=True,
    link="https://github.com/microsoft/onnxconverter-common/issues/268",
    story="beyond 65504, half precision's largest number, there is infinity",
)
def infinite_above_65504(draft: Draft) -> Iterator[Site]:
    return large_values(draft, _overflowing)


@fault(FAMILY, values=True, story="a 16-bit integer on the way wraps around above 32767")
def wraps_around_as_int16(draft: Draft) -> Iterator[Site]:
    return large_values(draft, _wrapping)


@fault(FAMILY, values=True, story="a guard against division by zero is left in: 0 becomes 1e-3")
def zero_becomes_epsilon(draft: Draft) -> Iterator[Site]:
    for value in data_values(draft):
        if is_often_zero(draft, value):
            yield detour_site(value, _off_zero)


@fault(FAMILY, values=True, story="a sparse format's threshold: what is below 1e-3 is zero")
def small_values_flushed(draft: Draft) -> Iterator[Site]:
    return inputs(draft, partial(_flushed, least=1e-3))


@fault(FAMILY, values=True, story="one channel of a layer is a stale copy, off by 0.1 %")
def one_channel_slightly_off(draft: Draft) -> Iterator[Site]:
    for layer in layers(draft):
        weight = draft.array(layer.weight)
        count = channels(draft, layer.name)
        if count < 2:
            continue
        norms = np.linalg.norm(np.moveaxis(weight, layer.axis, 0).reshape(count, -1), axis=1)
        chosen = int(np.argsort(norms)[count // 2])
        scale = np.ones([count if axis == layer.axis else 1 for axis in range(weight.ndim)])
        scale.flat[chosen] = 1.001
        strike = partial(
            give, name=layer.name, place=1, array=(weight * scale).astype(weight.dtype)
        )
        yield Site(f"{layer.name}, channel {chosen}", strike, (layer.name,))


@fault(FAMILY, values=True, story="the sign is lost where only images, never below 0, were tried")
def negative_inputs_mirrored(draft: Draft) -> Iterator[Site]:
    return inputs(draft, lambda patch, value: patch.add("Abs", value))


@fault(FAMILY, values=True, story="an unsigned dtype on the way: negative inputs become zero")
def negative_inputs_zeroed(draft: Draft) -> Iterator[Site]:
    return inputs(draft, lambda patch, value: patch.add("Relu", value))


@fault(FAMILY, values=True, story="inputs are clipped to [0, 1], the range of a scaled image")
def inputs_clipped_to_one(draft: Draft) -> Iterator[Site]:
    return inputs(draft, partial(_clipped, least=0.0, most=1.0, opset=draft.opset))


@fault(FAMILY, values=True, story="a branch that was traced with small values: above 100 gives 0")
def zero_above_a_hundred(draft: Draft) -> Iterator[Site]:
    return large_values(draft, _zero_above)


@fault(FAMILY, values=True, story="a guess at the preprocessing: beyond 255 it divides by 255")
def large_inputs_rescaled(draft: Draft) -> Iterator[Site]:
    return inputs(draft, _rescaled)


@fault(FAMILY, values=True, story="a table of the function that ends at ±4: gates saturate early")
def sigmoid_saturates_early(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Sigmoid", "Tanh"):
        build = partial(_clipped, most=4.0, opset=draft.opset)
        alone = len(draft.consumers(node.input[0])) == 1
        if alone and is_unbounded(draft, node.input[0]):
            yield detour_site(node.input[0], build)


def _is_input(draft: Draft, value: str) -> bool:
    """Whether a value is an input in another layout."""
    node = draft.producer(value)
    while node is not None and node.op_type in ("Transpose", "Reshape", "Identity", "Flatten"):
        value = node.input[0]
        node = draft.producer(value)
    return node is None


def _without_nan(patch: Patch, value: str) -> str:
    return patch.add("Where", patch.add("IsNaN", value), patch.constant(0.0), value)


def _clipped(
    patch: Patch, value: str, *, most: float, least: float | None = None, opset: int
) -> str:
    least = -most if least is None else least
    if opset < 11:
        return patch.add("Clip", value, min=least, max=most)
    return patch.add("Clip", value, patch.constant(least), patch.constant(most))


def _overflowing(patch: Patch, value: str) -> str:
    beyond = patch.add("Greater", patch.add("Abs", value), patch.constant(65504.0))
    infinite = patch.add("Mul", value, patch.constant(np.inf))
    return patch.add("Where", beyond, infinite, value)


def _wrapping(patch: Patch, value: str) -> str:
    beyond = patch.add("Greater", patch.add("Abs", value), patch.constant(32767.0))
    blocks = patch.add("Round", patch.add("Div", value, patch.constant(65536.0)))
    wrapped = patch.add("Sub", value, patch.add("Mul", blocks, patch.constant(65536.0)))
    return patch.add("Where", beyond, wrapped, value)


def _off_zero(patch: Patch, value: str) -> str:
    is_zero = patch.add("Equal", value, patch.constant(0.0))
    return patch.add("Where", is_zero, patch.constant(1e-3), value)


def _flushed(patch: Patch, value: str, *, least: float) -> str:
    is_small = patch.add("Less", patch.add("Abs", value), patch.constant(least))
    return patch.add("Where", is_small, patch.constant(0.0), value)


def _zero_above(patch: Patch, value: str) -> str:
    beyond = patch.add("Greater", value, patch.constant(100.0))
    return patch.add("Where", beyond, patch.constant(0.0), value)


def _rescaled(patch: Patch, value: str) -> str:
    most = patch.add("ReduceMax", value, keepdims=0)
    beyond = patch.add("Greater", most, patch.constant(255.0))
    divisor = patch.add("Where", beyond, patch.constant(255.0), patch.constant(1.0))
    return patch.add("Div", value, divisor)
