"""Equivalent rewrites across layers: folds and unfolds, channels permuted or rescaled."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import onnx

from studies.corpus import Site, fault
from studies.corpus.drafts import Array, Draft, Mutant, attribute
from studies.corpus.graph_edits import known_sizes, only_reader
from studies.corpus.patches import Build, Patch, detour, give, replace_site

FAMILY = "harmless: layers"
PER_CHANNEL = (
    "BatchNormalization",
    "Relu",
    "Clip",
    "MaxPool",
    "Sigmoid",
    "LeakyRelu",
    "HardSwish",
    "Identity",
)


@fault(FAMILY, verdict="harmless", story="every exporter folds batch normalisation, in float64")
def batch_norm_folded(draft: Draft) -> Iterator[Site]:
    for node, conv in _normalised(draft):
        yield Site(node.name, partial(_fold, norm=node.name, conv=conv.name))


@fault(FAMILY, verdict="harmless", story="batch normalisation is written as a product and a sum")
def batch_norm_made_product_and_sum(draft: Draft) -> Iterator[Site]:
    for node in _norms(draft):
        scale, offset = _affine(draft, node)
        sizes = known_sizes(draft, node.output[0])
        if sizes:
            ones = [1] * (len(sizes) - 1)
            build = _scale_and_add(scale.reshape(-1, *ones), offset.reshape(-1, *ones))
            yield replace_site(node.name, build)


@fault(FAMILY, verdict="harmless", story="another exporter leaves batch normalisation unfolded")
def convolution_unfolded_to_batch_norm(draft: Draft) -> Iterator[Site]:
    for node in _biased(draft):
        yield Site(node.name, partial(_unfold, node=node.name, as_norm=True))


@fault(FAMILY, verdict="harmless", story="tf2onnx leaves a product and a sum behind a layer")
def convolution_unfolded_to_product_and_sum(draft: Draft) -> Iterator[Site]:
    for node in _biased(draft):
        yield Site(node.name, partial(_unfold, node=node.name, as_norm=False))


@fault(FAMILY, verdict="harmless", story="hidden channels have no order: a pruning tool sorts them")
def hidden_channels_permuted(draft: Draft) -> Iterator[Site]:
    for chain in _chains(draft, PER_CHANNEL):
        strike = partial(_permute, nodes=tuple(node.name for node in chain))
        yield Site(f"{chain[0].name} to {chain[-1].name}", strike)


@fault(FAMILY, verdict="harmless", story="layers are balanced for int8: a power of two moves on")
def power_of_two_moved_to_the_next_layer(draft: Draft) -> Iterator[Site]:
    for chain in _chains(draft, ("Relu", "MaxPool", "LeakyRelu", "Identity")):
        if len([node for node in chain if node.op_type == "Conv"]) <= 2:
            first, last = chain[0].name, chain[-1].name
            yield Site(f"{first} to {last}", partial(_rescale, first=first, last=last))


def _norms(draft: Draft) -> Iterator[onnx.NodeProto]:
    for node in draft.nodes("BatchNormalization"):
        constant = all(draft.is_constant(value) for value in node.input[1:])
        if constant and not attribute(node, "training_mode", 0) and len(node.output) == 1:
            yield node


def _normalised(draft: Draft) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto]]:
    """Batch normalisations that alone read a convolution, with it."""
    for node in _norms(draft):
        conv = draft.producer(node.input[0])
        if conv is None or conv.op_type != "Conv" or not draft.is_constant(conv.input[1]):
            continue
        bias = conv.input[2] if len(conv.input) > 2 else ""
        alone = only_reader(draft, conv.output[0], "BatchNormalization") is not None
        if alone and (not bias or draft.is_constant(bias)):
            yield node, conv


def _affine(graph: Draft | Mutant, node: onnx.NodeProto) -> tuple[Array, Array]:
    """Scale and offset of a batch normalisation, in float64."""
    gamma, beta, mean, variance = (graph.array(v).astype(np.float64) for v in node.input[1:5])
    scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return scale, beta - mean * scale


def _fold(mutant: Mutant, *, norm: str, conv: str) -> None:
    node, layer = mutant.node(norm), mutant.node(conv)
    scale, offset = _affine(mutant, node)
    kernel = mutant.array(layer.input[1]).astype(np.float64)
    bias = mutant.array(layer.input[2]) if len(layer.input) > 2 and layer.input[2] else 0
    layer.output[0] = node.output[0]
    mutant.graph.node.remove(node)
    folded = kernel * scale.reshape(-1, *[1] * (kernel.ndim - 1))
    give(mutant, conv, 1, folded.astype(np.float32))
    give(mutant, conv, 2, (bias * scale + offset).astype(np.float32))


def _biased(draft: Draft) -> Iterator[onnx.NodeProto]:
    """The convolutions with constant kernel and bias."""
    for node in draft.nodes("Conv"):
        if len(node.input) > 2 and all(draft.is_constant(value) for value in node.input[1:]):
            yield node


def _unfold(mutant: Mutant, *, node: str, as_norm: bool) -> None:
    """Take a scale and half of the bias out of a convolution, as training would have left them."""
    layer = mutant.node(node)
    kernel, bias = (mutant.array(value).astype(np.float64) for value in layer.input[1:3])
    scale = np.random.default_rng(len(bias)).uniform(0.7, 1.3, len(bias)).astype(np.float32)
    inner = kernel / scale.reshape(-1, *[1] * (kernel.ndim - 1))
    del layer.input[2:]
    give(mutant, node, 1, inner.astype(np.float32))
    build = _norm(scale, bias) if as_norm else _unfolded_affine(scale, bias, kernel.ndim - 2)
    detour(mutant, layer.output[0], build)


def _norm(scale: Array, bias: Array) -> Build:
    def build(patch: Patch, value: str) -> str:
        variance = np.full_like(scale, 4.0)
        gamma = scale * np.sqrt(variance + 1e-3)
        fields = (gamma, bias / 2, -bias / 2 / scale, variance)
        constants = [patch.constant(field) for field in fields]
        return patch.add("BatchNormalization", value, *constants, epsilon=1e-3)

    return build


def _unfolded_affine(scale: Array, bias: Array, axes: int) -> Build:
    return _scale_and_add(scale.reshape(-1, *[1] * axes), bias.reshape(-1, *[1] * axes))


def _scale_and_add(scale: Array, offset: Array) -> Build:
    def build(patch: Patch, value: str) -> str:
        scaled = patch.add("Mul", value, patch.constant(scale))
        return patch.add("Add", scaled, patch.constant(offset))

    return build


def _is_dense(draft: Draft, node: onnx.NodeProto) -> bool:
    """A layer that mixes all channels, with constant weights that no other node reads."""
    if node.op_type not in ("Conv", "Gemm") or attribute(node, "group", 1) != 1:
        return False
    return all(draft.is_constant(value) for value in node.input[1:] if value)


def _is_depthwise(draft: Draft, node: onnx.NodeProto) -> bool:
    if node.op_type != "Conv" or not all(draft.is_constant(v) for v in node.input[1:] if v):
        return False
    return draft.array(node.input[1]).shape[0] == attribute(node, "group", 1) > 1


def _chains(draft: Draft, passing: tuple[str, ...]) -> Iterator[list[onnx.NodeProto]]:
    """A dense layer, what treats its channels one by one, and the next dense layer."""
    for first in draft.nodes("Conv", "Gemm"):
        if not _is_dense(draft, first):
            continue
        chain = [first]
        node = only_reader(draft, first.output[0])
        while node is not None and (node.op_type in passing or _is_depthwise(draft, node)):
            if node.op_type == "BatchNormalization" and node not in [*_norms(draft)]:
                break
            chain.append(node)
            node = only_reader(draft, node.output[0])
        reads = node is not None and node.input[0] == chain[-1].output[0]
        if node is not None and reads and node.op_type == first.op_type and _is_dense(draft, node):
            yield [*chain, node]


def _output_axis(node: onnx.NodeProto) -> int:
    return 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1


def _permute(mutant: Mutant, *, nodes: tuple[str, ...]) -> None:
    first, *between, last = (mutant.node(name) for name in nodes)
    count = mutant.array(first.input[1]).shape[_output_axis(first)]
    order = np.random.default_rng(count).permutation(count)
    for node in (first, *(one for one in between if one.op_type == "Conv")):
        axis = _output_axis(node)
        give(mutant, node.name, 1, mutant.array(node.input[1]).take(order, axis))
        if len(node.input) > 2 and mutant.array(node.input[2]).ndim == 1:
            give(mutant, node.name, 2, mutant.array(node.input[2]).take(order))
    for node in (one for one in between if one.op_type == "BatchNormalization"):
        for place in range(1, 5):
            give(mutant, node.name, place, mutant.array(node.input[place]).take(order))
    weight = mutant.array(last.input[1])
    give(mutant, last.name, 1, weight.take(order, 1 - _output_axis(last)))


def _rescale(mutant: Mutant, *, first: str, last: str) -> None:
    for place in range(1, len(mutant.node(first).input)):
        array = mutant.array(mutant.node(first).input[place])
        give(mutant, first, place, array * np.float32(4))
    weight = mutant.array(mutant.node(last).input[1])
    give(mutant, last, 1, weight * np.float32(0.25))
