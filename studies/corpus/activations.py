"""Activations dropped, replaced or given other constants."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import inf
from typing import Any

import numpy as np

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Mutant, attribute, set_attribute
from studies.corpus.patches import Patch, bypass_site, detour_site, give, replace_site
from studies.corpus.survey import can_be_negative, clip_bounds, is_unbounded, layers, range_of

FAMILY = "activations"
SMOOTH = ("Sigmoid", "Tanh", "HardSwish", "Gelu", "Elu", "Selu", "Softplus", "HardSigmoid", "Mish")


def turned_into(name: str, operator: str, **attributes: Any) -> Site:
    """The site of a fault that makes a node another operator of its first input."""

    def strike(mutant: Mutant) -> None:
        node = mutant.node(name)
        node.op_type = operator
        node.domain = ""
        del node.input[1:]
        del node.attribute[:]
        for key, value in attributes.items():
            set_attribute(node, key, value)

    return Site(name, strike, (name,))


def with_attribute(name: str, key: str, value: Any) -> Site:
    """The site of a fault that gives a node another attribute."""
    return Site(name, lambda mutant: set_attribute(mutant.node(name), key, value), (name,))


def relus(draft: Draft) -> Iterator[str]:
    """The Relu nodes that some input gives a negative value."""
    for node in draft.nodes("Relu"):
        if can_be_negative(draft, node.input[0]):
            yield node.name


def clips(draft: Draft) -> Iterator[tuple[str, float, float]]:
    """The Clip nodes with constant bounds: name, least, most (infinite where there is none)."""
    for node in draft.nodes("Clip"):
        bounds = clip_bounds(draft, node)
        if bounds is not None and all(map(draft.is_constant, filter(None, node.input[1:]))):
            yield node.name, *bounds


def set_bound(mutant: Mutant, *, name: str, place: int, value: float) -> None:
    """Give a Clip another least (1) or most (2)."""
    node = mutant.node(name)
    key = ("min", "max")[place - 1]
    if mutant.opset < 11:
        set_attribute(node, key, value)
    else:
        dtypes = [mutant.array(bound).dtype for bound in node.input[1:] if bound]
        give(mutant, name, place, np.array(value, dtypes[0] if dtypes else np.float32))


@fault(FAMILY, story="a fusion takes the activation out and nobody puts it back")
def activation_dropped(draft: Draft) -> Iterator[Site]:
    wanted = {*relus(draft), *(name for name, *_ in clips(draft))}
    for node in draft.nodes("Relu", "Clip", "LeakyRelu", "PRelu", *SMOOTH):
        if node.op_type not in ("Relu", "Clip") or node.name in wanted:
            yield from bypass_site(draft, node.name)


@fault(FAMILY, story="an activation that is no identity on its own result is applied twice")
def activation_applied_twice(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("LeakyRelu", "Softmax", *SMOOTH):
        attributes = {a.name: attribute(node, a.name) for a in node.attribute}
        yield detour_site(node.output[0], partial(_again, operator=node.op_type, more=attributes))


@fault(FAMILY, story="a linear layer (a bottleneck's projection) is given its neighbours' Relu")
def activation_on_a_linear_layer(draft: Draft) -> Iterator[Site]:
    active = ("Relu", "Clip", "LeakyRelu", "PRelu", "Mul", "BatchNormalization", *SMOOTH)
    for layer in layers(draft, "Conv"):
        value = draft.node(layer.name).output[0]
        readers = draft.consumers(value)
        is_linear = readers and not any(reader.op_type in active for reader in readers)
        if is_linear and can_be_negative(draft, value):
            yield detour_site(value, lambda patch, source: patch.add("Relu", source))


@fault(FAMILY, story="Relu moved in front of the residual sum that it belongs behind")
def activation_before_the_residual_sum(draft: Draft) -> Iterator[Site]:
    for name in relus(draft):
        total = draft.producer(draft.node(name).input[0])
        if total is None or total.op_type != "Add" or len(draft.consumers(total.output[0])) > 1:
            continue
        if any(map(draft.is_constant, total.input)):  # a bias
            continue
        if can_be_negative(draft, total.input[0]):
            strike = partial(_move_before, name=name, total=total.name)
            yield Site(name, strike, (name, total.name))


@fault(FAMILY, story="Relu mapped to LeakyRelu at the operator's default slope 0.01")
def relu_became_leaky(draft: Draft) -> Iterator[Site]:
    for name in relus(draft):
        yield turned_into(name, "LeakyRelu", alpha=0.01)


@fault(FAMILY, story="the slope is lost and the default of another framework holds (0.01, 0.3)")
def leaky_slope_lost(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("LeakyRelu"):
        other = 0.3 if attribute(node, "alpha", 0.01) < 0.1 else 0.01
        yield with_attribute(node.name, "alpha", other)


@fault(FAMILY, story="PRelu's slope of each channel is replaced by the first one's")
def prelu_slope_shared(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("PRelu"):
        if draft.is_constant(node.input[1]) and np.ptp(draft.array(node.input[1])) > 1e-3:
            slope = draft.array(node.input[1])
            shared = np.full_like(slope, slope.flat[0])
            strike = partial(give, name=node.name, place=1, array=shared)
            yield Site(node.name, strike, (node.name,))


@fault(FAMILY, story="Relu mapped to Elu, the neighbour in a table of operators")
def relu_became_elu(draft: Draft) -> Iterator[Site]:
    for name in relus(draft):
        yield turned_into(name, "Elu")


@fault(FAMILY, story="Relu replaced by Softplus, its smooth stand-in")
def relu_became_softplus(draft: Draft) -> Iterator[Site]:
    for name in relus(draft):
        yield turned_into(name, "Softplus")


@fault(FAMILY, story="a mobile preset replaces Relu by Relu6", values=True)
def relu_became_relu6(draft: Draft) -> Iterator[Site]:
    for name in relus(draft):
        if is_unbounded(draft, draft.node(name).input[0]):
            build = partial(_clip, least=0.0, most=6.0, opset=draft.opset)
            yield replace_site(name, build)


@fault(FAMILY, story="Relu takes the magnitude: a sign bit is cleared")
def relu_became_abs(draft: Draft) -> Iterator[Site]:
    for name in relus(draft):
        yield turned_into(name, "Abs")


@fault(
    FAMILY,
    link="https://github.com/Tencent/ncnn/issues/1609",
    story="Clip's upper bound is an optional input that is lost: Relu6 becomes Relu",
    values=True,
)
def clip_maximum_lost(draft: Draft) -> Iterator[Site]:
    for name, least, most in clips(draft):
        if least == 0 and most < range_of(draft, draft.node(name).input[0])[1]:
            yield turned_into(name, "Relu")


@fault(FAMILY, story="the bound went through a quantised range: 6 became 5.9", values=True)
def clip_maximum_moved(draft: Draft) -> Iterator[Site]:
    for name, _, most in clips(draft):
        if most < inf and most - 0.1 < range_of(draft, draft.node(name).input[0])[1]:
            strike = partial(set_bound, name=name, place=2, value=most - 0.1)
            yield Site(name, strike, (name,))


@fault(FAMILY, story="Relu6 mapped to Hardtanh's bounds: the minimum is -1")
def clip_minimum_minus_one(draft: Draft) -> Iterator[Site]:
    for name, least, _ in clips(draft):
        if least == 0 and can_be_negative(draft, draft.node(name).input[0]):
            yield Site(name, partial(set_bound, name=name, place=1, value=-1.0), (name,))


@fault(FAMILY, story="the range of a quantised activation begins a step below zero (-0.01)")
def clip_minimum_below_zero(draft: Draft) -> Iterator[Site]:
    for name, least, _ in clips(draft):
        if least == 0 and can_be_negative(draft, draft.node(name).input[0]):
            yield Site(name, partial(set_bound, name=name, place=1, value=-0.01), (name,))


def _again(patch: Patch, value: str, *, operator: str, more: dict[str, Any]) -> str:
    return patch.add(operator, value, **more)


def _clip(patch: Patch, value: str, *, least: float, most: float, opset: int) -> str:
    if opset < 11:
        return patch.add("Clip", value, min=least, max=most)
    return patch.add("Clip", value, patch.constant(least), patch.constant(most))


def _move_before(mutant: Mutant, *, name: str, total: str) -> None:
    relu, add = mutant.node(name), mutant.node(total)
    branch, result = add.input[0], relu.output[0]
    relu.input[0], relu.output[0] = branch, f"{name}__early"
    add.input[0], add.output[0] = f"{name}__early", result
    nodes = [node.name for node in mutant.graph.node]
    mutant.graph.node.remove(relu)
    mutant.graph.node.insert(nodes.index(total), relu)
