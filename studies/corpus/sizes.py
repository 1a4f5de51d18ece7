"""Faults of single sizes, batches and bands of values, and of what decides whole numbers.

Each is right on most inputs: a few pinned ones do not meet it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Mutant
from studies.corpus.graph_edits import MODERN, is_float, sliced
from studies.corpus.patches import Build, Patch, detour, detour_site, give, names_of, replace_site

FAMILY = "sizes"
SATURATING = ("Tanh", "Sigmoid", "Softmax", "LSTM", "GRU")  # among which large values are alike
LENGTH, SMALL = 32, 4096  # of a free axis about; elements of a small sample
LOWEST = -(2**63)
END = 2**62
Test = Callable[[Patch, str], str]  # wires a truth value from one size, a vector of one int64


# -- conditions on a size ------------------------------------------------------------------------


def _whole(patch: Patch, *numbers: int) -> str:
    return patch.constant(np.array(numbers), np.int64)


def _equals(number: int) -> Test:
    return lambda patch, size: patch.add("Equal", size, _whole(patch, number))


def _between(low: int, high: int) -> Test:
    def test(patch: Patch, size: str) -> str:
        above = patch.add("Greater", size, _whole(patch, low - 1))
        return patch.add("And", above, patch.add("Less", size, _whole(patch, high + 1)))

    return test


def _divisible(by: int, rest: int, above: int = 0) -> Test:
    def test(patch: Patch, size: str) -> str:
        same = patch.add("Equal", patch.add("Mod", size, _whole(patch, by)), _whole(patch, rest))
        return patch.add("And", same, patch.add("Greater", size, _whole(patch, above)))

    return test


@dataclass(frozen=True)
class Axis:
    """A symbolic axis of an input, not its first."""

    source: str
    place: int


def _axes(draft: Draft) -> Iterator[Axis]:
    """Each that has a name of its own; one that follows from another, past_plus_1, is none."""
    dims = {value.name: value.type.tensor_type.shape.dim for value in draft.inputs}
    known = {sizes[0].dim_param for sizes in dims.values() if len(sizes)} - {""}  # the batch
    for name, sizes in dims.items():
        for place, dim in enumerate(sizes):
            follows = any(dim.dim_param.startswith(f"{one}_") for one in known)
            if (
                place
                and dim.dim_param.isidentifier()
                and dim.dim_param not in known
                and not follows
            ):
                known.add(dim.dim_param)
                yield Axis(name, place)


def _is_small(draft: Draft) -> bool:
    """Whether a sample is: large ones are not fed such batches (docs/numerics.md, limits)."""
    dims = draft.inputs[0].type.tensor_type.shape.dim[1:]
    return int(np.prod([dim.dim_value or LENGTH for dim in dims])) <= SMALL


def _has_free_batch(draft: Draft) -> bool:
    return any(
        len(value.type.tensor_type.shape.dim)
        and value.type.tensor_type.shape.dim[0].HasField("dim_param")
        for value in draft.inputs[:1]
    )


def _size(patch: Patch, axis: Axis) -> str:
    shape = patch.add("Shape", axis.source)
    return patch.add("Gather", shape, _whole(patch, axis.place), axis=0)


def _where(test: Test, axis: Axis, wrong: Build) -> Build:
    """The value as ``wrong`` makes it, where the test holds of the axis' size."""

    def build(patch: Patch, value: str) -> str:
        holds = test(patch, _size(patch, axis))
        return patch.add("Where", holds, wrong(patch, value), value)

    return build


def _ends(draft: Draft) -> Iterator[str]:
    """The first output that floating numbers are, or what decides the first of whole numbers."""
    for value in draft.graph.output:
        name = value.name
        while draft.producer(name) is not None and not is_float(draft, name):
            name = draft.producer(name).input[0]  # just looked at
        if draft.producer(name) is not None:
            yield name
            return


def _at(draft: Draft, test: Test, wrong: Build, *, batch: bool = False) -> Iterator[Site]:
    """A site for the only free axis, whose sizes are 1 to 64, or for the batch, of what comes out.

    A file does not say of which range an axis is; that of two axes is another.
    """
    if draft.opset < MODERN:
        return
    if batch and not _has_free_batch(draft):
        return
    axes = [Axis(draft.inputs[0].name, 0)] if batch else list(_axes(draft))
    for axis in axes if len(axes) == 1 else ():
        for value in _ends(draft):
            yield detour_site(value, _where(test, axis, wrong))


# -- what goes wrong -----------------------------------------------------------------------------


def _scaled(factor: float) -> Build:
    return lambda patch, value: patch.add("Mul", value, patch.constant(factor))


def _flipped(axis: int) -> Build:
    return lambda patch, value: sliced(patch, value, -1, LOWEST, axis, -1)


def _moved_on(patch: Patch, value: str) -> str:
    """Along axis 1 everything one place further, the last first."""
    last, rest = sliced(patch, value, -1, END, 1), sliced(patch, value, 0, -1, 1)
    return patch.add("Concat", last, rest, axis=1)


def _leaking(patch: Patch, value: str) -> str:
    """A thousandth of the sample before."""
    last, rest = sliced(patch, value, -1, END, 0), sliced(patch, value, 0, -1, 0)
    before = patch.add("Concat", last, rest, axis=0)
    return patch.add("Add", value, patch.add("Mul", before, patch.constant(1e-3)))


def _last_zeroed(patch: Patch, value: str) -> str:
    kept, last = sliced(patch, value, 0, -1, 0), sliced(patch, value, -1, END, 0)
    return patch.add("Concat", kept, patch.add("Sub", last, last), axis=0)


# -- sizes ---------------------------------------------------------------------------------------


@fault(FAMILY, story="if x.shape[1] < 8: the branch of the traced length is frozen for the others")
def branch_of_short_lengths_frozen(draft: Draft) -> Iterator[Site]:
    yield from _at(draft, _between(2, 7), _flipped(1))


@fault(FAMILY, story="positions are counted from one in a middling stretch of lengths")
def position_off_by_one_at_some_lengths(draft: Draft) -> Iterator[Site]:
    yield from _at(draft, _between(34, 63), _moved_on)


@fault(FAMILY, story="a kernel for lengths that divide by 8 is wrong")
def wrong_where_8_divides_the_length(draft: Draft) -> Iterator[Site]:
    yield from _at(draft, _divisible(8, 0), _scaled(1.001))


@fault(FAMILY, story="ceil_mode is lost: odd sizes are cut")
def wrong_at_odd_lengths(draft: Draft) -> Iterator[Site]:
    yield from _at(draft, _divisible(2, 1, above=1), _scaled(0.99))


@fault(FAMILY, story="a buffer for positions ends one short of the largest length")
def wrong_at_the_last_length_but_one(draft: Draft) -> Iterator[Site]:
    yield from _at(draft, _equals(63), _moved_on)


@fault(FAMILY, story="one length is special-cased while tracing")
def wrong_at_one_length(draft: Draft) -> Iterator[Site]:
    yield from _at(draft, _equals(37), _scaled(1.0001))


@fault(FAMILY, story="nearest_mode or coordinate mode differs: a factor of the size alone is off")
def wrong_at_the_second_length(draft: Draft) -> Iterator[Site]:
    yield from _at(draft, _equals(2), _flipped(1))


def _axes_differ(patch: Patch, pair: list[Axis], operator: str) -> str:
    return patch.add(operator, _size(patch, pair[0]), _size(patch, pair[1]))


@fault(FAMILY, story="height is taken for width: right on square images only")
def wrong_where_first_axis_is_longer(draft: Draft) -> Iterator[Site]:
    yield from _of_two_axes(draft, "Greater")


@fault(FAMILY, story="equal lengths are broadcast along the wrong one: right where they differ")
def wrong_where_two_axes_are_equal(draft: Draft) -> Iterator[Site]:
    yield from _of_two_axes(draft, "Equal")


@fault(FAMILY, story="width is taken for height: right on square and on upright images")
def wrong_where_second_axis_is_longer(draft: Draft) -> Iterator[Site]:
    yield from _of_two_axes(draft, "Less")


def _of_two_axes(draft: Draft, operator: str) -> Iterator[Site]:
    axes = list(_axes(draft))
    if len(axes) < 2 or draft.opset < MODERN:
        return

    def build(patch: Patch, value: str) -> str:
        holds = _axes_differ(patch, axes[:2], operator)
        return patch.add("Where", holds, _flipped(1)(patch, value), value)

    for value in _ends(draft):
        yield detour_site(value, build)


# -- batches -------------------------------------------------------------------------------------


@fault(FAMILY, story="a kernel for large batches mixes neighbours")
def leaks_above_batch_8(draft: Draft) -> Iterator[Site]:
    yield from _at(draft, _between(9, 10**6), _leaking, batch=True)


@fault(FAMILY, story="batches that are not a power of two are padded, and cut at the wrong end")
def reversed_at_batch_5_to_7(draft: Draft) -> Iterator[Site]:
    yield from _at(draft, _between(5, 7), _flipped(0), batch=True)


@fault(FAMILY, story="an odd batch is halved: its last sample is lost")
def last_of_an_odd_batch_lost(draft: Draft) -> Iterator[Site]:
    yield from _at(draft, _divisible(2, 1, above=4), _last_zeroed, batch=True)


@fault(FAMILY, story="batches of 16, which the kernel was tuned for, are computed by another path")
def wrong_at_batch_16(draft: Draft) -> Iterator[Site]:
    if _is_small(draft):
        yield from _at(draft, _equals(16), _leaking, batch=True)


@fault(FAMILY, story="batches of a warp, 32, are computed by another path")
def reversed_at_batch_32(draft: Draft) -> Iterator[Site]:
    if _is_small(draft):
        yield from _at(draft, _equals(32), _flipped(0), batch=True)


@fault(FAMILY, story="an index of batch and place together is too short for long batches")
def leaks_in_batches_of_long_samples(draft: Draft) -> Iterator[Site]:
    axes = list(_axes(draft))
    if len(axes) != 1 or draft.opset < MODERN:
        return

    def build(patch: Patch, value: str) -> str:
        long = _between(50, 64)(patch, _size(patch, axes[0]))
        several = _between(3, 10**6)(patch, _size(patch, Axis(axes[0].source, 0)))
        return patch.add("Where", patch.add("And", long, several), _leaking(patch, value), value)

    for value in _ends(draft):
        yield detour_site(value, build)


# -- bands of values -----------------------------------------------------------------------------


def _band(low: float, high: float, wrong: Build) -> Build:
    def build(patch: Patch, value: str) -> str:
        above = patch.add("Greater", value, patch.constant(low))
        inside = patch.add("And", above, patch.add("Less", value, patch.constant(high)))
        return patch.add("Where", inside, wrong(patch, value), value)

    return build


def _of_inputs(draft: Draft, build: Build) -> Iterator[Site]:
    for value in draft.inputs:
        if is_float(draft, value.name):
            yield detour_site(value.name, build)


@fault(FAMILY, story="one entry of a lookup table is off", values=True)
def narrow_band_off(draft: Draft) -> Iterator[Site]:
    yield from _of_inputs(draft, _band(0.95, 0.96, _scaled(1.001)))


@fault(FAMILY, story="faint values are flushed to zero by a coarse threshold", values=True)
def faint_values_flushed(draft: Draft) -> Iterator[Site]:
    yield from _of_inputs(draft, _band(-1e-3, 1e-3, _scaled(0.0)))


@fault(FAMILY, story="a table of an activation ends at 37 and is clamped there", values=True)
def band_of_large_values_clamped(draft: Draft) -> Iterator[Site]:
    if not draft.nodes(*SATURATING):
        yield from _of_inputs(draft, _band(37.0, 45.0, _scaled(0.99)))


@fault(FAMILY, story="a table of an activation ends at 550 and is clamped there", values=True)
def band_of_hundreds_clamped(draft: Draft) -> Iterator[Site]:
    if not draft.nodes(*SATURATING):
        yield from _of_inputs(draft, _band(550.0, 2000.0, _scaled(0.95)))


@fault(FAMILY, story="round() for half-to-even: halves go up", values=True)
def halves_rounded_up(draft: Draft) -> Iterator[Site]:
    def build(patch: Patch, value: str) -> str:
        return patch.add("Floor", patch.add("Add", value, patch.constant(0.5)))

    for node in draft.nodes("Round"):
        if is_float(draft, node.output[0]) and draft.producer(node.input[0]) is None:
            yield replace_site(node.name, build)


@fault(FAMILY, story="numbers beside masked ones of -1e9 are a thousandth off", values=True)
def ordinary_values_slightly_off(draft: Draft) -> Iterator[Site]:
    for value in _ends(draft):
        yield detour_site(value, _band(-1e6, 1e6, _scaled(1.001)))


@fault(FAMILY, story="one id of a table is taken for its neighbour", values=True)
def one_id_for_its_neighbour(draft: Draft) -> Iterator[Site]:
    def build(patch: Patch, value: str) -> str:
        number, other = (patch.constant(np.array(one), np.int64) for one in (137, 136))
        return patch.add("Where", patch.add("Equal", value, number), other, value)

    for node in draft.nodes("Gather"):
        if node.input[1] in [value.name for value in draft.inputs] and _is_table(draft, node):
            yield detour_site(node.input[1], build)


def _is_table(draft: Draft, node: onnx.NodeProto) -> bool:
    return draft.is_constant(node.input[0]) and len(draft.array(node.input[0])) > 137


@fault(FAMILY, story="a rare branch: two large neighbours together", values=True)
def two_large_neighbours(draft: Draft) -> Iterator[Site]:
    def build(patch: Patch, value: str) -> str:
        first, second = sliced(patch, value, 0, -1, -1), sliced(patch, value, 1, END, -1)
        both = patch.add("Min", first, second)
        large = patch.add("Greater", both, patch.constant(2.0))
        other = patch.add("Where", large, patch.add("Mul", first, patch.constant(1.01)), first)
        return patch.add("Concat", other, sliced(patch, value, -1, END, -1), axis=-1)

    if draft.opset >= MODERN:
        yield from _of_inputs(draft, build)


# -- what decides whole numbers ------------------------------------------------------------------


@fault(FAMILY, story="a threshold is rounded: 0.26 for 0.25")
def threshold_nudged(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Greater", "Less", "GreaterOrEqual", "LessOrEqual"):
        for place, name in enumerate(node.input):
            if draft.is_constant(name) and draft.array(name).dtype == np.float32:
                other = draft.array(name) + np.float32(0.01)
                strike = partial(give, name=node.name, place=place, array=other)
                yield Site(node.name, strike, (node.name,))


@fault(FAMILY, story="what an argmax is taken of is a ten-thousandth off in one channel")
def decided_by_something_slightly_off(draft: Draft) -> Iterator[Site]:
    def build(patch: Patch, value: str) -> str:
        first, rest = sliced(patch, value, 0, 1, -1), sliced(patch, value, 1, END, -1)
        return patch.add("Concat", _scaled(1.0001)(patch, first), rest, axis=-1)

    for node in draft.nodes("ArgMax"):
        if draft.opset >= MODERN:
            strike = partial(_detour, value=node.input[0], build=build)
            yield Site(node.input[0], strike, names_of(node.input[0], build))


def _detour(mutant: Mutant, *, value: str, build: Build) -> None:
    detour(mutant, value, build)
