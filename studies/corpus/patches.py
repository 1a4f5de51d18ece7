"""New nodes between old ones: the edits that most faults share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import helper

from studies.corpus import Site
from studies.corpus.drafts import Array, Graph, Mutant, replace_input


class Patch:
    """Nodes to be, wired one by one; each is named after ``stem``, its operator and its number."""

    def __init__(self, stem: str, mutant: Mutant | None = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._stem = stem
        self._mutant = mutant
        self._constants = 0

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output; gives back the output's name."""
        name = f"{self._stem}__{operator}{len(self.nodes)}"
        node = helper.make_node(operator, list(inputs), [f"{name}:0"], name=name, **attributes)
        self.nodes.append(node)
        return str(node.output[0])

    def constant(self, value: Array | float, dtype: Any = np.float32) -> str:
        """An initialiser of ``dtype``; gives back its name."""
        name = f"{self._stem}__constant{self._constants}"
        self._constants += 1
        if self._mutant is not None:
            self._mutant.add_array(name, np.asarray(value, dtype))
        return name


Build = Callable[[Patch, str], str]  # wires nodes that read a value; gives back what they make


def names_of(stem: str, build: Build) -> tuple[str, ...]:
    """The names that the nodes of a patch will have."""
    patch = Patch(stem)
    build(patch, "source")
    return tuple(node.name for node in patch.nodes)


def detour(mutant: Mutant, value: str, build: Build) -> None:
    """Let a value pass through new nodes on its way to all its readers, outputs included."""
    patch = Patch(value, mutant)
    producer = mutant.producer(value)
    if producer is None:
        readers = mutant.consumers(value)
        result = build(patch, value)
        for reader in readers:
            replace_input(reader, value, result)
        _insert(mutant, patch, 0)
        return
    inner = f"{value}__inner"
    producer.output[list(producer.output).index(value)] = inner
    _name_output(patch, build(patch, inner), value)
    _insert(mutant, patch, _place(mutant, producer.name) + 1)


def detour_for(mutant: Mutant, name: str, place: int, build: Build) -> None:
    """Let one input of one node pass through new nodes; other readers keep the old value."""
    node = mutant.node(name)
    patch = Patch(f"{name}__{place}", mutant)
    node.input[place] = build(patch, node.input[place])
    _insert(mutant, patch, _place(mutant, name))


def replace(mutant: Mutant, name: str, build: Build) -> None:
    """Put new nodes, which read the old one's first input, in a node's place."""
    node = mutant.node(name)
    patch = Patch(name, mutant)
    _name_output(patch, build(patch, node.input[0]), node.output[0])
    place = _place(mutant, name)
    mutant.graph.node.remove(node)
    _insert(mutant, patch, place)


def give(mutant: Mutant, name: str, place: int, array: Array) -> None:
    """Give one node another constant input; a constant with other readers stays as it is."""
    node = mutant.node(name)
    node.input.extend([""] * (place + 1 - len(node.input)))
    old = node.input[place]
    readers = sum(list(other.input).count(old) for other in mutant.nodes())
    if old and readers == 1 and mutant.is_constant(old):
        mutant.set_array(old, array)
    else:
        node.input[place] = mutant.add_array(f"{name}__input{place}", array)


def detour_site(value: str, build: Build) -> Site:
    """The site of a fault that leads a value astray."""
    return Site(value, partial(detour, value=value, build=build), names_of(value, build))


def replace_site(name: str, build: Build) -> Site:
    """The site of a fault that puts other nodes in a node's place."""
    return Site(name, partial(replace, name=name, build=build), names_of(name, build))


def bypass_site(draft: Graph, name: str) -> Iterator[Site]:
    """The site of a fault that takes a node out; none where that would join input and output."""
    node = draft.node(name)
    source, readers = draft.producer(node.input[0]), draft.consumers(node.output[0])
    is_end = node.output[0] in [output.name for output in draft.graph.output]
    if is_end and source is None:
        return
    heirs = [source] if is_end and source is not None else readers
    strike = partial(_bypass, name=name)
    yield Site(name, strike, tuple(dict.fromkeys(heir.name for heir in heirs)))


def _bypass(mutant: Mutant, *, name: str) -> None:
    mutant.bypass(name)


def _name_output(patch: Patch, result: str, wanted: str) -> None:
    for node in patch.nodes:
        replace_input(node, result, wanted)
        node.output[:] = [wanted if value == result else value for value in node.output]


def _place(mutant: Mutant, name: str) -> int:
    return [node.name for node in mutant.graph.node].index(name)


def _insert(mutant: Mutant, patch: Patch, place: int) -> None:
    for offset, node in enumerate(patch.nodes):
        mutant.graph.node.insert(place + offset, node)
