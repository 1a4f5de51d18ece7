"""Live models, which ``certify`` gets as objects of the caller's process."""

from __future__ import annotations

import copy
import itertools
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.models import Declaration
from onnx_conformance.core.custom_operators import ATTRIBUTE, PAGE, CustomOperators
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.workers.user_model.describe import specify

_HELD: dict[str, tuple[Any, Any]] = {}  # models, and what torch's held when they came
_OPERATORS: dict[str, CustomOperators] = {}
_NUMBERS = itertools.count(1)


def describe_live(
    model: Any, one: Declaration, seed: int, folder: Path, operators: CustomOperators | None = None
) -> ModelSpec:
    """The spec of a live model.

    A torch module or a callable is copied by workers in this process. A Keras model is written to
    ``folder`` and read by a worker of its own: threads that TensorFlow has started already flush
    denormal numbers to zero, the oracle's too.

    Raises:
        UsageError: the model or its spec is wrong, in one sentence.
    """
    token = str(next(_NUMBERS))
    if is_keras(model) and operators is not None:
        raise UsageError(
            "certify: a Keras model is exported by another process, which functions cannot reach; "
            f"register the model in a file, with @custom_operators ({PAGE})"
        )
    if operators is not None:
        _OPERATORS[token] = operators
    if is_keras(model):
        token = str(folder / f"live-{uuid.uuid4().hex}.keras")
        model.save(token)
    else:
        _HELD[token] = model, _as_built(model)
    builder = keras_file if is_keras(model) else model_copy
    reference = f"{__name__}:{builder.__name__}"
    found = specify(
        replace(one, builder=builder), reference, (token,), "calibrated", seed, threads=None
    )
    # its code may stand in a notebook, where nobody sees it change: no result outlives it
    return replace(found, fingerprint=f"{found.fingerprint} {uuid.uuid4()}")


def is_keras(model: Any) -> bool:
    """Whether it is a Keras model."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(model, keras.Model)


def model_copy(token: str) -> Any:
    """A copy of a held model."""
    held, built = _HELD[token]
    if built is None:
        return copy.deepcopy(held)
    from onnx_conformance.workers.torch.modes import copied

    return copied(held, built)


def _as_built(model: Any) -> Any:
    """What a torch module holds now (an ``AsBuilt``); None of other models."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        return None
    from onnx_conformance.workers.torch.modes import AsBuilt

    return AsBuilt(model)


setattr(model_copy, ATTRIBUTE, _OPERATORS.get)


def keras_file(path: str) -> Any:
    """The model of a ``.keras`` file, made under the precision that Keras is set to."""
    import keras

    return _keras_twin(keras, keras.models.load_model(path))


def _keras_twin(keras: Any, model: Any) -> Any:
    """A clone whose layers have the present dtype policy instead of the one they were made with."""

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        config.pop("dtype", None)
        return layer.__class__.from_config(config)

    tensors = [_keras_input(keras, tensor) for tensor in model.inputs]
    inputs = tensors[0] if len(tensors) == 1 else tensors
    copied = keras.models.clone_model(model, input_tensors=inputs, clone_function=clone)
    copied.set_weights(model.get_weights())
    return copied


def _keras_input(keras: Any, tensor: Any) -> Any:
    """An input like ``tensor``; a floating one would be narrowed by its own dtype."""
    floating = str(tensor.dtype).startswith("float")
    dtype = keras.config.floatx() if floating else tensor.dtype
    batch = tensor.shape[0]  # None, unless the model fixes it
    return keras.Input(tensor.shape[1:], batch_size=batch, dtype=dtype, name=tensor.name)
