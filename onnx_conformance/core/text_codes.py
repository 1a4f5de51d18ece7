"""Texts as whole numbers: an output of text is compared by a code for each of its texts."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

TEXT = "str"  # what specs call the dtype of text
SPELLINGS = ("object", "string", "str_")  # what else NumPy and ONNX call it
BYTES = 6  # of a code: whole numbers below 2⁴⁸ are exact in float64 too


def as_text(array: NDArray[Any]) -> NDArray[Any]:
    """An array of Python's texts as NumPy's own; any other as it is."""
    if array.dtype.kind == "O" and all(isinstance(one, str) for one in array.flat):
        return array.astype(TEXT)
    return array


def dtype_of(array: NDArray[Any]) -> str:
    """The dtype's name, as specs have it."""
    return TEXT if array.dtype.kind == "U" else array.dtype.name


def coded(array: NDArray[Any]) -> NDArray[Any]:
    """An array of text as int64, a BLAKE2 digest of each one's UTF-8; any other as it is."""
    texts = as_text(array)
    if texts.dtype.kind != "U":
        return array
    codes = [hashlib.blake2b(str(one).encode(), digest_size=BYTES).digest() for one in texts.flat]
    numbers = [int.from_bytes(code, "big") for code in codes]
    return np.array(numbers, np.int64).reshape(texts.shape)
