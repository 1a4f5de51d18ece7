"""Equivalent rewrites of one convolution: its bias, its pads, its kernel."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import onnx

from studies.corpus import Site, fault
from studies.corpus.drafts import Array, Draft, Mutant, attribute, set_attribute
from studies.corpus.graph_edits import (
    MODERN,
    constant_convolutions,
    explicit_pads,
    only_reader,
    pair,
    set_input,
    sliced,
)
from studies.corpus.patches import Patch, detour, detour_for, give, replace_site

FAMILY = "harmless: layers"
WIDEST = 64  # channels up to which a depthwise kernel may be written densely


@fault(FAMILY, verdict="harmless", story="a bias stands in a node of its own (tf2onnx)")
def bias_made_a_node(draft: Draft) -> Iterator[Site]:
    for node in constant_convolutions(draft):
        if _bias(draft, node) is not None:
            yield Site(node.name, partial(_take_bias_out, node=node.name))


@fault(FAMILY, verdict="harmless", story="an optimiser fuses an addition into the convolution")
def addition_made_a_bias(draft: Draft) -> Iterator[Site]:
    for node in constant_convolutions(draft):
        add = only_reader(draft, node.output[0], "Add")
        if add is None or len(node.input) > 2:
            continue
        other = add.input[1] if add.input[0] == node.output[0] else add.input[0]
        channels = draft.array(node.input[1]).shape[0]
        if draft.is_constant(other) and draft.array(other).shape[-3:] == (channels, 1, 1):
            strike = partial(_fuse_bias, node=node.name, add=add.name, bias=other)
            yield Site(node.name, strike)


@fault(FAMILY, verdict="harmless", story="each convolution gets a bias, zero where it had none")
def zero_bias_added(draft: Draft) -> Iterator[Site]:
    for node in constant_convolutions(draft):
        if len(node.input) == 2:
            yield Site(node.name, partial(_add_zero_bias, node=node.name))


@fault(FAMILY, verdict="harmless", story="a bias of zeros is left out")
def zero_bias_removed(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Conv", "Gemm"):
        bias = node.input[2] if len(node.input) > 2 else ""
        if bias and draft.is_constant(bias) and not draft.array(bias).any():
            yield Site(node.name, partial(_remove_bias, node=node.name))


@fault(FAMILY, verdict="harmless", story="a 1x1 convolution is a matrix product (NHWC runtimes)")
def pointwise_made_matmul(draft: Draft) -> Iterator[Site]:
    for node in constant_convolutions(draft):
        if _is_pointwise(draft, node) and pair(node, "strides") == [1, 1]:
            kernel, bias = draft.array(node.input[1]), _bias(draft, node)
            yield replace_site(node.name, partial(_multiplied, kernel=kernel, bias=bias))


@fault(FAMILY, verdict="harmless", story="a strided 1x1 convolution is a slice and a plain one")
def strided_pointwise_sliced(draft: Draft) -> Iterator[Site]:
    for node in constant_convolutions(draft):
        strides = pair(node, "strides")
        if draft.opset >= MODERN and _is_pointwise(draft, node) and strides != [1, 1]:
            yield Site(node.name, partial(_slice_first, node=node.name, strides=strides))


@fault(FAMILY, verdict="harmless", story="a layer too large for a device is cut in two")
def convolution_split_by_outputs(draft: Draft) -> Iterator[Site]:
    for node in constant_convolutions(draft):
        channels = draft.array(node.input[1]).shape[0]
        if attribute(node, "group", 1) == 1 and channels > 1 and len(node.input) < 4:
            yield Site(node.name, partial(_split, node=node.name, middle=channels // 2))


@fault(FAMILY, verdict="harmless", story="a depthwise kernel is written densely, zeros elsewhere")
def depthwise_made_dense(draft: Draft) -> Iterator[Site]:
    for node in constant_convolutions(draft):
        outputs, width = draft.array(node.input[1]).shape[:2]
        groups = attribute(node, "group", 1)
        if 1 < groups == outputs <= WIDEST and width == 1:
            yield Site(node.name, partial(_make_dense, node=node.name))


def _bias(draft: Draft, node: onnx.NodeProto) -> Array | None:
    has = len(node.input) > 2 and bool(node.input[2])
    return draft.array(node.input[2]) if has else None


def _is_pointwise(draft: Draft, node: onnx.NodeProto) -> bool:
    one = draft.array(node.input[1]).shape[2:] == (1, 1)
    pads = explicit_pads(node)
    return one and attribute(node, "group", 1) == 1 and pads is not None and not any(pads)


def _take_bias_out(mutant: Mutant, *, node: str) -> None:
    conv = mutant.node(node)
    bias = mutant.array(conv.input[2]).reshape(1, -1, 1, 1)
    del conv.input[2:]
    detour(mutant, conv.output[0], lambda patch, v: patch.add("Add", v, patch.constant(bias)))


def _fuse_bias(mutant: Mutant, *, node: str, add: str, bias: str) -> None:
    conv, addition = mutant.node(node), mutant.node(add)
    conv.output[0] = addition.output[0]
    mutant.graph.node.remove(addition)
    give(mutant, node, 2, mutant.array(bias).reshape(-1))


def _add_zero_bias(mutant: Mutant, *, node: str) -> None:
    channels = mutant.array(mutant.node(node).input[1]).shape[0]
    give(mutant, node, 2, np.zeros(channels, np.float32))


def _remove_bias(mutant: Mutant, *, node: str) -> None:
    del mutant.node(node).input[2:]


def _multiplied(patch: Patch, value: str, *, kernel: Array, bias: Array | None) -> str:
    last = patch.add("Transpose", value, perm=[0, 2, 3, 1])
    product = patch.add("MatMul", last, patch.constant(kernel[:, :, 0, 0].T))
    if bias is not None:
        product = patch.add("Add", product, patch.constant(bias))
    return patch.add("Transpose", product, perm=[0, 3, 1, 2])


def _slice_first(mutant: Mutant, *, node: str, strides: list[int]) -> None:
    set_attribute(mutant.node(node), "strides", [1, 1])

    def build(patch: Patch, value: str) -> str:
        rows = sliced(patch, value, 0, 2**62, 2, strides[0])
        return sliced(patch, rows, 0, 2**62, 3, strides[1])

    detour_for(mutant, node, 0, build)


def _split(mutant: Mutant, *, node: str, middle: int) -> None:
    conv = mutant.node(node)
    arrays = [mutant.array(value) for value in conv.input[1:] if value]
    result, halves = conv.output[0], []
    for name, part in (("first", slice(None, middle)), ("second", slice(middle, None))):
        half = onnx.NodeProto()
        half.CopyFrom(conv)
        half.name, half.output[0] = f"{node}__{name}", f"{result}__{name}"
        for place, array in enumerate(arrays, 1):
            set_input(half, place, mutant.add_array(f"{node}__{name}{place}", array[part]))
        mutant.insert(half, before=node)
        halves.append(half.output[0])
    joined = onnx.helper.make_node("Concat", halves, [result], name=f"{node}__joined", axis=1)
    mutant.insert(joined, before=node)
    mutant.graph.node.remove(conv)


def _make_dense(mutant: Mutant, *, node: str) -> None:
    kernel = mutant.array(mutant.node(node).input[1])
    channels = kernel.shape[0]
    dense = np.zeros((channels, channels, *kernel.shape[2:]), kernel.dtype)
    dense[np.arange(channels), np.arange(channels)] = kernel[:, 0]
    set_attribute(mutant.node(node), "group", 1)
    give(mutant, node, 1, dense)
