"""The check photographs: native and runtime name the same five classes on real photographs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnx_conformance.checks import reproduction
from onnx_conformance.checks.closeness import absolute_error, rank_problem
from onnx_conformance.checks.registry import FAITHFUL, register_check
from onnx_conformance.checks.verdict import judge
from onnx_conformance.core.arrays import Array
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.results import CheckResult, failed
from onnx_conformance.core.spec import Preprocessing
from onnx_conformance.inputs.photographs import (
    Photograph,
    imagenet_labels,
    levels_apart,
    photograph_inputs,
    photographs,
    pillow_sample,
)
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.subject import Subject

TOP_CLASSES = 5


@register_check(
    control="classes_swapped",
    families=("photographs",),
    calls=lambda model, seed: {one.name: {"photograph": one} for one in photographs()},
    case=Case("efficientnet_lite0", "torch_torchscript", 14, "cpu"),
    required=False,
    precisions=FAITHFUL,
    localised=True,
)
def check_photographs(subject: Subject, photograph: Photograph) -> CheckResult:
    """Native and runtime name the same five classes, in order, and the budget is met.

    The sample is made twice, by Pillow and by torchvision: a preprocessing that squashes, crops
    elsewhere or swaps colours would give both sides the same inputs, and so never show in outputs.
    """
    preprocessing = subject.model.preprocessing
    if preprocessing is None:
        raise CapabilityMissing(f"{subject.model.name} has no preprocessing of photographs")
    levels, problem = _preprocessing_problem(subject, photograph, preprocessing)
    if problem:
        return failed(problem, inputs=photograph.name)
    inputs = photograph_inputs(subject.model, preprocessing, photograph.path)
    verdict = judge(subject, inputs, f"photograph {photograph.name}")
    if not verdict.passed:
        return verdict
    return _ranked(subject, photograph, inputs, verdict, levels)


def _preprocessing_problem(
    subject: Subject, photograph: Photograph, preprocessing: Preprocessing
) -> tuple[float, str | None]:
    """How many 8-bit levels Pillow's and torchvision's sample differ by; whether it is too many."""
    rule = subject.tolerances.rule("photographs", subject.case)
    ours = pillow_sample(photograph.path, preprocessing)
    theirs = subject.preprocess(photograph.path)
    if ours.shape != theirs.shape:
        return 0.0, f"Pillow's sample has shape {ours.shape}, torchvision's {theirs.shape}"
    levels = levels_apart(ours, theirs, preprocessing)
    if levels <= rule["preprocess_levels"]:
        return levels, None
    return levels, (
        f"Pillow's and torchvision's preprocessing of {photograph.name} differ by {levels:.3g} "
        f"8-bit levels, allowed {rule['preprocess_levels']:g} ({rule.origin})"
    )


def _ranked(
    subject: Subject, photograph: Photograph, inputs: Inputs, verdict: CheckResult, levels: float
) -> CheckResult:
    """``verdict``, which is within budget, with the leading five judged and put in words."""
    spec, labels = subject.model.outputs[0], imagenet_labels()
    reference, outputs = subject.reference(inputs), subject.run(inputs).outputs or {}
    tie = subject.tolerances.rule("top5", subject.case)["tie_factor"]
    tie *= absolute_error(reference, spec.name, 0)
    wrong, ties = rank_problem(reference, outputs, spec.name, 0, tie)
    native = leading_classes(reference.native[spec.name][0], labels, spec.scale)
    runtime = leading_classes(outputs[spec.name][0], labels, spec.scale)
    leading = ", ".join(f"{label} {percent:.1f} %" for label, percent in runtime)
    statistics = {
        **verdict.statistics,
        "photograph": photograph.name,
        "native_top5": native,
        "runtime_top5": runtime,
        "ties": ties,
        "preprocess_levels": levels,
    }
    result = replace(verdict, reason=leading, statistics=statistics)
    if wrong:
        trace = reproduction.misranked(inputs, reference, outputs, spec.name, [tie])
        result = replace(result, reason=f"{wrong} (ties are closer than {tie:.3g})")
        return replace(result, outcome="failed", reproduction=trace)
    if photograph.answers and not {label for label, _ in runtime} & set(photograph.answers):
        missing = f"none of {', '.join(photograph.answers)} is among {leading}"
        return replace(result, outcome="failed", reason=missing)
    return result


def leading_classes(
    row: Array, labels: tuple[str, ...], scale: str
) -> tuple[tuple[str, float], ...]:
    """The five leading classes of one sample's output ``(1000,)``: labels and percentages."""
    values = np.asarray(row, np.float64).ravel()
    if scale != "probabilities":
        values = np.exp(values - values.max())
        values /= values.sum()
    places = np.argsort(-values, kind="stable")[:TOP_CLASSES]
    return tuple((labels[place], 100.0 * float(values[place])) for place in places)
