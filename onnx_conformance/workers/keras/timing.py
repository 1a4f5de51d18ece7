"""Timed calls of a Keras model: eager, as a ``tf.function``, ``predict_on_batch``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from onnx_conformance.core.arrays import Arrays
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.native_request import ModelRequest
from onnx_conformance.workers.keras.calling_convention import KerasCall
from onnx_conformance.workers.keras.introspect import call_model
from onnx_conformance.workers.native import input_names, named_outputs
from onnx_conformance.workers.stopwatch import TimedCall

Make = Callable[[Any, ModelRequest, Arrays], Callable[[], Any]]


def make_timed_call(form: str, model: Any, request: ModelRequest, inputs: Arrays) -> TimedCall:
    """One inference; tensors are made before the clock starts, where the form needs tensors.

    Raises:
        ValueError: an unknown form.
    """
    if form not in FORMS:
        raise ValueError(f"Keras is not timed as '{form}'; known: {', '.join(FORMS)}")

    def arrays(result: Any) -> Arrays:
        return named_outputs(request, (np.asarray(tensor) for tensor in result))

    return TimedCall(FORMS[form](model, request, inputs), arrays)


def _eager(model: Any, request: ModelRequest, input_set: Arrays) -> Callable[[], Any]:
    inputs = [tf.constant(input_set[name]) for name, _, _ in request["inputs"]]
    called = KerasCall(model, input_names(request))
    return lambda: call_model(called, inputs, request["outputs"])


def _function(model: Any, request: ModelRequest, input_set: Arrays) -> Callable[[], Any]:
    """Traced at this batch size, and optimised by TensorFlow as in any deployment."""
    inputs = [tf.constant(input_set[name]) for name, _, _ in request["inputs"]]
    called = KerasCall(model, input_names(request))

    @tf.function(reduce_retracing=False)  # type: ignore[untyped-decorator] # TensorFlow has no types
    def forward(*tensors: Any) -> Any:
        return call_model(called, tensors, request["outputs"])

    return lambda: forward(*inputs)


def _predict_on_batch(model: Any, request: ModelRequest, inputs: Arrays) -> Callable[[], Any]:
    """Takes and returns arrays, as most users call it."""
    arrays = [inputs[name] for name, _, _ in request["inputs"]]
    called = KerasCall(model, input_names(request))
    called([tf.constant(array) for array in arrays])
    batch, *more = called.arguments(arrays)
    if more:
        raise CapabilityMissing("predict_on_batch takes one argument, this model several")

    def call() -> list[Any]:
        result = model.predict_on_batch(batch)
        if isinstance(result, dict):
            return [result[name] for name in request["outputs"]]
        return list(result) if isinstance(result, (list, tuple)) else [result]

    return call


FORMS: dict[str, Make] = {
    "eager": _eager,
    "function": _function,
    "predict_on_batch": _predict_on_batch,
}
