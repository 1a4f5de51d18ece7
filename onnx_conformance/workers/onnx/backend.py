"""An ONNX file in the place of the native model: ``--artifact A --against B``.

In float32 it is run by ONNX Runtime as it is written, without graph optimisation; in float64 by
``onnx.reference``. A replica has its initialisers rounded otherwise; in half precision or TF32
roundings are put into the graph.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_conformance.core.compute_modes import compute_mode
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.graph_weights import collect_initializers, settings_of
from onnx_conformance.core.native_constants import write_constants
from onnx_conformance.core.native_request import Arrays, Description, ModelRequest, digest_arrays
from onnx_conformance.workers.native import build, named_outputs, perturbed
from onnx_conformance.workers.onnx.constants import constants_of
from onnx_conformance.workers.onnx.precision import doubled, rounded
from onnx_conformance.workers.timing import Stopwatch, TimedCall


class OnnxBackend(Stopwatch):
    """Keeps one file at a time, opened at each precision that was asked for."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._path: Path | None = None
        self._compute_modes: dict[str, Any] = {}

    def prepare(self, model: ModelRequest, path: str) -> Description:
        """Write the file's weights to ``path`` (npz): its floating constants but for scalars.

        Scalars and what says how an operator works, such as a Clip's bounds or a Resize's scales,
        become attributes in other forms of the same graph.
        """
        file = self._file(model)
        loaded = onnx.load(file)
        settings = settings_of(loaded)
        stored = collect_initializers(onnx.load(file, load_external_data=False), file.parent)
        arrays = {
            name: array
            for name, array in stored.items()
            if array.ndim
            and array.size
            and np.issubdtype(array.dtype, np.floating)
            and name not in settings
        }
        np.savez(path, **arrays)  # type: ignore[arg-type] # its stub's **kwds
        names = [value.name for value in (*loaded.graph.input, *loaded.graph.output)]
        constants, values = constants_of(loaded)
        write_constants(path, values)
        return {
            "digest": digest_arrays(arrays),
            "batch_norms": [],
            "unused": [],
            "names": names,
            "constants": constants,
        }

    def run(
        self,
        model: ModelRequest,
        weights: str,
        precision: str,
        input_sets: list[Arrays],
        approximation: Any = None,
    ) -> list[Arrays]:
        """Outputs of each set of inputs."""
        compute_mode = self._compute_mode(self._file(model), precision)
        return [named_outputs(model, compute_mode(inputs)) for inputs in input_sets]

    def timed_call(
        self, form: str, inputs: Arrays, *, model: ModelRequest, weights: str
    ) -> TimedCall:
        """The file's inference to be timed, as it is written."""
        compute_mode = self._compute_mode(self._file(model), "float32")
        arrays = {name: np.array(inputs[name]) for name, _, _ in model["inputs"]}
        return TimedCall(lambda: compute_mode(arrays), lambda result: named_outputs(model, result))

    def trace(
        self,
        model: ModelRequest,
        weights: str,
        precisions: list[str],
        inputs: Arrays,
        folder: str,
        approximation: Any = None,
    ) -> list[Any]:
        """Every intermediate tensor: see :mod:`onnx_conformance.workers.onnx.trace`."""
        from onnx_conformance.workers.onnx.trace import trace

        path = self._file(model)
        return trace((_graph_at(path, one) for one in precisions), inputs, Path(folder))

    def _file(self, model: ModelRequest) -> Path:
        path = Path(build(model))
        if path != self._path:
            self._path, self._compute_modes = path, {}
        return path

    def _compute_mode(self, path: Path, precision: str) -> Any:
        if precision not in self._compute_modes:
            self._compute_modes[precision] = open_at(path, precision, self._threads)
        return self._compute_modes[precision]


def open_at(path: Path, precision: str, threads: int | None) -> Any:
    """A function from inputs to outputs, in order, at a precision.

    Raises:
        NoDouble: float64 is asked for, and the graph has an operator without.
        CapabilityMissing: a device is named.
    """
    if precision == "float64":
        evaluator = ReferenceEvaluator(_graph_at(path, precision))
        return lambda inputs: evaluator.run(None, {n: _widened(a) for n, a in inputs.items()})
    if compute_mode(precision).device:
        raise CapabilityMissing(
            f"the file is run on the processor, not on {compute_mode(precision).device}"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = precision == "float32"
    source = str(path) if plain else _graph_at(path, precision).SerializeToString()
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(
        None, {name: np.array(array) for name, array in inputs.items()}
    )


def _widened(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array


def _graph_at(path: Path, precision: str) -> onnx.ModelProto:
    """The graph with its weights, computing as the way of this name does."""
    model, known = onnx.load(path), compute_mode(precision)
    if known.precision == "float64":
        return doubled(model)
    for tensor in model.graph.initializer if known.replica else ():
        array = numpy_helper.to_array(tensor)
        if array.size == 1:
            continue  # an exponent or an epsilon: no weight that folding rounds
        array = perturbed(tensor.name, array, precision)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return rounded(model, known.precision) if known.rounded else model


def digest_of(path: Path) -> str:
    """SHA-256 of the file and of the files beside it that hold its weights."""
    model = onnx.load(path, load_external_data=False)
    names = {
        e.value for t in model.graph.initializer for e in t.external_data if e.key == "location"
    }
    state = hashlib.sha256(path.read_bytes())
    for name in sorted(names):
        state.update((path.parent / name).read_bytes())
    return state.hexdigest()
