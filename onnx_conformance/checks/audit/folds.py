"""A BatchNorm folded into what is before it: its factor and offset, in float64.

    y = gamma * (x - mean) / sqrt(variance + epsilon) + beta        (Ioffe and Szegedy 2015, alg. 2)
      = factor * x + (beta - mean * factor),   factor = gamma / sqrt(variance + epsilon)

so a convolution before it gets the kernel ``kernel * factor`` (per output channel) and the bias
``beta + (bias - mean) * factor``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from onnx_conformance.checks.audit.deviation import Float64
from onnx_conformance.checks.audit.report import Array
from onnx_conformance.core.native_request import BatchNormRecord


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
