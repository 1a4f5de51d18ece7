"""An ONNX file in the place of the native model: ``--artifact A --against B``.

In float32 it is run by ONNX Runtime as it is written, without graph optimisation; in float64 by
``onnx.reference``, as far as that computes the same function
(:mod:`onnx_conformance.workers.onnx.agreement`). A replica has its weights rounded otherwise and
its approximated functions off by their bounds; in half precision or TF32 roundings are put into
the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnx_conformance.core.arrays import Arrays, Outputs, digest_arrays
from onnx_conformance.core.compute_modes import compute_mode
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.graph_weights import constant_outputs
from onnx_conformance.core.native_constants import write_constants
from onnx_conformance.core.native_request import Description, NativeRequest
from onnx_conformance.core.onnx_file import complaint_of, external_files, inspect, load_model
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.store import key_of
from onnx_conformance.core.traces import NativeTensorRecord
from onnx_conformance.workers.native import (
    Approximation,
    NativeBackend,
    build,
    input_names,
    named_outputs,
)
from onnx_conformance.workers.onnx.approximations import approximate
from onnx_conformance.workers.onnx.constants import constants_of
from onnx_conformance.workers.onnx.evaluator import Operator, evaluator_of, open_session, widened
from onnx_conformance.workers.onnx.precision import doubled, rounded
from onnx_conformance.workers.onnx.weights import (
    batch_norms_of,
    read_weights,
    round_otherwise,
    unused_of,
)
from onnx_conformance.workers.replica_arithmetic import ApproximationErrors
from onnx_conformance.workers.stopwatch import TimedCall

Compute = Callable[[Outputs], Any]  # inputs by name -> outputs in order


class OnnxBackend(NativeBackend):
    """Keeps one file at a time, opened in each compute mode that was asked for."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._path: Path | None = None
        self._opened: dict[str, Compute] = {}  # by compute mode

    def prepare(self, request: NativeRequest) -> Description:
        """Write the file's weights (npz): see :mod:`.weights`."""
        path = self._file(request)
        loaded = load_model(path)
        arrays = read_weights(loaded)
        np.savez(request.weights, **arrays)  # type: ignore[arg-type] # its stub's **kwds
        names = [value.name for value in (*loaded.graph.input, *loaded.graph.output)]
        constants, values = constants_of(loaded)
        write_constants(request.weights, values)
        return {
            "digest": digest_arrays(arrays),
            "batch_norms": batch_norms_of(loaded, arrays),
            "unused": unused_of(loaded, arrays),
            "names": names,
            "constants": constants,
            "constant_outputs": constant_outputs(loaded),
            "declared": {t["name"]: t["shape"] for t in inspect(path)["outputs"]},
            "complaint": complaint_of(path),
        }

    def run(self, request: NativeRequest, mode: str, input_sets: list[Arrays]) -> list[Arrays]:
        """Runs in float32 by ONNX Runtime, in float64 by ``onnx.reference``."""
        model, compute = request.model, self._function(request, mode)
        return [named_outputs(model, compute(inputs)) for inputs in input_sets]

    def timed_call(self, form: str, inputs: Arrays, *, request: NativeRequest) -> TimedCall:
        """Runs the file as it is written, without graph optimisation."""
        model, compute = request.model, self._function(request, "float32")
        arrays = {name: np.array(inputs[name]) for name in input_names(model)}
        return TimedCall(lambda: compute(arrays), lambda result: named_outputs(model, result))

    def trace(
        self, request: NativeRequest, modes: list[str], inputs: Arrays, folder: str
    ) -> list[NativeTensorRecord]:
        """See :mod:`.trace`."""
        from onnx_conformance.workers.onnx.trace import trace

        path, by_runtime = self._file(request), _operators(request.model)
        graphs = (_graph_at(path, mode, request.approximation) for mode in modes)
        return trace(graphs, inputs, Path(folder), by_runtime)

    def _file(self, request: NativeRequest) -> Path:
        path = Path(build(request))
        if path != self._path:
            self._path, self._opened = path, {}
        return path

    def _function(self, request: NativeRequest, mode: str) -> Compute:
        path = self._file(request)
        if mode not in self._opened:
            chosen = _operators(request.model) if mode == "float64" else ()
            self._opened[mode] = open_at(path, mode, self._threads, chosen, request.approximation)
        return self._opened[mode]


def _operators(model: ModelSpec) -> list[Operator]:
    """The operators that ONNX Runtime's kernels compute in float64, of a spec's texts."""
    pairs = (text.partition(":") for text in model.kernels)
    return [(domain, kind) for domain, _, kind in pairs]


def open_at(
    path: Path,
    mode: str,
    threads: int | None,
    by_runtime: Collection[Operator] = (),
    approximation: Approximation | None = None,
) -> Compute:
    """The file in a compute mode.

    Args:
        by_runtime: the operators that ONNX Runtime's kernels compute in float64.
        approximation: by how much a replica's approximated functions err, in float32 epsilons.

    Raises:
        NoDouble: float64 is asked for, and the graph has an operator without.
        CapabilityMissing: a device is named.
    """
    if mode == "float64":
        evaluator = evaluator_of(_graph_at(path, mode), by_runtime)
        return lambda inputs: evaluator.run(None, {n: widened(a) for n, a in inputs.items()})
    if compute_mode(mode).device:
        raise CapabilityMissing(
            f"the file is run on the processor, not on {compute_mode(mode).device}"
        )
    plain = mode == "float32"
    source = str(path) if plain else _graph_at(path, mode, approximation).SerializeToString()
    session = open_session(source, threads)
    return lambda inputs: session.run(
        None, {name: np.array(array) for name, array in inputs.items()}
    )


def _graph_at(path: Path, mode: str, approximation: Approximation | None = None) -> onnx.ModelProto:
    """The graph with its weights, in the compute mode of this name."""
    model, parsed = load_model(path), compute_mode(mode)
    if parsed.precision == "float64":
        return doubled(model)
    if parsed.replica:
        round_otherwise(model, mode)
        if approximation:
            approximate(model, ApproximationErrors(approximation, parsed.replica))
    return rounded(model, parsed.precision) if parsed.rounded else model


def digest_of(path: Path) -> str:
    """SHA-256 of the file and of the files beside it that hold its weights."""
    files = [path, *external_files(path, onnx.load(path, load_external_data=False))]
    return key_of(files=[file_digest(file) for file in files])
