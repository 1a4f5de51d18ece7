"""Vectors: changed copies, and the factors, offsets and folded biases of BatchNorms."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnx_conformance.checks.audit.deviation import Float64, deviations, measure_terms
from onnx_conformance.checks.audit.findings import Status
from onnx_conformance.checks.audit.formats import (
    Format,
    WeightTolerance,
    coarser_format,
    narrower_format,
)
from onnx_conformance.checks.audit.matches import Fold, Role, WeightMatch
from onnx_conformance.checks.audit.rearranged import permuted
from onnx_conformance.core.arrays import Array

# Resemblance, not verdicts: the share of elements that must be near, and how near.
_NEAR = 2.0**-6  # relative to the terms' magnitude
_MOST = 0.5
_FEW = 2
_MOST_OF_NEUTRAL = 7 / 8  # of zeros or ones, which a table of the model's own may have many of


@dataclass(frozen=True)
class VectorCandidate:
    """One thing that a vector of the file could hold.

    Args:
        natives: the tensors it would be made from.
        expected, magnitude: (channels,), float64; see ``Fold.offset``.
        tolerance: what is granted to it.
        fold: the index of the BatchNorm that it would come from.
    """

    natives: tuple[str, ...]
    role: Role
    expected: Float64
    magnitude: Float64
    tolerance: WeightTolerance
    fold: int | None = None
    note: str = ""


class VectorCandidates:
    """All that vectors of one size could hold, stacked for one comparison.

    ``expected``, ``magnitude`` and ``tiny`` are (candidates, channels), ``limits`` and ``eps``
    (candidates, 1).
    """

    def __init__(self, items: Sequence[VectorCandidate]) -> None:
        self.items = items
        self.expected = np.stack([item.expected for item in items])
        self.magnitude = np.stack([item.magnitude for item in items])
        self.limits = np.array([[item.tolerance.limit(item.role)] for item in items])
        self.eps = np.array([[item.tolerance.eps] for item in items])
        self.neutral = np.array([item.role == "copy" and _neutral(item) for item in items])
        channels = self.expected.shape[1:]
        tiny = (np.ravel(item.tolerance.tiny) for item in items)
        self.tiny = np.stack([np.broadcast_to(each, channels) for each in tiny])


def _neutral(item: VectorCandidate) -> bool:
    """Whether a vector changes nothing when added or multiplied, and so need not be in a file."""
    return item.expected[0] in (0, 1) and bool(np.all(item.expected == item.expected[0]))


def vector_candidates(
    vectors: Mapping[str, Array],
    biases: Collection[str],
    folds: Sequence[tuple[int, Fold]],
    form: Format,
) -> VectorCandidates | None:
    """The candidates for vectors of one size, or None where nothing has that size.

    Args:
        vectors: the native vectors of that size; each may stand there as a copy.
        biases: those of them that a fold may have consumed.
        folds: the BatchNorms of that size, with their indices.
    """
    flat = {name: array.reshape(-1).astype(np.float64) for name, array in vectors.items()}
    granted = {name: form.weight_tolerance(array.dtype) for name, array in vectors.items()}
    items = [VectorCandidate((n,), "copy", v, np.abs(v), granted[n]) for n, v in flat.items()]
    for index, fold in folds:
        items += _fold_candidates(index, fold, {name: flat[name] for name in biases}, granted)
    return VectorCandidates(items) if items else None


def explain_vector(
    name: str,
    found: Array,
    known: VectorCandidates,
    weights: Mapping[str, Array],
    form: Format,
    indexed: Collection[int] = (),
    named: Collection[str] = (),
) -> WeightMatch | None:
    """The best explanation of initialiser ``found`` by one candidate, or None.

    A constant vector is near many things: it must match exactly where it matches. Zeros and ones,
    which a file need not hold, must be found in most places, unless ``found`` bears their name.

    Args:
        indexed: axes along which order counts.
        named: native tensors whose names the graph gives ``found``.
    """
    values = found.reshape(-1).astype(np.float64)
    units = deviations(known.expected, known.magnitude, values, known.eps, known.tiny)
    within = units <= known.limits
    near = np.abs(values - known.expected) <= _NEAR * known.magnitude
    matched = np.count_nonzero(within, axis=1)
    alike = matched if np.all(values == values[0]) else np.count_nonzero(near, axis=1)
    for row in np.flatnonzero(known.neutral & (matched < _MOST_OF_NEUTRAL * values.size)).tolist():
        if known.items[row].natives[0] not in named:
            alike[row] = 0
    best = int(np.lexsort((matched, alike))[-1])
    if alike[best] < max(_MOST * values.size, min(_FEW, values.size)):
        return None
    return _match(name, found, known.items[best], weights, form, indexed)


def _fold_candidates(
    index: int,
    fold: Fold,
    biases: Mapping[str, Float64],
    granted: Mapping[str, WeightTolerance],
) -> Iterator[VectorCandidate]:
    """A BatchNorm's factor, and its offset with and without each bias."""
    note, size, of_scale = (
        f"of BatchNorm '{fold.name}'",
        np.abs(fold.factor),
        granted[fold.scale[0]],
    )
    yield VectorCandidate(fold.scale, "factor", fold.factor, size, of_scale, index, note)
    offsets = {fold.shift: fold.offset()}
    offsets |= {(*fold.shift, bias): fold.offset(value) for bias, value in biases.items()}
    for natives, (expected, magnitude) in offsets.items():
        tolerance = granted[natives[0]]
        yield VectorCandidate(natives, "offset", expected, magnitude, tolerance, index, note)


def _match(
    name: str,
    found: Array,
    item: VectorCandidate,
    weights: Mapping[str, Array],
    form: Format,
    indexed: Collection[int],
) -> WeightMatch:
    limit = item.tolerance.limit(item.role)
    measure = measure_terms(item.expected, item.magnitude, found, item.tolerance, limit)
    status: Status = "identical" if item.role == "copy" else "folded"
    note = f"{item.role} {item.note}" if item.note else ""
    coarse = coarser_format(form, lambda: item.expected, found)
    if measure.mismatched or coarse:
        narrow = coarse or narrower_format(form.held(weights[item.natives[0]]), found)
        status = "rounded" if narrow else "differs"
        note = f"{note} rounded to {narrow}".strip() if narrow else note
        tolerance = limit * item.tolerance.eps * item.magnitude
        if not indexed and permuted(item.expected, found.reshape(-1).astype(np.float64), tolerance):
            return WeightMatch(name, item.natives, "rearranged", item.role, None, item.fold)
    return WeightMatch(name, item.natives, status, item.role, None, item.fold, measure, note)
