"""The share of a Keras model's variables that affects its outputs. Runs in the worker's process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from onnx_conformance.workers.keras.introspect import KerasNativeModel


def influence(
    native: KerasNativeModel, names: list[str], inputs: Iterable[list[Any]], least: float
) -> dict[str, float]:
    """The share of each variable's elements that affects the outputs, over all inputs.

    An element moves them if the gradient by it of a sum of the outputs, each with a random sign,
    is more than ``least`` times the root mean square over its variable.
    """
    variables = {name: native.variables[name].value for name in names}
    total = {name: np.zeros(variable.shape, np.float64) for name, variable in variables.items()}
    signs = np.random.default_rng(0)
    for tensors in inputs:
        with tf.GradientTape() as tape:
            tape.watch(list(variables.values()))
            results = [
                one for one in native.forward.python_function(*tensors) if one.dtype.is_floating
            ]
            drawn = [signs.choice([-1.0, 1.0], one.shape).astype(np.float32) for one in results]
            mixed = [tf.reduce_sum(o * s) for o, s in zip(results, drawn, strict=True)]
            summed = tf.add_n(mixed) if mixed else None
        if summed is None:
            continue
        grads = tape.gradient(summed, list(variables.values()))
        for name, grad in zip(variables, grads, strict=True):
            if grad is not None:
                total[name] += np.abs(np.nan_to_num(tf.convert_to_tensor(grad).numpy()))
    return {name: _share(array, least) for name, array in total.items()}


def _share(total: np.ndarray[Any, np.dtype[np.float64]], least: float) -> float:
    size = float(np.sqrt(np.mean(total**2))) if total.size else 0.0
    return float(np.mean(total > least * size)) if size > 0 else 0.0
