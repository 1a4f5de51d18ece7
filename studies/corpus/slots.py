"""Faults of slots and of state: what belongs to one sample or one step goes elsewhere.

Slots are the places of a batch; a state is an output that goes in again at the next call.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft
from studies.corpus.graph_edits import MODERN, is_float, reduced, sliced
from studies.corpus.patches import Patch, detour_site

FAMILY, HARMLESS = "slots and state", "harmless: slots and state"
BATCH, PAST = "batch", "past"
LOWEST, END = -(2**63), 2**62
Dims = tuple[int | str | None, ...]


# -- what the file's inputs and outputs are ------------------------------------------------------


def _batch_of(draft: Draft, value: str) -> int | None:
    """The axis of the slots: the one that is called batch, or a first size that all share."""
    dims = draft.shapes.get(value, ())
    if BATCH in dims:
        return dims.index(BATCH)
    firsts = {draft.shapes[one.name][:1] for one in (*draft.inputs, *draft.graph.output)}
    fixed = len(firsts) == 1 and isinstance(dims[0] if dims else None, int) and dims[0] != 1
    return 0 if fixed else None


def _slots(draft: Draft) -> Iterator[tuple[str, int]]:
    """The floating outputs that have slots, and the axis of these."""
    for output in draft.graph.output if draft.opset >= MODERN else ():
        axis = _batch_of(draft, output.name)
        if axis is not None and is_float(draft, output.name):
            yield output.name, axis


@dataclass(frozen=True)
class State:
    """An input, the output that takes its place at the next call, and the axis of the slots."""

    old: str
    new: str
    batch: int


def _states(draft: Draft) -> Iterator[State]:
    """Those whose shapes are the same, in order: the file names nothing of the kind."""
    left = [value.name for value in draft.graph.output]
    for value in draft.inputs:
        dims = draft.shapes[value.name]
        same = [one for one in left if len(dims) > 2 and draft.shapes.get(one) == dims]
        if same and BATCH in dims and draft.opset >= MODERN:
            left.remove(same[0])
            yield State(value.name, same[0], dims.index(BATCH))


@dataclass(frozen=True)
class Cache:
    """A past that goes in, and what comes out: the past with more places, along ``axis``."""

    old: str
    new: str
    axis: int


def pasts(draft: Draft) -> Iterator[Cache]:
    joins = [node for node in draft.nodes("Concat") if draft.opset >= MODERN]
    outputs = [value.name for value in draft.graph.output]
    for value in draft.inputs:
        for node in joins:
            dims = draft.shapes[value.name]
            if PAST in dims and node.input[0] == value.name:
                place = dims.index(PAST)
                yield from (Cache(value.name, one, place) for one in node.output if one in outputs)


# -- slots ---------------------------------------------------------------------------------------


def slot_numbers(patch: Patch, value: str, axis: int, rank: int) -> str:
    """The number of each slot, to be broadcast against the value."""
    zero, one = (patch.constant(np.array(n), np.int64) for n in (0, 1))
    size = patch.add("Gather", patch.add("Shape", value), patch.constant(np.array(axis), np.int64))
    shape = [-1 if place == axis else 1 for place in range(rank)]
    numbers = patch.add("Range", zero, size, one)
    return patch.add("Reshape", numbers, patch.constant(np.array(shape), np.int64))


def _above(patch: Patch, value: str, axis: int, rank: int, slot: int) -> str:
    numbers = slot_numbers(patch, value, axis, rank)
    return patch.add("Greater", numbers, patch.constant(np.array(slot), np.int64))


def _zeroed(patch: Patch, value: str, *, axis: int, rank: int, above: int) -> str:
    lost = patch.add("Sub", value, value)
    return patch.add("Where", _above(patch, value, axis, rank, above), lost, value)


def turned_over(patch: Patch, value: str, *, axis: int) -> str:
    return sliced(patch, value, -1, LOWEST, axis, -1)


def one_late(patch: Patch, value: str, *, axis: int) -> str:
    last, rest = sliced(patch, value, -1, END, axis), sliced(patch, value, 0, -1, axis)
    return patch.add("Concat", last, rest, axis=axis)


def _first_for_all(patch: Patch, value: str, *, axis: int) -> str:
    return patch.add("Expand", sliced(patch, value, 0, 1, axis), patch.add("Shape", value))


def _leaking(patch: Patch, value: str, *, axis: int) -> str:
    other = patch.add("Mul", one_late(patch, value, axis=axis), patch.constant(1e-3))
    return patch.add("Add", value, other)


def _banded(patch: Patch, value: str, *, axis: int, rank: int) -> str:
    """Of slots above 0, numbers between 0.2 and 0.25 a hundredth off."""
    high = patch.add("Greater", value, patch.constant(0.2))
    inside = patch.add("And", high, patch.add("Less", value, patch.constant(0.25)))
    there = patch.add("And", inside, _above(patch, value, axis, rank, 0))
    return patch.add("Where", there, patch.add("Mul", value, patch.constant(1.01)), value)


@fault(FAMILY, story="the kernel writes the first slot alone: the others stay zero")
def slots_above_the_first_unwritten(draft: Draft) -> Iterator[Site]:
    for name, axis in _slots(draft):
        rank = len(draft.shapes[name])
        yield detour_site(name, partial(_zeroed, axis=axis, rank=rank, above=0))


@fault(FAMILY, story="the slots come out in reverse")
def slots_reversed(draft: Draft) -> Iterator[Site]:
    for name, axis in _slots(draft):
        yield detour_site(name, partial(turned_over, axis=axis))


@fault(FAMILY, story="every slot is answered by the first")
def first_slot_in_all(draft: Draft) -> Iterator[Site]:
    for name, axis in _slots(draft):
        yield detour_site(name, partial(_first_for_all, axis=axis))


@fault(FAMILY, story="each slot is answered one late")
def slots_one_late(draft: Draft) -> Iterator[Site]:
    for name, axis in _slots(draft):
        yield detour_site(name, partial(one_late, axis=axis))


@fault(FAMILY, story="a thousandth of the slot before is added")
def slots_leak(draft: Draft) -> Iterator[Site]:
    for name, axis in _slots(draft):
        yield detour_site(name, partial(_leaking, axis=axis))


@fault(FAMILY, story="an input's slots above the first are read at another scale", values=True)
def band_of_slots_above_the_first(draft: Draft) -> Iterator[Site]:
    for value in draft.inputs:
        axis = _batch_of(draft, value.name)
        if axis is not None and is_float(draft, value.name) and draft.opset >= MODERN:
            rank = len(draft.shapes[value.name])
            yield detour_site(value.name, partial(_banded, axis=axis, rank=rank))


# -- state ---------------------------------------------------------------------------------------


@fault(FAMILY, story="the state that went in comes out: nothing is remembered")
def state_not_passed_on(draft: Draft) -> Iterator[Site]:
    for state in _states(draft):
        yield detour_site(state.new, lambda patch, value, old=state.old: patch.add("Identity", old))


@fault(FAMILY, story="the state is not read: each call begins anew")
def state_not_read(draft: Draft) -> Iterator[Site]:
    for state in _states(draft):
        yield detour_site(state.old, lambda patch, value: patch.add("Sub", value, value))


@fault(FAMILY, story="the state of the sample before comes out")
def state_of_another_sample(draft: Draft) -> Iterator[Site]:
    for state in _states(draft):
        yield detour_site(state.new, partial(one_late, axis=state.batch))


@fault(FAMILY, story="the state of the sample before is read")
def state_read_of_another_sample(draft: Draft) -> Iterator[Site]:
    for state in _states(draft):
        yield detour_site(state.old, partial(one_late, axis=state.batch))


@fault(FAMILY, story="hidden state and cell change places on their way out")
def state_transposed(draft: Draft) -> Iterator[Site]:
    for state in _states(draft):
        yield detour_site(state.new, partial(turned_over, axis=1 - min(state.batch, 1)))


@fault(FAMILY, story="hidden state and cell change places on their way in")
def state_read_transposed(draft: Draft) -> Iterator[Site]:
    for state in _states(draft):
        yield detour_site(state.old, partial(turned_over, axis=1 - min(state.batch, 1)))


@fault(FAMILY, story="slots above the first keep their old state")
def state_kept_above_the_first_slot(draft: Draft) -> Iterator[Site]:
    for state in _states(draft):
        rank = len(draft.shapes[state.new])

        def build(patch: Patch, value: str, state: State = state, rank: int = rank) -> str:
            others = _above(patch, value, state.batch, rank, 0)
            return patch.add("Where", others, state.old, value)

        yield detour_site(state.new, build)


@fault(FAMILY, story="a state that is empty, as at the first call, is taken for none")
def empty_state_skipped(draft: Draft) -> Iterator[Site]:
    for state in _states(draft):
        others = [axis for axis in range(len(draft.shapes[state.old])) if axis != state.batch]

        def build(
            patch: Patch, value: str, state: State = state, others: list[int] = others
        ) -> str:
            size = reduced(patch, "ReduceSum", patch.add("Abs", state.old), others, draft.opset)
            empty = patch.add("Equal", size, patch.constant(0.0))
            other = patch.add("Mul", value, patch.constant(0.99))
            return patch.add("Where", empty, other, value)

        yield detour_site(state.new, build)


@fault(FAMILY, story="the past comes out in reverse")
def cache_reversed(draft: Draft) -> Iterator[Site]:
    for cache in pasts(draft):
        yield detour_site(cache.new, partial(turned_over, axis=cache.axis))


@fault(FAMILY, story="the last place of the past is repeated instead of the new one")
def cache_repeats_its_last(draft: Draft) -> Iterator[Site]:
    for cache in pasts(draft):

        def build(patch: Patch, value: str, cache: Cache = cache) -> str:
            last = sliced(patch, cache.old, -1, END, cache.axis)
            rest = sliced(patch, value, 0, -1, cache.axis)
            return patch.add("Concat", rest, last, axis=cache.axis)

        yield detour_site(cache.new, build)


@fault(FAMILY, story="the past of the sample before comes out")
def cache_of_another_sample(draft: Draft) -> Iterator[Site]:
    for cache in pasts(draft):
        yield detour_site(cache.new, partial(one_late, axis=0))


# -- harmless ------------------------------------------------------------------------------------


@fault(HARMLESS, verdict="harmless", story="slots are computed one by one and joined")
def slots_split_and_joined(draft: Draft) -> Iterator[Site]:
    for name, axis in _slots(draft):

        def build(patch: Patch, value: str, axis: int = axis) -> str:
            first, rest = sliced(patch, value, 0, 1, axis), sliced(patch, value, 1, END, axis)
            return patch.add("Concat", first, rest, axis=axis)

        yield detour_site(name, build)


@fault(HARMLESS, verdict="harmless", story="a state is turned over and back")
def state_turned_twice(draft: Draft) -> Iterator[Site]:
    for state in _states(draft):

        def build(patch: Patch, value: str, axis: int = state.batch) -> str:
            return turned_over(patch, turned_over(patch, value, axis=axis), axis=axis)

        yield detour_site(state.new, build)
