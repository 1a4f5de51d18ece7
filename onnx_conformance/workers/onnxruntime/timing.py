"""Timed calls of a session: the plain call, and on a device with inputs bound there."""

from __future__ import annotations

import time

import numpy as np
import onnxruntime as ort

from onnx_conformance.core.arrays import Arrays
from onnx_conformance.core.plain_outputs import coded, named
from onnx_conformance.workers.onnxruntime.bfloat16_call import (
    arrays_of,
    takes_bfloat16,
    values_of,
)
from onnx_conformance.workers.stopwatch import TimedCall

# Provider -> what ONNX Runtime calls the device on which its tensors live.
DEVICES = {
    "CUDAExecutionProvider": "cuda",
    "TensorrtExecutionProvider": "cuda",
    "MIGraphXExecutionProvider": "cuda",
    "DmlExecutionProvider": "dml",
}


def make_timed_call(
    form: str, session: ort.InferenceSession, provider: str, inputs: Arrays
) -> TimedCall:
    """One inference of a session on inputs, under the artifact's names.

    Args:
        form: ``plain`` (arrays in, arrays out), ``io_binding`` (inputs and outputs stay on the
            device) or ``copies`` (copying the inputs to the device alone).

    Raises:
        ValueError: an unknown form, or one that the provider has no device for.
    """
    if form == "plain":
        return _plain(session, inputs)
    if provider not in DEVICES:
        raise ValueError(f"form '{form}' needs a device, and {provider} computes on the host")
    if form == "io_binding":
        return _bound(session, inputs, DEVICES[provider])
    if form == "copies":
        return _copies(session, inputs, DEVICES[provider])
    raise ValueError(f"ONNX Runtime is not timed as '{form}'; known: plain, io_binding, copies")


def _plain(session: ort.InferenceSession, inputs: Arrays) -> TimedCall:
    names = [output.name for output in session.get_outputs()]
    if takes_bfloat16(session):  # which no array is, so the inputs are made before
        fed = values_of(session, inputs)
        return TimedCall(
            call=lambda: session.run_with_ort_values(names, fed),
            arrays=lambda results: dict(zip(names, arrays_of(results), strict=True)),
        )
    return TimedCall(
        call=lambda: session.run(names, inputs),
        arrays=lambda results: {n: coded(a) for n, a in named(names, results).items()},
    )


def _bound(session: ort.InferenceSession, inputs: Arrays, device: str) -> TimedCall:
    names = [output.name for output in session.get_outputs()]
    binding = session.io_binding()
    for name, array in inputs.items():
        value = ort.OrtValue.ortvalue_from_numpy(array, device, 0)
        binding.bind_ortvalue_input(name, value)
    for name in names:
        binding.bind_output(name, device)
    binding.synchronize_inputs()

    def call() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()  # the call alone returns before the device is done

    return TimedCall(call, lambda _: dict(zip(names, binding.copy_outputs_to_cpu(), strict=True)))


def _copies(session: ort.InferenceSession, inputs: Arrays, device: str) -> TimedCall:
    """The copies from host to device, which ``plain`` needs in addition to ``io_binding``."""
    values = {
        name: ort.OrtValue.ortvalue_from_numpy(np.zeros_like(array), device, 0)
        for name, array in inputs.items()
    }
    plain = _plain(session, inputs)
    binding = session.io_binding()
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)

    def seconds() -> float:
        started = time.perf_counter()
        for name, array in inputs.items():
            values[name].update_inplace(array)
        binding.synchronize_inputs()
        return time.perf_counter() - started

    return TimedCall(plain.call, plain.arrays, seconds)
