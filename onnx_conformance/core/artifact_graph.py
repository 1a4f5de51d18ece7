"""The artifact's graph for localisation: nodes that process data, producers and consumers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from onnx_conformance.core.onnx_file import load_model

SHAPE_OPERATORS = {"Shape", "Size"}  # what follows from these alone is about sizes, not values


@dataclass(frozen=True)
class ArtifactNode:
    """One node. ``name`` is made up as ``Conv_7`` where the file gives none.

    Args:
        data: those of its inputs that depend on the model's inputs by value.
        constants: its other inputs: weights and what is made of them or of sizes.
    """

    index: int
    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    data: tuple[str, ...]
    constants: tuple[str, ...]
    attributes: str = field(repr=False)


class ArtifactGraph:
    """The main graph of a file, read without its weights."""

    def __init__(self, path: Path) -> None:
        self.model = load_model(path, weights=False)
        graph = self.model.graph
        stored = {tensor.name for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input if value.name not in stored]
        self.outputs = [value.name for value in graph.output]
        self._numbers = {
            t.name for t in graph.initializer if len(t.dims) == 0 or list(t.dims) == [1]
        }
        alive = set(self.inputs)
        self.nodes: list[ArtifactNode] = []
        for index, proto in enumerate(graph.node):
            node = _node(index, proto, alive)
            self.nodes.append(node)
            if node.data and node.operator not in SHAPE_OPERATORS:
                alive.update(node.outputs)
        self.data_nodes = [node for node in self.nodes if self._carries(node)]
        self.producer = {name: node for node in self.nodes for name in node.outputs}
        self.readers: dict[str, list[ArtifactNode]] = defaultdict(list)
        for node in self.data_nodes:
            for name in dict.fromkeys(node.data):
                self.readers[name].append(node)

    def _carries(self, node: ArtifactNode) -> bool:
        return bool(node.data) and node.operator not in SHAPE_OPERATORS

    def reads_weights(self, node: ArtifactNode) -> bool:
        """Whether it reads a constant of more than one element."""
        return not self._numbers.issuperset(node.constants)

    def next_nodes(self, node: ArtifactNode) -> Iterator[ArtifactNode]:
        """The data nodes that read a node's outputs."""
        seen = set()
        for name in node.outputs:
            for reader in self.readers.get(name, []):
                if reader.index not in seen:
                    seen.add(reader.index)
                    yield reader

    def descendants(self, node: ArtifactNode) -> set[int]:
        """Indices of all data nodes that depend on a node."""
        found: set[int] = set()
        waiting = [node]
        while waiting:
            for reader in self.next_nodes(waiting.pop()):
                if reader.index not in found:
                    found.add(reader.index)
                    waiting.append(reader)
        return found

    def ancestors(self, name: str) -> set[int]:
        """Indices of all nodes that a tensor depends on, its producer among them."""
        found: set[int] = set()
        waiting = [name]
        while waiting:
            node = self.producer.get(waiting.pop())
            if node is not None and node.index not in found:
                found.add(node.index)
                waiting += node.data
        return found


def _node(index: int, proto: onnx.NodeProto, alive: set[str]) -> ArtifactNode:
    inputs = [name for name in proto.input if name]
    for attribute in proto.attribute:  # what a body reads from outside is an input too
        for body in [attribute.g, *attribute.graphs]:
            inputs += sorted(_outer_names(body))
    attributes = [str(onnx.helper.printable_attribute(attribute)) for attribute in proto.attribute]
    return ArtifactNode(
        index,
        proto.name or f"{proto.op_type}_{index}",
        proto.op_type,
        tuple(inputs),
        tuple(name for name in proto.output if name),
        tuple(name for name in inputs if name in alive),
        tuple(name for name in inputs if name not in alive),
        "; ".join(sorted(attributes)),
    )


def _outer_names(body: onnx.GraphProto) -> set[str]:
    local = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
    found: set[str] = set()
    for node in body.node:
        found |= {name for name in node.input if name and name not in local}
        local |= set(node.output)
    return found
