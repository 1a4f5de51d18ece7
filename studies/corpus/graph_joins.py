"""Wrong wiring where values meet: residuals, gates, sums and operands."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import onnx

from studies.corpus import Site, fault
from studies.corpus.drafts import Draft, Mutant
from studies.corpus.graph_edits import (
    data_inputs,
    data_pairs,
    is_float,
    known_sizes,
    only_reader,
    with_constant,
)
from studies.corpus.patches import Patch, bypass_site, detour_for, names_of

FAMILY = "graph"
ACTIVATIONS = ("Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "Elu", "Softplus")


@fault(FAMILY, story="a shortcut is lost in a hand-written port: the block's branch alone is left")
def shortcut_dropped(draft: Draft) -> Iterator[Site]:
    for node in data_pairs(draft, "Add"):
        yield from _kept(draft, node, _branch(draft, node))


@fault(FAMILY, story="stochastic depth is exported in training mode: a block's branch is dropped")
def branch_dropped(draft: Draft) -> Iterator[Site]:
    for node in data_pairs(draft, "Add"):
        yield from _kept(draft, node, 1 - _branch(draft, node))


@fault(FAMILY, story="a variable is reused in a loop: the shortcut comes from an earlier block")
def shortcut_from_another_block(draft: Draft) -> Iterator[Site]:
    order = {name: place for place, node in enumerate(draft.nodes()) for name in node.output}
    sums = [node.output[0] for node in data_pairs(draft, "Add")]
    for node in data_pairs(draft, "Add"):
        place = 1 - _branch(draft, node)
        old = node.input[place]
        others = [*sums, *(made for made in order if _is_activation(draft, made))]
        fitting = [
            value
            for value in others
            if order[value] < order.get(old, -1)
            and known_sizes(draft, value) == known_sizes(draft, old)
            and not _is_activation_of(draft, old, value)
        ]
        if fitting:
            yield _rewired(node, place, max(fitting, key=order.__getitem__))


@fault(FAMILY, story="an in-place activation: the shortcut is taken before it in the export")
def shortcut_taken_before_the_activation(draft: Draft) -> Iterator[Site]:
    for node in data_pairs(draft, "Add"):
        for place, value in enumerate(node.input):
            producer = draft.producer(value)
            if producer is not None and producer.op_type in ACTIVATIONS:
                yield _rewired(node, place, producer.input[0])


@fault(FAMILY, story="a copy-and-paste slip: a value is added to itself")
def operand_used_twice(draft: Draft) -> Iterator[Site]:
    for operator in ("Add", "Mul", "Sub"):
        for node in data_pairs(draft, operator):
            yield _rewired(node, 0, node.input[1])


@fault(FAMILY, story="pre-activation for post-activation: the branch is activated before the sum")
def activation_before_the_sum(draft: Draft) -> Iterator[Site]:
    for node in data_pairs(draft, "Add"):
        reader = only_reader(draft, node.output[0], "Relu")
        if reader is not None:
            branch = _branch(draft, node)
            strike = partial(_activate_branch, add=node.name, activation=reader.name, place=branch)
            yield Site(node.name, strike, (node.name, reader.name))


@fault(FAMILY, story="a - b becomes b - a when a converter puts the constant first")
def operands_exchanged(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Sub", "Div", "Pow"):
        if len(data_inputs(draft, node)) > 0 and node.input[0] != node.input[1]:
            yield Site(node.name, partial(_exchange_inputs, node=node.name), (node.name,))


@fault(FAMILY, story="two tensors are joined in the other order")
def joined_in_the_other_order(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Concat"):
        if len(set(node.input)) > 1 and data_inputs(draft, node):
            yield Site(node.name, partial(_exchange_inputs, node=node.name), (node.name,))


@fault(FAMILY, story="a gate (squeeze and excitation) or a scale is added, not multiplied")
def sum_for_product(draft: Draft) -> Iterator[Site]:
    yield from _other_operator(draft, "Mul", "Add")


@fault(FAMILY, story="a sum is taken for a product")
def product_for_sum(draft: Draft) -> Iterator[Site]:
    yield from _other_operator(draft, "Add", "Mul")


@fault(FAMILY, story="the sign of the second operand is lost: difference for sum")
def difference_for_sum(draft: Draft) -> Iterator[Site]:
    yield from _other_operator(draft, "Add", "Sub")


@fault(FAMILY, story="element-wise maximum for a sum: another mode of one merge layer")
def maximum_for_sum(draft: Draft) -> Iterator[Site]:
    for node in data_pairs(draft, "Add"):
        yield _operator_site(node, "Max")


@fault(FAMILY, story="a mean of the branches for their sum: another mode of one merge layer")
def mean_for_sum(draft: Draft) -> Iterator[Site]:
    for node in data_pairs(draft, "Add"):
        yield _operator_site(node, "Mean")


@fault(FAMILY, story="a gate is optimised away: its factor is taken for one")
def gate_dropped(draft: Draft) -> Iterator[Site]:
    for node in draft.nodes("Mul"):
        if len(data_inputs(draft, node)) == 2 and _gated(draft, node) == 0:
            yield from bypass_site(draft, node.name)


@fault(FAMILY, story="a scale or an offset is taken for one or zero and left out")
def constant_operand_dropped(draft: Draft) -> Iterator[Site]:
    neutral = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}
    for node, place in with_constant(draft, *neutral):
        trivial = bool((draft.array(node.input[place]) == neutral[node.op_type]).all())
        data = known_sizes(draft, node.input[1 - place])
        if place == 1 and not trivial and data == known_sizes(draft, node.output[0]):
            yield from bypass_site(draft, node.name)


@fault(FAMILY, story="the residual is scaled by a factor that belongs to another variant")
def branch_scaled(draft: Draft) -> Iterator[Site]:
    for node in data_pairs(draft, "Add"):
        place = _branch(draft, node)
        stem = f"{node.name}__{place}"
        strike = partial(detour_for, name=node.name, place=place, build=_nine_tenths)
        yield Site(node.name, strike, (*names_of(stem, _nine_tenths), node.name))


def _branch(draft: Draft, node: onnx.NodeProto) -> int:
    """The place of the operand that was made last: the branch, not the shortcut."""
    order = {name: place for place, other in enumerate(draft.nodes()) for name in other.output}
    return int(order.get(node.input[1], -1) > order.get(node.input[0], -1))


def _gated(draft: Draft, node: onnx.NodeProto) -> int | None:
    made = known_sizes(draft, node.output[0])
    same = [known_sizes(draft, value) == made for value in node.input]
    return same.index(True) if made and any(same) else None


def _is_activation(draft: Draft, value: str) -> bool:
    producer = draft.producer(value)
    return producer is not None and producer.op_type in ACTIVATIONS and is_float(draft, value)


def _is_activation_of(draft: Draft, value: str, source: str) -> bool:
    producer = draft.producer(value)
    return producer is not None and producer.op_type == "Identity" and source in producer.input


def _kept(draft: Draft, node: onnx.NodeProto, place: int) -> Iterator[Site]:
    readers = tuple(reader.name for reader in draft.consumers(node.output[0]))
    producer = draft.producer(node.input[place])
    if readers and producer is not None:
        strike = partial(_keep, node=node.name, place=place)
        yield Site(node.name, strike, (node.name, *readers))


def _keep(mutant: Mutant, *, node: str, place: int) -> None:
    join = mutant.node(node)
    join.op_type = "Identity"
    join.input[:] = [join.input[place]]
    del join.attribute[:]


def _rewired(node: onnx.NodeProto, place: int, value: str) -> Site:
    strike = partial(_rewire, node=node.name, place=place, value=value)
    return Site(f"{node.name} input {place}", strike, (node.name,))


def _rewire(mutant: Mutant, *, node: str, place: int, value: str) -> None:
    mutant.node(node).input[place] = value


def _exchange_inputs(mutant: Mutant, *, node: str) -> None:
    joined = mutant.node(node)
    joined.input[:] = list(joined.input)[::-1]


def _activate_branch(mutant: Mutant, *, add: str, activation: str, place: int) -> None:
    join, relu = mutant.node(add), mutant.node(activation)
    branch, inner, outer = join.input[place], join.output[0], relu.output[0]
    mutant.graph.node.remove(relu)
    relu.input[0], relu.output[0] = branch, inner
    join.input[place], join.output[0] = inner, outer
    names = [node.name for node in mutant.graph.node]
    mutant.graph.node.insert(names.index(add), relu)


def _other_operator(draft: Draft, old: str, new: str) -> Iterator[Site]:
    for node in draft.nodes(old):
        if data_inputs(draft, node):
            yield _operator_site(node, new)


def _operator_site(node: onnx.NodeProto, operator: str) -> Site:
    strike = partial(_set_operator, node=node.name, operator=operator)
    return Site(node.name, strike, (node.name,))


def _set_operator(mutant: Mutant, *, node: str, operator: str) -> None:
    mutant.node(node).op_type = operator


def _nine_tenths(patch: Patch, value: str) -> str:
    return patch.add("Mul", value, patch.constant(0.9))
