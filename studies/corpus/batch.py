"""Samples that are not independent, and batches that are not free."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Mutant, attribute, set_attribute
from studies.corpus.graph_edits import MODERN, data_pairs, is_float, known_sizes, reduced, sliced
from studies.corpus.patches import Build, Patch, detour, detour_for, detour_site, give, names_of
from studies.corpus.survey import layers

FAMILY = "batch"
LOWEST = -(2**63)  # Slice's way to say "down to the first, included"


@fault(
    FAMILY,
    story="dynamic_axes (or dynamic_shapes) is forgotten: the example's batch size is declared",
    link="https://github.com/roboflow/rf-detr/issues/949",
)
def batch_declared_frozen(draft: Draft) -> Iterator[Site]:
    for size in (1, 2, 8):
        if _is_free(draft):
            strike = partial(_declare, size=size, inputs=True, outputs=True)
            yield Site(f"batch {size} everywhere", strike)


@fault(FAMILY, story="the batch axis is freed at one end only: on the inputs or on the outputs")
def batch_declared_frozen_at_one_end(draft: Draft) -> Iterator[Site]:
    if _is_free(draft):
        yield Site("inputs", partial(_declare, size=1, inputs=True, outputs=False))
        yield Site("outputs", partial(_declare, size=1, inputs=False, outputs=True))


@fault(
    FAMILY,
    story="x.view(1, -1) or a traced int(x.shape[0]): the example's batch is a constant",
    link="https://github.com/pytorch/pytorch/issues/99701",
)
def batch_frozen_in_a_reshape(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Reshape", "Flatten"):
        sizes = known_sizes(draft, node.output[0])
        if sizes and _is_batched(draft, node.output[0]) and is_float(draft, node.input[0]):
            for size in (1, 4):
                strike = partial(_freeze_reshape, node=node.name, shape=(size, *sizes))
                yield Site(f"{node.name} batch {size}", strike, (node.name,))


@fault(FAMILY, story="view(1, -1) for flatten(1): the batch goes into the features and back")
def batch_folded_into_features(draft: Draft) -> Iterator[Site]:
    for value, sizes in _values(draft):
        if int(np.prod(sizes)) > 1:
            yield detour_site(value, partial(_across, sizes=sizes))


@fault(FAMILY, story="a normalisation runs over axis 0: the batch's mean is taken away")
def mean_of_the_batch_subtracted(draft: Draft) -> Iterator[Site]:
    yield from _everywhere(draft, partial(_centred, opset=draft.opset))


@fault(FAMILY, story="statistics are updated at inference: half of what comes is the batch's mean")
def mixed_with_the_batch_mean(draft: Draft) -> Iterator[Site]:
    yield from _everywhere(draft, partial(_mixed, opset=draft.opset))


@fault(FAMILY, story="features are scaled by the largest of the batch, not of the sample")
def scaled_by_the_largest_of_the_batch(draft: Draft) -> Iterator[Site]:
    yield from _everywhere(draft, partial(_scaled, opset=draft.opset))


@fault(FAMILY, story="softmax(dim=0), the default of an old API: probabilities over the batch")
def softmax_over_the_batch(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Softmax", "LogSoftmax"):
        if draft.opset >= MODERN and _is_batched(draft, node.input[0]):
            yield Site(node.name, partial(_set_axis, node=node.name), (node.name,))


@fault(FAMILY, story="a batch is gathered from the end of a queue: samples in reverse")
def samples_reversed(draft: Draft) -> Iterator[Site]:
    if draft.opset >= MODERN:
        yield from _everywhere(draft, _reversed)


@fault(FAMILY, story="a shortcut is batched in another order than its branch")
def shortcut_of_another_sample(draft: Draft) -> Iterator[Site]:
    for node in data_pairs(draft, "Add"):
        if draft.opset >= MODERN and _is_batched(draft, node.output[0]):
            strike = partial(detour_for, name=node.name, place=1, build=_reversed)
            root_cause = (*names_of(f"{node.name}__1", _reversed), node.name)
            yield Site(node.name, strike, root_cause)


@fault(FAMILY, story="x[0] is traced: the first sample's result is broadcast to all")
def first_sample_for_all(draft: Draft) -> Iterator[Site]:
    if draft.opset >= MODERN:
        yield from _everywhere(draft, _first_for_all)


@fault(FAMILY, story="a state is not reset between samples: each adds to those before it")
def state_kept_between_samples(draft: Draft) -> Iterator[Site]:
    yield from _everywhere(draft, _accumulated)


@fault(FAMILY, story="pooling over all axes: every sample gets the mean of the batch")
def pooled_over_the_batch(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("GlobalAveragePool", "ReduceMean"):
        if _is_batched(draft, node.output[0]) and is_float(draft, node.output[0]):
            yield detour_site(node.output[0], partial(_mean_for_all, opset=draft.opset))


@fault(
    FAMILY,
    story="squeeze() without an axis: a batch of one loses its batch axis",
    link="https://github.com/microsoft/onnxscript/issues/360",
)
def squeezed_when_alone(draft: Draft) -> Iterator[Site]:
    for value in draft.graph.output:
        if _is_batched(draft, value.name) and draft.producer(value.name) is not None:
            strike = partial(detour, value=value.name, build=_squeezed)
            yield Site(value.name, strike, names_of(value.name, _squeezed))


@fault(FAMILY, story="a loop over the batch ends one early: the last of several samples is zero")
def last_of_several_lost(draft: Draft) -> Iterator[Site]:
    if draft.opset >= MODERN:
        yield from _everywhere(draft, _last_zeroed)


def _is_batched(draft: Draft, value: str) -> bool:
    shape = draft.shapes.get(value)
    return bool(shape) and not isinstance(shape[0], int) and known_sizes(draft, value) is not None


def _is_free(draft: Draft) -> bool:
    return any(_is_batched(draft, value.name) for value in [*draft.inputs, *draft.graph.output])


def _values(draft: Draft) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Results of layers and of the whole, with their sizes behind a free batch axis."""
    made = [draft.node(layer.name).output[0] for layer in layers(draft)]
    ends = [v.name for v in draft.graph.output if draft.producer(v.name) is not None]
    for value in dict.fromkeys([*made, *ends]):
        sizes = known_sizes(draft, value)
        if sizes and _is_batched(draft, value) and is_float(draft, value):
            yield value, sizes


def _everywhere(draft: Draft, build: Build) -> Iterator[Site]:
    for value, _ in _values(draft):
        yield detour_site(value, build)


def _declare(mutant: Mutant, *, size: int, inputs: bool, outputs: bool) -> None:
    values = [*(mutant.inputs if inputs else []), *(mutant.graph.output if outputs else [])]
    del mutant.graph.value_info[:]
    for value in values:
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_value = size


def _freeze_reshape(mutant: Mutant, *, node: str, shape: tuple[int, ...]) -> None:
    reshape = mutant.node(node)
    reshape.op_type = "Reshape"
    del reshape.attribute[:]
    give(mutant, node, 1, np.array(shape, np.int64))


def _set_axis(mutant: Mutant, *, node: str) -> None:
    if attribute(mutant.node(node), "axis", -1) == 0:
        raise ValueError(f"'{node}' runs over axis 0 as it is")
    set_attribute(mutant.node(node), "axis", 0)


def _across(patch: Patch, value: str, *, sizes: tuple[int, ...]) -> str:
    """The batch and the features in one axis, features slowest when read back."""
    columns = patch.constant(np.array([int(np.prod(sizes)), -1]), np.int64)
    turned = patch.add("Transpose", patch.add("Reshape", value, columns), perm=[1, 0])
    return patch.add("Reshape", turned, patch.constant(np.array([-1, *sizes]), np.int64))


def _mean(patch: Patch, value: str, opset: int) -> str:
    return reduced(patch, "ReduceMean", value, [0], opset)


def _centred(patch: Patch, value: str, *, opset: int) -> str:
    return patch.add("Sub", value, _mean(patch, value, opset))


def _mixed(patch: Patch, value: str, *, opset: int) -> str:
    return patch.add("Mean", value, _mean(patch, value, opset))


def _scaled(patch: Patch, value: str, *, opset: int) -> str:
    """Divided by the batch's largest magnitude, times the sample's own: nothing for one sample."""
    own = patch.add("Abs", value)
    largest = reduced(patch, "ReduceMax", own, [0], opset)
    ratio = patch.add("Div", own, patch.add("Max", largest, patch.constant(1e-20)))
    return patch.add("Mul", value, ratio)


def _reversed(patch: Patch, value: str) -> str:
    return sliced(patch, value, -1, LOWEST, 0, -1)


def _first_for_all(patch: Patch, value: str) -> str:
    return patch.add("Expand", sliced(patch, value, 0, 1, 0), patch.add("Shape", value))


def _accumulated(patch: Patch, value: str) -> str:
    return patch.add("CumSum", value, patch.constant(np.array(0), np.int64))


def _mean_for_all(patch: Patch, value: str, *, opset: int) -> str:
    return patch.add("Expand", _mean(patch, value, opset), patch.add("Shape", value))


def _squeezed(patch: Patch, value: str) -> str:
    return patch.add("Squeeze", value)


def _last_zeroed(patch: Patch, value: str) -> str:
    """The first sample, and the others but the last followed by zeros."""
    first = sliced(patch, value, 0, 1, 0)
    rest = sliced(patch, value, 1, 2**62, 0)
    kept = sliced(patch, value, 1, -1, 0)
    lost = patch.add("Sub", rest, rest)
    zeros = sliced(patch, lost, -1, 2**62, 0)
    return patch.add("Concat", first, kept, zeros, axis=0)
