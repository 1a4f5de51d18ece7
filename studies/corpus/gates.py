"""Gates and smooth activations: one taken for another, a constant of another framework."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from studies.corpus import Site, fault
from studies.corpus.activations import turned_into, with_attribute
from studies.corpus.drafts import Draft, Mutant, attribute, remove_attribute
from studies.corpus.patches import Patch, replace_site

FAMILY = "activations"


@fault(FAMILY, story="Sigmoid mapped to HardSigmoid, a piecewise stand-in for phones")
def hard_sigmoid_for_sigmoid(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Sigmoid"):
        yield turned_into(node.name, "HardSigmoid", alpha=1 / 6, beta=0.5)


@fault(FAMILY, story="HardSigmoid's slope differs: 1/6 in torch and Keras 3, 0.2 in ONNX")
def hard_sigmoid_slope_of_another_framework(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("HardSigmoid"):
        other = 1 / 6 if abs(attribute(node, "alpha", 0.2) - 0.2) < 0.01 else 0.2
        yield with_attribute(node.name, "alpha", other)


@fault(FAMILY, story="one of two sigmoidal curves is mapped to the other")
def tanh_and_sigmoid_exchanged(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Sigmoid", "Tanh"):
        yield turned_into(node.name, "Tanh" if node.op_type == "Sigmoid" else "Sigmoid")


@fault(FAMILY, story="x * sigmoid(x) written as HardSwish, its stand-in for phones")
def hard_swish_for_silu(draft: Draft) -> Iterator[Site]:
    for name in _silus(draft):
        yield turned_into(name, "HardSwish") if draft.opset >= 14 else turned_into(name, "Relu")


@fault(FAMILY, story="the product is lost and x * sigmoid(x) is its gate alone")
def silu_became_its_gate(draft: Draft) -> Iterator[Site]:
    for name in _silus(draft):
        yield turned_into(name, "Sigmoid")


@fault(FAMILY, story="HardSwish mapped to x * sigmoid(x)")
def silu_for_hard_swish(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("HardSwish"):
        yield replace_site(node.name, lambda patch, x: patch.add("Mul", x, patch.add("Sigmoid", x)))


@fault(
    FAMILY,
    link="https://github.com/apache/tvm/issues/18750",
    story="Gelu written by its tanh approximation (Keras approximate=True)",
)
def gelu_by_tanh(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Gelu"):
        if attribute(node, "approximate", b"none") == b"none":
            yield with_attribute(node.name, "approximate", "tanh")
    for node in draft.nodes("Erf"):
        yield replace_site(node.name, _erf_by_tanh)


@fault(FAMILY, story="Elu's alpha is lost; the default 1 holds")
def elu_alpha_lost(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Elu"):
        if abs(attribute(node, "alpha", 1.0) - 1.0) > 1e-3:
            strike = partial(_lose, name=node.name, key="alpha")
            yield Site(node.name, strike, (node.name,))


def _lose(mutant: Mutant, *, name: str, key: str) -> None:
    remove_attribute(mutant.node(name), key)


def _silus(draft: Draft) -> Iterator[str]:
    for node in draft.nodes("Mul"):
        for gate, value in (node.input, reversed(node.input)):
            sigmoid = draft.producer(gate)
            if sigmoid is not None and sigmoid.op_type == "Sigmoid" and sigmoid.input[0] == value:
                if node.input[0] == value:
                    yield node.name
                break


def _erf_by_tanh(patch: Patch, value: str) -> str:
    x = patch.add("Mul", value, patch.constant(2**0.5))
    cube = patch.add("Mul", patch.add("Mul", x, x), x)
    bent = patch.add("Add", x, patch.add("Mul", cube, patch.constant(0.044715)))
    return patch.add("Tanh", patch.add("Mul", bent, patch.constant((2 / np.pi) ** 0.5)))
