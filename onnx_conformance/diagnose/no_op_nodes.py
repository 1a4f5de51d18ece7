"""No-op nodes, which return one of their inputs: harmless, or what is left of a lost operator."""

from __future__ import annotations

from onnx_conformance.core.artifact_graph import ArtifactGraph, Node
from onnx_conformance.diagnose.alignment import Aligner

LAYOUT = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand"}


class NoOpNodes:
    """Finds them by the native tensors that explain their inputs and outputs."""

    def __init__(self, graph: ArtifactGraph, aligner: Aligner) -> None:
        self._graph = graph
        self._aligner = aligner

    def before(self, name: str) -> Node | None:
        """The first of the nodes before a tensor that do nothing."""
        return next(reversed(self._chain(name)), None)

    def odd_before(self, node: Node) -> Node | None:
        """The first of the nodes that do nothing before a node, if one has busier peers."""
        for name in node.data:
            chain = self._chain(name)
            if any(self._is_odd(link) for link in chain):
                return chain[-1]
        return None

    def _is_odd(self, node: Node) -> bool:
        """Whether nodes of its operator are known, and all the others do something."""
        like = [n for n in self._graph.data_nodes if n.operator == node.operator and n is not node]
        known = [n for n in like if any(self._aligner.matches(name) for name in n.outputs)]
        return bool(known) and not any(self._chain(n.outputs[0]) for n in known)

    def _chain(self, name: str) -> list[Node]:
        """The nodes before a tensor that do nothing and change no layout, the last first."""
        found: list[Node] = []
        producer = self._graph.producer.get(name)
        while producer is not None and producer.operator not in LAYOUT and producer.data:
            after = {match.native for match in self._aligner.matches(name)}
            same = [
                source
                for source in producer.data
                if after & {match.native for match in self._aligner.matches(source)}
            ]
            if not same:
                break
            found.append(producer)
            name = same[0]
            producer = self._graph.producer.get(name)
        return found
