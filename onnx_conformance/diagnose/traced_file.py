"""A file and its native model, traced on the same inputs: every tensor of either side."""

from __future__ import annotations

from pathlib import Path

from onnx_conformance.core.artifact_graph import ArtifactGraph
from onnx_conformance.core.tolerances import Rule
from onnx_conformance.core.traces import save
from onnx_conformance.diagnose.alignment import Aligner
from onnx_conformance.diagnose.divergence import NativePlace
from onnx_conformance.diagnose.graph_levels import wrong_outputs
from onnx_conformance.diagnose.peers import ownership_of
from onnx_conformance.diagnose.root_cause import RootCause
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.live_subject import LiveSubject
from onnx_conformance.run.native_traces import native_trace


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
        self.root_cause = RootCause(self.graph, self.aligner, ownership_of(subject))

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
