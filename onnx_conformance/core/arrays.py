"""Arrays by name, and their digest; one array as text."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = dict[str, Array]
Outputs = Mapping[str, Array]


def digest_arrays(arrays: Outputs) -> str:
    """SHA-256 over names, dtypes, shapes and values, in C order whatever the layout."""
    state = hashlib.sha256()
    for name, array in arrays.items():
        state.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        state.update(array.tobytes())
    return state.hexdigest()


def read_arrays(path: Path) -> Arrays:
    """The arrays of a .npz file, by name.

    NumPy parses each array's header as Python, and CPython 3.11 now and then fails at that with a
    SystemError while another thread parses, too (python/cpython issue 106905): then once more.
    """
    try:
        return _read_npz(path)
    except SystemError:
        return _read_npz(path)


def _read_npz(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def as_text(array: Array) -> str:
    """One array in base64, dtype and shape included, for what is plain data and hashed."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode()


def is_array_as_text(value: Any) -> bool:
    """Whether it is what :func:`as_text` gives."""
    return isinstance(value, str) and value.startswith(
        base64.b64encode(np.lib.format.MAGIC_PREFIX).decode()
    )


def from_text(text: str) -> Array:
    """The inverse of :func:`as_text`."""
    found: Array = np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)
    return found
