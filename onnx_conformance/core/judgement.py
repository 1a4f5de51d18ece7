"""Judges an answer: structure, then non-finite values, then the size of the error.

Checks of one answer, timings, the gate and localisation decide here; the message is the caller's.
Sweeps of many rows are judged by ``pooled_budget``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.budget import (
    EXACT,
    Reference,
    Score,
    Turns,
    largest_noise_floor,
    worst_score,
)
from onnx_conformance.core.case import Case
from onnx_conformance.core.comparison import (
    Mismatch,
    allclose_mismatch,
    nearest,
    nonfinite_problem,
    structure_problem,
    without_infinities,
)
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.core.ties import settled
from onnx_conformance.core.tolerances import Rule, Tolerances

Measure = Literal["score", "allclose", "decibels"]


@dataclass(frozen=True)
class AnswerLimits:
    """How large an answer's error may be.

    Args:
        measure: ``score``, in noise floors of the float64 oracle (figures ``factor`` and
            ``floor_ulp``); ``allclose`` to native (``rtol`` and ``atol_rms``), where there is no
            oracle; ``decibels`` of signal to quantisation noise (``least_db``).
        tie_factor: numbers tie within so many times float32's own error; positions of either are
            right.
        turns: how many whole numbers rounding may turn.
    """

    measure: Measure
    rule: Rule
    tie_factor: float = 0.0
    turns: Turns = EXACT

    def excessive_noise(self, reference: Reference, specs: Sequence[TensorSpec]) -> float:
        """The relative error of native itself where comparing proves nothing beside it; else 0."""
        if self.measure != "score":
            return 0.0
        noise = largest_noise_floor(reference, specs)
        return noise if noise > self.rule["maximum_noise_floor"] else 0.0


def limits_of(
    tolerances: Tolerances, case: Case | None, *, oracle: bool, check: str = "error_budget"
) -> AnswerLimits:
    """What an answer of a case may be off by: the error budget, or allclose without an oracle.

    Args:
        case: None for native itself, to which no override applies.
        oracle: whether the model is computed in float64.
        check: whose budget.
    """
    rule = tolerances.rule(check if oracle else "allclose", case)
    tie_factor = tolerances.rule("top5", case)["tie_factor"]
    measure: Measure = "score" if oracle else "allclose"
    return AnswerLimits(measure, rule, tie_factor, turns_of(tolerances, case))


def turns_of(tolerances: Tolerances, case: Case | None) -> Turns:
    """How many whole numbers and truth values rounding may turn."""
    sweep = tolerances.rule("sweep", case)
    return Turns(sweep["flips"], sweep["open_share"])


@dataclass(frozen=True)
class Judgement:
    """The judgement of an answer, with everything that a message needs.

    Args:
        reference, specs, limits: what it was compared with, and how.
        outputs: the answer, with native's positions wherever both choose numbers that tie.
        problem: one sentence on its structure, or on a NaN or infinity out of place; else empty.
        comparable: whether its structure is native's, so that its values could be compared.
        score, mismatch, decibels: by the measure of ``limits``; ``mismatch`` None if all is close.
    """

    reference: Reference
    specs: Sequence[TensorSpec]
    limits: AnswerLimits
    outputs: Outputs
    problem: str = ""
    comparable: bool = True
    score: Score | None = None
    mismatch: Mismatch | None = None
    decibels: float | None = None

    @property
    def native(self) -> Outputs:
        """Native's answer, of the outputs that are judged."""
        return _named(self.reference.native, self.specs)

    @property
    def right(self) -> bool:
        """Whether it is within the limits."""
        if self.problem or self.mismatch is not None:
            return False
        if self.decibels is not None:
            return self.decibels >= self.limits.rule["least_db"]
        return self.score is None or self.score.value <= self.limits.rule["factor"]

    @property
    def severity(self) -> float:
        """The size of the error, to rank answers of one model: 0 where there is none."""
        if self.problem:
            return np.inf
        if self.mismatch is not None:
            return self.mismatch.count / self.mismatch.elements
        if self.decibels is not None:
            return -self.decibels
        return self.score.value if self.score else 0.0

    def native_differs(self, factor: float) -> bool:
        """Whether, without an oracle, an answer is as near to native as native is to itself.

        An alternative of native's must fail allclose too, and the answer may be ``factor`` times as
        far in each output: in rms, or in the count of whole numbers that differ.
        """
        if self.problem or self.mismatch is None:
            return False
        native, tolerance = self.native, (self.limits.rule["rtol"], self.limits.rule["atol_rms"])
        others = [_named(other, self.specs) for other in self.reference.alternatives()]
        others = [
            other
            for other in others
            if structure_problem(native, other) is None
            and allclose_mismatch(native, other, *tolerance, scale_atol=True)
        ]
        return bool(others) and all(
            _distance(native[name], self.outputs[name])
            <= factor * max(_distance(native[name], other[name]) for other in others)
            for name in native
        )

    @property
    def elements(self) -> int:
        """How many numbers were compared."""
        return 0 if self.problem else sum(array.size for array in self.native.values())

    def __str__(self) -> str:
        """What is wrong, or how large the error is, in a few words."""
        rule, wrong = self.limits.rule, self.mismatch
        if self.problem:
            return self.problem
        if wrong is not None:
            return f"{wrong.count} of {wrong.elements} elements of '{wrong.output}' are not close"
        if self.decibels is not None:
            return (
                f"{self.decibels:.1f} dB of signal to quantisation noise, wanted "
                f"{rule['least_db']:g}"
            )
        if self.score is None:
            return "close to native"
        return f"{self.score}; allowed {rule['factor']:g}x ({rule.origin})"


def judge_outputs(
    reference: Reference, got: Outputs, specs: Sequence[TensorSpec], limits: AnswerLimits
) -> Judgement:
    """Compare an answer with the reference of its inputs.

    Args:
        got: a row for each sample; an output that native has not is a problem too.
        specs: of the outputs that are judged.

    Raises:
        ValueError: the measure is ``score`` and there is no element to compare.
    """
    rule, native = limits.rule, _named(reference.native, specs)
    judged = Judgement(reference, specs, limits, got)
    asked = {n: array for n, array in got.items() if n in native or n not in reference.native}
    problem = structure_problem(native, asked)
    if problem:
        return replace(judged, problem=problem, comparable=False)
    problem = nonfinite_problem(native, asked)
    if problem:
        return replace(judged, problem=problem)
    if limits.measure == "decibels":
        return replace(judged, decibels=signal_to_noise(native, got, specs))
    if limits.measure == "allclose":
        outputs: Outputs = settled(reference.choices, native, got, limits.tie_factor)
        tolerance = rule["rtol"], rule["atol_rms"]
        wrong = allclose_mismatch(native, outputs, *tolerance, scale_atol=True)
        others = reference.alternatives() if wrong is not None else ()
        if others:
            near = nearest(native, others, outputs)
            wrong = allclose_mismatch(near, outputs, *tolerance, scale_atol=True)
        return replace(judged, outputs=outputs, mismatch=wrong)
    outputs = reference.settled(got, limits.tie_factor)
    most = rule.get("maximum_noise_floor", np.inf)
    score = worst_score(reference, outputs, specs, rule["floor_ulp"], limits.turns, most)
    return replace(judged, outputs=outputs, score=score)


def _named(outputs: Outputs, specs: Sequence[TensorSpec]) -> Outputs:
    return {spec.name: outputs[spec.name] for spec in specs}


def _distance(wanted: Array, got: Array) -> float:
    """In rms of floating numbers; of others, how many differ."""
    if wanted.dtype.kind != "f":
        return float(np.count_nonzero(wanted != got))
    reference, other = without_infinities(wanted, got)
    return float(np.sqrt(np.mean(np.square(other - reference)))) if reference.size else 0.0


def signal_to_noise(native: Outputs, got: Outputs, specs: Sequence[TensorSpec]) -> float:
    """Decibels of the noisiest output: 10 log10 (sum x² / sum (x - y)²).

    Of whole numbers and truth values: over the share that differs. Infinite without any noise.
    """
    found = [np.inf]
    for spec in specs:
        exact = native[spec.name].astype(np.float64)
        if spec.floating:
            noise = float(np.square(got[spec.name] - exact).sum())
            signal = float(np.square(exact).sum())
        else:
            noise, signal = float((got[spec.name] != exact).sum()), float(exact.size)
        found.append(10.0 * np.log10(signal / noise) if noise and signal else np.inf)
    return float(min(found))
