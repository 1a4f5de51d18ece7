"""Keras' routes: tf2onnx from Keras, from a function, from a SavedModel; Keras' own export.

All four end in tf2onnx, which names every open axis ``unk__N``, each with a number of its own
(``tf2onnx.utils.make_onnx_shape``): no route can name the batch axis, or say that the output's
is the input's. The numbers count on within a process, so two exports of one model differ in them.
"""

from __future__ import annotations

import runpy
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_conformance.core.spec import STATIC_BATCH, ModelSpec
from onnx_conformance.workers.native import input_names
from onnx_conformance.workers.operator_translations import (
    handlers,
    operators_in,
    refuse_handlers,
    refuse_unknown,
)

if TYPE_CHECKING:
    from onnx_conformance.workers.keras.calling_convention import KerasCall


def _flat_signature(spec: ModelSpec, options: dict[str, bool]) -> list[Any]:
    """One TensorSpec for each input; its name becomes the name in the file."""
    from onnx_conformance.workers.keras.introspect import tensor_specs

    return tensor_specs(spec, None if options["dynamic_batch"] else STATIC_BATCH)


def _called(model: Any, example: Any, spec: ModelSpec) -> KerasCall:
    """How the model takes its inputs, which one call shows."""
    from onnx_conformance.workers.keras.calling_convention import KerasCall

    call = KerasCall(model, input_names(spec))
    call(example)
    return call


def _model_signature(
    model: Any, example: Any, spec: ModelSpec, options: dict[str, bool]
) -> list[Any]:
    """The signature of the model itself: as many arguments as it takes."""
    specs = _flat_signature(spec, options)
    return _called(model, example, spec).arguments(specs)


def _functional(model: Any, example: Any, spec: ModelSpec) -> Any:
    """``model`` called inside a functional ``keras.Model`` with inputs of its own."""
    import keras

    inputs = [
        keras.Input(
            [None if isinstance(dim, str) else dim for dim in one.shape[1:]], dtype=one.dtype
        )
        for one in spec.inputs
    ]
    whole = inputs[0] if len(inputs) == 1 else inputs
    return keras.Model(whole, model(*_called(model, example, spec).arguments(inputs)))


def tf2onnx_keras(
    model: Any, example: Any, spec: ModelSpec, opset: int, options: dict[str, bool], path: Path
) -> None:
    """``tf2onnx.convert.from_keras``. Outputs get the names of the model's last layers."""
    import tf2onnx

    if options["functional"]:
        model, specs = _functional(model, example, spec), _flat_signature(spec, options)
        signature = specs if len(specs) == 1 else [specs]
    else:
        signature = _model_signature(model, example, spec, options)
    tf2onnx.convert.from_keras(
        model,
        input_signature=signature,
        opset=opset,
        output_path=str(path),
        **handlers(operators_in(spec)),
    )
    refuse_unknown(path, "tf2onnx_keras")


def tf2onnx_function(
    model: Any, example: Any, spec: ModelSpec, opset: int, options: dict[str, bool], path: Path
) -> None:
    """``tf2onnx.convert.from_function`` on a ``tf.function`` that names the outputs.

    It names them by a dict, whose keys TensorFlow sorts; the file has them in the model's order.
    """
    import onnx
    import tensorflow as tf
    import tf2onnx

    from onnx_conformance.workers.keras.introspect import call_model

    signature = _flat_signature(spec, options)

    call = _called(model, example, spec)
    names = [output.name for output in spec.outputs]

    def forward(*inputs: Any) -> dict[str, Any]:
        return dict(zip(names, call_model(call, inputs, names), strict=True))

    made, _ = tf2onnx.convert.from_function(
        tf.function(forward, input_signature=signature),
        input_signature=signature,
        opset=opset,
        **handlers(operators_in(spec)),
    )
    by_name = {output.name: output for output in made.graph.output}
    if set(by_name) == set(names):
        del made.graph.output[:]
        made.graph.output.extend(by_name[name] for name in names)
    onnx.save(made, path)
    refuse_unknown(path, "tf2onnx_function")


def tf2onnx_saved_model(
    model: Any, example: Any, spec: ModelSpec, opset: int, options: dict[str, bool], path: Path
) -> None:
    """``model.export``, then ``python -m tf2onnx.convert --saved-model``, the command line.

    Inputs keep the names of the signature, and are sorted by them: a SavedModel's signature is a
    dict (https://github.com/tensorflow/tensorflow/issues/48157). It calls the outputs ``output_0``,
    ``output_1``, which the command line renames in that order.
    """
    refuse_handlers(spec, "tf2onnx_saved_model")
    signature = _model_signature(model, example, spec, options)
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False, input_signature=signature)
        arguments = ["--saved-model", folder, "--output", str(path), "--opset", str(opset)]
        _command_line(
            [*arguments, "--rename-outputs", ",".join(output.name for output in spec.outputs)]
        )
    refuse_unknown(path, "tf2onnx_saved_model")


def _command_line(arguments: list[str]) -> None:
    """Run ``python -m tf2onnx.convert`` in this process: it spares TensorFlow's second import."""
    before = sys.argv
    sys.argv = ["tf2onnx.convert", *arguments]
    try:
        runpy.run_module("tf2onnx.convert", run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        if stop.code:
            raise RuntimeError(f"tf2onnx.convert ended with status {stop.code}") from stop
    finally:
        sys.argv = before


def keras_export(
    model: Any, example: Any, spec: ModelSpec, opset: int, options: dict[str, bool], path: Path
) -> None:
    """``keras.Model.export(format="onnx")``. Outputs are called ``Identity:0`` and so on."""
    refuse_handlers(spec, "keras_export")
    model.export(
        str(path),
        format="onnx",
        verbose=False,
        opset_version=opset,
        input_signature=_model_signature(model, example, spec, options),
    )
    refuse_unknown(path, "keras_export")
