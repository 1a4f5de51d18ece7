"""Outputs of text, of maps and of sequences as arrays of numbers, which is what checks compare.

A text is a code of whole numbers. A list of maps, as a classifier's ZipMap makes it, is two arrays:
its values, a column for each key in the order of the keys, and the keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

TEXT = "str"  # what specs call the dtype of text
SPELLINGS = ("object", "string", "str_")  # what else NumPy and ONNX call it
KEYS = " (keys)"
CODE_BYTES = 6  # of a code: whole numbers below 2⁴⁸ are exact in float64 too


def as_text(array: NDArray[Any]) -> NDArray[Any]:
    """An array of Python's texts, or of bytes in UTF-8, as NumPy's own; any other as it is."""
    if array.dtype.kind == "O" and all(isinstance(one, (str, bytes)) for one in array.flat):
        texts = [one.decode() if isinstance(one, bytes) else one for one in array.flat]
        return np.array(texts, TEXT).reshape(array.shape)
    return array


def dtype_of(array: NDArray[Any]) -> str:
    """The dtype's name, as specs have it."""
    return TEXT if array.dtype.kind == "U" else array.dtype.name


def coded(array: NDArray[Any]) -> NDArray[Any]:
    """An array of text as int64, a BLAKE2 digest of each one's UTF-8; any other as it is."""
    texts = as_text(array)
    if texts.dtype.kind != "U":
        return array
    codes = [
        hashlib.blake2b(str(one).encode(), digest_size=CODE_BYTES).digest() for one in texts.flat
    ]
    numbers = [int.from_bytes(code, "big") for code in codes]
    return np.array(numbers, np.int64).reshape(texts.shape)


def keys_of(name: str) -> str:
    """The name of the keys of an output of maps among the outputs."""
    return f"{name}{KEYS}"


def part_of(name: str, place: int) -> str:
    """What a tensor of an output that is a sequence is called among the outputs."""
    return f"{name}[{place}]"


def is_keys(name: str) -> bool:
    """Whether an output is the keys of maps, which are the same on all inputs."""
    return name.endswith(KEYS)


def is_maps(value: Any) -> bool:
    """Whether a value is a row of maps from keys to numbers."""
    return isinstance(value, list) and bool(value) and all(isinstance(o, Mapping) for o in value)


def is_sequence(value: Any) -> bool:
    """Whether a value is a sequence of tensors."""
    return isinstance(value, list) and bool(value) and all(isinstance(o, np.ndarray) for o in value)


def arrays_of(value: Any) -> list[NDArray[Any]]:
    """The arrays of one output: itself, those of a sequence, or the values and keys of maps.

    Raises:
        ValueError: maps of unlike keys.
    """
    if is_sequence(value):
        return [as_text(one) for one in value]
    if not is_maps(value):
        return [as_text(np.asarray(value))]
    keys = sorted(value[0])
    if any(sorted(one) != keys for one in value):
        raise ValueError("an output's maps have different keys, so they have no common columns")
    rows = np.array([[one[key] for key in keys] for one in value])
    kept = rows.astype(np.float32) if rows.dtype == np.float64 else rows
    return [kept, np.array([keys] * len(value))]


def named(names: Sequence[str], values: Iterable[Any]) -> dict[str, NDArray[Any]]:
    """Outputs by name; the keys of maps stand behind their values, a sequence's parts in order."""
    found: dict[str, NDArray[Any]] = {}
    for name, value in zip(names, values, strict=True):
        parts = arrays_of(value)
        own: Iterable[str] = (name, keys_of(name))
        if is_sequence(value):
            own = (part_of(name, place) for place in range(len(parts)))
        found |= dict(zip(own, parts, strict=False))
    return found
