"""A file and its native model, traced on the same inputs, and which of its outputs are wrong there.

A file that is right as written is traced as ONNX Runtime rewrites it: at which of its graph levels
outputs become wrong is found here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from onnx_conformance.checks.verdict import limits_for
from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.artifact_graph import ArtifactGraph
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.comparison import structure_problem
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.judgement import Judgement, judge_outputs
from onnx_conformance.core.tolerances import Rule
from onnx_conformance.core.traces import save
from onnx_conformance.diagnose.alignment import Aligner
from onnx_conformance.diagnose.divergence import NativePlace
from onnx_conformance.diagnose.peers import Ownership
from onnx_conformance.diagnose.root_cause import RootCause
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.live_subject import LiveSubject
from onnx_conformance.run.native_traces import native_trace

LEVELS = ("enable_basic", "enable_extended", "enable_layout", "enable_all")
SAMPLES = 2  # more make a trace larger and no clearer


def failing_samples(subject: LiveSubject, inputs: Inputs) -> Inputs:
    """One sample of the inputs that fails alone, or else a few that fail together.

    A fault of the batch axis needs more than one sample to show.
    """
    batch = min(len(array) for array in inputs.values())
    if batch <= 1:
        return inputs
    inputs = subject.layout.first(inputs)
    batch = min(len(array) for array in inputs.values())
    answer = subject.run(inputs)
    if answer.outputs is None:
        return inputs
    order = _worst_first(subject, inputs, answer.outputs, batch)
    tries = [inputs.chosen(order[:1])]
    if batch > SAMPLES:
        tries.append(inputs.chosen(sorted(order[:SAMPLES])))
    for chosen in tries:
        if wrong_outputs(subject, chosen, subject.run(chosen).outputs):
            return chosen
    return inputs


def _worst_first(subject: LiveSubject, inputs: Inputs, got: Outputs, batch: int) -> list[int]:
    reference = subject.reference(inputs)
    if structure_problem(reference.native, got):
        return list(range(batch))

    def severity(place: int) -> float:
        sample = {name: array[place : place + 1] for name, array in got.items()}
        found = _differing(subject, reference.chosen(slice(place, place + 1)), sample)
        return max((judged.severity for _, judged in found), default=0.0)

    return sorted(range(batch), key=severity, reverse=True)


def wrong_outputs(subject: LiveSubject, inputs: Inputs, got: Outputs | None) -> list[str]:
    """The spec's outputs that are over the error budget, or of another shape or type."""
    reference = subject.reference(inputs)
    if got is None or structure_problem(reference.native, got):
        return [spec.name for spec in subject.model.judged]
    return [name for name, judged in _differing(subject, reference, got) if not judged.right]


def _differing(
    subject: LiveSubject, reference: Reference, got: Outputs
) -> Iterator[tuple[str, Judgement]]:
    """The judgement of each output that is not native's to the bit."""
    limits = limits_for(subject)
    for spec in subject.model.judged:
        native, answer = reference.native[spec.name], got[spec.name]
        if answer.size and not np.array_equal(native, answer, equal_nan=True):
            yield spec.name, judge_outputs(reference, got, [spec], limits)


class TracedFile:
    """Both traces of one file on the same inputs, and the root cause that follows.

    Args:
        path: the subject's file, or what ONNX Runtime's optimiser made of it.
        folder: where the traces are kept.
    """

    def __init__(
        self, subject: LiveSubject, path: Path, inputs: Inputs, rule: Rule, folder: Path
    ) -> None:
        self.subject, self.path, self.inputs, self.folder = subject, path, inputs, folder
        self.graph = ArtifactGraph(path)
        names = [name for node in self.graph.data_nodes for name in node.outputs]
        call = subject.layout.calls(inputs)[0]
        native = native_trace(subject.workers, subject.model, inputs)
        traced = subject.workers.artifact_trace(subject.case, path, call, names, folder)
        for place, (name, array) in enumerate(call.items()):
            traced[name] = save(folder, f"input-{place}.npy", array)
        self.aligner = Aligner(native, traced, folder, rule)
        self.aligner.align(self.graph)
        self.root_cause = RootCause(self.graph, self.aligner, Ownership(subject))

    def wrong_outputs(self) -> list[str]:
        """The file's outputs that are wrong when its own nodes run."""
        arrays = {name: self.aligner.output(name) for name in self.graph.outputs}
        ours = self.subject.layout.rows(self.inputs, [arrays])
        wrong = wrong_outputs(self.subject, self.inputs, ours)
        names = self.subject.layout.names.outputs
        found = [names.get(name, name) for name in wrong]
        return [name for name in found if name in arrays] or (list(arrays) if wrong else [])

    def native_place(self, place: int) -> NativePlace:
        """Where a native tensor is made; ``place`` as of a TensorMatch."""
        record = self.aligner.native.records[place]
        return NativePlace(record["operator"], record["module"], record["source"])


# -- graph levels ----------------------------------------------------------------------------------


def first_wrong(subject: LiveSubject, inputs: Inputs) -> str | None:
    """The lowest level at which the CPU provider's answer is over budget; None if none is."""
    for level in LEVELS:
        (answer,) = subject.workers.answers(
            subject.case, [inputs], artifact=subject.artifact, level=level
        )
        if wrong_outputs(subject, inputs, answer.outputs):
            return level
    return None


def optimised_file(subject: LiveSubject, level: str, folder: Path) -> Path | None:
    """The graph as that level rewrites it; None where it cannot be written."""
    target = folder / f"{level}.onnx"
    try:
        subject.workers.optimise(subject.case, subject.artifact.path, level, target)
    except StageFailure:
        return None
    return target if target.is_file() else None
