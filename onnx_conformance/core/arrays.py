"""Arrays by name, and their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

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
