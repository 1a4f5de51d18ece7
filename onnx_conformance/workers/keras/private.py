"""Everything that the suite uses of Keras beyond its public interface.

A version of Keras that keeps one of these otherwise is named when the worker starts
(:func:`self_test`), before it can make a verdict wrong.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import keras
from keras.src import dtype_policies as policies

from onnx_conformance.core.errors import ConformanceError


def layers_of(model: Any) -> list[Any]:
    """Every layer of the model at any depth; ``model.layers`` stops at nested models."""
    return list(model._flatten_layers(include_self=False))


def sources_of(operation: Any) -> list[Any]:
    """The operations whose results an operation of a functional model takes."""
    return [parent.operation for node in operation._inbound_nodes for parent in node.parent_nodes]


def inputs_structure(model: Any) -> Any:
    """How a functional model takes its inputs: a tensor, a list or a dict; None of any other."""
    return getattr(model, "_inputs_struct", None)


@contextlib.contextmanager
def every_policy_in_float64() -> Iterator[None]:
    """Layers that are made meanwhile compute in float64, also those that name another dtype."""
    known = policies.get

    def get(identifier: Any) -> Any:
        policy = known(identifier)
        narrow = str(policy.compute_dtype) in ("float16", "bfloat16", "float32")
        return keras.dtype_policies.DTypePolicy("float64") if narrow else policy

    policies.get = get
    try:
        yield
    finally:
        policies.get = known


def keep_generated_code_together() -> None:
    """Have TensorFlow write the code that AutoGraph makes of functions where the judge removes it.

    TensorFlow removes these files of the temporary folder at its exit, and a worker is killed.
    """
    tempfile.tempdir = os.environ.get("CONFORMANCE_SCRATCH")


def self_test() -> None:
    """Use each of them once, to find out whether it still works.

    Raises:
        ConformanceError: one does not do what is relied on; names the version.
    """
    inputs = keras.Input((1,))
    first = keras.layers.Activation("linear")
    second = keras.Sequential([first])
    model = keras.Model(inputs, keras.layers.Activation("linear")(second(inputs)))
    try:
        kept = first in layers_of(model) and sources_of(model.layers[-1]) == [second]
        kept = kept and inputs_structure(model) is not None
        with every_policy_in_float64():
            kept = kept and keras.layers.Dense(1, dtype="float32").compute_dtype == "float64"
    except (AttributeError, TypeError):
        kept = False
    if not kept:
        raise ConformanceError(
            f"Keras {keras.__version__} has changed the graph of its models, which "
            "onnx-conformance relies on: install the version of constraints.txt, or a newer "
            "onnx-conformance"
        )
