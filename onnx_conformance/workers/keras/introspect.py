"""Keras models as a worker holds them: built in float32 or float64, with named variables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from onnx_conformance.core.arrays import Arrays
from onnx_conformance.core.compute_modes import ComputeMode
from onnx_conformance.core.native_request import BatchNormRecord, NativeRequest
from onnx_conformance.core.plain_outputs import TEXT
from onnx_conformance.core.spec import BATCH_NAMES, MIDDLE, ModelSpec, TensorSpec, sizes_of
from onnx_conformance.workers.keras.calling_convention import KerasCall
from onnx_conformance.workers.keras.float64 import narrow_in, widened, with_kernels
from onnx_conformance.workers.keras.precision import rounded
from onnx_conformance.workers.keras.private import every_policy_in_float64, layers_of
from onnx_conformance.workers.keras.replicas import as_replica
from onnx_conformance.workers.native import Approximation, build, example, input_names


@dataclass
class KerasNativeModel:
    """A built model, its forward pass (a ``tf.function``), and whose weights it holds."""

    model: Any
    forward: Any
    variables: dict[str, Any]
    loaded: str = ""
    others: dict[str, Any] = field(default_factory=dict)  # forward passes of other compute modes

    def computing(self, mode: ComputeMode, approximation: Approximation | None) -> Any:
        """The forward pass of a compute mode, traced once."""
        if mode.rounded:
            key = mode.precision
            if key not in self.others:
                self.others[key] = rounded(self.forward, key)
        elif mode.replica and approximation is not None:
            key = f"{mode.replica} {sorted(approximation.items())}"
            if key not in self.others:
                self.others[key] = as_replica(self.forward, approximation, mode.replica)
        else:
            return self.forward
        return self.others[key]


def call_model(call: KerasCall, inputs: Sequence[Any], names: list[str]) -> list[Any]:
    """The model's outputs in inference mode, in the order of ``names``.

    Outputs that the model returns in a flat dict are picked by name.

    Args:
        inputs: in the order of the model's spec.
    """
    result = call(inputs)
    if isinstance(result, dict) and set(names) <= set(result):
        return [result[name] for name in names]
    return list(keras.tree.flatten(result))


def tensor_specs(model: ModelSpec, batch: int | None, dtype: str | None = None) -> list[Any]:
    """The inputs as ``tf.TensorSpec``, with ``batch`` in place of symbolic dimensions.

    Args:
        batch: None leaves every symbolic axis open but for a batch that the model fixes.
        dtype: what floating inputs become; None leaves them as the spec has them.
    """
    sizes = sizes_of(model.axes, MIDDLE)
    return [
        tf.TensorSpec(
            spec.concrete(batch, sizes) if batch else [_open(d, model.group) for d in spec.shape],
            _kind(spec, dtype),
            name=spec.name,
        )
        for spec in model.inputs
    ]


def _kind(spec: TensorSpec, dtype: str | None) -> str:
    """What TensorFlow calls an input's dtype."""
    if spec.dtype == TEXT:
        return "string"
    return dtype if dtype and spec.floating else spec.dtype


def _open(dim: Any, group: int) -> int | None:
    """A dimension in TensorFlow's form; a batch that the model fixes is its size."""
    if dim in BATCH_NAMES and group:
        return group
    return None if isinstance(dim, str) else int(dim)


def build_float32(request: NativeRequest) -> KerasNativeModel:
    """The model itself."""
    return _build(request, "float32")


def build_float64(request: NativeRequest) -> KerasNativeModel:
    """The oracle: the model built anew, since Keras fixes a layer's precision at its creation.

    A model whose code casts to float32, or names it, or resizes images, which TensorFlow does in
    float32, is no such twin: then the graph of the float32 model is rebuilt in float64.
    """
    twin: KerasNativeModel | None = None
    problem: Exception = ValueError("its float64 graph computes in float32")
    try:
        twin = _twin(request)
        if not narrow_in(twin.forward):
            return twin
    except Exception as error:  # noqa: BLE001 - whatever the model's code raises
        problem = error
    try:
        native = build_float32(request)
        native.forward = widened(native.forward)
        native.forward.get_concrete_function()
    except Exception:  # noqa: BLE001 - then the first reason is the one to tell
        if twin is not None:
            return twin
        raise problem from None
    return native


def _twin(request: NativeRequest) -> KerasNativeModel:
    """The model built with every layer in float64.

    The policy decides the layers' precision, floatx that of the model's inputs and of the
    constants in a forward pass, so it holds until the pass is traced.
    """
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        with every_policy_in_float64():
            native = _build(request, "float64")
        native.forward = with_kernels(native.forward)
        traced = native.forward.get_concrete_function()
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
    outputs = {f"output {index}": tensor for index, tensor in enumerate(traced.outputs)}
    _refuse_narrow(request.model.name, {**native.variables, **outputs})
    return native


def _refuse_narrow(name: str, parts: dict[str, Any]) -> None:
    """Raise if a variable or an output is of a floating type other than float64."""
    kinds = {label: tf.as_dtype(part.dtype) for label, part in parts.items()}
    narrow = [label for label, kind in kinds.items() if kind.is_floating and kind != tf.float64]
    if narrow:
        raise ValueError(
            f"the float64 oracle of '{name}' is not float64 in {narrow}, because its layers set "
            "their own dtype; let the builder leave it to Keras' dtype policy"
        )


def _build(request: NativeRequest, dtype: str) -> KerasNativeModel:
    keras.utils.clear_session()  # else layer names count on, and the weights' keys with them
    keras.utils.set_random_seed(request.seed)
    policy = keras.config.dtype_policy()
    model = build(request)
    keras.config.set_dtype_policy(policy)  # which a builder may have left another
    names = [spec.name for spec in request.model.outputs]
    call = KerasCall(model, input_names(request.model))
    if not model.built:
        drawn, specs = example(request.model), tensor_specs(request.model, None, dtype)
        call_model(call, [tf.constant(drawn[s.name], s.dtype) for s in specs], names)

    def forward(*inputs: Any) -> list[Any]:
        return call_model(call, inputs, names)

    traced = tf.function(forward, input_signature=tensor_specs(request.model, None, dtype))
    return KerasNativeModel(model, traced, _named_variables(model))


def _named_variables(model: Any) -> dict[str, Any]:
    """Path -> variable. Keras does not keep paths unique, so a repeated one gets a number."""
    named: dict[str, Any] = {}
    for variable in model.weights:
        name, count = variable.path, 1
        while name in named:
            count += 1
            name = f"{variable.path}#{count}"
        named[name] = variable
    return named


def assign(variables: dict[str, Any], arrays: Arrays) -> None:
    """Put the arrays into the variables of their names.

    Raises:
        ValueError: they are not the same names.
    """
    if variables.keys() != arrays.keys():
        raise ValueError(
            "the weights are those of another model; only in one of the two: "
            f"{sorted(variables.keys() ^ arrays.keys())}"
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def batch_norms(model: Any, variables: dict[str, Any]) -> list[BatchNormRecord]:
    """The BatchNorms, by the names of their variables."""
    keys = {id(variable): name for name, variable in variables.items()}
    return [
        {
            "gamma": keys.get(id(norm.gamma), "") if norm.scale else "",
            "beta": keys.get(id(norm.beta), "") if norm.center else "",
            "mean": keys[id(norm.moving_mean)],
            "variance": keys[id(norm.moving_variance)],
            "epsilon": norm.epsilon,
        }
        for norm in layers_of(model)
        if isinstance(norm, keras.layers.BatchNormalization)
    ]


def public_names(model: Any) -> list[str]:
    """The names of the model, its layers, its inputs and its outputs in Keras."""
    sides = (getattr(model, "inputs", None) or []) + (getattr(model, "outputs", None) or [])
    parts = [model, *layers_of(model), *sides]
    return sorted({part.name for part in parts})


def gradients(
    native: KerasNativeModel, names: list[str], inputs: Iterable[list[Any]]
) -> Iterator[Arrays]:
    """For each set of inputs, the gradients by the named variables of a sum of the outputs.

    Each number of the outputs has a random sign in it.
    """
    variables = {name: native.variables[name].value for name in names}
    signs = np.random.default_rng(0)
    for tensors in inputs:
        with tf.GradientTape() as tape:
            tape.watch(list(variables.values()))
            results = native.forward.python_function(*tensors)
            floating = [one for one in results if one.dtype.is_floating]
            drawn = [signs.choice([-1.0, 1.0], one.shape).astype(np.float32) for one in floating]
            mixed = [tf.reduce_sum(o * s) for o, s in zip(floating, drawn, strict=True)]
            total = tf.add_n(mixed) if mixed else None
        if total is not None:
            found = zip(names, tape.gradient(total, list(variables.values())), strict=True)
            yield {n: tf.convert_to_tensor(g).numpy() for n, g in found if g is not None}
