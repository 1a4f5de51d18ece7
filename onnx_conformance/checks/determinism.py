"""The check determinism: the same inputs give the same bits, where the provider promises it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.checks import reproduction
from onnx_conformance.checks.registry import FAITHFUL, register_check
from onnx_conformance.checks.verdict import judge, not_answered
from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.comparison import structure_problem
from onnx_conformance.core.results import CheckResult, failed, passed
from onnx_conformance.inputs.families import UNLIKE_SAMPLES, repeated
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.subject import Subject

LABEL = f"2 samples, the first of {UNLIKE_SAMPLES} unlike ones"


@dataclass(frozen=True)
class Spread:
    """How far two runs are apart: in how many elements, of how many, and by how much at most."""

    differing: int
    elements: int
    largest: float

    def __str__(self) -> str:
        return (
            f"{self.differing} of {self.elements} elements, largest difference {self.largest:.3g}"
        )


@register_check(control="not_repeatable", families=("repeat",))
def check_determinism(subject: Subject) -> CheckResult:
    """Two runs of the same inputs give the same bits, where the provider promises it.

    Elsewhere they may differ, as is reported; the second answer must be as right as the first.
    """
    inputs = repeated(subject.model, subject.seed)
    first, second = subject.run(inputs), subject.run(inputs, repeat=1)
    if first.outputs is None or second.outputs is None:
        return not_answered(first if first.outputs is None else second, inputs, LABEL)
    problem = structure_problem(first.outputs, second.outputs)
    if problem:
        return _unsteady(inputs, second.outputs, f"in the second of two runs, {problem}")
    spread = spread_of(first.outputs, second.outputs)
    if not spread.differing:
        reason = "two runs, the same bits"
        return passed(reason, compared=spread.elements, statistics=asdict(spread), inputs=LABEL)
    if PROVIDERS[subject.case.provider].deterministic:
        promise = f"{subject.case.provider} promises the same bits"
        result = _unsteady(inputs, second.outputs, f"two runs differ in {spread}; {promise}")
        return replace(result, compared=spread.elements, statistics=asdict(spread))
    return _unpromised(subject, inputs, spread)


def spread_of(first: Outputs, second: Outputs) -> Spread:
    """Outputs of the same structure, bit by bit: 0.0 is not -0.0, and a NaN may be another NaN."""
    pairs = [(array, second[name]) for name, array in first.items()]
    return Spread(
        differing=sum(int((_bits(one) != _bits(other)).any(axis=-1).sum()) for one, other in pairs),
        elements=sum(one.size for one, _ in pairs),
        largest=max((_largest(one, other) for one, other in pairs), default=0.0),
    )


def _bits(array: Array) -> Array:
    """A row of bytes for each element."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(np.uint8).reshape(flat.size, array.dtype.itemsize)


def _largest(one: Array, other: Array) -> float:
    """The largest difference; infinite where only one of two numbers is finite."""
    a, b = (np.asarray(array, np.float64).reshape(-1) for array in (one, other))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    apart = np.abs(a[~same] - b[~same])
    return float(np.where(np.isnan(apart), np.inf, apart).max(initial=0.0))


def _unsteady(inputs: Inputs, second: Outputs, reason: str) -> CheckResult:
    return failed(reason, inputs=LABEL, reproduction=reproduction.unsteady(inputs, second))


def _unpromised(subject: Subject, inputs: Inputs, spread: Spread) -> CheckResult:
    """Reported, if the second answer is right too: a first run may spoil the session."""
    reason = f"two runs differ in {spread}; {subject.case.provider} promises no determinism"
    if subject.case.precision in FAITHFUL:
        second = judge(subject, inputs, LABEL, repeat=1)
        if second.outcome == "failed":
            return replace(second, reason=f"the second of two runs is wrong: {second.reason}")
    return passed(reason, compared=spread.elements, statistics=asdict(spread), inputs=LABEL)
