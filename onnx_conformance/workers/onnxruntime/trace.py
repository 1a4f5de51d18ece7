"""Every intermediate tensor of an artifact, as ONNX Runtime computes the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from onnx_conformance.core.arrays import Array
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.core.traces import TensorRecord, save
from onnx_conformance.workers.onnxruntime.session_calls import call_of

NUMBERS = {  # the types that arrays hold
    f"tensor({name})"
    for name in ("float", "double", "float16", "bool", "int8", "int16", "int32", "int64",
                 "uint8", "uint16", "uint32", "uint64", "bfloat16")
}  # fmt: skip
AT_A_TIME = 64  # tensors fetched by one run: what they hold in memory together


def trace(
    path: Path,
    inputs: dict[str, Array],
    names: list[str],
    folder: Path,
    options: ort.SessionOptions,
) -> dict[str, TensorRecord]:
    """The tensors of these names, of a copy of the file that makes each an output.

    Optimisation is off, so that the file's own nodes run. A tensor that the file does not make,
    or that is no array of numbers, is left out.

    Args:
        path: the artifact; weights beside it are read into the copy.
        folder: where the tensors are written.
        options: with the threads and the custom-operator libraries.
    """
    model = load_model(path)
    made = {name for node in model.graph.node for name in node.output}
    outputs = {value.name for value in model.graph.output}
    wanted = [name for name in dict.fromkeys(names) if name in made]
    for name in wanted:
        if name not in outputs:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = _open(model, options)
    del model
    wanted = [o.name for o in session.get_outputs() if o.name in wanted and o.type in NUMBERS]
    found: dict[str, TensorRecord] = {}
    for chunk in _chunks(wanted):
        fed = {name: np.array(array) for name, array in inputs.items()}
        arrays = call_of(session)(chunk, fed)
        for name, array in zip(chunk, arrays, strict=True):
            found[name] = save(folder, f"artifact-{len(found)}.npy", array)
    return found


def _open(model: Any, options: ort.SessionOptions) -> ort.InferenceSession:
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _chunks(names: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), AT_A_TIME):
        yield names[start : start + AT_A_TIME]


def optimise(path: Path, level: str, target: Path, options: ort.SessionOptions) -> None:
    """Write the graph as ONNX Runtime rewrites it at an optimisation level."""
    options.optimized_model_filepath = str(target)
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_{level.upper()}")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
