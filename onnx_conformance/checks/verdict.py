"""The verdict on an answer: by the error budget, or by allclose where there is no oracle.

Of inputs that were not answered: what the runtime said, and whether native refuses them too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace

import numpy as np

from onnx_conformance.checks import reproduction
from onnx_conformance.checks.controls import AlteredSubject
from onnx_conformance.checks.placement import describe_placement
from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.budget import Reference, Score
from onnx_conformance.core.comparison import Mismatch, Statistics, statistics
from onnx_conformance.core.domains import Mask, Real
from onnx_conformance.core.errors import StageFailure, WorkerEnded
from onnx_conformance.core.judgement import AnswerLimits, Judgement, judge_outputs, limits_of
from onnx_conformance.core.results import (
    CheckResult,
    ResultFields,
    failed,
    not_applicable,
    passed,
    skipped,
)
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.core.text import plain, times_of
from onnx_conformance.core.tolerances import FLOAT32, Rule
from onnx_conformance.inputs.families import ORDINARY_RECIPES, pinned_inputs
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.subject import Answer, Subject

# How ONNX Runtime's Python binding, and a provider, begin the words of a refusal: the inputs were
# looked at and not taken. Whatever else went wrong happened while they were being computed.
REFUSAL = re.compile(r"InvalidArgument|INVALID_ARGUMENT|NotImplemented|NOT_IMPLEMENTED")

# How the sentences of :func:`unanswered` begin.
UNANSWERED = re.compile(
    r"the session (?:refused|failed on) the inputs: |the runtime's process ended on these inputs: "
)


def unanswered(answer: Answer) -> str:
    """Why there are no outputs, in words: a refusal, an error while running, or a crash."""
    error = " ".join(plain(answer.error or "").split())
    if answer.died:
        return f"the runtime's process ended on these inputs: {error}"
    if not error:
        return "the session gave no outputs, and no reason"
    if REFUSAL.search(error):
        return f"the session refused the inputs: {error}"
    return f"the session failed on the inputs: {error}"


def not_answered(answer: Answer, inputs: Inputs, label: str, place: str = "") -> CheckResult:
    """The failure on inputs to which there are no outputs.

    Args:
        label: the words that describe the inputs.
        place: with which words the reason begins.
    """
    reason = f"{place}{unanswered(answer)}"
    return failed(reason, inputs=label, reproduction=reproduction.unanswered(inputs))


def refusal_of(subject: Subject, inputs: Inputs) -> str | None:
    """Native's reason to refuse inputs that are far from ordinary ones; None if it answers.

    A native model whose process ends on them refuses them, too.

    Raises:
        StageFailure: its process was killed, at its time limit for one.
    """
    try:
        return subject.native_refusal(inputs)
    except StageFailure as failure:
        if not isinstance(failure.__cause__, WorkerEnded):
            raise
        return f"its process ends ({failure.reason})"


def unless_refused(
    subject: Subject, inputs: Inputs, judge: Callable[[Subject], CheckResult]
) -> CheckResult:
    """What ``judge`` says of inputs far from ordinary ones.

    Not applicable where the native model itself refuses them, or computes nothing usable of them.

    Args:
        inputs: the inputs that it judges.

    Raises:
        StageFailure: native failed, and not because it refuses these inputs.
    """
    try:
        result = judge(subject)
    except StageFailure as failure:
        refusal = refusal_of(subject, inputs) if failure.stage in ("native", "oracle") else None
        if refusal is None:
            raise
        return not_applicable(f"the native model refuses such inputs: {refusal}")
    if result.outcome == "skipped":
        return not_applicable(f"{result.reason}, and no file could")
    return result


def judge(
    subject: Subject,
    inputs: Inputs,
    label: str,
    *,
    session_inputs: Inputs | None = None,
    repeat: int = 0,
    answer: Answer | None = None,
) -> CheckResult:
    """The verdict on any inputs by the error budget.

    Args:
        label: the words that describe the inputs.
        session_inputs: the session's inputs, where they are more than native's.
        repeat: which run of the inputs is judged.
        answer: what is judged, where not the session's answer.
    """
    fed = inputs if session_inputs is None else session_inputs
    answer = subject.run(fed, repeat) if answer is None else answer
    reference, specs = subject.reference(inputs), subject.model.judged
    if answer.outputs is None:
        return not_answered(answer, fed, label)
    found = judge_outputs(reference, answer.outputs, specs, limits_for(subject))
    noise = found.limits.excessive_noise(reference, specs) if found.score is not None else 0.0
    if noise:
        rule = found.limits.rule
        near_zero = _near_zero(subject, reference, rule["maximum_noise_floor"])
        if not (near_zero and found.right):
            reason = (
                f"{reference.unit} itself errs by {noise:.2g} of the output on {label}, "
                "so comparing it proves nothing"
            )
            if not near_zero and _without_variation(fed, rule["constant_share"]):
                return not_applicable(f"{reason}; nearly all of each input is one number")
            return skipped(reason + _about_ranges(subject.model.inputs))
    if found.right and _nothing_finite(found.native):
        words = f"native answers infinity or NaN alone on {label}"
        if not any(np.any(array) for array in fed.values()):
            return not_applicable(f"{words}, which is 0 throughout, and so does the file")
        return skipped(f"{words}: it proves nothing{_about_masks(subject.model.inputs)}")
    part = float32_part(subject) if found.right else None
    if part is not None:
        exact = judge(
            part, inputs, label, session_inputs=session_inputs, repeat=repeat, answer=answer
        )
        if exact.outcome == "failed":
            return exact
    return result_of(subject, label, fed, found)


def float32_part(subject: Subject) -> Subject | None:
    """The same answers as a case in float32 of the outputs that nothing in half precision reaches.

    None where the model has none beside others in half precision, or where a file or provider that
    computes all of it in half precision is asked for.
    """
    case, model = subject.case, subject.model
    specs = tuple(spec for spec in model.outputs if spec.name in model.exact)
    if not (case.by_model and specs):
        return None
    exact = replace(model, outputs=specs, exact=())
    part = AlteredSubject(subject, model=exact, reference=subject.plain_reference)
    part.case = replace(case, precision=FLOAT32, by_model=False)
    return part


def _about_ranges(specs: Sequence[TensorSpec]) -> str:
    """What to declare, where an input may be any number: a sigmoid of such is 1 throughout."""
    names = [spec.name for spec in specs if spec.floating and isinstance(spec.domain, Real)]
    if not names:
        return ""
    return f"; if '{names[0]}' is never so, declare its range: domain=Bounded(low, high)"


def _about_masks(specs: Sequence[TensorSpec]) -> str:
    """What to declare, where an input beside others may be a padding mask: zeros alone give NaN."""
    if len(specs) < 2 or any(isinstance(spec.domain, Mask) for spec in specs):
        return ""
    return "; if an input is a padding mask, declare domain=Mask()"


def _without_variation(inputs: Inputs, share: float) -> bool:
    """Whether so much of each input is one number, as of silence or a grey image.

    A norm of equal numbers divides rounding by rounding: there is nothing to compare, and the other
    inputs must be judged. Inputs of single numbers are never meant.
    """
    arrays = [array for array in inputs.values() if array.size]
    usual = [np.sort(array, axis=None)[array.size // 2] for array in arrays]
    alike = all((array == one).mean() >= share for array, one in zip(arrays, usual, strict=True))
    return alike and any(array.size > len(array) for array in arrays if array.ndim)


def _nothing_finite(outputs: Outputs) -> bool:
    """Whether there are outputs and none of their elements is a number."""
    arrays = [array for array in outputs.values() if array.size]
    return bool(arrays) and not any(np.isfinite(array).any() for array in arrays)


def limits_for(subject: Subject, check: str = "error_budget") -> AnswerLimits:
    """What the subject's answers may be off by."""
    return limits_of(subject.tolerances, subject.case, oracle=subject.model.oracle, check=check)


def result_of(subject: Subject, label: str, fed: Inputs, found: Judgement) -> CheckResult:
    """A judgement as the result of a check.

    Args:
        label: the words that describe the inputs.
        fed: the session's inputs.
    """
    rule = found.limits.rule
    figures: ResultFields = {"inputs": label}
    compared = 0
    if not found.problem:
        numbers = statistics(found.native, found.outputs)
        figures["statistics"], compared = asdict(numbers), numbers.elements
    if found.score is not None:
        figures |= {"score": found.score.value, "budget": rule["factor"]}
    if found.right:
        reason = f"within budget: {found.score}" if found.score else _close(numbers, rule)
        return passed(reason, compared=compared, **figures)
    if found.native_differs(subject.tolerances.rule("error_budget", subject.case)["factor"]):
        return skipped(
            f"native's own answers to {label} differ as much where its weights or inputs are off "
            "by a float32 ulp, as where numbers are rounded to few, so comparing it proves nothing",
        )
    figures["details"] = (*_details(found), *evidence_lines(subject))
    figures["reproduction"] = reproduction.misjudged(fed, found)
    reason = _reason(found, subject.model.original)
    return failed(reason, compared=compared, **figures)


def _reason(found: Judgement, original: str) -> str:
    if found.mismatch is not None:
        return f"output '{found.mismatch.output}' is not close to {original}"
    if found.score is not None:
        return f"output '{found.score.output}' differs from {original}"
    return found.problem


def _details(found: Judgement) -> Iterator[str]:
    if found.mismatch is not None:
        yield from _not_close(found.mismatch, found.limits.rule)
    if found.score is not None:
        yield from _worst_element(found.reference, found.outputs, found.score)
        yield _excess(found.score, found.limits.rule)


def _near_zero(subject: Subject, reference: Reference, share: float) -> bool:
    """Whether the outputs are so near 0 that float32's error is at most ``share`` of ordinary ones.

    Beside outputs that near 0 it is large. A norm of equal numbers answers 0 and rounding; an
    answer within the budget is then known to be 0 as well, to that share.
    """
    specs = subject.model.judged
    if any(spec.scale != "linear" for spec in specs):
        return False
    ordinary = [
        subject.reference(inputs)
        for inputs in pinned_inputs(ORDINARY_RECIPES, subject.model, subject.seed)
    ]
    for spec in (spec for spec in specs if spec.floating):
        exact = reference.oracle[spec.name]
        with np.errstate(invalid="ignore"):  # infinity less infinity is NaN, not small
            error = max(
                float(np.abs(native[spec.name] - exact).max(initial=0.0))
                for native in reference.natives
            )
        usual = [np.asarray(one.oracle[spec.name], np.float64) for one in ordinary]
        size = max(float(np.sqrt(np.mean(array**2))) if array.size else 0.0 for array in usual)
        if not error <= share * size:
            return False
    return True


def _close(numbers: Statistics, rule: Rule) -> str:
    return (
        f"no float64 oracle; close to native by allclose, largest difference {numbers.scaled:.3g} "
        f"of the output's rms ({rule.origin})"
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


def _excess(score: Score, rule: Rule) -> str:
    """How far out of budget; whole numbers and truth values have none, infinity is no number."""
    if score.norm == "share":
        return (
            f"budget: whole numbers and truth values must be equal; {100 * score.error:.3g} % of "
            f"sample {score.sample}'s are not"
        )
    times = f"{times_of(score.value)}x" if np.isfinite(score.value) else "without bound beside"
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
        return "rel meaningless: 0 is expected, up to rounding"
    return f"rel {abs(got - expected) / abs(expected):.3g}"


def evidence_lines(subject: Subject) -> tuple[str, ...]:
    """The lines that every numeric failure carries."""
    return (f"placement: {describe_placement(subject)}",)


def _not_close(wrong: Mismatch, rule: Rule) -> Iterator[str]:
    share = 100.0 * wrong.count / wrong.elements
    yield f"mismatched: {wrong.count} of {wrong.elements} elements ({share:.3g} %)"
    yield f"worst at {list(wrong.index)}: expected {wrong.expected:.6g}, got {wrong.got:.6g}"
    yield f"allowed: rtol {rule['rtol']:g}, atol {rule['atol_rms']:g} of rms ({rule.origin})"
