"""bfloat16, which NumPy has not: its arrays are float32 arrays of the numbers that it has.

Engines are handed the type itself at their door, and give such arrays back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NAME = "bfloat16"
LARGEST_BFLOAT16 = 3.3895313892515355e38


def held_in(dtype: str) -> str:
    """The NumPy dtype of arrays that hold numbers of ``dtype``."""
    return "float32" if dtype == NAME else dtype


def rounded(array: NDArray[Any]) -> NDArray[np.float32]:
    """The nearest numbers of bfloat16, ties to even, as float32; NaN stays NaN."""
    single = np.ascontiguousarray(array, np.float32)
    bits = single.view(np.uint32)
    nearest = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32)
    return np.where(np.isnan(single), single, nearest.view(np.float32)).astype(np.float32)


def to_bits(array: NDArray[Any]) -> NDArray[np.uint16]:
    """The bits of bfloat16 numbers that are held in float32."""
    return (rounded(array).view(np.uint32) >> 16).astype(np.uint16)


def from_bits(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The inverse of :func:`to_bits`."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
