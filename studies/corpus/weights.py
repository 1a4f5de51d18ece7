"""Weights that are not what was trained: whole tensors and channels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from zlib import crc32

import numpy as np

from studies.corpus import Site, fault
from studies.corpus.drafts import Array, Draft, Mutant
from studies.corpus.graph_edits import biases, kernels, readers, rewritten, tensors

FAMILY = "weights"


@fault(FAMILY, story="a tensor was allocated and never filled")
def kernel_zeroed(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft):
        yield from rewritten(draft, name, np.zeros_like)


@fault(FAMILY, story="a key did not match (strict=False): one layer keeps its initial weights")
def kernel_of_another_seed(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft):
        seed = crc32(name.encode())
        yield from rewritten(draft, name, partial(_shuffled, seed=seed))


@fault(FAMILY, story="the export took a checkpoint of some steps earlier for one layer")
def kernel_some_steps_old(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft):
        seed = crc32(name.encode())
        yield from rewritten(draft, name, partial(_noisy, seed=seed, relative=1e-3))


@fault(FAMILY, story="the shadow weights of a moving average were exported, the raw ones tested")
def kernel_scaled_slightly(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft):
        yield from rewritten(draft, name, lambda kernel: kernel * np.float32(1.001))


@fault(
    FAMILY,
    values=True,
    story="one channel's scale is folded with another epsilon",
)
def channel_scaled_slightly(draft: Draft) -> Iterator[Site]:
    for name, axis in kernels(draft):
        yield from rewritten(draft, name, partial(_channel_times, axis=axis, factor=1.001))


@fault(FAMILY, values=True, story="pruning or a wrong mask takes one output channel away")
def channel_zeroed(draft: Draft) -> Iterator[Site]:
    for name, axis in kernels(draft):
        yield from rewritten(draft, name, partial(_channel_times, axis=axis, factor=0.0))


@fault(FAMILY, values=True, story="an index off by one exchanges two neighbouring output channels")
def channel_exchanged_with_its_neighbour(draft: Draft) -> Iterator[Site]:
    for name, axis in kernels(draft):
        if draft.array(name).shape[axis] > 1:
            yield from rewritten(draft, name, partial(_neighbours_exchanged, axis=axis))


@fault(
    FAMILY,
    values=True,
    story="one input channel is lost: a mask or a slice is short",
)
def input_channel_zeroed(draft: Draft) -> Iterator[Site]:
    for name, axis in kernels(draft):
        other = 1 - axis
        if draft.array(name).ndim in (2, 4) and draft.array(name).shape[other] > 1:
            yield from rewritten(draft, name, partial(_channel_times, axis=other, factor=0.0))


@fault(FAMILY, story="a subtraction is rewritten as an addition and the weight not negated")
def kernel_negated(draft: Draft) -> Iterator[Site]:
    for name, _ in kernels(draft):
        yield from rewritten(draft, name, np.negative)


@fault(FAMILY, story="use_bias is taken for false")
def bias_zeroed(draft: Draft) -> Iterator[Site]:
    for name in biases(draft):
        yield from rewritten(draft, name, np.zeros_like)


@fault(FAMILY, story="a fold subtracts the bias that it should add")
def bias_negated(draft: Draft) -> Iterator[Site]:
    for name in biases(draft):
        yield from rewritten(draft, name, np.negative)


@fault(FAMILY, story="a scalar is broadcast: each channel gets the first one's bias")
def bias_of_the_first_channel(draft: Draft) -> Iterator[Site]:
    for name in biases(draft):
        yield from rewritten(draft, name, lambda bias: np.full_like(bias, bias.flat[0]))


@fault(FAMILY, story="constants that are matched by their number: the next layer's bias is taken")
def bias_of_another_layer(draft: Draft) -> Iterator[Site]:
    yield from _taken_from_another(draft, list(biases(draft)))


@fault(FAMILY, story="two tensors of one shape are matched by position, not by name")
def two_kernels_exchanged(draft: Draft) -> Iterator[Site]:
    names = [name for name, _ in kernels(draft)]
    for number, name in enumerate(names):
        other = next((n for n in names[number + 1 :] if _can_replace(draft, name, n)), None)
        if other is not None:
            root_cause = (*readers(draft, name), *readers(draft, other))
            yield Site(f"{name}, {other}", partial(_exchange, one=name, two=other), root_cause)


@fault(FAMILY, story="a shared weight becomes two tensors and only one of them is updated")
def tied_weight_untied(draft: Draft) -> Iterator[Site]:
    for name in tensors(draft):
        tied = readers(draft, name)
        if len(tied) > 1:
            yield Site(name, partial(_untie, node=tied[-1], name=name), (tied[-1],))


@fault(FAMILY, story="two layers' weights are taken for the same and stored once")
def two_kernels_made_one(draft: Draft) -> Iterator[Site]:
    yield from _taken_from_another(draft, [name for name, _ in kernels(draft)])


def _taken_from_another(draft: Draft, names: list[str]) -> Iterator[Site]:
    for number, name in enumerate(names):
        others = names[number + 1 :] + names[:number]
        other = next((one for one in others if _can_replace(draft, name, one)), None)
        if other is not None:
            strike = partial(_take, name=name, other=other)
            yield Site(f"{name} from {other}", strike, readers(draft, name))


def _can_replace(draft: Draft, name: str, other: str) -> bool:
    one, two = draft.array(name), draft.array(other)
    return one.shape == two.shape and one.dtype == two.dtype and not np.array_equal(one, two)


def _take(mutant: Mutant, *, name: str, other: str) -> None:
    mutant.set_array(name, mutant.array(other))


def _exchange(mutant: Mutant, *, one: str, two: str) -> None:
    first, second = mutant.array(one), mutant.array(two)
    mutant.set_array(one, second)
    mutant.set_array(two, first)


def _untie(mutant: Mutant, *, node: str, name: str) -> None:
    own = mutant.add_array(f"{name}__untied", mutant.array(name) * np.float32(1.01))
    reader = mutant.node(node)
    reader.input[:] = [own if value == name else value for value in reader.input]


def _shuffled(array: Array, *, seed: int) -> Array:
    return np.random.default_rng(seed).permutation(array.reshape(-1)).reshape(array.shape)


def _noisy(array: Array, *, seed: int, relative: float) -> Array:
    noise = np.random.default_rng(seed).standard_normal(array.shape).astype(array.dtype)
    return array * (1 + np.float32(relative) * noise)


def _strongest(array: Array, axis: int) -> int:
    others = tuple(place for place in range(array.ndim) if place != axis)
    return int(np.argmax(np.square(array, dtype=np.float64).sum(axis=others)))


def _channel_times(array: Array, *, axis: int, factor: float) -> Array:
    changed = array.copy()
    np.moveaxis(changed, axis, 0)[_strongest(array, axis)] *= np.float32(factor)
    return changed


def _neighbours_exchanged(array: Array, *, axis: int) -> Array:
    changed, before = np.moveaxis(array.copy(), axis, 0), np.moveaxis(array, axis, 0)
    one = min(_strongest(array, axis), len(before) - 2)
    changed[one], changed[one + 1] = before[one + 1], before[one]
    return np.moveaxis(changed, 0, axis)
