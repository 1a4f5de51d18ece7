"""Every intermediate tensor of a Keras model: the operators of its forward pass, traced anew."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from onnx_conformance.core.arrays import Array
from onnx_conformance.core.traces import NativeTensorRecord, measure_noise_floors, save, short_path
from onnx_conformance.workers.keras.introspect import KerasNativeModel
from onnx_conformance.workers.keras.private import layers_of

_KERAS = tuple(str(Path(at).parent) for at in (tf.__file__, keras.__file__))
_WORKERS = str(Path(__file__).parents[1])
_ABOUT_SIZES = {"Shape", "Size", "Rank"}


def trace(
    natives: Iterable[KerasNativeModel], inputs: dict[str, Array], names: list[str], folder: Path
) -> list[NativeTensorRecord]:
    """The tensors of the first model, a float64 one; the others are float32 and noise floors.

    Args:
        natives: made one after another; they may be one whose weights change.
        names: of the inputs, in the order of the forward pass.
        folder: where the tensors are written.
    """
    records: list[NativeTensorRecord] = []
    for place, native in enumerate(natives):
        tensors, arrays = _run(native, inputs, names)
        if place == 0:
            records = _describe(native, tensors, arrays, names, folder)
        elif len(arrays) == len(records):
            measure_noise_floors(folder, records, arrays)
    return records


def _run(
    native: KerasNativeModel, input_set: dict[str, Array], names: list[str]
) -> tuple[list[Any], list[Array]]:
    """The floating tensors that depend on an input, inputs first, and their values."""
    kept: list[Any] = []

    def everything(*inputs: Any) -> list[Any]:
        native.forward.python_function(*inputs)
        kept[:] = _alive(inputs)
        return list(kept)

    specs = native.forward.input_signature
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    kind = next((s.dtype.name for s in specs if s.dtype.is_floating), floatx)
    keras.config.set_floatx(kind)  # that of the constants which a forward pass makes
    keras.config.set_dtype_policy(kind)
    try:
        run = tf.function(everything, input_signature=specs, autograph=False)
        traced = run.get_concrete_function()
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
    fed = [
        tf.constant(input_set[n], dtype=spec.dtype) for n, spec in zip(names, specs, strict=True)
    ]
    return kept, [result.numpy() for result in traced(*fed)]


def _alive(inputs: Sequence[Any]) -> list[Any]:
    """The inputs and the tensors computed from them, in the order of computation."""
    known = {tensor.name for tensor in inputs}
    found = list(inputs)
    for operation in inputs[0].graph.get_operations():
        if operation.type in _ABOUT_SIZES or not any(t.name in known for t in operation.inputs):
            continue
        known.update(tensor.name for tensor in operation.outputs)
        found += [tensor for tensor in operation.outputs if tensor.dtype.is_floating]
    return found


def _describe(
    native: KerasNativeModel,
    tensors: list[Any],
    arrays: list[Array],
    names: list[str],
    folder: Path,
) -> list[NativeTensorRecord]:
    layers = {layer.name for layer in layers_of(native.model)}
    places: dict[str, list[int]] = {}
    records: list[Any] = []
    for place, (tensor, array) in enumerate(zip(tensors, arrays, strict=True)):
        operation = tensor.op
        is_input = place < len(names)
        records.append(
            {
                **save(folder, f"native-{place}.npy", array),
                "operator": "input" if is_input else operation.type,
                "module": names[place]
                if is_input
                else _layer(operation.name, layers, native.model.name),
                "source": "" if is_input else _source(operation),
                "inputs": sorted(_sources(operation, places)),
                "weighted": not is_input and _is_weighted(operation, places),
                "derived": False,
                "noise_rms": 0.0,
                "noise_max": 0.0,
            }
        )
        places[tensor.name] = [place]
    return records


def _sources(operation: Any, places: dict[str, list[int]]) -> set[int]:
    """Places of the tensors that an operator reads, through those that are not recorded."""
    found: set[int] = set()
    for tensor in operation.inputs:
        if tensor.name not in places:
            places[tensor.name] = sorted(_sources(tensor.op, places))
        found.update(places[tensor.name])
    return found


def _is_weighted(operation: Any, places: dict[str, list[int]]) -> bool:
    """Whether it reads a floating tensor of several elements that depends on no input."""
    return any(
        tensor.dtype.is_floating and tensor.shape.rank != 0 and not places.get(tensor.name)
        for tensor in operation.inputs
    )


def _layer(scope: str, layers: set[str], model: str) -> str:
    """The innermost layer in an operator's name scope.

    TensorFlow makes scopes unique: where the model's own has a number, so has each layer's.
    """
    parts = scope.split("/")
    numbered = parts[0] != model
    for part in reversed(parts):
        plain = re.sub(r"_\d+$", "", part)
        for name in (plain, part) if numbered else (part, plain):
            if name in layers:
                return name
    return scope.rpartition("/")[0]


def _source(operation: Any) -> str:
    """The place in the model's own code that made an operator; empty where Keras' code did."""
    for frame in reversed(operation.traceback):
        if frame.filename.startswith(_WORKERS) and frame.filename != __file__:
            return ""
        if not frame.filename.startswith((*_KERAS, __file__)):
            return f"{short_path(frame.filename)}:{frame.lineno}"
    return ""
