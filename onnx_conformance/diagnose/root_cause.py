"""The root cause: the node that introduces the error, as opposed to those that pass it on.

No-op nodes give one of their inputs as it is: harmless, or left by a lost operator.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from onnx_conformance.core.artifact_graph import ArtifactGraph, ArtifactNode
from onnx_conformance.diagnose.alignment import Aligner, TensorMatch
from onnx_conformance.diagnose.peers import Ownership, Peers

LAYOUT = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand"}


class NoOpNodes:
    """Finds no-op nodes by the native tensors that explain their inputs and outputs."""

    def __init__(self, graph: ArtifactGraph, aligner: Aligner) -> None:
        self._graph = graph
        self._aligner = aligner

    def before(self, name: str) -> ArtifactNode | None:
        """The first of the nodes before a tensor that do nothing."""
        return next(reversed(self._chain(name)), None)

    def suspicious_before(self, node: ArtifactNode) -> ArtifactNode | None:
        """The first of the nodes that do nothing before a node, if one has busier peers."""
        for name in node.data:
            chain = self._chain(name)
            if any(self._is_suspicious(link) for link in chain):
                return chain[-1]
        return None

    def _is_suspicious(self, node: ArtifactNode) -> bool:
        """Whether nodes of its operator are known, and all the others do something."""
        like = [n for n in self._graph.data_nodes if n.operator == node.operator and n is not node]
        known = [n for n in like if any(self._aligner.matches(name) for name in n.outputs)]
        return bool(known) and not any(self._chain(n.outputs[0]) for n in known)

    def _chain(self, name: str) -> list[ArtifactNode]:
        """The nodes before a tensor that do nothing and change no layout, the last first."""
        found: list[ArtifactNode] = []
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


@dataclass(frozen=True)
class Suspect:
    """A node that introduces an error.

    Args:
        expected: the native tensor that its output should have been, where one is known.
        missing: native tensors that the file has no counterpart of, between it and its input.
        why: what decided, where another node came into question.
    """

    node: ArtifactNode
    expected: TensorMatch | None = None
    missing: tuple[int, ...] = ()
    why: str = ""


class RootCause:
    """Judges the data nodes of one artifact by the native tensors that explain their outputs.

    Args:
        ownership: whose weights the nodes read; asked where values do not decide.
    """

    def __init__(self, graph: ArtifactGraph, aligner: Aligner, ownership: Ownership) -> None:
        self.graph = graph
        self.aligner = aligner
        self._ownership = ownership
        self.good = self._find_faultless()
        self._no_op_nodes = NoOpNodes(graph, aligner)
        self._peers = Peers(graph, aligner, self.good, ownership)

    def explained(self, node: ArtifactNode) -> bool:
        """Whether native knows one of its outputs."""
        return any(self.aligner.matches(name) for name in node.outputs)

    def _find_faultless(self) -> set[int]:
        """Nodes that are explained, or from which an explained tensor follows.

        What lies between two right tensors is a step of a decomposition or a change of layout.
        """
        good: set[int] = set()
        for node in reversed(self.graph.data_nodes):
            if self.explained(node) or any(n.index in good for n in self.graph.next_nodes(node)):
                good.add(node.index)
        return good

    def bad_nodes(self) -> list[ArtifactNode]:
        """The nodes that are not found faultless, in the file's order."""
        return [node for node in self.graph.data_nodes if node.index not in self.good]

    def suspects(self, outputs: Collection[str]) -> list[Suspect]:
        """The nodes that introduce an error into one of these outputs, in the file's order."""
        bad = {node.index for node in self.bad_nodes()}
        within = {index for name in outputs for index in self.graph.ancestors(name)}
        first = [
            node
            for node in self.bad_nodes()
            if node.index in within and not self._has_bad_input(node, bad)
        ]
        if not first:
            return list(self._wrong_ends(outputs))
        found: dict[int, Suspect] = {}
        for node in first:
            suspect = self._decide(node, within)
            found.setdefault(suspect.node.index, suspect)
        return list(found.values())

    def _has_bad_input(self, node: ArtifactNode, bad: set[int]) -> bool:
        producers = [self.graph.producer.get(name) for name in node.data]
        return any(producer is not None and producer.index in bad for producer in producers)

    def _decide(self, node: ArtifactNode, within: Collection[int]) -> Suspect:
        """Decide between a bad node and its neighbours, those ``within`` alone."""
        missing, at = self._missing(node)
        if missing:
            idle = self._no_op_nodes.before(at)
            if idle is not None:
                return Suspect(
                    idle,
                    self._as_expected(idle, missing),
                    why=f"it passes on '{at}' unchanged",
                )
        idle = (
            None
            if self._peers.knows_first_step(node)
            else self._no_op_nodes.suspicious_before(node)
        )
        if idle is not None:
            following = self._peers.following(idle.outputs[0])
            expected = self._as_expected(idle, following)
            return Suspect(idle, expected, why="it does nothing, unlike other nodes of its kind")
        for name in node.data:
            short, rest = self._short_producer(node, name)
            if short is not None:
                expected = self._as_expected(short, rest)
                return Suspect(short, expected, why="its layer continues from there")
        if missing:
            return Suspect(node, self.expected(node), missing)
        later, why = self._further(node, within)
        earlier = self._greater_jump(later) if later is node else None
        if earlier is not None:
            return Suspect(earlier, self.expected(earlier), why="the error grows most there")
        return Suspect(later, self.expected(later), why=why)

    # -- what the file leaves out ----------------------------------------------------------

    def _missing(self, node: ArtifactNode) -> tuple[tuple[int, ...], str]:
        """Native tensors between a node's input and its own operator, and that input."""
        expected = self._peers.inputs_of_owner(node)
        for name in node.data:
            places = [match.native for match in self.aligner.matches(name)]
            if expected and places:
                gap = () if expected & set(places) else tuple(sorted(expected))
            else:
                gap = self._peers.gap(node, places) or self._gap_of_sum(node, name, places)
            if gap:
                return gap, name
        return (), ""

    def _gap_of_sum(self, node: ArtifactNode, name: str, places: list[int]) -> tuple[int, ...]:
        others = [other for other in dict.fromkeys(node.data) if other != name]
        if len(others) != 1:
            return ()
        known = [match.native for match in self.aligner.matches(others[0])]
        return self._peers.gap_of_sum(node, places, known)

    def _short_producer(
        self, node: ArtifactNode, name: str
    ) -> tuple[ArtifactNode | None, tuple[int, ...]]:
        """The producer of a tensor, if its layers do more with their weights, and what they do.

        Not if a later node reads weights of those layers, or ones that nobody knows: that is
        where they go on.
        """
        producer = self.graph.producer.get(name)
        if producer is None or not self.explained(producer):
            return None, ()
        if self.graph.reads_weights(node) and not self._ownership.touched(node):
            return None, ()
        rest = self._peers.rest_of_owner(producer)
        modules = {self.aligner.native.records[place]["module"] for place in rest}
        later = self.graph.descendants(producer)
        goes_on = any(
            modules & self._ownership.touched(other)
            for other in self.graph.data_nodes
            if other.index in later
        )
        return (producer, rest) if rest and not goes_on else (None, ())

    def _as_expected(self, node: ArtifactNode, places: Collection[int]) -> TensorMatch | None:
        return self.aligner.nearest(node.outputs[0], sorted(places))

    def _wrong_ends(self, outputs: Collection[str]) -> Iterator[Suspect]:
        """Outputs that native knows, but not as this output: what follows there is missing.

        Or it is this output, and the error so small that it shows in the output's own scale alone.
        """
        for name in outputs:
            node = self.graph.producer.get(name)
            if node is not None and self._peers.is_reshaped(name):
                yield Suspect(node, why="its result does not have the shape of native's")
            elif node is not None and self._peers.is_last(name):
                before = self._unexplained_before(node)
                most = before or self._most_growth()
                why = f"'{node.name}' dampens it" if before else "the error grows most there"
                yield Suspect(most, self.expected(most), why=why)
            elif node is not None:
                yield Suspect(node, why="its result is a tensor of native's, but not its output")

    # -- neighbours --------------------------------------------------------------------------

    def _further(self, node: ArtifactNode, within: Collection[int]) -> tuple[ArtifactNode, str]:
        """A later node, where this one is of a kind that native never shows."""
        here, chain = node, [node]
        while self._peers.never_explained(here):
            bad = [n for n in self.graph.next_nodes(here) if n.index not in self.good]
            later = [n for n in bad if n.index in within]
            if not later:
                break
            here = later[0]
            chain.append(here)
        if len(chain) == 1:
            return node, ""
        for link in chain:
            if self._ownership.reads_damaged(link):
                return link, "it reads a weight that differs from native's"
        unlike = next((link for link in chain[:-1] if self._peers.is_unlike_its_kind(link)), None)
        if unlike is not None:
            return unlike, "its attributes differ from those of other nodes of its kind"
        return here, f"native shows no result of the kind of '{node.name}' before it"

    def _greater_jump(self, node: ArtifactNode) -> ArtifactNode | None:
        """An earlier node at which the error grew by more, though it stayed within budget."""
        after = self.expected(node)
        if after is None:
            return None
        growth = after.error.noise_floors / max(self._worst_input(node), 1.0)
        best: ArtifactNode | None = None
        here: ArtifactNode | None = node
        while here is not None:
            here = self._noisiest_producer(here)
            if here is None or not self.explained(here):
                break
            if self.growth(here) > growth:
                best, growth = here, self.growth(here)
        return best

    def _unexplained_before(self, node: ArtifactNode) -> ArtifactNode | None:
        """The first of the unexplained nodes in one piece that an explained one reads."""
        found: list[ArtifactNode] = []
        waiting = [node]
        while waiting:
            producers = [self.graph.producer.get(name) for name in waiting.pop().data]
            more = [p for p in producers if p and p not in found and not self.explained(p)]
            found += more
            waiting += more
        return min(found, key=lambda other: other.index, default=None)

    def _most_growth(self) -> ArtifactNode:
        """The explained node that adds most error, of those that read damaged weights if any do."""
        explained = [node for node in self.graph.data_nodes if self.explained(node)]
        damaged = [node for node in self.graph.data_nodes if self._ownership.reads_damaged(node)]
        return max(damaged or explained, key=self.growth)

    def growth(self, node: ArtifactNode) -> float:
        """By how much a node multiplies the error, in noise floors; within one nothing counts."""
        return self.ratio(node) / max(self._worst_input(node), 1.0)

    def ratio(self, node: ArtifactNode) -> float:
        """The error of its best explained output, in noise floors; 0 if none is explained."""
        return min(
            (m.error.noise_floors for name in node.outputs for m in self.aligner.matches(name)[:1]),
            default=0.0,
        )

    def _worst_input(self, node: ArtifactNode) -> float:
        before = self.before(node)
        return before.error.noise_floors if before else 0.0

    def _noisiest_producer(self, node: ArtifactNode) -> ArtifactNode | None:
        before = [
            (m.error.noise_floors, name)
            for name in node.data
            for m in self.aligner.matches(name)[:1]
        ]
        return self.graph.producer.get(max(before)[1]) if before else None

    def before(self, node: ArtifactNode) -> TensorMatch | None:
        """The worst match among its data inputs."""
        found = [self.aligner.matches(name)[0] for name in node.data if self.aligner.matches(name)]
        return max(found, key=lambda match: match.error.noise_floors, default=None)

    # -- what native has there --------------------------------------------------------------

    def expected(self, node: ArtifactNode) -> TensorMatch | None:
        """The native tensor that its output should be: near its inputs, of its like's operator."""
        if self.explained(node):
            return next(self.aligner.matches(o)[0] for o in node.outputs if self.aligner.matches(o))
        output = next((name for name in node.outputs if self.aligner.is_judged(name)), None)
        if output is None:
            return None
        for places in self._peers.candidates(node):
            found = self.aligner.nearest(output, places)
            if found is not None:
                return replace(found, within=False)
        return None

    def following(self, node: ArtifactNode) -> tuple[int, tuple[str, ...]]:
        """How many bad nodes follow from a node, and the names of the next."""
        bad = {other.index for other in self.bad_nodes()}
        later = self.graph.descendants(node) & bad
        readers = [n.name for n in self.graph.next_nodes(node)]
        return len(later), tuple(readers)
