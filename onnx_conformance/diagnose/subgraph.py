"""Cut out of an artifact the few nodes that fail alone, and write them for a repro bundle."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnx_conformance.core.arrays import Array
from onnx_conformance.core.artifact_graph import ArtifactNode
from onnx_conformance.core.compute_modes import ULP
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.core.traces import relative_errors
from onnx_conformance.diagnose.alignment import TensorMatch
from onnx_conformance.diagnose.divergence import Divergence, Subgraph
from onnx_conformance.diagnose.root_cause import Suspect
from onnx_conformance.diagnose.traced_file import TracedFile
from onnx_conformance.run.native_traces import layouts

MOST_NODES = 5


class SubgraphCutter:
    """Chooses the nodes, what they are fed and what they should answer."""

    def __init__(self, traced: TracedFile) -> None:
        self._traced = traced
        self._aligner = traced.aligner
        self._graph = traced.graph

    def cut(self, suspect: Suspect, outputs: list[str]) -> Subgraph | None:
        """The suspect with what surrounds it, from tensors that native explains to a wrong one.

        None where native has nothing to compare its result with.
        """
        chain = self._up_to_something_known(suspect)
        end, expected, limits = self._judged_end(chain, suspect, outputs)
        if expected is None:
            return None
        nodes = self._with_steps_before(chain)
        made = {name for node in nodes for name in node.outputs}
        inputs = list(dict.fromkeys(n for node in nodes for n in node.data if n not in made))
        constants = list(dict.fromkeys(n for node in nodes for n in node.constants))
        input_set = {name: self._aligner.output(name) for name in inputs}
        model = self._model(nodes, input_set, self._constants(constants), end)
        names = tuple(node.name for node in nodes)
        return Subgraph(model.SerializeToString(), input_set, {end: expected}, {end: limits}, names)

    def _up_to_something_known(self, suspect: Suspect) -> list[ArtifactNode]:
        """The suspect, and the nodes after it until one whose result native has."""
        chain = [suspect.node]
        while self._traced.root_cause.expected(chain[-1]) is None and len(chain) < MOST_NODES - 1:
            later = list(self._graph.next_nodes(chain[-1]))
            if not later:
                break
            chain.append(later[0])
        return chain

    def _judged_end(
        self, chain: list[ArtifactNode], suspect: Suspect, outputs: list[str]
    ) -> tuple[str, Array | None, dict[str, float]]:
        """The output that is judged, what it should be, and what its errors may be."""
        for name in chain[-1].outputs:
            if name in outputs:
                return name, *self._as_output(name)
        match = suspect.expected or self._traced.root_cause.expected(chain[-1])
        name = next((n for n in chain[-1].outputs if self._aligner.is_judged(n)), "")
        if match is None or not name:
            return name, None, {}
        return name, self._in_its_layout(match, name), self._limits(match)

    def _as_output(self, name: str) -> tuple[Array, dict[str, float]]:
        """A whole output of the model: the oracle's."""
        subject = self._traced.subject
        reference = subject.reference(self._traced.inputs)
        names = [tensor["name"] for tensor in subject.artifact.facts["outputs"]]
        spec = subject.model.outputs[names.index(name)] if name in names else None
        ours = spec.name if spec is not None else next(iter(reference.oracle))
        if name in reference.oracle:
            ours = name
        rule = subject.tolerances.rule("error_budget", subject.case)
        own = [
            relative_errors(reference.oracle[ours], native[ours]) for native in reference.natives
        ]
        allowed = [
            rule["factor"] * (max(errors[n] for errors in own) + rule["floor_ulp"] * ULP)
            for n in (0, 1)
        ]
        return np.asarray(reference.oracle[ours]), {"rms": allowed[0], "max": allowed[1]}

    def _in_its_layout(self, match: TensorMatch, name: str) -> Array:
        wanted = self._aligner.native.array(match.native)
        shape = tuple(self._aligner.traced[name]["shape"])
        for candidate, moved in layouts(wanted, shape):
            if moved == match.moved:
                return np.array(candidate)
        return np.array(wanted)

    def _limits(self, match: TensorMatch) -> dict[str, float]:
        rule = self._aligner.rule
        rms, largest = self._aligner.native.allowance(match.native, rule)
        return {"rms": rule["factor"] * rms, "max": rule["factor"] * largest}

    def _with_steps_before(self, chain: list[ArtifactNode]) -> list[ArtifactNode]:
        """The chain with nodes before it that make what native does not explain."""
        nodes = {node.index: node for node in chain}
        waiting = list(chain)
        while waiting and len(nodes) < MOST_NODES:
            for name in waiting.pop(0).data:
                node = self._graph.producer.get(name)
                if node is None or node.index in nodes or self._aligner.matches(name):
                    continue
                if len(nodes) < MOST_NODES:
                    nodes[node.index] = node
                    waiting.append(node)
        return [nodes[index] for index in sorted(nodes)]

    def _constants(self, names: list[str]) -> list[onnx.TensorProto]:
        """Weights and what the file makes of them, as initialisers."""
        stored = {
            tensor.name: tensor
            for tensor in load_model(self._traced.path).graph.initializer
            if tensor.name in names
        }
        made = [name for name in names if name not in stored]
        return [*stored.values(), *self._computed(made)]

    def _computed(self, names: list[str]) -> list[onnx.TensorProto]:
        if not names:
            return []
        subject = self._traced.subject
        folder = self._traced.folder / "constants"
        folder.mkdir(exist_ok=True)
        call = subject.layout.calls(self._traced.inputs)[0]
        found = subject.workers.artifact_trace(subject.case, self._traced.path, call, names, folder)
        return [
            numpy_helper.from_array(
                np.load(folder / record["file"]).astype(record["dtype"], copy=False), name
            )
            for name, record in found.items()
        ]

    def _model(
        self,
        nodes: list[ArtifactNode],
        input_set: dict[str, Array],
        weights: list[onnx.TensorProto],
        end: str,
    ) -> onnx.ModelProto:
        whole = self._graph.model
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self._aligner.traced[end]["dtype"]))
        inputs = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in input_set.items()
        ]
        graph = helper.make_graph(
            [whole.graph.node[node.index] for node in nodes],
            "subgraph",
            inputs,
            [helper.make_tensor_value_info(end, kind, self._aligner.traced[end]["shape"])],
            weights,
        )
        return helper.make_model(
            graph,
            opset_imports=whole.opset_import,
            functions=whole.functions,
            ir_version=whole.ir_version,
        )


# -- as files of a repro bundle --------------------------------------------------------------------

SCRIPT = Path(__file__).with_name("run_subgraph.py")


def write_subgraph(divergence: Divergence, folder: Path, libraries: Sequence[str] = ()) -> bool:
    """Write ``subgraph.onnx``, its inputs, what is expected, and ``subgraph.py`` to repeat it.

    Args:
        libraries: custom-operator libraries that it needs, as a session names them.

    Returns:
        False, and nothing is written, where the divergence has none.
    """
    found = divergence.subgraph
    if found is None:
        return False
    (folder / "subgraph.onnx").write_bytes(found.model)
    write_arrays(folder / "subgraph_inputs.npz", _by_number(found.inputs))
    write_arrays(folder / "subgraph_expected.npz", _by_number(found.expected))
    record = {
        **divergence.as_dict(),
        "limits": found.limits,
        "custom_op_libraries": list(libraries),
    }
    text = json.dumps(record, indent=1) + "\n"
    (folder / "subgraph.json").write_text(text, encoding="utf-8")
    shutil.copyfile(SCRIPT, folder / "subgraph.py")
    return True


def _by_number(arrays: dict[str, Array]) -> dict[str, Array]:
    """Tensors by number, because their names may hold slashes: ``names`` has them."""
    numbered = {f"array{place}": array for place, array in enumerate(arrays.values())}
    return {"names": np.array(list(arrays)), **numbered}


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Like ``numpy.savez``, which cannot store an array called ``file``."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
