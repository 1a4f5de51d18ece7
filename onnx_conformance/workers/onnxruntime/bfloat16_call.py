"""A session's call, where an input or output is bfloat16 too: its arrays are float32 arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto

from onnx_conformance.core import bfloat16
from onnx_conformance.core.arrays import Arrays

TYPE = "tensor(bfloat16)"


def takes_bfloat16(session: ort.InferenceSession) -> bool:
    """Whether an input or output is bfloat16."""
    return any(each.type == TYPE for each in (*session.get_inputs(), *session.get_outputs()))


Call = Callable[[list[str], Arrays], list[Any]]


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
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, TensorProto.BFLOAT16)


def _array(value: ort.OrtValue) -> NDArray[Any]:
    if value.data_type() != TYPE:
        return np.asarray(value.numpy())
    shape = tuple(value.shape())
    held = ctypes.cast(value.data_ptr(), ctypes.POINTER(ctypes.c_uint16))
    count = int(np.prod(shape))
    bits = np.ctypeslib.as_array(held, (count,)).copy() if count else np.zeros(0, np.uint16)
    return bfloat16.from_bits(bits).reshape(shape)
