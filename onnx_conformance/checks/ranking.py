"""The check top5: native and runtime name the same leading classes, in order."""

from __future__ import annotations

import numpy as np

from onnx_conformance.checks import reproduction
from onnx_conformance.checks.refusals import not_answered
from onnx_conformance.checks.registry import FAITHFUL, register_check
from onnx_conformance.core.budget import ULP, Reference
from onnx_conformance.core.comparison import Outputs, structure_problem
from onnx_conformance.core.results import CheckResult, failed, passed
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.inputs.families import ORDINARY, chosen, pinned
from onnx_conformance.session.subject import Subject


def _ranks_classes(model: ModelSpec) -> bool:
    """Whether the first output is a row of classes, whose float32 error is known."""
    first = model.outputs[0]
    classes = first.sample
    return model.oracle and first.floating and len(classes) == 1 and classes[0] != 1


@register_check(
    control="classes_swapped", input_sets=("pinned",), where=_ranks_classes, precisions=FAITHFUL
)
def check_top5(subject: Subject) -> CheckResult:
    """The five leading classes, in order; a tie within float32's own error is no disagreement."""
    rule = subject.tolerances.rule("top5", subject.case)
    name, samples, ties = subject.model.outputs[0].name, 0, 0
    recipes = pinned(subject.seed)
    input_sets = chosen(ORDINARY, subject.model, subject.seed)
    for label, inputs in zip(ORDINARY, input_sets, strict=True):
        answer, reference = subject.run(inputs), subject.reference(inputs)
        if answer.outputs is None:
            return not_answered("top5", answer, inputs, str(recipes[label]))
        problem = structure_problem(reference.native, answer.outputs)
        if problem:
            return failed("top5", problem, inputs=str(recipes[label]))
        allowed = [
            rule["tie_factor"] * absolute_error(reference, name, sample)
            for sample in range(len(reference.oracle[name]))
        ]
        for sample, tie in enumerate(allowed):
            wrong, tied = rank_problem(reference, answer.outputs, name, sample, tie)
            if wrong:
                return failed(
                    "top5",
                    f"{wrong} (ties are closer than {tie:.3g})",
                    inputs=str(recipes[label]),
                    reproduction=reproduction.misranked(
                        inputs, reference, answer.outputs, name, allowed
                    ),
                )
            samples, ties = samples + 1, ties + tied
    return passed(
        "top5",
        f"the same leading classes on {samples} samples, {ties} ranks tied",
        compared=samples,
        statistics={"ties": ties},
    )


def absolute_error(reference: Reference, name: str, sample: int) -> float:
    """float32's largest absolute error on the sample, at least one ulp of its largest value."""
    exact = reference.oracle[name][sample]
    compute_modes = (reference.native, *reference.replicas)
    error = max(
        float(np.abs(compute_mode[name][sample] - exact).max()) for compute_mode in compute_modes
    )
    return max(error, ULP * float(np.abs(exact).max()))


def rank_problem(
    reference: Reference, actual: Outputs, name: str, sample: int, allowed: float
) -> tuple[str | None, int]:
    """What is wrong with the five leading classes of a sample, if anything, and how many tie.

    Classes whose oracle values lie within ``allowed`` of each other may change places.
    """
    exact = reference.oracle[name][sample].ravel()
    leading = np.argsort(-exact, kind="stable")[:5]
    found = np.argsort(-np.asarray(actual[name][sample]).ravel(), kind="stable")[:5]
    ties = 0
    for rank, (wanted, got) in enumerate(zip(leading, found, strict=True), start=1):
        gap = abs(float(exact[wanted] - exact[got]))
        if wanted != got and not gap <= allowed:
            where = f"rank {rank} of sample {sample}"
            return f"{where} is class {got}, expected {wanted}, {gap:.3g} apart", ties
        ties += int(wanted != got)
    return None, ties
