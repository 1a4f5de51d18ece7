"""The check allclose: relative and absolute tolerance against native float32."""

from __future__ import annotations

from onnx_conformance.checks import reproduction
from onnx_conformance.checks.refusals import unanswered
from onnx_conformance.checks.registry import FLOAT32_WEIGHTS, register_check
from onnx_conformance.checks.verdict import not_close, tie_factor
from onnx_conformance.core.budget import compute_modes_disagree, largest_noise_floor
from onnx_conformance.core.comparison import (
    Outputs,
    allclose_mismatch,
    atol_needed,
    statistics,
    structure_problem,
)
from onnx_conformance.core.results import CheckResult, failed, passed, skipped
from onnx_conformance.core.ties import settled
from onnx_conformance.inputs.families import materialise, pinned
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.session.subject import Subject


@register_check(control="scaled_by_a_tenth", input_sets=("pinned",), precisions=FLOAT32_WEIGHTS)
def check_allclose(subject: Subject) -> CheckResult:
    """The check people know, with atol in units of the output's rms; the tutorial's beside it."""
    rule = subject.tolerances.rule("allclose", subject.case)
    tutorial = subject.tolerances.rule("tutorial", subject.case)
    scaled, needed, verdicts, compared, noisy = 0.0, 0.0, [], 0, 0
    for recipe in pinned(subject.seed).values():
        inputs = materialise(recipe, subject.model)
        answer, native = subject.run(inputs), subject.native(inputs)
        if answer.outputs is None:
            return failed(
                "allclose",
                unanswered(answer),
                inputs=str(recipe),
                reproduction=reproduction.unanswered(inputs),
            )
        trace = reproduction.not_close(inputs, native, answer.outputs, rule)
        problem = structure_problem(native, answer.outputs)
        if problem:
            return failed("allclose", problem, inputs=str(recipe), reproduction=trace)
        outputs = _settled(subject, inputs, native, answer.outputs)
        wrong = allclose_mismatch(native, outputs, rule["rtol"], rule["atol_rms"], scale_atol=True)
        if wrong and _float32_errs_as_much(subject, inputs, rule["atol_rms"]):
            noisy += 1
            continue
        if wrong:
            return not_close(subject, "allclose", wrong, str(recipe), rule, trace)
        verdicts.append(
            allclose_mismatch(native, outputs, tutorial["rtol"], tutorial["atol"], scale_atol=False)
            is None
        )
        numbers = statistics(native, outputs)
        needed = max(needed, atol_needed(native, outputs, rule["rtol"]))
        scaled, compared = max(scaled, numbers.scaled), compared + numbers.elements
    if not verdicts:
        return skipped(
            "allclose", "float32 itself errs beyond the tolerance on every set of inputs"
        )
    left = f"; {noisy} inputs on which float32 errs as much are the budget's alone" if noisy else ""
    return passed(
        "allclose",
        f"largest difference {scaled:.3g} of the output's rms; the tutorial's 1e-5 check "
        f"passes {sum(verdicts)} of {len(verdicts)} inputs{left}",
        compared=compared,
        statistics={
            "scaled": scaled,
            "atol_needed": needed,
            "tutorial_passes": sum(verdicts),
            "tutorial_feeds": len(verdicts),
        },
    )


def _settled(subject: Subject, inputs: Inputs, native: Outputs, got: Outputs) -> Outputs:
    """``got`` with native's positions wherever both choose numbers that tie."""
    if all(spec.floating for spec in subject.model.outputs):
        return got
    return settled(subject.reference(inputs).choices, native, got, tie_factor(subject))


def _float32_errs_as_much(subject: Subject, inputs: Inputs, tolerance: float) -> bool:
    """Whether the budget on these inputs is wider than a fixed tolerance can be."""
    if not subject.model.oracle:
        return False
    factor, outputs = (
        subject.tolerances.rule("error_budget", subject.case)["factor"],
        subject.model.judged,
    )
    reference = subject.reference(inputs)
    noisy = factor * largest_noise_floor(reference, outputs) > tolerance
    return noisy or compute_modes_disagree(reference, outputs)
