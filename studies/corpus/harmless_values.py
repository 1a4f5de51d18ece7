"""Equivalent rewrites around a value: pairs that undo each other, neutral elements, casts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Mutant, set_attribute
from studies.corpus.graph_edits import MODERN, is_float, known_sizes, sliced
from studies.corpus.patches import Build, Patch, detour_site

FAMILY = "harmless: values"
IN_DOUBLE = ("MatMul", "Gemm", "Add", "Mul", "Sub", "Relu", "Clip", "Softmax", "ReduceMean")
WRITTEN_DEFAULTS: dict[str, dict[str, Any]] = {
    "Gemm": {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0},
    "Conv": {"group": 1, "strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0]},
    "MaxPool": {"ceil_mode": 0, "dilations": [1, 1], "pads": [0, 0, 0, 0], "storage_order": 0},
    "Flatten": {"axis": 1},
}


@fault(FAMILY, verdict="harmless", story="an exporter keeps a module that does nothing")
def identity_inserted(draft: Draft) -> Iterator[Site]:
    yield from _around(draft, lambda patch, value: patch.add("Identity", value))


@fault(FAMILY, verdict="harmless", story="dropout stays in the graph, in inference mode")
def dropout_inserted(draft: Draft) -> Iterator[Site]:
    yield from _around(draft, lambda patch, value: patch.add("Dropout", value))


@fault(FAMILY, verdict="harmless", story="a sign is moved into a neighbour and back")
def negated_twice(draft: Draft) -> Iterator[Site]:
    yield from _around(draft, lambda p, value: p.add("Neg", p.add("Neg", value)))


@fault(FAMILY, verdict="harmless", story="a loss scale or a gate that is one")
def times_one(draft: Draft) -> Iterator[Site]:
    yield from _around(draft, lambda p, value: p.add("Mul", value, p.constant(1.0)))


@fault(FAMILY, verdict="harmless", story="an offset that is zero is not folded")
def plus_zero(draft: Draft) -> Iterator[Site]:
    yield from _around(draft, lambda p, value: p.add("Add", value, p.constant(0.0)))


@fault(FAMILY, verdict="harmless", story="a scale by a power of two and its inverse, for int8")
def scaled_and_back(draft: Draft) -> Iterator[Site]:
    yield from _around(draft, _scaled_and_back)


@fault(FAMILY, verdict="harmless", story="mixed precision casts a value up and down again")
def cast_to_double_and_back(draft: Draft) -> Iterator[Site]:
    yield from _around(draft, _cast_and_back)


@fault(FAMILY, verdict="harmless", story="a change of layout and back (tf2onnx)")
def transposed_and_back(draft: Draft) -> Iterator[Site]:
    for value, sizes in _values(draft):
        if len(sizes) > 1:
            yield detour_site(value, partial(_transposed_and_back, rank=len(sizes) + 1))


@fault(FAMILY, verdict="harmless", story="view and view back")
def reshaped_and_back(draft: Draft) -> Iterator[Site]:
    for value, sizes in _values(draft):
        yield detour_site(value, partial(_reshaped_and_back, sizes=sizes))


@fault(FAMILY, verdict="harmless", story="an axis is added for an operator that wants it")
def unsqueezed_and_squeezed(draft: Draft) -> Iterator[Site]:
    if draft.opset >= MODERN:
        yield from _around(draft, _unsqueezed_and_squeezed)


@fault(FAMILY, verdict="harmless", story="channels are split for two devices and joined")
def split_and_joined(draft: Draft) -> Iterator[Site]:
    for value, sizes in _values(draft):
        if draft.opset >= MODERN and sizes[0] > 1:
            yield detour_site(value, partial(_split_and_joined, size=sizes[0]))


@fault(FAMILY, verdict="harmless", story="x[:, :] is exported as a Slice of everything")
def sliced_in_full(draft: Draft) -> Iterator[Site]:
    for value, _ in _values(draft):
        if draft.opset >= MODERN:
            yield detour_site(value, lambda p, v: sliced(p, v, 0, 2**62, 1))


@fault(FAMILY, verdict="harmless", story="a pad of nothing, where a framework always pads")
def padded_by_nothing(draft: Draft) -> Iterator[Site]:
    for value, sizes in _values(draft):
        if draft.opset >= MODERN:
            yield detour_site(value, partial(_padded_by_nothing, rank=len(sizes) + 1))


@fault(FAMILY, verdict="harmless", story="a Concat of one tensor, a loop that ran once")
def joined_alone(draft: Draft) -> Iterator[Site]:
    yield from _around(draft, lambda p, value: p.add("Concat", value, axis=1))


@fault(FAMILY, verdict="harmless", story="one node is computed in double, inputs and output cast")
def node_in_double(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes(*IN_DOUBLE):
        floats = [v for v in node.input if v and is_float(draft, v)]
        if floats and is_float(draft, node.output[0]) and draft.opset >= MODERN:
            strike = partial(_in_double, node=node.name, floats=tuple(floats))
            yield Site(node.name, strike)


@fault(FAMILY, verdict="harmless", story="the inputs of a commutative operator change places")
def operands_commuted(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Add", "Mul", "Max", "Min", "Sum"):
        if len(node.input) == 2 and is_float(draft, node.output[0]):
            yield Site(node.name, partial(_commute, node=node.name))


@fault(FAMILY, verdict="harmless", story="an exporter writes the attributes that have defaults")
def defaults_written(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes(*WRITTEN_DEFAULTS):
        present = [a.name for a in node.attribute]
        missing = [name for name in WRITTEN_DEFAULTS[node.op_type] if name not in present]
        if _has_plane(draft, node) and missing and "auto_pad" not in present:
            yield Site(node.name, partial(_write_defaults, node=node.name, names=tuple(missing)))


@fault(FAMILY, verdict="harmless", story="an exporter leaves out the attributes that are defaults")
def defaults_left_out(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes(*WRITTEN_DEFAULTS):
        spare = tuple(_spare(node))
        if spare:
            yield Site(node.name, partial(_leave_out, node=node.name, names=spare))


def _values(draft: Draft) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The computed float values with a free batch axis and known sizes behind it."""
    for value in [output for node in draft.nodes() for output in node.output]:
        sizes = known_sizes(draft, value) if value and value in draft.shapes else None
        if not sizes or draft.is_constant(value) or not is_float(draft, value):
            continue
        if not isinstance(draft.shapes[value][0], int):
            yield value, sizes


def _around(draft: Draft, build: Build) -> Iterator[Site]:
    for value, _ in _values(draft):
        yield detour_site(value, build)


def _scaled_and_back(patch: Patch, value: str) -> str:
    twice = patch.add("Mul", value, patch.constant(2.0))
    return patch.add("Mul", twice, patch.constant(0.5))


def _cast_and_back(patch: Patch, value: str) -> str:
    double = patch.add("Cast", value, to=TensorProto.DOUBLE)
    return patch.add("Cast", double, to=TensorProto.FLOAT)


def _transposed_and_back(patch: Patch, value: str, *, rank: int) -> str:
    there = [0, *range(2, rank), 1]
    back = [there.index(axis) for axis in range(rank)]
    return patch.add("Transpose", patch.add("Transpose", value, perm=there), perm=back)


def _reshaped_and_back(patch: Patch, value: str, *, sizes: tuple[int, ...]) -> str:
    flat = patch.constant(np.array([-1, int(np.prod(sizes))]), np.int64)
    shape = patch.constant(np.array([-1, *sizes]), np.int64)
    return patch.add("Reshape", patch.add("Reshape", value, flat), shape)


def _unsqueezed_and_squeezed(patch: Patch, value: str) -> str:
    axes = patch.constant(np.array([1]), np.int64)
    return patch.add("Squeeze", patch.add("Unsqueeze", value, axes), axes)


def _split_and_joined(patch: Patch, value: str, *, size: int) -> str:
    middle = size // 2
    parts = [sliced(patch, value, 0, middle, 1), sliced(patch, value, middle, size, 1)]
    return patch.add("Concat", *parts, axis=1)


def _padded_by_nothing(patch: Patch, value: str, *, rank: int) -> str:
    return patch.add("Pad", value, patch.constant(np.zeros(2 * rank), np.int64))


def _in_double(mutant: Mutant, *, node: str, floats: tuple[str, ...]) -> None:
    inner = mutant.node(node)
    patch = Patch(f"{node}__double", mutant)
    for value in dict.fromkeys(floats):
        double = patch.add("Cast", value, to=TensorProto.DOUBLE)
        inner.input[:] = [double if old == value else old for old in inner.input]
    place = [one.name for one in mutant.graph.node].index(node)
    for offset, cast in enumerate(patch.nodes):
        mutant.graph.node.insert(place + offset, cast)
    result, inner.output[0] = inner.output[0], f"{node}__double"
    back = onnx.helper.make_node(
        "Cast", [f"{node}__double"], [result], name=f"{node}__back", to=TensorProto.FLOAT
    )
    mutant.graph.node.insert(place + len(patch.nodes) + 1, back)


def _commute(mutant: Mutant, *, node: str) -> None:
    joined = mutant.node(node)
    joined.input[:] = list(joined.input)[::-1]


def _has_plane(draft: Draft, node: onnx.NodeProto) -> bool:
    """Whether list attributes of two axes fit the node."""
    sizes = known_sizes(draft, node.input[0])
    return node.op_type not in ("Conv", "MaxPool") or (sizes is not None and len(sizes) == 3)


def _write_defaults(mutant: Mutant, *, node: str, names: tuple[str, ...]) -> None:
    target = mutant.node(node)
    for name in names:
        set_attribute(target, name, WRITTEN_DEFAULTS[target.op_type][name])


def _spare(node: onnx.NodeProto) -> Iterator[str]:
    defaults = WRITTEN_DEFAULTS[node.op_type]
    for attribute in node.attribute:
        if attribute.name in defaults:
            value = onnx.helper.get_attribute_value(attribute)
            if list(np.ravel(value)) == list(np.ravel(defaults[attribute.name])):
                yield attribute.name


def _leave_out(mutant: Mutant, *, node: str, names: tuple[str, ...]) -> None:
    target = mutant.node(node)
    kept = [one for one in target.attribute if one.name not in names]
    del target.attribute[:]
    target.attribute.extend(kept)
