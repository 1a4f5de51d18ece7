"""The subject of a check: one case with its native side, its artifact and its session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from onnx_conformance.catalog.exporters import Exporter
from onnx_conformance.catalog.models import MODELS
from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.case import Case
from onnx_conformance.core.documents import FileFacts
from onnx_conformance.core.native_constants import Constant
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import Tolerances
from onnx_conformance.core.traces import TensorRecord
from onnx_conformance.inputs.recipes import Inputs


@dataclass(frozen=True)
class Artifact:
    """An exported file and the facts read back from it (:func:`inspect` of ``core.onnx_file``)."""

    path: Path
    files: tuple[Path, ...]
    sha256: tuple[str, ...]
    facts: FileFacts


@dataclass(frozen=True)
class WorkDivision:
    """How the work of a session divides over providers, by ONNX Runtime's profiler.

    Args:
        run: seconds of a run.
        nodes: provider -> seconds of it in that provider's nodes.
        placement: provider -> operator -> number of nodes that ran.
        unknown: why it could not be measured; empty where it was.
    """

    run: float = 0.0
    nodes: dict[str, float] = field(default_factory=dict)
    placement: dict[str, dict[str, int]] = field(default_factory=dict)
    unknown: str = ""

    def share(self, provider: str) -> float | None:
        """The share of a run that is not spent in other providers' nodes; None if not measured.

        A device that works on by itself counts so, and the waiting for it; see
        :mod:`onnx_conformance.core.session_profile`.
        """
        others = sum(seconds for name, seconds in self.nodes.items() if name != provider)
        return max(0.0, 1.0 - others / self.run) if self.run else None


@dataclass(frozen=True)
class SessionInfo:
    """What ONNX Runtime reports about a session.

    Args:
        sha256: digests of the files that the session loaded, taken by the worker.
        placement: provider -> operator -> number of nodes, after optimisation.
        work: measured only where several providers run its nodes.
    """

    provider: str
    sha256: tuple[str, ...]
    placement: dict[str, dict[str, int]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    seconds: float
    work: WorkDivision | None = None

    def nodes(self, provider: str) -> int:
        """How many nodes were placed on a provider."""
        return sum(self.placement.get(provider, {}).values())

    @property
    def share_of_nodes(self) -> float:
        """The share of the nodes that the session's provider runs, from 0 to 1."""
        nodes = sum(self.nodes(name) for name in self.placement)
        return self.nodes(self.provider) / nodes if nodes else 0.0

    @property
    def share_of_work(self) -> float | None:
        """The share of a run's time that is the provider's; None where it is not known."""
        if self.share_of_nodes in (0.0, 1.0):  # there is nothing to divide
            return self.share_of_nodes
        return self.work.share(self.provider) if self.work else None


@dataclass(frozen=True)
class NativeWeights:
    """The native model's tensors by name.

    Args:
        batch_norms: which of them make a BatchNorm, as BatchNormRecords.
        unused: which of them never reach the outputs, such as an auxiliary head's.
        names: what the native model calls its inputs, outputs and layers, where it does.
        constants: what it computes of the tensors alone.
        batch_statistics: how many of its normalisations take their statistics from the batch.
        constant_outputs: which outputs no number of an input reaches, such as a table of anchors.
        declared: of a reference artifact, the shapes that it declares for its outputs.
        complaint: of a reference artifact, what ``onnx.checker`` says of it; empty if nothing.
    """

    arrays: dict[str, Array]
    batch_norms: list[Any]
    unused: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    constants: tuple[Constant, ...] = ()
    batch_statistics: int = 0
    constant_outputs: Sequence[str] = ()
    declared: Mapping[str, Any] = field(default_factory=dict)
    complaint: str = ""


@dataclass(frozen=True)
class Answer:
    """The runtime's answer to inputs: outputs under the spec's names, or an error's text.

    Args:
        died: the error is that the inputs ended the runtime's process.
        missing: why nobody ran the inputs, of recorded answers; else empty.
    """

    outputs: Outputs | None
    error: str | None = None
    died: bool = False
    missing: str = ""


@dataclass(frozen=True)
class DecidingTensor:
    """A floating tensor of the file that decides whole numbers, and the nearest of native's.

    Args:
        tensor, node: of the file.
        native: the native operator that makes the nearest tensor.
        error: relative to the native tensor: the largest, or that of most elements to its rms.
        noise_floor: float32's own, with a floor.
        values: its elements, as the file computes them.
    """

    tensor: str
    node: str
    native: str
    error: float
    noise_floor: float
    values: Array = field(compare=False)


class Subject(Protocol):
    """The interface that a check sees. Attributes are facts; methods may wait for a worker.

    ``fail_fast``: a failure is wanted as it is, and not explained further.
    ``min_placement``: the least share of the nodes that the provider must run, 0 to 1.
    ``expect_dynamic``: what a given file fixes of the model's open axes is red, and no note.
    ``graph_level``: what ONNX Runtime calls the graph optimization level of its sessions.
    """

    case: Case
    exporter: Exporter
    tolerances: Tolerances
    seed: int
    fail_fast: bool
    min_placement: float
    expect_dynamic: bool
    graph_level: str

    @property
    def model(self) -> ModelSpec:
        """The native model."""
        ...

    @property
    def artifact(self) -> Artifact:
        """The file that is judged."""
        ...

    @property
    def session(self) -> SessionInfo:
        """The facts that the session reports."""
        ...

    @property
    def weights(self) -> NativeWeights:
        """Native's tensors by name."""
        ...

    def reference(self, inputs: Inputs) -> Reference:
        """The oracle, and native's compute modes in the case's class of precision."""
        ...

    def plain_reference(self, inputs: Inputs) -> Reference:
        """The reference in float32, whatever the case computes in."""
        ...

    def references(self, input_sets: Sequence[Inputs]) -> list[Reference | str]:
        """References of several inputs, computed together; native's reason where it refuses."""
        ...

    def native(self, inputs: Inputs) -> Outputs:
        """What native answers in float32."""
        ...

    def native_refusal(self, inputs: Inputs) -> str | None:
        """Native's reason to refuse the inputs; None if it answers."""
        ...

    def influence(
        self, names: list[str], input_sets: list[Inputs], least: float
    ) -> dict[str, float]:
        """The share of each native tensor's elements that affects the outputs on these inputs.

        Args:
            least: the smallest effect that counts, in root mean squares of its tensor's effects.

        Raises:
            StageFailure: the framework, or an operator of the model, has no gradients.
        """
        ...

    def run(self, inputs: Inputs, repeat: int = 0) -> Answer:
        """What the session answers; ``repeat`` counts runs of the same inputs."""
        ...

    def runs(self, input_sets: Sequence[Inputs]) -> list[Answer]:
        """The answers to several inputs, asked for together."""
        ...

    def unoptimised(self, input_sets: Sequence[Inputs]) -> list[Answer]:
        """The CPU provider's answers to the file as it is written: graph optimisation is off."""
        ...

    def ranges(self, inputs: Inputs) -> dict[str, TensorRecord]:
        """The range of each tensor that the file's nodes make, unoptimised on the CPU."""
        ...

    def deciding(self, inputs: Inputs) -> list[DecidingTensor]:
        """The floating tensors that decide outputs of whole numbers and resemble native's."""
        ...

    def preprocess(self, photograph: Path) -> Array:
        """torchvision's sample of a photograph, ``(3, crop, crop)``."""
        ...

    def with_artifact(self, artifact: Artifact) -> Subject:
        """The subject of the same case with another file, which its sessions load."""
        ...


def libraries_of(case: Case, settings: Settings) -> list[str]:
    """The libraries that its model brings, and those that the user named for the run."""
    of_model = MODELS[case.model].libraries if case.model in MODELS else ()
    return list(dict.fromkeys((*of_model, *settings.custom_op_libraries)))
