"""Calls of a session, timed or not, where an input or output may be bfloat16.

Numbers of bfloat16, of which NumPy has no arrays, go in and come out in float32 arrays.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from onnx_conformance.core import bfloat16
from onnx_conformance.core.arrays import Arrays
from onnx_conformance.core.plain_outputs import coded, named
from onnx_conformance.workers.stopwatch import TimedCall

TYPE = "tensor(bfloat16)"
BFLOAT16 = 16  # onnx's TensorProto.BFLOAT16: an environment that only runs files has no onnx
Call = Callable[[list[str], Arrays], list[Any]]


def takes_bfloat16(session: ort.InferenceSession) -> bool:
    """Whether an input or output is bfloat16."""
    return any(each.type == TYPE for each in (*session.get_inputs(), *session.get_outputs()))


def call_of(session: ort.InferenceSession) -> Call:
    """What runs a session; numbers of bfloat16 go in and come out in float32 arrays."""
    if not takes_bfloat16(session):
        run: Call = session.run
        return run
    return lambda names, inputs: arrays_of(
        session.run_with_ort_values(names, values_of(session, inputs))
    )


def values_of(session: ort.InferenceSession, inputs: Arrays) -> dict[str, ort.OrtValue]:
    """Inputs as ``run_with_ort_values`` takes them."""
    in_bfloat16 = {each.name for each in session.get_inputs() if each.type == TYPE}
    return {
        name: _value(array) if name in in_bfloat16 else ort.OrtValue.ortvalue_from_numpy(array)
        for name, array in inputs.items()
    }


def arrays_of(values: Iterable[ort.OrtValue]) -> list[Any]:
    """What ``run_with_ort_values`` gives, as arrays."""
    return [_array(value) for value in values]


def _value(array: NDArray[Any]) -> ort.OrtValue:
    bits = bfloat16.to_bits(array)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, BFLOAT16)


def _array(value: ort.OrtValue) -> NDArray[Any]:
    if value.data_type() != TYPE:
        return np.asarray(value.numpy())
    shape = tuple(value.shape())
    held = ctypes.cast(value.data_ptr(), ctypes.POINTER(ctypes.c_uint16))
    count = int(np.prod(shape))
    bits = np.ctypeslib.as_array(held, (count,)).copy() if count else np.zeros(0, np.uint16)
    return bfloat16.from_bits(bits).reshape(shape)


# -- timed calls: the plain one, and on a device with inputs bound there

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
