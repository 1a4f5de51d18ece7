"""Convolutions with another kernel, bias, stride, dilation or group."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from math import prod

import numpy as np

from studies.corpus import Site, fault
from studies.corpus.drafts import Array, Draft, Mutant, attribute
from studies.corpus.patches import Patch, detour_for, give, names_of
from studies.corpus.survey import layers
from studies.corpus.windows import Window, set_window, windows

FAMILY = "convolution"
VISIBLE = 1e-3  # of the array's norm; a smaller change may drown in float32's noise
PASSES = ("Relu", "Clip", "LeakyRelu", "BatchNormalization", "Sigmoid", "HardSwish")


def with_array(name: str, place: int, old: Array, new: Array) -> Iterator[Site]:
    """The site of a fault that gives a node another constant; none if it is the same."""
    if np.linalg.norm(new - old) > VISIBLE * np.linalg.norm(old):
        array = np.ascontiguousarray(new, old.dtype)
        yield Site(name, partial(give, name=name, place=place, array=array), (name,))


def with_kernel(
    draft: Draft, change: Callable[[Array], Array], *, depthwise: bool = False
) -> Iterator[Site]:
    """A site at each convolution whose kernel a change makes another one."""
    for layer in layers(draft, "Conv") if depthwise else layers(draft, "Conv", "ConvTranspose"):
        kernel = draft.array(layer.weight)
        if not depthwise or (kernel.shape[1] == 1 and kernel.shape[0] > 1):
            yield from with_array(layer.name, 1, kernel, change(kernel))


def biases(draft: Draft) -> Iterator[tuple[str, Array]]:
    """The layers with a constant bias that matters: node and bias."""
    for layer in layers(draft, "Conv", "ConvTranspose", "Gemm"):
        node = draft.node(layer.name)
        if len(node.input) > 2 and node.input[2] and draft.is_constant(node.input[2]):
            bias = draft.array(node.input[2])
            if np.any(np.abs(bias) > 1e-6):
                yield layer.name, bias


@fault(FAMILY, story="a true convolution for a cross-correlation: the kernel is turned by 180°")
def kernel_flipped(draft: Draft) -> Iterator[Site]:
    return with_kernel(draft, lambda kernel: np.flip(kernel, range(2, kernel.ndim)))


@fault(FAMILY, story="height and width of the kernel changed places")
def kernel_transposed(draft: Draft) -> Iterator[Site]:
    def change(kernel: Array) -> Array:
        square = kernel.ndim == 4 and kernel.shape[2] == kernel.shape[3]
        return kernel.swapaxes(2, 3) if square else kernel

    return with_kernel(draft, change)


@fault(
    FAMILY,
    link="https://github.com/onnx/onnx-tensorflow/issues/306",
    story="a depthwise kernel's (H, W, C) was reshaped to (C, 1, H, W), not transposed",
)
def depthwise_kernel_reshaped(draft: Draft) -> Iterator[Site]:
    def change(kernel: Array) -> Array:
        last = np.moveaxis(kernel[:, 0], 0, -1)
        return np.ascontiguousarray(last).reshape(kernel.shape)

    return with_kernel(draft, change, depthwise=True)


@fault(FAMILY, story="an index off by one: each channel is convolved by its neighbour's kernel")
def depthwise_kernels_shifted(draft: Draft) -> Iterator[Site]:
    return with_kernel(draft, lambda kernel: np.roll(kernel, 1, axis=0), depthwise=True)


@fault(FAMILY, story="one kernel is broadcast to all channels of a depthwise layer")
def depthwise_kernel_shared(draft: Draft) -> Iterator[Site]:
    return with_kernel(
        draft, lambda kernel: np.broadcast_to(kernel[:1], kernel.shape), depthwise=True
    )


@fault(FAMILY, story="groups vary fastest in the target: a group's output channels lie apart")
def group_layout_interleaved(draft: Draft) -> Iterator[Site]:
    for layer in layers(draft, "Conv"):
        groups = attribute(draft.node(layer.name), "group", 1)
        kernel = draft.array(layer.weight)
        each = kernel.shape[0] // groups
        if groups > 1 and each > 1:
            new = kernel.reshape(groups, each, *kernel.shape[1:]).swapaxes(0, 1)
            yield from with_array(layer.name, 1, kernel, new.reshape(kernel.shape))


@fault(FAMILY, story="groups read channels that lie apart, as in Caffe's and some NHWC kernels")
def group_inputs_interleaved(draft: Draft) -> Iterator[Site]:
    for layer in layers(draft, "Conv"):
        groups = attribute(draft.node(layer.name), "group", 1)
        each = draft.array(layer.weight).shape[1]
        if groups > 1 and each > 1:
            build = partial(_take, order=np.arange(groups * each).reshape(each, groups).T.ravel())
            strike = partial(detour_for, name=layer.name, place=0, build=build)
            yield Site(layer.name, strike, (layer.name, *names_of(f"{layer.name}__0", build)))


@fault(FAMILY, story="use_bias is misread: the bias is not written")
def layer_bias_dropped(draft: Draft) -> Iterator[Site]:
    for name, _ in biases(draft):
        yield Site(name, partial(_without_bias, name=name), (name,))


@fault(FAMILY, story="names matched by their number hand a layer the next one's bias")
def layer_bias_of_another_layer(draft: Draft) -> Iterator[Site]:
    found = list(biases(draft))
    for place, (name, bias) in enumerate(found):
        others = [other for _, other in found[place + 1 :] + found[:place]]
        other = next((one for one in others if one.shape == bias.shape), bias)
        yield from with_array(name, 2, bias, other)


@fault(FAMILY, story="a slice off by one hands each channel its neighbour's bias")
def layer_bias_shifted_by_a_channel(draft: Draft) -> Iterator[Site]:
    for name, bias in biases(draft):
        yield from with_array(name, 2, bias, np.roll(bias, 1))


@fault(FAMILY, story="a bias that is already there is added again after the layer")
def layer_bias_added_twice(draft: Draft) -> Iterator[Site]:
    for name, bias in biases(draft):
        yield from with_array(name, 2, bias, 2 * bias)


@fault(
    FAMILY,
    link="https://github.com/microsoft/onnxscript/pull/3027",
    story="Gemm's beta scales a bias that it was already folded into",
)
def gemm_beta_applied_twice(draft: Draft) -> Iterator[Site]:
    for name, bias in biases(draft):
        node = draft.node(name)
        beta = attribute(node, "beta", 1.0)
        if node.op_type == "Gemm" and abs(beta - 1.0) > 1e-3:
            yield from with_array(name, 2, bias, bias * beta)


@fault(FAMILY, story="dilation read from a default of the target: twice as wide, shape kept")
def dilation_doubled(draft: Draft) -> Iterator[Site]:
    for node, old in windows(draft, "Conv"):
        wider = dataclasses.replace(old, dilation=tuple(2 * one for one in old.dilation))
        yield from _dilated(node.name, old, wider)


@fault(FAMILY, story="a dilated convolution exported without its dilation, shape kept")
def dilation_lost(draft: Draft) -> Iterator[Site]:
    for node, old in windows(draft, "Conv"):
        if max(old.dilation) > 1:
            yield from _dilated(
                node.name, old, dataclasses.replace(old, dilation=(1,) * len(old.dilation))
            )


@fault(
    FAMILY,
    story="ResNet v1 against v1.5: the stride sits on the other of two convolutions in a row",
)
def stride_on_the_other_convolution(draft: Draft) -> Iterator[Site]:
    known = {node.name: found for node, found in windows(draft, "Conv")}
    for name, second in known.items():
        before = _convolution_before(draft, name)
        first = known.get(before or "")
        if before is None or first is None or first.stride == second.stride:
            continue
        if prod(second.kernel) == 1:  # which pixels are taken is then the same
            continue
        moved = dataclasses.replace(first, stride=second.stride)
        follower = dataclasses.replace(second, size=moved.output, stride=first.stride)
        if first.is_known and second.is_known and follower.output == second.output:
            strides = {before: second.stride, name: first.stride}
            yield Site(name, partial(_set_strides, strides=strides), (before, name))


def _dilated(name: str, old: Window, new: Window) -> Iterator[Site]:
    """The other dilation with pads that make up for it, where whole ones do."""
    axes = zip(old.kernel, old.dilation, new.dilation, strict=True)
    growth = [(k - 1) * (n - o) for k, o, n in axes]
    before = tuple(b + g // 2 for b, g in zip(old.before, growth, strict=True))
    after = tuple(a + g - g // 2 for a, g in zip(old.after, growth, strict=True))
    if any(growth) and min(*before, *after) >= 0:
        pads = [*before, *after]
        strike = partial(set_window, name=name, pads=pads, dilations=new.dilation)
        yield Site(name, strike, (name,))


def _convolution_before(draft: Draft, name: str) -> str | None:
    node = draft.producer(draft.node(name).input[0])
    while node is not None and node.op_type in PASSES:
        if len(draft.consumers(node.output[0])) != 1:
            return None
        node = draft.producer(node.input[0])
    alone = node is not None and len(draft.consumers(node.output[0])) == 1
    return node.name if node is not None and node.op_type == "Conv" and alone else None


def _set_strides(mutant: Mutant, *, strides: dict[str, tuple[int, ...]]) -> None:
    for name, stride in strides.items():
        set_window(mutant, name=name, strides=stride)
    del mutant.graph.value_info[:]  # shapes in between have changed


def _without_bias(mutant: Mutant, *, name: str) -> None:
    del mutant.node(name).input[2]


def _take(patch: Patch, value: str, *, order: Array) -> str:
    return patch.add("Gather", value, patch.constant(order, np.int64), axis=1)
