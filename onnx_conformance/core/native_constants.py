"""Constants that a native model computes of its tensors alone, which an exporter may fold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.arrays import Array

Float64 = NDArray[np.float64]

FILE = "constants.npz"
_NEIGHBOURS = 16  # elements of like size that tell of an error, where there are few below


class ConstantRecord(TypedDict):
    """A tensor that depends on no input.

    Args:
        name: what it is called here: ``0.parametrizations.weight: mul #3``.
        operands: names of what it was computed of: native tensors, or other records. Empty for
            what the model's code makes of nothing, such as a range.
        copies: names of other records that are the same, by an operator's own steps.
        used: it meets what depends on an input, or is an output.
    """

    name: str
    operands: list[str]
    copies: list[str]
    used: bool


@dataclass(frozen=True)
class Constant:
    """A tensor of native's that depends on no input.

    Args:
        operands: native tensors or constants that it was computed of; of a native tensor's own
            record none.
        copies: constants that are the same, by other steps.
        used: it meets what depends on an input, or is an output.
        array: its values, computed in float64; None where they are not kept.
        rounded: the same in float32's own arithmetic.
    """

    name: str
    operands: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    used: bool = False
    array: Array | None = None
    rounded: Array | None = None

    @cached_property
    def noise(self) -> Float64:
        """The error that float32 may have in each element, absolute, flat.

        Where values cancel, small ones are off by as much as large ones: an element is granted
        the largest error among those of its size and below.
        """
        assert self.array is not None
        exact = np.abs(self.array.reshape(-1).astype(np.float64))
        if self.rounded is None:
            return np.zeros_like(exact)
        other = self.rounded.reshape(-1).astype(np.float64)
        with np.errstate(invalid="ignore"):
            gaps = np.abs(other - self.array.reshape(-1))
        gaps = np.where(np.isfinite(gaps), gaps, 0.0)
        order = np.argsort(exact, kind="stable")
        highest = np.maximum.accumulate(gaps[order])
        places = np.minimum(np.arange(exact.size) + _NEIGHBOURS, exact.size - 1)
        noise = np.empty_like(exact)
        noise[order] = highest[places]
        return noise


class Values(NamedTuple):
    """A record's values, in float32 both: computed in float64, and as native computes them."""

    exact: NDArray[Any]
    native: NDArray[Any]


def write_constants(weights: str, values: dict[str, Values]) -> None:
    """Keep the records' values (npz) beside the weights at this path."""
    arrays = {f"exact/{name}": pair.exact for name, pair in values.items()}
    arrays |= {f"native/{name}": pair.native for name, pair in values.items()}
    np.savez(Path(weights).with_name(FILE), **arrays)  # type: ignore[arg-type] # its stub's **kwds


def read_constants(weights: Path) -> dict[str, Values]:
    """The values that stand beside the weights at this path; nothing where none were kept."""
    path = weights.with_name(FILE)
    if not path.is_file():
        return {}
    with np.load(path) as file:
        names = [name.removeprefix("exact/") for name in file.files if name.startswith("exact/")]
        return {name: Values(file[f"exact/{name}"], file[f"native/{name}"]) for name in names}
