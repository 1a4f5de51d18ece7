"""The error budget of many samples: float32's own error is taken from all of them together.

Of one sample, native and its replicas are four draws of float32's error. Among thousands of
samples of a few outputs some have four errors that are small by luck, and a right answer would
exceed any small multiple of them. So a sample's noise floor is

    max(L · n, min(P, R · ‖y‖))

with n = max(‖native − y‖, ‖replicas − y‖) + floor · 2⁻²³ · ‖y‖ the sample's own and y the oracle.
P is the quantile ``pool_share`` of n over the samples, R that of n / ‖y‖, so neither samples of
large values nor those near 0 set the measure for the others; and a few samples in which float32
fails, such as sequences of length 1 in a norm, blind nothing. L = 1 + (lone − 1) / d, d the
numbers of a sample, is for samples of more error than the pool: that all four draws of one number
are 32 times smaller than a fifth has a chance of 1 in a million (normal errors), 4 times of 4 in
1,000; norms of many numbers hardly vary. Even so, of thousands of samples of a single number one
may exceed it: ``strays`` samples of the inputs may, if they err by no more than ``factor``
times the
largest n of the pool. Figures: ``sweep`` in ``tolerances.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.budget import NORMS, Reference
from onnx_conformance.core.compute_modes import FLOAT32, ULP
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.core.views import LOGARITHMS, UNMASKED, Rows, views

Pair = tuple[Reference, Outputs]


@dataclass(frozen=True)
class PoolRule:
    """Figures of the comparison: of ``error_budget`` and ``sweep``."""

    factor: float
    floor_ulp: float
    maximum_noise_floor: float
    pool_share: float
    lone: float
    strays: float = 0.0


@dataclass(frozen=True)
class RowScores:
    """Errors of one output in one norm, for every sample of every set of inputs.

    Args:
        errors, allowed: absolute, an array for each call's inputs, a number a sample; ``allowed``
            is infinite where float32 itself errs too much to tell.
        sizes: ‖oracle‖ of each sample.
        largest: what would be allowed of the sample with the largest error of its own.
        strays: how many samples of the inputs may err by up to that.
        left_open: of how many samples native's own ways differ by so much that nothing is known,
            as where a decision hangs on a rounding; ``turned`` is what that many errors allow.
        open_each: in how many of them one of native's ways does, on average.
    """

    output: str
    norm: str
    view: str
    errors: tuple[Rows, ...]
    allowed: tuple[Rows, ...]
    sizes: tuple[Rows, ...]
    largest: float = 0.0
    strays: float = 0.0
    left_open: int = 0
    turned: float = 0.0
    open_each: float = 0.0

    @property
    def judged_rows(self) -> tuple[int, int]:
        """Of how many samples float32 lets anything be said, and of how many there are."""
        known = sum(int(np.isfinite(allowed).sum()) for allowed in self.allowed)
        return known, sum(allowed.size for allowed in self.allowed)

    def ratios(self, inputs: int) -> Rows:
        """Errors of the inputs' samples as shares of what is allowed."""
        error, allowed = self.errors[inputs], self.allowed[inputs]
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(np.isinf(allowed), 0.0, error / allowed)
        ratio = np.where(np.isnan(ratio), 0.0, ratio)  # no error where none is allowed
        over = ratio > 1.0
        if over.sum() <= self.strays and bool((error[over] <= self.largest).all()):
            ratio[over] = 0.0
        return ratio


def pooled_scores(
    pairs: Sequence[Pair], outputs: Sequence[TensorSpec], rule: PoolRule
) -> list[RowScores]:
    """Errors and allowances of the floating outputs, over all inputs of ``pairs`` together."""
    return [scores for spec in outputs if spec.floating for scores in _of_output(pairs, spec, rule)]


def _of_output(pairs: Sequence[Pair], spec: TensorSpec, rule: PoolRule) -> Iterator[RowScores]:
    measured = [_measure(reference, got, spec, rule.floor_ulp) for reference, got in pairs]
    both = list(zip(measured, pairs, strict=True))
    for kind in dict.fromkeys(key for found in measured for key in found):
        parts = [
            found.get(kind) or _nothing(len(got[spec.name]), len(reference.natives))
            for found, (reference, got) in both
        ]
        noises = np.concatenate([noise for _, noise, _, _ in parts])
        size = np.concatenate([size for _, _, size, _ in parts])
        own = np.concatenate([own for _, _, _, own in parts], axis=-1)
        logarithms = kind[1] == LOGARITHMS and all(of.unit == FLOAT32 for of, _ in pairs)
        usable = _usable(noises, size, rule, logarithms=logarithms)
        unknown = np.isfinite(noises) & ~usable
        usable &= (size > 0) | (kind[1] != UNMASKED)  # others have no such numbers
        pool, share = _pool(noises[usable], size[usable], rule.pool_share)
        numbers = 1 if kind[1] == UNMASKED else max(_numbers(pairs, spec), 1)
        lone = 1.0 + (rule.lone - 1.0) / numbers
        pools = [
            np.minimum(pool, share * size if share else 0.0)  # of an infinite size, too
            for _, _, size, _ in parts
        ]
        allowed = [
            np.where(
                _usable(noise, size, rule, logarithms=logarithms),
                rule.factor * np.maximum(lone * noise, pooled),
                np.inf,
            )
            for (_, noise, size, _), pooled in zip(parts, pools, strict=True)
        ]
        yield RowScores(
            spec.name,
            *kind,
            tuple(error for error, _, _, _ in parts),
            tuple(allowed),
            tuple(size for _, _, size, _ in parts),
            rule.factor * float(np.max(noises[usable], initial=0.0)),
            rule.strays,
            int(unknown.sum()),
            rule.factor * float(np.max(noises[unknown], initial=0.0)),
            float(
                np.sum(~_usable(own[:, unknown], size[unknown], rule, logarithms=logarithms))
                / len(own)
            ),
        )


def _usable(noise: Rows, size: Rows, rule: PoolRule, *, logarithms: bool) -> NDArray[np.bool_]:
    """Whether float32's own error lets anything be said; that of a logarithm is relative itself."""
    most = np.minimum(size, 1.0) if logarithms else size
    usable: NDArray[np.bool_] = np.isfinite(noise) & (noise <= rule.maximum_noise_floor * most)
    return usable


def _numbers(pairs: Sequence[Pair], spec: TensorSpec) -> int:
    """The fewest numbers that a sample of the output has, in the inputs that have any."""
    arrays = [reference.oracle[spec.name] for reference, _ in pairs]
    return min((array.size // len(array) for array in arrays if array.size), default=1)


def _nothing(samples: int, ways: int) -> tuple[Rows, Rows, Rows, Rows]:
    """What :func:`_measure` gives of samples that have nothing of a view."""
    return np.zeros(samples), np.zeros(samples), np.zeros(samples), np.zeros((ways, samples))


def _pool(noises: Rows, size: Rows, quantile: float) -> tuple[float, float]:
    """P and R of the module's formula; 0 where there is no sample to take them from."""
    if not noises.size:
        return 0.0, 0.0
    relative = noises / np.maximum(size, np.finfo(np.float64).tiny)
    return float(np.quantile(noises, quantile)), float(np.quantile(relative, quantile))


def _measure(
    reference: Reference, got: Outputs, spec: TensorSpec, floor_ulp: float
) -> dict[tuple[str, str], tuple[Rows, Rows, Rows, Rows]]:
    """(norm, view) to a set's samples' errors, float32's own errors, sizes, and errors by way."""
    exact = reference.oracle[spec.name]
    own = [dict(_distances(exact, native[spec.name], spec)) for native in reference.natives]
    found = {}
    for kind, (error, size) in _distances(exact, got[spec.name], spec):
        ways = np.stack([distances[kind][0] for distances in own])
        found[kind] = (error, ways.max(axis=0) + floor_ulp * ULP * size, size, ways)
    return found


def _distances(
    wanted: Rows, got: Rows, spec: TensorSpec
) -> Iterator[tuple[tuple[str, str], tuple[Rows, Rows]]]:
    for view, exact, found in views(wanted, got, spec, many=True):
        for norm, measure in NORMS.items():
            with np.errstate(invalid="ignore", over="ignore"):
                error = measure(found - exact)
            size = measure(exact)
            if spec.scale == "unit":
                size = np.maximum(size, 1.0)
            elif view == UNMASKED:  # of samples that have such numbers
                size = np.where(size > 0, np.maximum(size, 1.0), 0.0)
            yield (norm, view), (np.where(np.isnan(error), np.inf, error), size)
