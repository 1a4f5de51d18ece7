"""Every intermediate tensor of an ONNX file in the native model's place, by ``onnx.reference``."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnx_conformance.core.arrays import Array
from onnx_conformance.core.traces import NativeTensorRecord, measure_noise_floors, save
from onnx_conformance.workers.onnx.evaluator import Operator, evaluator_of, widened


def trace(
    models: Iterable[onnx.ModelProto],
    inputs: dict[str, Array],
    folder: Path,
    by_runtime: Collection[Operator] = (),
) -> list[NativeTensorRecord]:
    """The tensors of the first graph, a float64 one; the others are float32 and noise floors.

    Args:
        models: the same graph in float64, in float32, and rounded otherwise.
        folder: where the tensors are written.
        by_runtime: the operators that ONNX Runtime's kernels compute.
    """
    records: list[NativeTensorRecord] = []
    names: list[str] = []
    for place, model in enumerate(models):
        wide = place == 0
        values = _values(model, inputs, wide, by_runtime)
        if wide:
            names = [name for name in values if values[name].dtype.kind == "f"]
            records = _describe(model, names, values, folder)
        else:
            measure_noise_floors(folder, records, [values.get(name) for name in names])
    return records


def _values(
    model: onnx.ModelProto, inputs: dict[str, Array], wide: bool, by_runtime: Collection[Operator]
) -> dict[str, Array]:
    """Inputs and every node's outputs that are arrays, in the order in which they are made."""
    widened_inputs = {name: widened(array) if wide else array for name, array in inputs.items()}
    evaluator: Any = evaluator_of(model, by_runtime)
    found = evaluator.run(None, widened_inputs, intermediate=True)
    made = [name for node in model.graph.node for name in node.output if name in found]
    values = {**widened_inputs, **{name: found[name] for name in made}}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def _describe(
    model: onnx.ModelProto, names: list[str], values: dict[str, Array], folder: Path
) -> list[NativeTensorRecord]:
    makers = {name: node for node in model.graph.node for name in node.output}
    weights = {tensor.name for tensor in model.graph.initializer}
    places = {name: place for place, name in enumerate(names)}
    records: list[NativeTensorRecord] = []
    for place, name in enumerate(names):
        node = makers.get(name)
        read = list(node.input) if node is not None else []
        records.append(
            {
                **save(folder, f"native-{place}.npy", values[name]),
                "operator": node.op_type if node is not None else "input",
                "module": (node.name if node is not None else name),
                "source": "",
                "inputs": sorted({places[one] for one in read if one in places}),
                "weighted": any(one in weights for one in read),
                "derived": False,
                "noise_rms": 0.0,
                "noise_max": 0.0,
            }
        )
    return records
