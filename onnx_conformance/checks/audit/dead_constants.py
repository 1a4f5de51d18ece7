"""Constants that no output depends on, beside live ones that hold the same numbers in pieces.

A rewrite that splits a tensor often leaves the whole tensor behind. The whole identifies pieces
that
are too small to be recognised, provided that all of them agree with it: a correct whole does not
excuse a wrong piece.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from onnx_conformance.checks.audit.layouts import bits
from onnx_conformance.checks.audit.report import Array


def agreeing(
    dead: Mapping[str, Array], live: Mapping[str, Array], unexplained: Collection[str]
) -> dict[str, Array]:
    """The dead constants all of whose values stand in live ones that hold nothing else.

    Args:
        unexplained: those of the live ones that resemble no native tensor.
    """
    pieces = {name: _values(live[name]) for name in unexplained if live[name].size}
    wholes = {name: _values(array) for name, array in dead.items() if array.dtype.kind == "f"}
    while True:
        known = _union(wholes.values())
        sound = {n: v for n, v in pieces.items() if np.isin(v, known, assume_unique=True).all()}
        odd = _union(v for n, v in pieces.items() if n not in sound)
        held = _union(sound.values())
        kept = {
            name: values
            for name, values in wholes.items()
            if values.size
            and np.isin(values, held, assume_unique=True).all()
            and not np.isin(values, odd, assume_unique=True).any()
        }
        if len(kept) == len(wholes):
            return {name: dead[name] for name in kept}
        wholes = kept


def _values(array: Array) -> Array:
    """The bit patterns of what is not zero, each once."""
    return np.unique(bits(array[array != 0]))


def _union(values: Iterable[Array]) -> Array:
    parts = list(values)
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.uint32)
