"""The verdict on an answer: by the error budget, or by allclose where there is no oracle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from onnx_conformance.checks import reproduction
from onnx_conformance.checks.placement import describe_placement
from onnx_conformance.checks.refusals import unanswered
from onnx_conformance.core.budget import Reference, Score, largest_noise_floor, worst_score
from onnx_conformance.core.comparison import (
    Mismatch,
    Outputs,
    allclose_mismatch,
    nonfinite_problem,
    statistics,
    structure_problem,
)
from onnx_conformance.core.results import CheckResult, Reproduction, failed, passed, skipped
from onnx_conformance.core.tolerances import Rule
from onnx_conformance.inputs.families import ORDINARY, chosen
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.session.subject import Answer, Subject


def judge(
    subject: Subject,
    name: str,
    inputs: Inputs,
    label: str,
    *,
    given: Inputs | None = None,
    repeat: int = 0,
    answer: Answer | None = None,
) -> CheckResult:
    """The error budget on any inputs, as the verdict of check ``name``.

    Args:
        label: the words that describe the inputs.
        given: the session's inputs, where they are more than native's.
        repeat: which run of the inputs is judged.
        answer: what is judged, where not the session's answer.
    """
    fed = inputs if given is None else given
    answer = subject.run(fed, repeat) if answer is None else answer
    if answer.outputs is None:
        return failed(
            name,
            unanswered(answer),
            inputs=label,
            reproduction=reproduction.unanswered(fed),
        )
    reference = subject.reference(inputs)
    outputs = reference.settled(answer.outputs, tie_factor(subject))
    if not subject.model.oracle:
        return judge_by_allclose(subject, name, label, fed, reference.native, outputs)
    rule = subject.tolerances.rule("error_budget", subject.case)
    problem = structure_problem(reference.native, outputs) or nonfinite_problem(
        reference.native, outputs
    )
    if problem:
        return failed(
            name,
            problem,
            inputs=label,
            details=evidence_lines(subject),
            reproduction=reproduction.over_budget(
                fed, reference, outputs, subject.model.judged, rule
            ),
        )
    noise = largest_noise_floor(reference, subject.model.judged)
    score = worst_score(reference, outputs, subject.model.judged, rule["floor_ulp"])
    if noise > rule["maximum_noise_floor"]:
        near_zero = _near_zero(subject, reference, rule["maximum_noise_floor"])
        if not near_zero or not score.value <= rule["factor"]:
            reason = (
                f"{reference.unit} itself errs by {noise:.2g} of the output on {label}: "
                "it proves nothing"
            )
            return skipped(name, reason)
    numbers = statistics(reference.native, outputs)
    if score.value <= rule["factor"]:
        return passed(
            name,
            f"within budget: {score}",
            compared=numbers.elements,
            score=score.value,
            budget=rule["factor"],
            statistics=asdict(numbers),
            inputs=label,
        )
    return failed(
        name,
        f"output '{score.output}' differs from native {subject.model.framework}",
        compared=numbers.elements,
        score=score.value,
        budget=rule["factor"],
        statistics=asdict(numbers),
        inputs=label,
        details=(
            *_worst_element(reference, outputs, score),
            _over(score, rule),
            *evidence_lines(subject),
        ),
        reproduction=reproduction.over_budget(fed, reference, outputs, subject.model.judged, rule),
    )


def _near_zero(subject: Subject, reference: Reference, share: float) -> bool:
    """Whether the outputs are so near 0 that float32's error is at most ``share`` of ordinary ones.

    Beside outputs that near 0 it is large. A norm of equal numbers answers 0 and rounding; an
    answer within the budget is then known to be 0 as well, to that share.
    """
    specs = subject.model.judged
    if any(spec.scale != "linear" for spec in specs):
        return False
    ordinary = [
        subject.reference(inputs) for inputs in chosen(ORDINARY, subject.model, subject.seed)
    ]
    for spec in (spec for spec in specs if spec.floating):
        exact = reference.oracle[spec.name]
        compute_modes = (reference.native, *reference.replicas)
        error = max(
            float(np.abs(compute_mode[spec.name] - exact).max(initial=0.0))
            for compute_mode in compute_modes
        )
        usual = [np.asarray(one.oracle[spec.name], np.float64) for one in ordinary]
        size = max(float(np.sqrt(np.mean(array**2))) if array.size else 0.0 for array in usual)
        if not error <= share * size:
            return False
    return True


def tie_factor(subject: Subject) -> float:
    """Within how many times float32's own error numbers tie, so that either position is right."""
    return subject.tolerances.rule("top5", subject.case)["tie_factor"]


def judge_by_allclose(
    subject: Subject, name: str, label: str, fed: Inputs, native: Outputs, got: Outputs
) -> CheckResult:
    """The verdict where nothing can be computed in float64: closeness to native itself."""
    rule = subject.tolerances.rule("allclose", subject.case)
    trace = reproduction.not_close(fed, native, got, rule)
    problem = structure_problem(native, got) or nonfinite_problem(native, got)
    if problem:
        return failed(name, problem, inputs=label, reproduction=trace)
    wrong = allclose_mismatch(native, got, rule["rtol"], rule["atol_rms"], scale_atol=True)
    if wrong:
        return not_close(subject, name, wrong, label, rule, trace)
    numbers = statistics(native, got)
    return passed(
        name,
        f"no float64 oracle: close to native by allclose, largest difference {numbers.scaled:.3g} "
        f"of the output's rms ({rule.origin})",
        compared=sum(array.size for array in got.values()),
        statistics=asdict(numbers),
        inputs=label,
    )


def _worst_element(reference: Reference, actual: Outputs, score: Score) -> Iterator[str]:
    wanted, got = reference.oracle[score.output], np.asarray(actual[score.output], np.float64)
    distance = np.abs(got[score.sample] - wanted[score.sample])
    place = tuple(int(i) for i in np.unravel_index(int(np.argmax(distance)), distance.shape))
    index = (score.sample, *place)
    yield f"shape {wanted.shape}, judged against the float64 oracle"
    yield (
        f"worst at {list(index)}: expected {wanted[index]:.6g}, got {got[index]:.6g}   "
        f"abs {abs(got[index] - wanted[index]):.3g}   "
        f"{_relative(wanted[index], got[index], float(np.abs(wanted[score.sample]).max()))}"
    )


def _over(score: Score, rule: Rule) -> str:
    """How far out of budget; whole numbers and truth values have none, infinity is no number."""
    if score.norm == "share":
        return (
            f"budget: whole numbers and truth values must be equal; {100 * score.error:.3g} % of "
            f"sample {score.sample}'s are not"
        )
    times = f"{score.value:.3g}x" if np.isfinite(score.value) else "without bound beside"
    return (
        f"budget: error {times} the {score.unit} noise floor, allowed {rule['factor']:g}x "
        f"({score.norm} norm of the {score.view}; {rule.origin})"
    )


def _relative(expected: float, got: float, largest: float) -> str:
    """The relative error in words; it means nothing where 0 is expected, but for rounding.

    Args:
        largest: of the sample's elements, in absolute value.
    """
    if abs(expected) <= np.finfo(np.float32).eps * largest or expected == 0:
        return "rel without meaning: 0 is expected, but for rounding"
    return f"rel {abs(got - expected) / abs(expected):.3g}"


def evidence_lines(subject: Subject) -> tuple[str, ...]:
    """The lines that every numeric failure carries."""
    return (f"placement: {describe_placement(subject)}",)


def not_close(
    subject: Subject, name: str, wrong: Mismatch, label: str, rule: Rule, trace: Reproduction
) -> CheckResult:
    """The result of a mismatch under NumPy's rule, ``assert_allclose``."""
    share = 100.0 * wrong.count / wrong.elements
    return failed(
        name,
        f"output '{wrong.output}' is not close to native {subject.model.framework}",
        compared=wrong.elements,
        inputs=label,
        details=(
            f"mismatched {wrong.count} / {wrong.elements} ({share:.3g} %)",
            f"worst at {list(wrong.index)}: expected {wrong.expected:.6g}, got {wrong.got:.6g}",
            f"allowed: rtol {rule['rtol']:g}, atol {rule['atol_rms']:g} of rms ({rule.origin})",
            *evidence_lines(subject),
        ),
        reproduction=trace,
    )
