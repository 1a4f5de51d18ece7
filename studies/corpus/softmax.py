"""The softmax at a model's end: dropped, added, along another axis, or another function."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from studies.corpus import Site, fault
from studies.corpus.activations import turned_into
from studies.corpus.drafts import Draft, attribute
from studies.corpus.patches import Patch, bypass_site, detour_site, replace_site
from studies.corpus.survey import is_unbounded, layers

FAMILY = "activations"


@fault(FAMILY, story="the model ends in logits: the last activation was cut off with the loss")
def softmax_dropped(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Softmax"):
        yield from bypass_site(draft, node.name)


@fault(FAMILY, story="a wrapper for deployment adds a softmax to a model of logits")
def softmax_added(draft: Draft) -> Iterator[Site]:
    ends = {output.name for output in draft.graph.output}
    made = {draft.node(layer.name).output[0] for layer in layers(draft, "Gemm", "MatMul")}
    made |= {node.output[0] for node in draft.nodes("Add") if node.input[0] in made}
    for value in sorted(ends & made):
        yield detour_site(value, lambda patch, source: patch.add("Softmax", source, axis=-1))


@fault(FAMILY, story="torch's nll_loss wants log-probabilities, and these were exported")
def log_softmax_for_softmax(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Softmax"):
        yield turned_into(node.name, "LogSoftmax", axis=attribute(node, "axis", -1))


@fault(FAMILY, story="the classes are taken for independent: a sigmoid for each")
def sigmoid_for_softmax(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Softmax"):
        yield turned_into(node.name, "Sigmoid")


@fault(FAMILY, story="a softmax of one's own without subtracting the maximum", values=True)
def softmax_overflows(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Softmax"):
        if draft.opset >= 13 and is_unbounded(draft, node.input[0]):
            yield replace_site(node.name, partial(_naive, axis=attribute(node, "axis", -1)))


@fault(FAMILY, story="exponentials to base 2: the constant log2(e) was lost in a fused kernel")
def softmax_to_base_two(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Softmax"):
        site = detour_site(node.input[0], _times_log_two)
        if len(draft.consumers(node.input[0])) == 1:
            yield site


def _naive(patch: Patch, value: str, *, axis: int) -> str:
    raised = patch.add("Exp", value)
    axes = patch.constant(np.array([axis]), np.int64)
    return patch.add("Div", raised, patch.add("ReduceSum", raised, axes, keepdims=1))


def _times_log_two(patch: Patch, value: str) -> str:
    return patch.add("Mul", value, patch.constant(np.log(2.0)))
