"""The check of a file's weights: is each of native's in it, unharmed?"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.checks.audit.audit import audit_initializers
from onnx_conformance.checks.audit.layouts import readings
from onnx_conformance.checks.audit.quantised import Dequantised, dequantised
from onnx_conformance.checks.audit.report import AuditReport
from onnx_conformance.checks.audit.rounding import Rounding
from onnx_conformance.checks.registry import register_check
from onnx_conformance.core.comparison import Array
from onnx_conformance.core.graph_weights import (
    collect_initializers,
    collect_uses,
    dead_constants,
)
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.core.results import CheckResult, failed, passed, skipped
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import FLOAT32, INT8
from onnx_conformance.session.subject import Subject

SHOWN_FINDINGS = 5


def _has_weights(model: ModelSpec) -> bool:
    """Whether anybody can look at native's weights: not at those of a plain callable."""
    return FRAMEWORKS[model.framework].has_weights


def _as_numbers(subject: Subject, model: onnx.ModelProto, stored: dict[str, Array]) -> Dequantised:
    """The weights; those in eight bits count for what they stand for if the file is of int8."""
    if subject.case.file_precision != INT8:
        return Dequantised(stored, {}, ())
    return dequantised(model, stored)


def _audited(subject: Subject, model: onnx.ModelProto, found: Dequantised) -> AuditReport:
    """The audit by the first reading of the file that explains every weight, or by the best.

    Constants that no output depends on count for nothing. In float32 alone they excuse what is
    nowhere else: a weight that a rewrite split into bits too small to know is left to the inputs.
    """
    dead = dead_constants(model)
    used = {name: array for name, array in found.arrays.items() if name not in dead}
    report = _best(subject, model, used, found)
    lost = {finding.status for finding in report.failures} == {"missing"}
    if lost and dead and subject.case.precision == FLOAT32:
        return min(report, _best(subject, model, found.arrays, found), key=_failures)
    return report


def _best(
    subject: Subject, model: onnx.ModelProto, arrays: Mapping[str, Array], found: Dequantised
) -> AuditReport:
    native, uses, reports = subject.weights, collect_uses(model), []
    rule = subject.tolerances.rule("initializers", subject.case)
    for reading in readings(model, arrays):
        reports.append(
            audit_initializers(
                native.arrays,
                native.batch_norms,
                reading,
                fold_ulp=rule["fold_ulp"],
                rounding=rounding_of(subject, found.steps),
                strict=subject.case.precision != FLOAT32,
                uses=uses,
                unused=native.unused,
            )
        )
        if not reports[-1].failures:  # other readings would only cost time
            break
    return min(reports, key=_failures)


def rounding_of(subject: Subject, steps: Mapping[str, Array]) -> Rounding:
    """What the class of the case's file may do to a weight.

    Args:
        steps: of its weights in eight bits.
    """
    rule = subject.tolerances.rule("initializers", subject.case)
    return Rounding(
        narrow=subject.case.narrow_weights,
        copy_ulp=rule["copy_ulp"],
        tiny_ulp=rule["tiny_ulp"],
        steps=steps,
        step_share=rule["step_share"],
    )


def _failures(report: AuditReport) -> int:
    return len(report.failures)


def _hint(subject: Subject, report: AuditReport) -> str:
    """What to do about a given file that may be in half precision on purpose."""
    rounded = [found for found in report.failures if found.note.endswith("rounded to float16")]
    if not rounded or not subject.case.artifact or subject.case.precision != FLOAT32:
        return ""
    return (
        f": {len(rounded)} are rounded to float16; if the file is meant to compute in half "
        "precision, judge it so: --precision=float16"
    )


@register_check(control="one_weight_flipped", where=_has_weights)
def check_initializers(subject: Subject) -> CheckResult:
    """Every native weight is in the file, unharmed: as it is, or in a fold that is recomputed.

    In a half-precision file it may be rounded to that, in one of eight bits by half a step.

    Inputs cannot see one flipped sign among millions of weights; this reads the weights.
    """
    model = load_model(subject.artifact.path, weights=False)
    try:
        stored = collect_initializers(model, subject.artifact.path.parent)
    except (ValueError, KeyError, OSError) as error:  # a data file too short, no such offset
        return failed("initializers", f"the file's weights cannot be read: {error}")
    found = _as_numbers(subject, model, stored)
    if found.unread:
        return skipped(
            "initializers",
            f"weights in eight bits are read by {', '.join(found.unread)}, whose scales nobody "
            "here knows: what the file decides is judged, its weights are not",
        )
    report = _audited(subject, model, found)
    if report.failures:
        worst = tuple(str(finding) for finding in report.failures[:SHOWN_FINDINGS])
        reason = f"{len(report.failures)} of {len(report.findings)} native weights are not intact"
        reason += _hint(subject, report)
        return failed("initializers", reason, compared=report.elements, details=worst)
    return passed("initializers", report.summary(), compared=report.elements)
