"""The divergence that localisation found: the node that introduces an error, and its neighbours."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Literal, cast

from onnx_conformance.core.arrays import Array
from onnx_conformance.core.documents import DivergenceFacts
from onnx_conformance.core.text import times_of

Kind = Literal["conversion", "runtime optimisation", "provider", "refusal", "none"]


@dataclass(frozen=True)
class TensorError:
    """An error against native in float64.

    Args:
        relative: ‖artifact - native‖ / ‖native‖ in the rms norm.
        noise_floors: the worse of the rms and the max norm, over float32's own error there.
    """

    relative: float
    noise_floors: float

    def __str__(self) -> str:
        return f"{self.relative:.2g} ({times_of(self.noise_floors, 2)}x float32's own)"


@dataclass(frozen=True)
class NativePlace:
    """An operator of the native model, with its module (or layer) and source line if known."""

    operator: str
    module: str
    source: str

    def __str__(self) -> str:
        parts = [f"native {self.operator}"]
        parts += [f"in '{self.module}'"] if self.module else []
        parts += [f"({self.source})"] if self.source else []
        return " ".join(parts)


@dataclass(frozen=True)
class Subgraph:
    """At most a few nodes that fail alone.

    Args:
        model: the serialised ONNX model, its weights within.
        inputs: its inputs, as the artifact computed them.
        expected: its outputs as native has them, in the artifact's layout; float64's rounded.
        limits: for each output, what ``rms`` and ``max`` norm of the relative error may be.
    """

    model: bytes
    inputs: dict[str, Array]
    expected: dict[str, Array]
    limits: dict[str, dict[str, float]]
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Divergence:
    """The first node that leaves the budget.

    Args:
        kind: ``conversion``: the file is wrong there; ``runtime optimisation``: the file is
            right, and ONNX Runtime's rewriting at graph level ``level`` is not; ``provider``:
            the file is right on the CPU; ``refusal``: ONNX Runtime stops there; ``none``: no
            node leaves the budget, and this one adds the most error.
        node, operator, index: in the file's order; index -1 where no node can be named.
        before: the worst error among the node's inputs; None if no input is compared.
        after: the error of its output; None if it has none to compare with (another shape).
        native: the native operator whose result was expected there.
        missing: native operators of which the file shows no result between the node and what
            it reads.
        passed_on: how many later nodes pass the error on; ``readers`` are the next ones.
        others: further nodes that introduce an error of their own.
        why: what decided, where more than one node came into question.
    """

    kind: Kind
    node: str
    operator: str
    index: int
    before: TensorError | None = None
    after: TensorError | None = None
    native: NativePlace | None = None
    missing: tuple[NativePlace, ...] = ()
    passed_on: int = 0
    readers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    level: str = ""
    why: str = ""
    subgraph: Subgraph | None = field(default=None, compare=False, repr=False)

    def as_dict(self) -> DivergenceFacts:
        """Everything but the subgraph's arrays, as plain data."""
        plain = asdict(replace(self, subgraph=None))
        del plain["subgraph"]
        nodes = list(self.subgraph.nodes) if self.subgraph else []
        return cast("DivergenceFacts", plain | {"text": self.text, "subgraph_nodes": nodes})

    @property
    def text(self) -> str:
        """One or two lines for a terminal."""
        return "\n".join(_lines(self))


def _lines(found: Divergence) -> list[str]:
    node = f"{found.operator} '{found.node}' (node {found.index})" if found.node else ""
    if found.kind == "refusal":
        return [f"ONNX Runtime stops at {node}"]
    if found.kind == "provider":
        return [f"the file is {found.why}: no node of the file introduces the error"]
    if found.kind == "none":
        return [f"no node leaves the budget; {node} adds the most error: {_errors(found)}"]
    lines = []
    if found.kind == "runtime optimisation":
        level = found.level.removeprefix("enable_")
        lines.append(f"the file is right; ONNX Runtime's optimisation at level '{level}' is not")
    if node:
        lines.append(f"first wrong at {node}: {_errors(found)}")
        lines.append("; ".join(_context(found)))
    return [line for line in lines if line]


def _errors(found: Divergence) -> str:
    after = str(found.after) if found.after else "no tensor of its shape in native"
    return f"error {found.before} before it, {after} after" if found.before else after


def _context(found: Divergence) -> list[str]:
    parts = [str(found.native)] if found.native else []
    if found.missing:
        parts.append("not found before it: " + ", ".join(map(str, found.missing)))
    if found.passed_on:
        nexts = f" (next: {', '.join(found.readers)})" if found.readers else ""
        plural = "node passes" if found.passed_on == 1 else "nodes pass"
        parts.append(f"{found.passed_on} {plural} it on{nexts}")
    if found.others:
        parts.append(f"{len(found.others)} more introduce errors of their own")
    if found.why:
        parts.append(found.why)
    return parts
