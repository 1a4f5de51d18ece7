"""Timed calls of a Keras model: eager, as a ``tf.function``, ``predict_on_batch``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from onnx_conformance.core.arrays import Arrays
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.workers.keras.calling_convention import KerasCall
from onnx_conformance.workers.keras.introspect import call_model
from onnx_conformance.workers.native import input_names, named_outputs
from onnx_conformance.workers.stopwatch import TimedCall

Make = Callable[[Any, ModelSpec, Arrays], Callable[[], Any]]


def make_timed_call(form: str, model: Any, spec: ModelSpec, inputs: Arrays) -> TimedCall:
    """One inference; tensors are made before the clock starts, where the form needs tensors.

    Raises:
        ValueError: an unknown form.
    """
    if form not in FORMS:
        raise ValueError(f"Keras is not timed as '{form}'; known: {', '.join(FORMS)}")

    def arrays(result: Any) -> Arrays:
        return named_outputs(spec, (np.asarray(tensor) for tensor in result))

    return TimedCall(FORMS[form](model, spec, inputs), arrays)


def _eager(model: Any, spec: ModelSpec, input_set: Arrays) -> Callable[[], Any]:
    inputs = [tf.constant(input_set[name]) for name in input_names(spec)]
    called = KerasCall(model, input_names(spec))
    return lambda: call_model(called, inputs, _output_names(spec))


def _function(model: Any, spec: ModelSpec, input_set: Arrays) -> Callable[[], Any]:
    """Traced at this batch size, and optimised by TensorFlow as in any deployment."""
    inputs = [tf.constant(input_set[name]) for name in input_names(spec)]
    called = KerasCall(model, input_names(spec))

    @tf.function(reduce_retracing=False)  # type: ignore[untyped-decorator] # TensorFlow has no types
    def forward(*tensors: Any) -> Any:
        return call_model(called, tensors, _output_names(spec))

    return lambda: forward(*inputs)


def _predict_on_batch(model: Any, spec: ModelSpec, inputs: Arrays) -> Callable[[], Any]:
    """Takes and returns arrays, as most users call it."""
    arrays = [inputs[name] for name in input_names(spec)]
    called = KerasCall(model, input_names(spec))
    called([tf.constant(array) for array in arrays])
    batch, *more = called.arguments(arrays)
    if more:
        raise CapabilityMissing("predict_on_batch takes one argument, this model several")

    def call() -> list[Any]:
        result = model.predict_on_batch(batch)
        if isinstance(result, dict):
            return [result[name] for name in _output_names(spec)]
        return list(result) if isinstance(result, (list, tuple)) else [result]

    return call


def _output_names(spec: ModelSpec) -> list[str]:
    return [output.name for output in spec.outputs]


FORMS: dict[str, Make] = {
    "eager": _eager,
    "function": _function,
    "predict_on_batch": _predict_on_batch,
}
