"""A match: one initialiser explained by one or more native tensors; and folds of BatchNorms.

A BatchNorm folded into what is before it, its factor and offset in float64:

    y = gamma * (x - mean) / sqrt(variance + epsilon) + beta        (Ioffe and Szegedy 2015, alg. 2)
      = factor * x + (beta - mean * factor),   factor = gamma / sqrt(variance + epsilon)

so a convolution before it gets the kernel ``kernel * factor`` (per output channel) and the bias
``beta + (bias - mean) * factor``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from onnx_conformance.checks.audit.deviation import Float64, Measure
from onnx_conformance.checks.audit.findings import Finding, Status, WorstElement
from onnx_conformance.checks.audit.layouts import Layout, native_index
from onnx_conformance.core.arrays import Array
from onnx_conformance.core.native_request import BatchNormRecord

# What an initialiser is: a copy of one native tensor, a kernel times a factor along its channels,
# or what a BatchNorm leaves of itself: its factor, its offset.
Role = Literal["copy", "kernel", "factor", "offset"]


@dataclass(frozen=True)
class WeightMatch:
    """What an initialiser holds.

    Args:
        natives: the tensors it was made from; the first is the one whose layout it follows.
        fold: the index of the BatchNorm whose factor was applied, if one was.
        layout: how the native axes stand in the initialiser; None: in their own order.
    """

    initializer: str
    natives: tuple[str, ...]
    status: Status
    role: Role
    layout: Layout | None
    fold: int | None = None
    measure: Measure | None = None
    note: str = ""

    @property
    def mismatched(self) -> int:
        """How many elements are off."""
        return self.measure.mismatched if self.measure else 0

    def finding(self, native: str, array: Array) -> Finding:
        """The finding for one of the natives."""
        return Finding(
            native=native,
            status=self.status,
            initializer=self.initializer,
            elements=array.size,
            worst=self._worst(array),
            note=self.note,
            mismatched=self.mismatched,
        )

    def _worst(self, array: Array) -> WorstElement | None:
        if self.measure is None:
            return None
        layout = tuple(range(array.ndim)) if self.layout is None else self.layout
        index = native_index(self.measure.flat, array.shape, layout)
        value = float(array[index])
        return WorstElement(
            index, value, self.measure.expected, self.measure.found, self.measure.ulp
        )


# -- folds -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fold:
    """One BatchNorm; all arrays are (channels,), float64.

    Args:
        scale: names of the tensors that make ``factor`` (gamma, variance), as far as they exist.
        shift: names of those that only the offset consumes (beta, mean).
    """

    name: str
    scale: tuple[str, ...]
    shift: tuple[str, ...]
    factor: Float64
    beta: Float64
    mean: Float64

    def offset(self, bias: Float64 | float = 0.0) -> tuple[Float64, Float64]:
        """The folded bias, and the sum of its terms' magnitudes."""
        terms = np.abs(self.beta) + np.abs(bias * self.factor) + np.abs(self.mean * self.factor)
        return self.beta + (bias - self.mean) * self.factor, terms


def folds_of(weights: Mapping[str, Array], batch_norms: Iterable[BatchNormRecord]) -> list[Fold]:
    """The folds, in the records' order. An absent gamma is one, an absent beta zero."""
    return [_fold(weights, record) for record in batch_norms]


def _fold(weights: Mapping[str, Array], record: BatchNormRecord) -> Fold:
    fields = cast("Mapping[str, Any]", record)
    names = {
        role: fields[role]
        for role in ("gamma", "beta", "mean", "variance")
        if fields.get(role) in weights
    }
    values = {role: weights[name].reshape(-1).astype(np.float64) for role, name in names.items()}
    variance, mean = values["variance"], values["mean"]
    gamma = values.get("gamma", np.ones_like(variance))
    return Fold(
        name=names.get("gamma", names["variance"]),
        scale=tuple(names[role] for role in ("gamma", "variance") if role in names),
        shift=tuple(names[role] for role in ("beta", "mean") if role in names),
        factor=gamma / np.sqrt(variance + record["epsilon"]),
        beta=values.get("beta", np.zeros_like(variance)),
        mean=mean,
    )
