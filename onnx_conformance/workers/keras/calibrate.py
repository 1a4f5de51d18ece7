"""Alive weights for Keras models, without a download (the reasons: docs/numerics.md).

BatchNorm statistics are those of real activations, residual branches are calm, and every
logit moves: a reference whose output barely depends on its input shows nothing.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from onnx_conformance.inputs.recipes import calibration_batch
from onnx_conformance.workers.keras.private import layers_of, sources_of

BATCHES, BATCH_SIZE = 3, 8
LOGIT_STD = 2.0
BRANCH_GAIN = 0.3

Batches = list[NDArray[np.float32]]
Call = Callable[..., Any]

_NORM = keras.layers.BatchNormalization
_HEADS = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def calibrate(model: Any, shape: tuple[int | str, ...], seed: int) -> None:
    """Give ``model`` seeded weights whose outputs depend on its inputs, in place.

    The batches have the full image size: a functional Keras model accepts no other.

    Args:
        shape: the first input's, with a symbolic batch axis.
    """
    rng = np.random.default_rng(seed)
    layers = layers_of(model)
    norms = [layer for layer in layers if isinstance(layer, _NORM)]
    heads = [layer for layer in layers if isinstance(layer, _HEADS)]
    _draw_norms(model, norms, rng)
    _draw_biases(heads, rng)
    sizes = [dim for dim in shape if isinstance(dim, int)]
    batches = [calibration_batch((BATCH_SIZE, *sizes), seed + i) for i in range(BATCHES)]
    called = _set_statistics(model, norms, heads, batches)
    if called:
        _set_head(model, called[-1], batches, rng)


def _draw_norms(model: Any, norms: list[Any], rng: np.random.Generator) -> None:
    for norm in norms:
        if norm.gamma is not None:
            norm.gamma.assign(rng.uniform(0.7, 1.3, norm.gamma.shape))
        if norm.beta is not None:
            norm.beta.assign(rng.normal(0.5, 0.2, norm.beta.shape))
    for norm in _branch_ends(model):
        if norm.gamma is not None:
            norm.gamma.assign(norm.gamma.numpy() * BRANCH_GAIN)


def _draw_biases(layers: list[Any], rng: np.random.Generator) -> None:
    """Give biases random values: a converter may drop Keras' zeros unnoticed."""
    for layer in layers:
        if layer.bias is not None:
            bound = 1.0 / math.sqrt(_fan_in(layer))
            layer.bias.assign(rng.uniform(-bound, bound, layer.bias.shape))


def _fan_in(layer: Any) -> int:
    return math.prod(layer.kernel.shape[:-1])


def _branch_ends(model: Any) -> list[Any]:
    """The BatchNorm that ends each residual branch: what an addition adds to its shortcut.

    Where both sides end in one (a shortcut with a projection), the deeper side is the branch.
    A model that is not functional has no graph to find them in and keeps its gain: calm
    branches are a refinement.
    """
    graphs = [part for part in (model, *layers_of(model)) if hasattr(part, "operations")]
    return [end for graph in graphs for end in _ends_in(graph)]


def _ends_in(graph: Any) -> list[Any]:
    depth: dict[Any, int] = {}
    ends = []
    for operation in graph.operations:  # in topological order
        sources = sources_of(operation)
        depth[operation] = 1 + max((depth.get(source, 0) for source in sources), default=0)
        norms = [source for source in sources if isinstance(source, _NORM)]
        if norms and type(operation).__name__ == "Add":  # the layer, or the operator +
            ends.append(max(norms, key=lambda source: depth[source]))
    return ends


def _set_statistics(model: Any, norms: list[Any], heads: list[Any], batches: Batches) -> list[Any]:
    """Average every BatchNorm's statistics over the batches; return the heads as called."""
    called: list[Any] = []

    def recording(layer: Any, call: Call) -> Call:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            called.append(layer)
            return call(*args, **kwargs)

        return wrapped

    momenta = [norm.momentum for norm in norms]
    with _calls_replaced(norms, _training), _calls_replaced(heads, recording):
        for index, batch in enumerate(batches):
            for norm in norms:
                norm.momentum = index / (index + 1)  # a cumulative average
            model(batch, training=False)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return called


def _set_head(model: Any, head: Any, batches: Batches, rng: np.random.Generator) -> None:
    """Random rows in the last layer, each scaled so that its logit has the wanted spread."""
    features = _features(model, head, batches)
    head.kernel.assign(rng.normal(0.0, 1.0 / math.sqrt(_fan_in(head)), head.kernel.shape))
    if head.bias is not None:
        head.bias.assign(np.zeros(head.bias.shape))
    logits = _logits(head, features)
    gain = LOGIT_STD / np.maximum(logits.std(axis=0), 1e-12)
    head.kernel.assign(head.kernel.numpy() * gain)
    if head.bias is None:
        return
    head.bias.assign(-logits.mean(axis=0) * gain)
    if _clips(model, batches[0][:2]):
        head.bias.assign(-logits.min(axis=0) * gain)


def _clips(model: Any, batch: NDArray[np.float32]) -> bool:
    """Whether the head's outputs pass through an activation that has no negative values.

    Centred logits are negative half of the time, and a class is dead to inputs where they are.
    """
    return any(bool((np.asarray(x) == 0).any()) for x in tf.nest.flatten(model(batch)))


def _features(model: Any, head: Any, batches: Batches) -> list[Any]:
    features: list[Any] = []

    def recording(_: Any, call: Call) -> Call:
        def wrapped(x: Any, *args: Any, **kwargs: Any) -> Any:
            features.append(x)
            return call(x, *args, **kwargs)

        return wrapped

    with _calls_replaced([head], recording):
        for batch in batches:
            model(batch, training=False)
    return features


def _logits(head: Any, features: list[Any]) -> NDArray[np.float32]:
    """The head's result before its activation, ``(rows, units)``."""
    activation, head.activation = head.activation, keras.activations.linear
    try:
        parts = [np.asarray(head(x)) for x in features]
    finally:
        head.activation = activation
    return np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts])


def _training(_: Any, call: Call) -> Call:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **{**kwargs, "training": True})

    return wrapped


@contextlib.contextmanager
def _calls_replaced(layers: list[Any], replace: Callable[[Any, Call], Call]) -> Iterator[None]:
    """Replace each layer's ``call`` by ``replace(layer, call)``, because Keras has no hooks."""
    for layer in layers:
        layer.call = replace(layer, layer.call)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call
