"""The check initializers: every native weight is in the file, unchanged or rightly folded.

Weights that the audit cannot find are untraced: inputs may judge them if every such tensor, nearly
all its elements, moves the outputs on the inputs that are run, and if the answers to those inputs
are right with a margin. Rows of a table that no input asks for would be judged by nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.checks.audit.audit import audit_initializers
from onnx_conformance.checks.audit.findings import AuditReport
from onnx_conformance.checks.audit.formats import Rounding
from onnx_conformance.checks.audit.stored_forms import Dequantised, dequantised, possible_weights
from onnx_conformance.checks.audit.unexplained import agreeing
from onnx_conformance.checks.registry import register_check
from onnx_conformance.checks.verdict import judge
from onnx_conformance.core.arrays import Array
from onnx_conformance.core.case import ExternalCase
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.graph_weights import (
    collect_initializers,
    collect_uses,
    dead_constants,
    settings_of,
)
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.core.results import CheckResult, failed, not_applicable, passed, skipped
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import FLOAT32, INT8, Rule
from onnx_conformance.inputs.families import ORDINARY_RECIPES, materialise, pinned_inputs
from onnx_conformance.inputs.recipes import Inputs, Recipe
from onnx_conformance.run.subject import Subject

SHOWN_FINDINGS = 5


def _has_weights(model: ModelSpec) -> bool:
    """Whether anybody can look at native's weights: not at those of a plain callable."""
    return FRAMEWORKS[model.framework].has_weights


def is_weight(array: Array) -> bool:
    """Whether it holds trained numbers: whole ones, such as a counter, are none."""
    return array.size > 0 and bool(np.issubdtype(array.dtype, np.floating))


def stored_weights(subject: Subject, model: onnx.ModelProto) -> Dequantised:
    """The file's weights; in eight bits they count for what they stand for if it is of int8.

    Args:
        model: the file's graph, without its weights.

    Raises:
        ValueError, KeyError, OSError: the weights cannot be read.
    """
    stored = collect_initializers(model, subject.artifact.path.parent)
    if subject.case.file_precision != INT8:
        return Dequantised(stored, {}, ())
    return dequantised(model, stored)


def audit_of(subject: Subject, model: onnx.ModelProto, found: Dequantised) -> AuditReport:
    """The audit by the first reading of the file that explains every weight, or by the best.

    Constants that no output depends on count for nothing. In float32 alone they tell of a weight
    that a rewrite split into bits too small to know, where all of its bits agree with them.
    """
    dead = dead_constants(model)
    left_out = dead | _own_settings(subject, model, found)
    used = {name: array for name, array in found.arrays.items() if name not in left_out}
    report = _best_reading(subject, model, used, found)
    lost = {finding.status for finding in report.failures} <= {"missing", "untraced"}
    if not (lost and report.failures and dead and subject.case.precision == FLOAT32):
        return report
    left = {name: found.arrays[name] for name in dead if name in found.arrays}
    whole = agreeing(left, used, [name for name in report.unexplained if name in used])
    return min(report, _best_reading(subject, model, used | whole, found), key=_failures)


def _own_settings(subject: Subject, model: onnx.ModelProto, found: Dequantised) -> set[str]:
    """What only says how an operator works, and is no native tensor's copy.

    The scales (1, 1, 2, 2) of a Resize would be taken for a damaged bias of (2, 2, 2, 2).
    """
    natives = {array.astype(np.float64).tobytes() for array in subject.weights.arrays.values()}
    return {
        name
        for name in settings_of(model) & found.arrays.keys()
        if found.arrays[name].astype(np.float64).tobytes() not in natives
    }


def _best_reading(
    subject: Subject, model: onnx.ModelProto, arrays: Mapping[str, Array], found: Dequantised
) -> AuditReport:
    native, uses, reports = subject.weights, collect_uses(model), []
    rule = subject.tolerances.rule("initializers", subject.case)
    for reading in possible_weights(model, arrays):
        reports.append(
            audit_initializers(
                native.arrays,
                native.batch_norms,
                reading,
                fold_ulp=rule["fold_ulp"],
                rounding=_rounding_of(subject, found.steps),
                strict=subject.case.precision != FLOAT32,
                uses=uses,
                unused=native.unused,
                constants=native.constants,
            )
        )
        if not reports[-1].failures:  # other readings would only cost time
            break
    return min(reports, key=_failures)


def _rounding_of(subject: Subject, steps: Mapping[str, Array]) -> Rounding:
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


def _half_precision_hint(subject: Subject, report: AuditReport) -> str:
    """What to do about an external artifact that may be in half precision on purpose."""
    rounded = [found for found in report.failures if found.note.endswith("rounded to float16")]
    external = isinstance(subject.case, ExternalCase)
    if not rounded or not external or subject.case.precision != FLOAT32:
        return ""
    return (
        f": {len(rounded)} are rounded to float16; if the file is meant to be in half precision, "
        "judge it with --precision=float16"
    )


def _only_untraced(report: AuditReport) -> bool:
    return {finding.status for finding in report.failures} == {"untraced"}


def _judged_by_inputs(report: AuditReport) -> CheckResult:
    """A pass with a note: these weights were not found, and inputs see them."""
    names = [finding.native for finding in report.failures]
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN_FINDINGS])
    more = f" and {len(names) - SHOWN_FINDINGS} more" * (len(names) > SHOWN_FINDINGS)
    return passed(
        f"{report.summary().partition('; first failure')[0]}; {shown}{more} could not be found in "
        "the file and are judged by inputs alone",
        compared=max(report.elements, len(report.findings)),
        details=tuple(str(finding) for finding in report.failures[:SHOWN_FINDINGS]),
        statistics={"untraced": names},
    )


@register_check(control="one_weight_flipped", where=_has_weights)
def check_initializers(subject: Subject) -> CheckResult:
    """Every native weight is in the file, undamaged: as it is, or in a fold that is recomputed.

    In a half-precision file it may be rounded to that, in one of eight bits by half a step.

    Inputs cannot see one flipped sign among millions of weights; this reads the weights.
    """
    if not any(is_weight(array) for array in subject.weights.arrays.values()):
        return not_applicable("the native model has no floating-point weights")
    model = load_model(subject.artifact.path, weights=False)
    try:
        found = stored_weights(subject, model)
    except (ValueError, KeyError, OSError) as error:  # a data file too short, no such offset
        return failed(f"the file's weights cannot be read: {error}")
    if found.unread:
        return skipped(
            f"weights in eight bits are read by {', '.join(found.unread)}, whose scales this check "
            "cannot read: the file's decisions are judged, its weights are not",
        )
    report = audit_of(subject, model, found)
    reason = why_inputs_cannot_judge(subject, report) if _only_untraced(report) else ""
    if report.failures and _only_untraced(report) and not reason:
        return _judged_by_inputs(report)
    if report.failures:
        why = f"; {reason}" if reason else ""
        worst = tuple(str(finding) for finding in report.failures[:SHOWN_FINDINGS])
        reason = f"{len(report.failures)} of {len(report.findings)} native weights are not intact"
        reason += _half_precision_hint(subject, report) + why
        return failed(reason, compared=report.elements, details=worst)
    compared = max(report.elements, len(report.findings))  # one fact for each that may be absent
    return passed(report.summary(), compared=compared)


# -- untraced weights ------------------------------------------------------------------------------

RULE = "untraced"
SAMPLES = 8  # of each recipe that is run besides the ordinary ones


def why_inputs_cannot_judge(subject: Subject, report: AuditReport) -> str:
    """Why a report's failures stand; empty if all are of weights that inputs judge.

    Only in float32: coarser answers see too little of a weight.
    """
    if subject.case.precision != FLOAT32 or not subject.model.oracle:
        return "inputs judge weights only in a float32 case with a float64 oracle"
    if {finding.status for finding in report.failures} != {"untraced"}:
        return "not all of them can have been merged into another tensor"
    rule = subject.tolerances.rule(RULE, subject.case)
    input_sets = _input_sets(subject)
    names = [finding.native for finding in report.failures]
    return _too_little_influence(subject, names, input_sets, rule) or _wrong_answer(
        subject, input_sets, rule
    )


def _input_sets(subject: Subject) -> dict[str, Inputs]:
    recipes = [Recipe(kind, batch=SAMPLES, seed=subject.seed + 7) for kind in ("normal", "uniform")]
    plain = dict(
        zip(
            ORDINARY_RECIPES,
            pinned_inputs(ORDINARY_RECIPES, subject.model, subject.seed),
            strict=True,
        )
    )
    return plain | {str(recipe): materialise(recipe, subject.model) for recipe in recipes}


def _too_little_influence(
    subject: Subject, names: list[str], input_sets: dict[str, Inputs], rule: Rule
) -> str:
    """What is said of the tensor that the outputs depend on least, where that is too little."""
    try:
        shares = subject.influence(names, list(input_sets.values()), rule["least_effect"])
    except StageFailure as failure:
        return f"what the outputs depend on is not known ({failure.reason[:120]})"
    name = min(names, key=lambda one: shares.get(one, 0.0))
    share = shares.get(name, 0.0)
    if share >= rule["seen_share"]:
        return ""
    return (
        f"on {len(input_sets)} inputs the outputs depend on {share:.0%} of the elements of "
        f"'{name}'; at least {rule['seen_share']:.0%} is required ({rule.origin})"
    )


def _wrong_answer(subject: Subject, input_sets: dict[str, Inputs], rule: Rule) -> str:
    """What is said of the answer that is not right with a margin."""
    for label, inputs in input_sets.items():
        result = judge(subject, inputs, label)
        if result.outcome == "skipped":
            continue
        share = (result.score or 0.0) / (result.budget or 1.0)
        if not result.passed:
            return f"the answer to {label} is wrong: {result.reason}"
        if share > rule["margin"]:
            return (
                f"the answer to {label} takes {share:.0%} of the error budget; at most "
                f"{rule['margin']:.0%} is allowed ({rule.origin})"
            )
    return ""
