"""What native has where a node stands: the module whose weights it reads, its kind's operators.

The operators are learnt from nodes that are matched.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property

from onnx_conformance.checks.audit.findings import AuditReport
from onnx_conformance.checks.initializers import audit_of, stored_weights
from onnx_conformance.core.artifact_graph import ArtifactGraph, ArtifactNode
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.diagnose.alignment import Aligner
from onnx_conformance.run.live_subject import LiveSubject


class Ownership:
    """Which modules' weights a node reads, by the audit of weights.

    The audit is made when it is first asked for: many faults are found without it.
    """

    def __init__(self, subject: LiveSubject) -> None:
        self._subject = subject

    @cached_property
    def _report(self) -> AuditReport:
        model = load_model(self._subject.artifact.path, weights=False)
        return audit_of(self._subject, model, stored_weights(self._subject, model))

    @cached_property
    def _damaged(self) -> frozenset[str]:
        return frozenset(f.initializer for f in self._report.failures if f.initializer)

    @cached_property
    def _modules(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for finding in self._report.findings:
            if finding.initializer:
                found[finding.initializer].add(layer_of(finding.native))
        return found

    def reads_damaged(self, node: ArtifactNode) -> bool:
        """Whether it reads a weight that is native's, but damaged."""
        return not self._damaged.isdisjoint(node.constants)

    def modules(self, node: ArtifactNode) -> set[str]:
        """Modules or layers whose undamaged weights it reads."""
        if self.reads_damaged(node):
            return set()
        return self.touched(node)

    def touched(self, node: ArtifactNode) -> set[str]:
        """Modules or layers whose weights it reads, damaged or not."""
        return set().union(*(self._modules.get(name, set()) for name in node.constants))


def layer_of(weight: str) -> str:
    """``layer1.conv`` of ``layer1.conv.weight`` (torch), ``Conv1`` of ``net/Conv1/kernel``."""
    if "/" in weight:
        return weight.rpartition("/")[0].rpartition("/")[2]
    return weight.rpartition(".")[0]


FAR = 8  # native operators between a node's input and its output; an attention block has as many


class Peers:
    """Statistics over the explained nodes of an artifact, by operator."""

    def __init__(
        self,
        graph: ArtifactGraph,
        aligner: Aligner,
        good: Collection[int],
        ownership: Ownership,
    ) -> None:
        self._ownership = ownership
        self._aligner = aligner
        self._native = aligner.native
        self._operators: dict[str, Counter[str]] = defaultdict(Counter)  # what native calls them
        self._first: dict[str, set[str]] = defaultdict(set)  # native's first step from the input
        self._faultless: dict[str, list[ArtifactNode]] = defaultdict(list)
        for node in graph.data_nodes:
            matches = [m for name in node.outputs for m in aligner.matches(name)]
            if not matches:
                if node.index in good:
                    self._faultless[node.operator].append(node)
                continue
            results = [m.native for m in matches]
            for place in results:
                self._operators[node.operator][self._native.records[place]["operator"]] += 1
            for name in node.data:
                for match in aligner.matches(name):
                    self._first[node.operator] |= self._first_steps(match.native, results)

    def _first_steps(self, start: int, ends: Collection[int]) -> set[str]:
        """The operators that native applies to ``start`` on its shortest ways to ``ends``."""
        steps = self._native.consumers(start)
        reached = {place: {place} for place in steps}
        for _ in range(FAR):
            found = {place for place in steps if not reached[place].isdisjoint(ends)}
            if found:
                return {self._native.records[place]["operator"] for place in found}
            reached = {
                place: {later for here in level for later in self._native.consumers(here)}
                for place, level in reached.items()
            }
        return set()

    def _after(self, places: Sequence[int]) -> list[int]:
        """Native tensors that follow from these, the nearest first."""
        found: dict[int, None] = {}
        level = list(places)
        for _ in range(FAR):
            level = [
                later
                for place in level
                for later in self._native.consumers(place)
                if later not in found
            ]
            found.update(dict.fromkeys(level))
        return list(found)

    def _of_owner(self, node: ArtifactNode) -> list[int]:
        """Native tensors made in the modules whose weights a node reads."""
        modules = self._ownership.modules(node)
        return [
            place
            for place, record in enumerate(self._native.records)
            if record["module"] in modules and record["operator"] != "input"
        ]

    def inputs_of_owner(self, node: ArtifactNode) -> set[int]:
        """What those modules read from outside; empty where the node reads no known weight."""
        made = set(self._of_owner(node))
        records = self._native.records
        return {source for place in made for source in records[place]["inputs"]} - made

    def rest_of_owner(self, node: ArtifactNode) -> tuple[int, ...]:
        """What the modules whose weights a node reads still do with weights to its result."""
        known = [match.native for name in node.outputs for match in self._aligner.matches(name)]
        later = set(self._after(known)).difference(known)
        return tuple(
            place for place in self._of_owner(node) if place in later and self._is_weighted(place)
        )

    def _is_weighted(self, place: int) -> bool:
        record = self._native.records[place]
        return record["weighted"] and not record["derived"]

    def gap(self, node: ArtifactNode, places: Sequence[int]) -> tuple[int, ...]:
        """Native tensors between ``places`` and the first step that nodes of this kind take.

        Empty where it is taken at once, or where it is not known what the kind stands for.
        """
        steps = self._first.get(node.operator)
        if not steps or not places:
            return ()
        records = self._native.records
        nexts = [later for place in places for later in self._native.consumers(place)]
        if not nexts or any(records[later]["operator"] in steps for later in nexts):
            return ()
        return self._one_further(nexts, steps)

    def gap_of_sum(
        self, node: ArtifactNode, places: Sequence[int], others: Sequence[int]
    ) -> tuple[int, ...]:
        """Like :meth:`gap`, for a node that joins ``places`` with ``others``."""
        joined = {later for place in others for later in self._native.consumers(place)}
        nexts = [later for place in places for later in self._native.consumers(place)]
        if not joined or not nexts or not joined.isdisjoint(nexts):
            return ()
        steps = self._first.get(node.operator, set())
        return self._one_further([n for n in nexts if n not in joined], steps, joined)

    def _one_further(
        self, nexts: Sequence[int], steps: Collection[str], among: Collection[int] | None = None
    ) -> tuple[int, ...]:
        """The first of ``nexts`` behind which one of those steps is taken."""
        records = self._native.records
        for start in nexts:
            for later in self._native.consumers(start):
                if among is not None and later not in among:
                    continue
                if records[later]["operator"] in steps and not records[start]["derived"]:
                    return (start,)
        return ()

    def knows_first_step(self, node: ArtifactNode) -> bool:
        """Whether it is known how native begins what nodes of this kind do."""
        return bool(self._first.get(node.operator))

    def following(self, name: str) -> list[int]:
        """Native tensors that follow from those that explain this one, itself left out."""
        known = {match.native for match in self._aligner.matches(name)}
        records = self._native.records
        later = self._after(sorted(known))
        return [place for place in later if place not in known and not records[place]["derived"]]

    def is_reshaped(self, name: str) -> bool:
        """Whether the last of native's tensors explain it, but none in its shape."""
        matches = [self._native.records[match.native] for match in self._aligner.matches(name)]
        shape = self._aligner.traced[name]["shape"]
        return self.is_last(name) and all(record["shape"] != shape for record in matches)

    def is_last(self, name: str) -> bool:
        """Whether native makes nothing more of the tensor that explains this one."""
        matches = self._aligner.matches(name)
        known = sum(1 << match.native for match in matches)
        return any(not self._native.following[match.native] & ~known for match in matches)

    def never_explained(self, node: ArtifactNode) -> bool:
        """Whether nodes of this kind are, in this artifact, steps that native never shows."""
        return node.operator not in self._operators and bool(self._faultless.get(node.operator))

    def is_unlike_its_kind(self, node: ArtifactNode) -> bool:
        """Whether no found faultless node of its kind has its attributes."""
        like = self._faultless.get(node.operator, [])
        return bool(like) and all(other.attributes != node.attributes for other in like)

    def candidates(self, node: ArtifactNode) -> Iterator[list[int]]:
        """Native tensors that a node's output may be, the likeliest set first."""
        made = self._of_owner(node)
        records = self._native.records
        votes = self._operators.get(node.operator, Counter())
        yield [place for place in made if records[place]["operator"] in votes]
        starts = [self._aligner.sources(name) for name in node.data]
        after = [self._after(places) for places in starts if places]
        near = [place for place in after[0] if all(place in o for o in after[1:])] if after else []
        yield [place for place in near if records[place]["operator"] in votes]
        same = [place for places in starts for place in places]  # a node that should do nothing
        yield [place for place in (*same, *near) if not records[place]["derived"]]
        yield [*same, *near]
        yield [p for p, record in enumerate(records) if record["operator"] in votes]
