"""Faults of what a decoder carries from call to call: its cache, its positions, its masks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import combinations

import numpy as np
from onnx import helper

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Mutant, replace_input
from studies.corpus.graph_edits import MODERN
from studies.corpus.patches import Patch, detour_site
from studies.corpus.slots import END, PAST, Cache, one_late, pasts, slot_numbers

FAMILY = "cache and positions"
KEPT = 12  # places of the past that a truncated one keeps
FULL = 16  # places at which a cache is taken for full


def caches(draft: Draft) -> list[Cache]:
    """The pasts of a decoder of several layers: keys and values of each, in order."""
    found = list(pasts(draft))
    return found if len(found) > 2 else []


def _past(patch: Patch, cache: Cache) -> str:
    """How many places the past has, a vector of one int64."""
    shape = patch.add("Shape", cache.old)
    return patch.add("Gather", shape, patch.constant(np.array([cache.axis]), np.int64))


def _from(patch: Patch, value: str, start: str, axis: int = 1) -> str:
    ends = (patch.constant(np.array([number]), np.int64) for number in (END, axis))
    return patch.add("Slice", value, start, *ends)


def _up_to(patch: Patch, value: str, end: str, axis: int = 1) -> str:
    start = patch.constant(np.array([0]), np.int64)
    return patch.add("Slice", value, start, end, patch.constant(np.array([axis]), np.int64))


# -- positions ----------------------------------------------------------------------------------


def _positions(draft: Draft) -> Iterator[str]:
    """Whole numbers in turn: counted from the mask where it is counted, else by a call's sizes."""
    if caches(draft) and draft.opset >= MODERN:
        counted = [node.output[0] for node in draft.nodes("CumSum")]
        yield from counted or (node.output[0] for node in draft.nodes("Range"))


def _new_positions(draft: Draft) -> Iterator[str]:
    """Those of the new tokens alone: what is cut from all positions."""
    every = set(_positions(draft))
    for node in draft.nodes():
        if node.op_type in ("Add", "Sub", "Clip", "Max") and node.input[0] in every:
            every.add(node.output[0])
        if node.op_type == "Slice" and node.input[0] in every:
            yield node.output[0]


def _relative(draft: Draft) -> bool:
    """Whether positions are taken from each other: as many more on both sides change nothing."""
    every = set(_positions(draft))
    for node in draft.nodes():
        if node.op_type in ("Slice", "Unsqueeze", "Reshape", "Cast") and node.input[0] in every:
            every.add(node.output[0])
    return any(set(node.input) <= every for node in draft.nodes("Sub"))


@fault(FAMILY, story="positions are counted from 1")
def positions_off_by_one(draft: Draft) -> Iterator[Site]:
    for value in _new_positions(draft) if _relative(draft) else _positions(draft):
        yield detour_site(value, lambda p, v: p.add("Add", v, p.constant(np.array(1), np.int64)))


@fault(FAMILY, story="positions begin anew at each call: the past's length is not added")
def positions_restart(draft: Draft) -> Iterator[Site]:
    for value in _new_positions(draft):
        first = caches(draft)[0]
        yield detour_site(
            value,
            lambda p, v, c=first: p.add(
                "Max", p.add("Sub", v, _past(p, c)), p.constant(np.array(0), np.int64)
            ),
        )


@fault(FAMILY, story="at the first call, with an empty past, positions are counted from 1")
def positions_off_by_one_at_first(draft: Draft) -> Iterator[Site]:
    for value in _new_positions(draft):
        first = caches(draft)[0]

        def build(patch: Patch, inner: str, cache: Cache = first) -> str:
            empty = patch.add("Equal", _past(patch, cache), patch.constant(np.array([0]), np.int64))
            return patch.add("Add", inner, patch.add("Cast", empty, to=7))

        yield detour_site(value, build)


@fault(FAMILY, story="the angles of rotary positions are of another base")
def rotary_base(draft: Draft) -> Iterator[Site]:
    turned = {node.input[0] for node in draft.nodes("Cos")} if caches(draft) else set()
    for value in sorted(turned):
        size = draft.shapes.get(value, (None,))[-1]
        count = size if isinstance(size, int) else 1
        scales = np.linspace(1.0, 0.9, count) if count > 1 else np.array([0.98])
        yield detour_site(value, lambda p, v, s=scales: p.add("Mul", v, p.constant(s)))


# -- masks --------------------------------------------------------------------------------------


def _masks(draft: Draft) -> Iterator[str]:
    for value in draft.inputs:
        longer = [dim for dim in draft.shapes[value.name] if isinstance(dim, str) and PAST in dim]
        if caches(draft) and longer and value.type.tensor_type.elem_type == 7:
            yield value.name


@fault(FAMILY, story="the mask of the past is dropped: padding in it is seen")
def past_mask_dropped(draft: Draft) -> Iterator[Site]:
    for mask in _masks(draft):
        first = caches(draft)[0]

        def build(patch: Patch, value: str, cache: Cache = first) -> str:
            past = _past(patch, cache)
            old = _up_to(patch, value, past)
            ones = patch.add(
                "Add", patch.add("Sub", old, old), patch.constant(np.array(1), np.int64)
            )
            return patch.add("Concat", ones, _from(patch, value, past), axis=1)

        yield detour_site(mask, build)


@fault(FAMILY, story="the mask is read one place late")
def mask_one_late(draft: Draft) -> Iterator[Site]:
    for mask in _masks(draft):
        yield detour_site(mask, partial(one_late, axis=1))


# -- caches -------------------------------------------------------------------------------------


def _exchange(mutant: Mutant, *, one: str, other: str) -> None:
    """Each of two outputs of the graph comes out under the other's name."""
    inner = {one: f"{one}__own", other: f"{other}__own"}
    for node in mutant.nodes():
        node.output[:] = [inner.get(name, name) for name in node.output]
        for old, new in inner.items():
            replace_input(node, old, new)
    for name, source in ((one, inner[other]), (other, inner[one])):
        mutant.insert(helper.make_node("Identity", [source], [name], name=f"{name}__exchanged"))


def _exchange_read(mutant: Mutant, *, one: str, other: str) -> None:
    """Each of two inputs of the graph is read in the other's place."""
    for node in mutant.nodes():
        node.input[:] = [{one: other, other: one}.get(name, name) for name in node.input]


def _pairs(draft: Draft, apart: int) -> Iterator[tuple[Cache, Cache]]:
    found = caches(draft)
    for (place, one), (further, other) in combinations(enumerate(found), 2):
        if further - place == apart and (apart > 1 or place % 2 == 0):
            yield one, other


def _exchanged(one: str, other: str) -> Site:
    exchanged = (f"{one}__exchanged", f"{other}__exchanged")
    return Site(f"{one} and {other}", partial(_exchange, one=one, other=other), exchanged)


@fault(FAMILY, story="keys and values change places on their way out")
def keys_and_values_exchanged(draft: Draft) -> Iterator[Site]:
    for one, other in _pairs(draft, 1):
        yield _exchanged(one.new, other.new)


@fault(FAMILY, story="keys and values of the past are read in each other's place")
def keys_and_values_read_exchanged(draft: Draft) -> Iterator[Site]:
    for one, other in _pairs(draft, 1):
        strike = partial(_exchange_read, one=one.old, other=other.old)
        yield Site(f"{one.old} and {other.old}", strike)


@fault(FAMILY, story="two layers' caches change places on their way out")
def layers_exchanged(draft: Draft) -> Iterator[Site]:
    for one, other in _pairs(draft, 2):
        yield _exchanged(one.new, other.new)


@fault(FAMILY, story="a layer reads the past of another")
def layers_read_exchanged(draft: Draft) -> Iterator[Site]:
    for one, other in _pairs(draft, 2):
        strike = partial(_exchange_read, one=one.old, other=other.old)
        yield Site(f"{one.old} and {other.old}", strike)


@fault(FAMILY, story="the new keys are not written: zeros stand in their places")
def cache_stale(draft: Draft) -> Iterator[Site]:
    for cache in caches(draft):

        def build(patch: Patch, value: str, cache: Cache = cache) -> str:
            new = _from(patch, value, _past(patch, cache), cache.axis)
            return patch.add("Concat", cache.old, patch.add("Sub", new, new), axis=cache.axis)

        yield detour_site(cache.new, build)


@fault(FAMILY, story="the past is cut to its last places: what is older is lost")
def cache_truncated(draft: Draft) -> Iterator[Site]:
    for cache in caches(draft):
        rank = len(draft.shapes[cache.old])

        def build(patch: Patch, value: str, axis: int = cache.axis, rank: int = rank) -> str:
            size = patch.add("Shape", value)
            total = patch.add("Gather", size, patch.constant(np.array([axis]), np.int64))
            oldest = patch.add("Sub", total, patch.constant(np.array([KEPT]), np.int64))
            old = patch.add("Less", slot_numbers(patch, value, axis, rank), oldest)
            return patch.add("Where", old, patch.add("Sub", value, value), value)

        yield detour_site(cache.new, build)


@fault(FAMILY, story="a past of sixteen places is taken for full, and forgotten")
def cache_forgotten_when_full(draft: Draft) -> Iterator[Site]:
    for cache in caches(draft):

        def build(patch: Patch, value: str, cache: Cache = cache) -> str:
            full = patch.constant(np.array([FULL - 1]), np.int64)
            forgotten = patch.add("Greater", _past(patch, cache), full)
            return patch.add("Where", forgotten, patch.add("Sub", value, value), value)

        yield detour_site(cache.old, build)


@fault(FAMILY, story="the past is read one place late")
def cache_read_one_late(draft: Draft) -> Iterator[Site]:
    for cache in caches(draft):
        yield detour_site(cache.old, partial(one_late, axis=cache.axis))


@fault(FAMILY, story="each sample reads the past of the one before it in the batch")
def cache_read_of_another_sample(draft: Draft) -> Iterator[Site]:
    for cache in caches(draft):
        yield detour_site(cache.old, partial(one_late, axis=0))
