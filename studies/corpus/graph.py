"""Layers in the wrong place, the wrong number or the wrong order."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import onnx

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Mutant, attribute, set_attribute
from studies.corpus.graph_edits import is_float, known_sizes, with_constant
from studies.corpus.patches import Build, Patch, bypass_site, detour_site, give
from studies.corpus.survey import layers

FAMILY = "graph"


@fault(FAMILY, story="a layer whose shapes fit is left out of a hand-written port")
def layer_skipped(draft: Draft) -> Iterator[Site]:
    for layer in layers(draft):
        if _keeps_shape(draft, draft.node(layer.name)):
            yield from bypass_site(draft, layer.name)


@fault(FAMILY, story="a layer that is called in a loop is called once too often")
def layer_applied_twice(draft: Draft) -> Iterator[Site]:
    for layer in layers(draft):
        if _keeps_shape(draft, draft.node(layer.name)):
            yield _again(draft.node(layer.name))


@fault(FAMILY, story="softmax or sigmoid is in the model and added by the export wrapper as well")
def output_activation_applied_twice(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Softmax", "Sigmoid", "Tanh", "LogSoftmax"):
        yield _again(node)


@fault(FAMILY, story="two layers of equal shape are loaded into each other's place")
def two_layers_exchanged(draft: Draft) -> Iterator[Site]:
    found = [draft.node(layer.name) for layer in layers(draft)]
    for number, node in enumerate(found):
        other = next((o for o in found[number + 1 :] if _same_shapes(draft, node, o)), None)
        if other is not None:
            strike = partial(_exchange_weights, one=node.name, two=other.name)
            yield Site(f"{node.name}, {other.name}", strike, (node.name, other.name))


@fault(FAMILY, story="Gemm's alpha is dropped, or applied to the weight and kept as well")
def alpha_wrong(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Gemm"):
        value = 1.0 if attribute(node, "alpha", 1.0) != 1.0 else 0.5
        yield _attribute_site(node, "alpha", value)


@fault(FAMILY, story="Gemm's beta is taken for zero, its old default when no bias is given")
def beta_wrong(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Gemm"):
        bias = node.input[2] if len(node.input) > 2 else ""
        if bias and (not draft.is_constant(bias) or draft.array(bias).any()):
            yield _attribute_site(node, "beta", 0.0)


@fault(FAMILY, story="a bias is fused into its layer and its Add is left in the graph")
def bias_added_twice(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Conv", "Gemm"):
        if len(node.input) < 3 or not node.input[2] or not draft.is_constant(node.input[2]):
            continue
        bias = draft.array(node.input[2])
        if bias.any() and bias.ndim == 1:
            ones = np.ndim(draft.array(node.input[1])) - 2 if node.op_type == "Conv" else 0
            shaped = bias.reshape(-1, *[1] * ones)
            yield detour_site(node.output[0], _joined_with("Add", shaped))
    for node, place in with_constant(draft, "Add"):
        if draft.array(node.input[place]).any():
            yield detour_site(node.output[0], _joined_with("Add", draft.array(node.input[place])))


@fault(FAMILY, story="a vector of channels is broadcast along the width, which is as long")
def bias_broadcast_along_the_width(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Conv"):
        sizes = known_sizes(draft, node.output[0])
        bias = node.input[2] if len(node.input) > 2 else ""
        square = sizes is not None and len(sizes) == 3 and sizes[0] == sizes[2] > 1
        if square and bias and draft.is_constant(bias) and np.ptp(draft.array(bias)) > 0:
            difference = draft.array(bias) - draft.array(bias)[:, None, None]
            yield detour_site(node.output[0], _joined_with("Add", difference))


@fault(FAMILY, story="a constant is folded while a variable still has its initial value, 0 or 1")
def constant_folded_too_early(draft: Draft) -> Iterator[Site]:
    for node, place in with_constant(draft, "Add", "Sub", "Mul", "Div"):
        name = node.input[place]
        initial = 0.0 if node.op_type in ("Add", "Sub") else 1.0
        if (draft.array(name) != initial).any():
            strike = partial(_fill, node=node.name, place=place, value=initial)
            yield Site(node.name, strike, (node.name,))


@fault(FAMILY, story="a constant is folded for another input: some per cent off")
def constant_folded_for_another_input(draft: Draft) -> Iterator[Site]:
    for node, place in with_constant(draft, "Add", "Sub", "Mul", "Div"):
        if draft.array(node.input[place]).any():
            strike = partial(_scale, node=node.name, place=place, factor=1.02)
            yield Site(node.name, strike, (node.name,))


@fault(FAMILY, story="dropout is exported in training mode as a constant factor 1 / (1 - rate)")
def dropout_scale_left(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Flatten", "Reshape", "Squeeze", "GlobalAveragePool", "ReduceMean"):
        if is_float(draft, node.input[0]) and _reaches_a_layer(draft, node.output[0]):
            yield detour_site(node.output[0], _joined_with("Mul", np.float32(1.25)))


@fault(FAMILY, story="noise that regularises training (GaussianNoise) is frozen into the graph")
def noise_left(draft: Draft) -> Iterator[Site]:
    for layer in layers(draft, "Gemm", "MatMul", "Conv"):
        node = draft.node(layer.name)
        sizes = known_sizes(draft, node.output[0])
        if sizes:
            noise = 0.01 * np.random.default_rng(len(node.name)).standard_normal((sizes[0],))
            shaped = noise.reshape(-1, *[1] * (len(sizes) - 1)).astype(np.float32)
            yield detour_site(node.output[0], _joined_with("Add", shaped))


def _keeps_shape(draft: Draft, node: onnx.NodeProto) -> bool:
    sizes = known_sizes(draft, node.output[0])
    return sizes is not None and sizes == known_sizes(draft, node.input[0])


def _again(node: onnx.NodeProto) -> Site:
    copy = f"{node.name}__again"
    return Site(node.name, partial(_apply_again, node=node.name, copy=copy), (copy,))


def _apply_again(mutant: Mutant, *, node: str, copy: str) -> None:
    first = mutant.node(node)
    second = onnx.NodeProto()
    second.CopyFrom(first)
    second.name = copy
    first.output[0] = second.input[0] = f"{first.output[0]}__once"
    place = [one.name for one in mutant.graph.node].index(node)
    mutant.graph.node.insert(place + 1, second)


def _same_shapes(draft: Draft, one: onnx.NodeProto, two: onnx.NodeProto) -> bool:
    if one.op_type != two.op_type or len(one.input) != len(two.input):
        return False
    pairs = list(zip(one.input[1:], two.input[1:], strict=True))
    if not all(draft.is_constant(a) and draft.is_constant(b) for a, b in pairs):
        return False
    arrays = [(draft.array(a), draft.array(b)) for a, b in pairs]
    alike = all(a.shape == b.shape for a, b in arrays)
    return alike and not all(np.array_equal(a, b) for a, b in arrays)


def _exchange_weights(mutant: Mutant, *, one: str, two: str) -> None:
    first, second = mutant.node(one), mutant.node(two)
    for place in range(1, len(first.input)):
        first.input[place], second.input[place] = second.input[place], first.input[place]


def _attribute_site(node: onnx.NodeProto, name: str, value: float) -> Site:
    strike = partial(_set, node=node.name, name=name, value=value)
    return Site(node.name, strike, (node.name,))


def _set(mutant: Mutant, *, node: str, name: str, value: float) -> None:
    set_attribute(mutant.node(node), name, value)


def _joined_with(operator: str, operand: np.ndarray) -> Build:
    def build(patch: Patch, value: str) -> str:
        return patch.add(operator, value, patch.constant(operand))

    return build


def _fill(mutant: Mutant, *, node: str, place: int, value: float) -> None:
    old = mutant.array(mutant.node(node).input[place])
    give(mutant, node, place, np.full_like(old, value))


def _scale(mutant: Mutant, *, node: str, place: int, factor: float) -> None:
    old = mutant.array(mutant.node(node).input[place])
    give(mutant, node, place, old * np.float32(factor))


def _reaches_a_layer(draft: Draft, value: str) -> bool:
    readers = draft.consumers(value)
    return any(node.op_type in ("Gemm", "MatMul", "Conv") for node in readers)
