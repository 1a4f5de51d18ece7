"""Keras models that users hand in."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from onnx_conformance.core.arrays import Arrays, digest_arrays
from onnx_conformance.core.domains import Real, default_domain
from onnx_conformance.core.plain_outputs import as_text
from onnx_conformance.core.spec import BATCH_NAMES, TensorSpec
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.workers.built_model import (
    BuiltModel,
    Observed,
    UserModels,
    takes_only,
    with_names,
)
from onnx_conformance.workers.keras.calling_convention import KerasCall
from onnx_conformance.workers.keras.precision import exact_outputs
from onnx_conformance.workers.keras.private import keep_generated_code_together, layers_of


class KerasModels(UserModels):
    """Sequential, functional and subclassed models."""

    def __init__(self) -> None:
        keep_generated_code_together()

    def owns(self, model: Any) -> bool:
        return isinstance(model, keras.Model)

    def built(
        self, name: str, model: Any, threads: int | None, declared: Sequence[TensorSpec] = ()
    ) -> BuiltModel:
        tensors = tuple(getattr(model, "inputs", None) or ())
        inputs = tuple(
            _spec_of(place, tensor, len(tensors)) for place, tensor in enumerate(tensors)
        )
        labels = tuple(spec.name for spec in inputs)
        before = _digest(model) if model.built else ""
        seen = Observed(_narrowest(model))

        def run(input_set: Inputs) -> Arrays:
            answer, call = _answer(model, input_set)
            if seen.precision and seen.exact is None:
                seen.exact = exact_outputs(call, list(input_set.values()))
            return answer

        return BuiltModel(
            framework="keras",
            parameters=labels,
            inputs=inputs,
            digest=before,
            run=run,
            changed=lambda: bool(before) and _digest(model) != before,
            weights=_weights(model) if model.built else 0,
            refuses=takes_only(labels) if inputs else lambda names: "",  # a subclass tells none
            seen=seen,
        )

    def seed(self, seed: int) -> None:
        keras.utils.set_random_seed(seed)

    def settings(self) -> Any:
        return keras.config.dtype_policy()

    def restore(self, settings: Any) -> None:
        keras.config.set_dtype_policy(settings or keras.config.floatx())

    def save(self, model: Any, folder: Path) -> tuple[str, str]:
        path = folder / f"live-{uuid.uuid4().hex}.keras"
        model.save(path)
        return f"{__name__}:{from_file.__name__}", str(path)


def from_file(path: str) -> Any:
    """The model of a ``.keras`` file, made under the dtype policy that Keras is set to."""
    return _twin(keras.models.load_model(path))


def _twin(model: Any) -> Any:
    """A clone whose layers have the present dtype policy instead of the one they were made with."""

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        config.pop("dtype", None)
        return layer.__class__.from_config(config)

    tensors = [_input_like(tensor) for tensor in model.inputs]
    inputs = tensors[0] if len(tensors) == 1 else tensors
    copied = keras.models.clone_model(model, input_tensors=inputs, clone_function=clone)
    copied.set_weights(model.get_weights())
    return copied


def _input_like(tensor: Any) -> Any:
    """An input like ``tensor``; a floating one would be narrowed by its own dtype."""
    floating = str(tensor.dtype).startswith("float")
    dtype = keras.config.floatx() if floating else tensor.dtype
    batch = tensor.shape[0]  # None, unless the model fixes it
    return keras.Input(tensor.shape[1:], batch_size=batch, dtype=dtype, name=tensor.name)


def _answer(model: Any, input_set: Inputs) -> tuple[Arrays, Callable[..., list[Any]]]:
    """The named outputs, and the call that gives them in that order."""
    call = KerasCall(model, list(input_set))
    result = call([np.array(array) for array in input_set.values()])
    found = [as_text(np.asarray(tensor)) for tensor in _outputs(result)]
    if _is_flat(result):
        return dict(zip(sorted(result), found, strict=True)), lambda *i: _outputs(call(i))
    labels = tuple(getattr(model, "output_names", None) or ())
    return with_names(found, labels), lambda *i: _outputs(call(i))


def _outputs(result: Any) -> list[Any]:
    """Tensors; those of a dict in TensorFlow's order, that of the names in any exported file."""
    if _is_flat(result):
        return [result[name] for name in sorted(result)]
    return list(keras.tree.flatten(result))


def _is_flat(result: Any) -> bool:
    """Whether it is a dict of tensors."""
    return isinstance(result, dict) and all(hasattr(part, "shape") for part in result.values())


def _digest(model: Any) -> str:
    return digest_arrays({f"{place}": v.numpy() for place, v in enumerate(model.weights)})


def _narrowest(model: Any) -> str:
    """The least exact class in which a layer computes; empty for float32."""
    asked = {str(layer.compute_dtype) for layer in layers_of(model)}
    return next((name for name in ("bfloat16", "float16") if name in asked), "")


def _weights(model: Any) -> int:
    """How many numbers its weights hold, without the tables of embeddings."""
    parts = getattr(model, "layers", [])
    tables = [part for part in parts if isinstance(part, keras.layers.Embedding)]
    choosing = {id(weight) for table in tables for weight in table.weights}
    return sum(int(np.prod(v.shape)) for v in model.weights if id(v) not in choosing)


def _spec_of(place: int, tensor: Any, count: int) -> TensorSpec:
    label = str(getattr(tensor, "name", "") or "")
    plain = label if label and not label.startswith("keras_tensor") else "input"
    name = plain if count == 1 or plain != "input" else f"input_{place}"
    dims = [f"{name}_dim_{axis}" if dim is None else dim for axis, dim in enumerate(tensor.shape)]
    first = tensor.shape[0] if tensor.shape else None
    spec = TensorSpec(name, (first or BATCH_NAMES[1], *dims[1:]), str(tensor.dtype))
    return replace(spec, domain=default_domain(spec.dtype) or Real())
