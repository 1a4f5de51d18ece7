"""The native Keras worker: build, run in float32 and float64, export. Runs in its own process."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from onnx_conformance.core.arrays import Arrays, digest_arrays
from onnx_conformance.core.compute_modes import compute_mode
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.native_constants import ConstantRecord, Values, write_constants
from onnx_conformance.core.native_request import Description, NativeRequest
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.traces import NativeTensorRecord
from onnx_conformance.workers.keras.introspect import (
    KerasNativeModel,
    assign,
    batch_norms,
    build_float32,
    build_float64,
    gradients,
    public_names,
)
from onnx_conformance.workers.keras.private import keep_generated_code_together, self_test
from onnx_conformance.workers.native import (
    NativeBackend,
    example,
    input_names,
    named_outputs,
    perturbed,
)
from onnx_conformance.workers.stopwatch import TimedCall


class KerasBackend(NativeBackend):
    """Keeps one model at a time: a float32 one, whose weights replicas borrow, and a float64 one.

    The forward pass is a ``tf.function`` with a symbolic batch: on MobileNetV2 its trace costs
    0.7 s once and a run a fifth of an eager one.
    """

    def __init__(self, threads: int) -> None:
        tf.config.set_visible_devices([], "GPU")
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        self_test()
        keep_generated_code_together()
        self._key: tuple[str, str] | None = None
        self._natives: dict[str, KerasNativeModel] = {}
        self._arrays: dict[str, Arrays] = {}

    def prepare(self, request: NativeRequest) -> Description:
        """Describes also what the model computes from its variables alone."""
        model, path = request.model, request.weights
        self._hold(None)
        native = build_float32(request)
        if request.calibrated:
            from onnx_conformance.workers.keras.calibrate import calibrate

            calibrate(native.model, model.inputs[0].shape, request.seed)
        arrays = {name: variable.numpy() for name, variable in native.variables.items()}
        np.savez(path, **arrays)
        native.loaded = "float32"
        self._hold((model.name, path))
        self._natives["float32"] = native
        norms = batch_norms(native.model, native.variables)
        records, values = _constants(native, arrays, model)
        write_constants(path, values)
        return {
            "constants": records,
            "digest": digest_arrays(arrays),
            "batch_norms": norms,
            "unused": _unread(native),
            "names": public_names(native.model),
        }

    def run(self, request: NativeRequest, mode: str, input_sets: list[Arrays]) -> list[Arrays]:
        """Runs on the CPU only, as a traced function without TensorFlow's rewriting."""
        parsed = compute_mode(mode)
        if parsed.device:
            raise CapabilityMissing(f"Keras is run on the processor, not on {parsed.device}")
        forward = self._variant(request, mode).computing(parsed, request.approximation)
        with _graph_as_written():
            return [_forward(forward, request.model, inputs) for inputs in input_sets]

    def _gradients(
        self, request: NativeRequest, names: list[str], input_sets: list[Arrays]
    ) -> Iterator[Arrays]:
        native = self._variant(request, "float32")
        return gradients(native, names, (_tensors(native.forward, one) for one in input_sets))

    def _exported(self, request: NativeRequest, inputs: Arrays) -> tuple[Any, Any]:
        """The model itself: Keras makes no copies."""
        return self._variant(request, "float32").model, tuple(inputs.values())

    def timed_call(self, form: str, inputs: Arrays, *, request: NativeRequest) -> TimedCall:
        """See :mod:`.timing`."""
        from onnx_conformance.workers.keras.timing import make_timed_call

        native = self._variant(request, "float32")
        return make_timed_call(form, native.model, request.model, inputs)

    def trace(
        self, request: NativeRequest, modes: list[str], inputs: Arrays, folder: str
    ) -> list[NativeTensorRecord]:
        """See :mod:`.trace`."""
        from onnx_conformance.workers.keras.trace import trace

        natives = (self._variant(request, mode) for mode in modes)
        with _graph_as_written():
            return trace(natives, inputs, input_names(request.model), Path(folder))

    def _variant(self, request: NativeRequest, mode: str) -> KerasNativeModel:
        key = request.model.name, request.weights
        if self._key != key:
            self._hold(key)
        dtype = "float64" if mode == "float64" else "float32"
        if dtype not in self._natives:
            make = build_float64 if dtype == "float64" else build_float32
            self._natives[dtype] = make(request)
        native = self._natives[dtype]
        if native.loaded != mode:
            native.loaded = ""  # should an assignment fail half-way, the weights are of no model
            assign(native.variables, self._weights(request.weights, mode))
            native.loaded = mode
        return native

    def _weights(self, path: str, mode: str) -> Arrays:
        """The true weights, or those of a replica, which are kept because drawing them is slow."""
        if mode not in self._arrays:
            with np.load(path) as archive:
                arrays = dict(archive)
            if mode not in ("float32", "float64"):
                arrays = {name: perturbed(name, arrays[name], mode) for name in arrays}
            self._arrays[mode] = arrays
        return self._arrays[mode]

    def _hold(self, key: tuple[str, str] | None) -> None:
        self._key, self._natives, self._arrays = key, {}, {}


@contextlib.contextmanager
def _graph_as_written() -> Iterator[None]:
    """Run traced functions without TensorFlow's graph rewriting.

    Then they give bit for bit what an eager call of the model gives. Rewritten, a Dense layer
    is fused with its relu, whose oneDNN kernel turns NaN into 0.
    """
    key = "disable_meta_optimizer"
    before = tf.config.optimizer.get_experimental_options().get(key, False)
    tf.config.optimizer.set_experimental_options({key: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({key: before})


def _unread(native: KerasNativeModel) -> list[str]:
    """Variables that the forward pass does not read: what only training needs."""
    read = {variable.ref() for variable in native.forward.get_concrete_function().variables}
    return [name for name, own in native.variables.items() if own.value.ref() not in read]


def _constants(
    native: KerasNativeModel, arrays: Arrays, model: ModelSpec
) -> tuple[list[ConstantRecord], dict[str, Values]]:
    """What the model computes from its variables alone; empty where that is not known."""
    from onnx_conformance.workers.keras.constants import constants_of

    try:
        return constants_of(native, arrays, _tensors(native.forward, example(model)))
    except Exception:  # noqa: BLE001 - whatever a traced operator raises
        return [], {}


def without_frames(message: str) -> str:
    """TensorFlow's message without the lines of code that it names before it says what is wrong."""
    frames = r"^Detected at node .* defined at \(most recent call last\):$|^ *File .*, line .*$"
    return "\n".join(line for line in re.sub(frames, "", message, flags=re.M).splitlines() if line)


def _tensors(forward: Any, input_set: Arrays) -> list[Any]:
    """The inputs in the order of a forward pass and in its dtypes."""
    specs = forward.input_signature
    return [tf.constant(input_set[spec.name], dtype=spec.dtype) for spec in specs]


def _forward(forward: Any, model: ModelSpec, input_set: Arrays) -> Arrays:
    try:
        outputs = forward(*_tensors(forward, input_set))
        return named_outputs(model, (tensor.numpy() for tensor in outputs))
    except tf.errors.OpError as error:
        raise type(error)(error.node_def, error.op, without_frames(error.message)) from None
