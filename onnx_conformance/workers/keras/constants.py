"""What a Keras model computes of its variables alone. Runs in the worker's process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from onnx_conformance.core.arrays import Arrays
from onnx_conformance.core.compute_modes import REPLICAS
from onnx_conformance.core.native_constants import ConstantRecord, Values
from onnx_conformance.workers.keras.introspect import KerasNativeModel, assign
from onnx_conformance.workers.native import perturbed

_SAME = {"ReadVariableOp", "Identity", "ResourceGather"}  # ResourceGather reads a variable itself


def constants_of(
    native: KerasNativeModel, arrays: Arrays, example: Sequence[Any]
) -> tuple[list[ConstantRecord], dict[str, Values]]:
    """The tensors of the forward pass that depend on variables and on no input.

    Args:
        arrays: the variables' values, which the model holds before and after.
        example: inputs, in the order of the forward pass.
    """
    found = _Found(native)
    exact = found.values(example)
    assign(native.variables, {n: perturbed(n, array, REPLICAS[0]) for n, array in arrays.items()})
    try:
        other = found.values(example)
    finally:
        assign(native.variables, arrays)
    values = {
        name: Values(exact[name].astype(np.float32), other[name].astype(np.float32))
        for name in exact
        if exact[name].size and exact[name].shape == other[name].shape
    }
    return found.records, values


class _Found:
    """The records of one trace, and the traced function that gives their values."""

    def __init__(self, native: KerasNativeModel) -> None:
        self._names: list[str] = []
        self.records: list[ConstantRecord] = []
        variables = {id(v.value.handle): name for name, v in native.variables.items()}

        def everything(*inputs: Any) -> list[Any]:
            results = native.forward.python_function(*inputs)
            return self._follow(inputs, results, variables)

        signature = native.forward.input_signature
        self._run = tf.function(everything, input_signature=signature, autograph=False)
        self._run.get_concrete_function()

    def values(self, example: Sequence[Any]) -> dict[str, Any]:
        """The constants of the records, computed."""
        results = self._run(*example)
        return {name: t.numpy() for name, t in zip(self._names, results, strict=True)}

    def _follow(self, inputs: Sequence[Any], results: Any, variables: dict[int, str]) -> list[Any]:
        graph = inputs[0].graph
        fed = {tensor.name for tensor in inputs}
        known: dict[str, str] = {}  # tensor -> the record or variable that it is
        for outer, inner in graph.captures:
            if id(outer) in variables:
                known[inner.name] = variables[id(outer)]
        used, kept = set[str](), dict[str, Any]()
        operands: dict[str, list[str]] = {}
        for operation in graph.get_operations():
            names = [tensor.name for tensor in operation.inputs]
            sources = list(dict.fromkeys(known[name] for name in names if name in known))
            if any(name in fed for name in names):
                used.update(sources)
                fed.update(tensor.name for tensor in operation.outputs)
                continue
            if not sources:
                continue
            for tensor in operation.outputs:
                if operation.type in _SAME and len(sources) == 1:
                    known[tensor.name] = sources[0]
                    continue
                known[tensor.name] = tensor.name
                operands[tensor.name] = sources
                if tensor.dtype in (tf.float32, tf.float64) and tensor.graph is graph:
                    kept[tensor.name] = tensor
        used.update(known[t.name] for t in tf.nest.flatten(results) if t.name in known)
        variables_used = used & set(variables.values())
        self.records = [
            {"name": name, "operands": [], "copies": [], "used": True} for name in variables_used
        ]
        self.records += [
            {"name": name, "operands": one, "copies": [], "used": name in used}
            for name, one in operands.items()
        ]
        self._names = list(kept)
        return list(kept.values())
