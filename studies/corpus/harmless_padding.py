"""Equivalent rewrites of a convolution's padding: in a node, in the kernel, automatic."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Mutant, attribute, remove_attribute, set_attribute
from studies.corpus.graph_edits import (
    MODERN,
    constant_convolutions,
    explicit_pads,
    only_reader,
    pair,
)
from studies.corpus.patches import detour_for, give

FAMILY = "harmless: layers"


@fault(FAMILY, verdict="harmless", story="padding stands in a node of its own (TensorFlow)")
def pads_made_a_node(draft: Draft) -> Iterator[Site]:
    for node in constant_convolutions(draft):
        pads = explicit_pads(node)
        if draft.opset >= MODERN and pads and any(pads):
            yield Site(node.name, partial(_take_pads_out, node=node.name, pads=pads))


@fault(FAMILY, verdict="harmless", story="an optimiser fuses padding into the convolution")
def pad_node_fused(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Pad"):
        reader = only_reader(draft, node.output[0], "Conv")
        value = node.input[2] if len(node.input) > 2 else ""
        zero = not value or (draft.is_constant(value) and not draft.array(value).any())
        plain = attribute(node, "mode", b"constant") == b"constant" and len(node.input) in (2, 3)
        if reader is None or not zero or not plain or not draft.is_constant(node.input[1]):
            continue
        pads, inner = draft.array(node.input[1]).tolist(), explicit_pads(reader)
        if (
            inner is not None
            and len(pads) == 8
            and not any(pads[:2] + pads[4:6])
            and min(pads) >= 0
        ):
            total = [a + b for a, b in zip(pads[2:4] + pads[6:8], inner, strict=True)]
            yield Site(node.name, partial(_fuse_pads, pad=node.name, conv=reader.name, pads=total))


@fault(FAMILY, verdict="harmless", story="pads that equal SAME are written as auto_pad")
def pads_made_automatic(draft: Draft) -> Iterator[Site]:
    for node in constant_convolutions(draft):
        pads, size = explicit_pads(node), draft.array(node.input[1]).shape[2:]
        plain = pair(node, "strides") == pair(node, "dilations") == [1, 1]
        odd = size[0] % 2 == size[1] % 2 == 1
        if plain and odd and max(size) > 1 and pads == [side // 2 for side in size] * 2:
            yield Site(node.name, partial(_pad_automatically, node=node.name))


@fault(FAMILY, verdict="harmless", story="a kernel is padded with zeros to the size a device wants")
def kernel_padded_by_zeros(draft: Draft) -> Iterator[Site]:
    for node in constant_convolutions(draft):
        if explicit_pads(node) is not None and max(draft.array(node.input[1]).shape[2:]) <= 3:
            yield Site(node.name, partial(_pad_kernel, node=node.name))


def _take_pads_out(mutant: Mutant, *, node: str, pads: list[int]) -> None:
    every = np.array([0, 0, *pads[:2], 0, 0, *pads[2:]])
    set_attribute(mutant.node(node), "pads", [0, 0, 0, 0])
    detour_for(mutant, node, 0, lambda p, v: p.add("Pad", v, p.constant(every, np.int64)))


def _fuse_pads(mutant: Mutant, *, pad: str, conv: str, pads: list[int]) -> None:
    mutant.node(conv).input[0] = mutant.node(pad).input[0]
    mutant.graph.node.remove(mutant.node(pad))
    remove_attribute(mutant.node(conv), "auto_pad")
    set_attribute(mutant.node(conv), "pads", pads)


def _pad_automatically(mutant: Mutant, *, node: str) -> None:
    remove_attribute(mutant.node(node), "pads")
    set_attribute(mutant.node(node), "auto_pad", "SAME_UPPER")


def _pad_kernel(mutant: Mutant, *, node: str) -> None:
    conv = mutant.node(node)
    wider = np.pad(mutant.array(conv.input[1]), ((0, 0), (0, 0), (1, 1), (1, 1)))
    pads = explicit_pads(conv) or [0, 0, 0, 0]
    wide = [pad + step for pad, step in zip(pads, pair(conv, "dilations") * 2, strict=True)]
    set_attribute(conv, "pads", wide)
    set_attribute(conv, "kernel_shape", list(wider.shape[2:]))
    give(mutant, node, 1, wider)
