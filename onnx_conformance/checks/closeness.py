"""The check allclose: relative and absolute tolerance against native float32."""

from __future__ import annotations

from collections.abc import Mapping

from onnx_conformance.checks.refusals import not_answered
from onnx_conformance.checks.registry import FLOAT32_WEIGHTS, register_check
from onnx_conformance.checks.verdict import worded
from onnx_conformance.core.budget import Reference, compute_modes_disagree, largest_noise_floor
from onnx_conformance.core.comparison import allclose_mismatch, atol_needed, statistics
from onnx_conformance.core.judgement import judge_outputs, limits_of
from onnx_conformance.core.results import CheckResult, passed, skipped
from onnx_conformance.core.ties import Choice
from onnx_conformance.inputs.families import materialise, pinned
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.session.subject import Subject


@register_check(control="scaled_by_a_tenth", input_sets=("pinned",), precisions=FLOAT32_WEIGHTS)
def check_allclose(subject: Subject) -> CheckResult:
    """``allclose`` with atol in units of the output's rms; reports PyTorch's tutorial rule too."""
    rule = subject.tolerances.rule("allclose", subject.case)
    tutorial = subject.tolerances.rule("tutorial", subject.case)
    scaled, needed, verdicts, compared, noisy = 0.0, 0.0, [], 0, 0
    for recipe in pinned(subject.seed).values():
        inputs = materialise(recipe, subject.model)
        answer, native = subject.run(inputs), subject.native(inputs)
        if answer.outputs is None:
            return not_answered("allclose", answer, inputs, str(recipe))
        wanted = Reference(native, native, (), choices=_choices(subject, inputs))
        limits = limits_of(subject.tolerances, subject.case, oracle=False)
        found = judge_outputs(wanted, answer.outputs, subject.model.judged, limits)
        if not found.right:
            if found.comparable and _float32_errs_as_much(subject, inputs, rule["atol_rms"]):
                noisy += 1
                continue
            return worded(subject, "allclose", str(recipe), inputs, found)
        outputs = found.outputs
        verdicts.append(
            allclose_mismatch(native, outputs, tutorial["rtol"], tutorial["atol"], scale_atol=False)
            is None
        )
        numbers = statistics(native, outputs)
        needed = max(needed, atol_needed(native, outputs, rule["rtol"]))
        scaled, compared = max(scaled, numbers.scaled), compared + numbers.elements
    if not verdicts:
        return skipped(
            "allclose", "native float32 itself exceeds the tolerance on every set of inputs"
        )
    left = (
        f"; {noisy} inputs on which float32 errs more are judged by error_budget" if noisy else ""
    )
    return passed(
        "allclose",
        f"largest difference {scaled:.3g} of the output's rms; PyTorch's tutorial, at 1e-5, would "
        f"pass {sum(verdicts)} of {len(verdicts)} inputs{left}",
        compared=compared,
        statistics={
            "scaled": scaled,
            "atol_needed": needed,
            "tutorial_passes": sum(verdicts),
            "tutorial_feeds": len(verdicts),
        },
    )


def _choices(subject: Subject, inputs: Inputs) -> Mapping[str, Choice]:
    """What positions among the outputs were chosen from; nothing where all are numbers."""
    if all(spec.floating for spec in subject.model.outputs):
        return {}
    return subject.reference(inputs).choices


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
