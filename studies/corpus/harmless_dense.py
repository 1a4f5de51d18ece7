"""Equivalent rewrites of dense layers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import onnx

from studies.corpus import Site, fault
from studies.corpus.drafts import Array, Draft, Mutant, attribute, remove_attribute, set_attribute
from studies.corpus.graph_edits import known_sizes, only_reader
from studies.corpus.patches import Patch, give, replace_site

FAMILY = "harmless: layers"


@fault(FAMILY, verdict="harmless", story="tf2onnx writes a dense layer as MatMul and Add")
def gemm_made_matmul_and_add(draft: Draft) -> Iterator[Site]:
    for node in _plain_gemms(draft):
        weight = _weight(draft, node)
        bias = node.input[2] if len(node.input) > 2 else ""
        yield replace_site(node.name, partial(_matmul_add, weight=weight, bias=bias))


@fault(FAMILY, verdict="harmless", story="optimisers fuse MatMul and Add into Gemm")
def matmul_and_add_made_gemm(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("MatMul"):
        add = only_reader(draft, node.output[0], "Add")
        sizes = known_sizes(draft, node.input[0])
        weight = draft.is_constant(node.input[1]) and draft.array(node.input[1]).ndim == 2
        if add is None or sizes is None or len(sizes) != 1 or not weight:
            continue
        bias = add.input[1] if add.input[0] == node.output[0] else add.input[0]
        if draft.is_constant(bias) and draft.array(bias).ndim == 1:
            strike = partial(_fuse_gemm, matmul=node.name, add=add.name, bias=bias)
            yield Site(node.name, strike)


@fault(FAMILY, verdict="harmless", story="a dense weight is stored the other way, transB flipped")
def dense_weight_transposed_with_its_flag(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Gemm"):
        if draft.is_constant(node.input[1]):
            yield Site(node.name, partial(_flip, node=node.name))


@fault(FAMILY, verdict="harmless", story="half the weight and alpha two: a scale outside of it")
def alpha_taken_out_of_the_weight(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Gemm"):
        if draft.is_constant(node.input[1]):
            yield Site(node.name, partial(_take_alpha_out, node=node.name))


@fault(FAMILY, verdict="harmless", story="a dense layer becomes a 1x1 convolution, as NPUs like it")
def gemm_made_a_convolution(draft: Draft) -> Iterator[Site]:
    for node in _plain_gemms(draft):
        kernel = _weight(draft, node).T[:, :, None, None]
        bias = node.input[2] if len(node.input) > 2 else ""
        if not bias or (draft.is_constant(bias) and draft.array(bias).ndim == 1):
            build = partial(_convolved, kernel=kernel, bias=bias)
            yield replace_site(node.name, build)


@fault(FAMILY, verdict="harmless", story="a dense layer too large for a device is cut in two")
def gemm_split_by_outputs(draft: Draft) -> Iterator[Site]:
    for node in _plain_gemms(draft):
        weight = _weight(draft, node)
        bias = node.input[2] if len(node.input) > 2 else ""
        vector = draft.array(bias) if bias and draft.is_constant(bias) else None
        if weight.shape[1] > 1 and (not bias or (vector is not None and vector.ndim == 1)):
            yield replace_site(node.name, partial(_two_gemms, weight=weight, bias=vector))


def _plain_gemms(draft: Draft) -> Iterator[onnx.NodeProto]:
    for node in draft.nodes("Gemm"):
        scales = (attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0))
        plain = scales == (1.0, 1.0) and not attribute(node, "transA", 0)
        if plain and draft.is_constant(node.input[1]):
            yield node


def _weight(draft: Draft, node: onnx.NodeProto) -> Array:
    """A Gemm's weight as (in, out)."""
    weight = draft.array(node.input[1])
    return weight.T if attribute(node, "transB", 0) else weight


def _matmul_add(patch: Patch, value: str, *, weight: Array, bias: str) -> str:
    product = patch.add("MatMul", value, patch.constant(weight))
    return patch.add("Add", product, bias) if bias else product


def _convolved(patch: Patch, value: str, *, kernel: Array, bias: str) -> str:
    shape = patch.constant(np.array([-1, kernel.shape[1], 1, 1]), np.int64)
    pixel = patch.add("Reshape", value, shape)
    inputs = [patch.constant(kernel), *([bias] if bias else [])]
    return patch.add("Flatten", patch.add("Conv", pixel, *inputs, kernel_shape=[1, 1]), axis=1)


def _two_gemms(patch: Patch, value: str, *, weight: Array, bias: Array | None) -> str:
    middle = weight.shape[1] // 2
    parts = []
    for columns in (slice(None, middle), slice(middle, None)):
        inputs = [patch.constant(weight[:, columns])]
        inputs += [] if bias is None else [patch.constant(bias[columns])]
        parts.append(patch.add("Gemm", value, *inputs))
    return patch.add("Concat", *parts, axis=1)


def _fuse_gemm(mutant: Mutant, *, matmul: str, add: str, bias: str) -> None:
    gemm, addition = mutant.node(matmul), mutant.node(add)
    gemm.op_type = "Gemm"
    gemm.input.append(bias)
    gemm.output[0] = addition.output[0]
    mutant.graph.node.remove(addition)


def _flip(mutant: Mutant, *, node: str) -> None:
    gemm = mutant.node(node)
    flag = 1 - attribute(gemm, "transB", 0)
    give(mutant, node, 1, mutant.array(gemm.input[1]).T)
    if flag:
        set_attribute(gemm, "transB", flag)
    else:
        remove_attribute(gemm, "transB")


def _take_alpha_out(mutant: Mutant, *, node: str) -> None:
    gemm = mutant.node(node)
    give(mutant, node, 1, mutant.array(gemm.input[1]) * np.float32(0.5))
    set_attribute(gemm, "alpha", 2.0 * attribute(gemm, "alpha", 1.0))
