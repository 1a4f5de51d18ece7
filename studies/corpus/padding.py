"""What lies around an image: pads at the wrong end, of the wrong value, in the wrong place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial

import numpy as np
import onnx

from studies.corpus import Site, fault
from studies.corpus.drafts import Array, Draft, Mutant, remove_attribute
from studies.corpus.patches import Build, Patch, detour, detour_for, give, names_of
from studies.corpus.windows import Window, set_window, windows

FAMILY = "convolution"
ANCHOR = "https://github.com/onnx/tensorflow-onnx/issues/4"


@fault(FAMILY, link=ANCHOR, story="symmetric pads of a strided layer became TensorFlow's SAME")
def same_upper_for_symmetric(draft: Draft) -> Iterator[Site]:
    for node, old in windows(draft, "Conv"):
        if not old.is_known or old.before != old.after:
            continue
        before, after = old.same()
        new = dataclasses.replace(old, before=before, after=after)
        if new.pads != old.pads and new.output == old.output:
            yield _moved(node, new)


@fault(FAMILY, link=ANCHOR, story="SAME_LOWER was written for SAME_UPPER: the odd row is on top")
def same_lower_for_same_upper(draft: Draft) -> Iterator[Site]:
    for node, old in windows(draft, "Conv"):
        if sum(old.after) > sum(old.before):
            yield _moved(node, dataclasses.replace(old, before=old.after, after=old.before))
    yield from _pads_exchanged(draft)


@fault(FAMILY, link=ANCHOR, story="asymmetric pads, which the target lacks, are made symmetric")
def symmetric_for_same_upper(draft: Draft) -> Iterator[Site]:
    for node, old in windows(draft, "Conv"):
        if old.before != old.after and old.is_known:
            most = tuple(map(max, old.before, old.after))
            new = dataclasses.replace(old, before=most, after=most)
            if new.output == old.output:
                yield _moved(node, new)


@fault(FAMILY, story="all padding at the end: the two pads of each axis were added up there")
def all_pads_at_the_end(draft: Draft) -> Iterator[Site]:
    for node, old in windows(draft, "Conv"):
        if any(old.before):
            both = tuple(b + a for b, a in zip(old.before, old.after, strict=True))
            yield _moved(node, dataclasses.replace(old, before=(0,) * len(both), after=both))


@fault(FAMILY, story="the image is shifted by a pixel: one pad too many above, one too few below")
def padding_shifted_by_a_pixel(draft: Draft) -> Iterator[Site]:
    for node, old in windows(draft, "Conv"):
        if old.after[0] > 0:
            before = (old.before[0] + 1, *old.before[1:])
            after = (old.after[0] - 1, *old.after[1:])
            yield _moved(node, dataclasses.replace(old, before=before, after=after))


@fault(FAMILY, story="padding_mode='reflect' was written where the layer pads with zeros")
def padding_by_reflection(draft: Draft) -> Iterator[Site]:
    return _padded_before(draft, "reflect")


@fault(FAMILY, story="padding_mode='replicate' was written where the layer pads with zeros")
def padding_by_the_edge(draft: Draft) -> Iterator[Site]:
    return _padded_before(draft, "edge")


@fault(FAMILY, story="a quantised layer padded with 0, which is not the code of zero")
def padding_not_zero(draft: Draft) -> Iterator[Site]:
    return _padded_before(draft, "constant")


@fault(FAMILY, story="a Pad's value is lost between attribute and input, and another one used")
def pad_value_not_zero(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Pad"):
        pads = _constant_pads(draft, node)
        if draft.opset >= 11 and pads is not None and pads.any() and len(node.input) < 3:
            strike = partial(give, name=node.name, place=2, array=np.array(0.5, np.float32))
            yield Site(node.name, strike, (node.name,))


@fault(FAMILY, story="convolved without padding; zeros are put around the result to fix its shape")
def result_padded_instead(draft: Draft) -> Iterator[Site]:
    for node, old in windows(draft, "Conv"):
        fits = all(k == 2 * b + 1 for k, b in zip(old.kernel, old.before, strict=True))
        plain = set(old.stride + old.dilation) == {1}
        room = all(n == 0 or n >= k for n, k in zip(old.size, old.kernel, strict=True))
        if (
            fits
            and plain
            and room
            and old.before == old.after
            and any(old.before)
            and draft.opset >= 11
        ):
            build = partial(_pad, pads=old.pads, mode="constant", around=0.0)
            strike = partial(_pad_result, name=node.name, build=build)
            yield Site(node.name, strike, (node.name, *names_of(node.output[0], build)))


def _moved(node: onnx.NodeProto, new: Window) -> Site:
    return Site(node.name, partial(set_window, name=node.name, pads=new.pads), (node.name,))


def _constant_pads(draft: Draft, node: onnx.NodeProto) -> Array | None:
    if len(node.input) < 2 or not draft.is_constant(node.input[1]):
        return None
    return draft.array(node.input[1])


def _pads_exchanged(draft: Draft) -> Iterator[Site]:
    """Padding that stands in a node of its own, as tf2onnx writes a ZeroPadding2D."""
    for node in draft.nodes("Pad"):
        pads = _constant_pads(draft, node)
        if pads is None:
            continue
        before, after = np.split(pads, 2)
        if not np.array_equal(before, after):
            swapped = np.concatenate([after, before])
            strike = partial(give, name=node.name, place=1, array=swapped)
            yield Site(node.name, strike, (node.name,))


def _padded_before(draft: Draft, mode: str) -> Iterator[Site]:
    """Padding taken out of the convolution and done in another way in front of it."""
    for node, old in windows(draft, "Conv"):
        room = all(n == 0 or p < n for n, p in zip(old.size * 2, old.pads, strict=True))
        if old.reads_padding and room and draft.opset >= 11:
            build = partial(_pad, pads=old.pads, mode=mode, around=0.5)
            strike = partial(_pad_in_front, name=node.name, build=build)
            yield Site(node.name, strike, (node.name, *names_of(f"{node.name}__0", build)))


def _pad(patch: Patch, value: str, *, pads: list[int], mode: str, around: float) -> str:
    half = len(pads) // 2
    everywhere = np.array([0, 0, *pads[:half], 0, 0, *pads[half:]])
    inputs = [value, patch.constant(everywhere, np.int64)]
    if mode == "constant":
        inputs.append(patch.constant(around))
    return patch.add("Pad", *inputs, mode=mode)


def _pad_in_front(mutant: Mutant, *, name: str, build: Build) -> None:
    detour_for(mutant, name, 0, build)
    _without_pads(mutant.node(name))


def _pad_result(mutant: Mutant, *, name: str, build: Build) -> None:
    detour(mutant, mutant.node(name).output[0], build)
    _without_pads(mutant.node(name))


def _without_pads(node: onnx.NodeProto) -> None:
    remove_attribute(node, "auto_pad")
    remove_attribute(node, "pads")
