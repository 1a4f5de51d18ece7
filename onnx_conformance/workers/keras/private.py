"""Everything that the suite uses of Keras beyond its public interface.

A version of Keras that keeps one of these otherwise is named when the worker starts
(:func:`self_test`), before it can make a verdict wrong.
"""

from __future__ import annotations

from typing import Any

import keras

from onnx_conformance.core.errors import ConformanceError


def layers_of(model: Any) -> list[Any]:
    """Every layer of the model at any depth; ``model.layers`` stops at nested models."""
    return list(model._flatten_layers(include_self=False))


def sources_of(operation: Any) -> list[Any]:
    """The operations whose results an operation of a functional model takes."""
    return [parent.operation for node in operation._inbound_nodes for parent in node.parent_nodes]


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
    except (AttributeError, TypeError):
        kept = False
    if not kept:
        raise ConformanceError(
            f"Keras {keras.__version__} has changed the graph of its models, which "
            "onnx-conformance relies on: install the version of constraints.txt, or a newer "
            "onnx-conformance"
        )
