"""Checks of models with memory: other calls to which native gives the same answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from onnx_conformance.checks.registry import FAITHFUL, register_check
from onnx_conformance.checks.steps import WITH_MEMORY, state_is_fixed
from onnx_conformance.checks.verdict import limits_for, result_of
from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.comparison import structure_problem
from onnx_conformance.core.judgement import judge_outputs
from onnx_conformance.core.results import CheckResult, failed, not_applicable, skipped
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.inputs.equivalents import equivalents
from onnx_conformance.inputs.families import FAMILIES, InputPlan
from onnx_conformance.run.subject import Subject


def _plan(model: ModelSpec, seed: int, check: str) -> InputPlan:
    one = equivalents(model, seed)[check]
    return InputPlan(sweep=(one.asked,), native_sweep=(one.wanted,))


for _check in ("one_pass", "chunks", "mask"):
    FAMILIES.register(_check, partial(_plan, check=_check))


def _asked_of(check: str) -> Callable[[ModelSpec], bool]:
    return lambda model: check in equivalents(model, 0)


@register_check(
    control="positions_off_by_one",
    families=("one_pass",),
    case=WITH_MEMORY,
    where=_asked_of("one_pass"),
    precisions=FAITHFUL,
)
def check_one_pass(subject: Subject) -> CheckResult:
    """Calls in a row give what one call that takes all at once gives, where native's own do."""
    return _judge_equivalent(subject, "one_pass")


@register_check(
    control="new_tokens_unordered",
    families=("chunks",),
    case=WITH_MEMORY,
    where=_asked_of("chunks"),
    precisions=FAITHFUL,
)
def check_chunks(subject: Subject) -> CheckResult:
    """The same sequence in fewer, longer calls gives the same, where native's own do."""
    return _judge_equivalent(subject, "chunks")


@register_check(
    control="padding_is_seen",
    families=("mask",),
    case=WITH_MEMORY,
    where=_asked_of("mask"),
    precisions=FAITHFUL,
)
def check_mask(subject: Subject) -> CheckResult:
    """What stands in padded places changes nothing elsewhere, where it changes nothing natively."""
    return _judge_equivalent(subject, "mask")


def _judge_equivalent(subject: Subject, name: str) -> CheckResult:
    """The session's answers to one of two loops, against native's to the other."""
    model, one = subject.model, equivalents(subject.model, subject.seed).get(name)
    if one is None:
        return state_is_fixed()
    sides = subject.references([one.asked, one.wanted])
    for side, words in zip(sides, (one.label, one.other), strict=True):
        if isinstance(side, str):
            return not_applicable(f"native itself refuses {words} ({side})")
    reference, other = (side for side in sides if isinstance(side, Reference))
    answer = subject.run(one.asked)
    if answer.outputs is None:
        return failed(f"{one.label}: the session refused {answer.error}", inputs=one.label)
    problem = structure_problem(reference.native, answer.outputs)
    if problem:
        return failed(f"{one.label}: {problem}", inputs=one.label)
    oracle, native, *replicas = (
        one.answered(model, outputs, one.asked)
        for outputs in (reference.oracle, reference.native, *reference.replicas)
    )
    wanted = one.answered(model, other.oracle, one.wanted)
    same = subject.tolerances.rule("one_pass", subject.case)["same"]
    specs = [spec for spec in one.specs(model) if _agree(wanted, oracle, spec, same)]
    if not specs:
        return not_applicable(f"native's own answers to {one.label} differ from {one.other}")
    joined = Reference(wanted, native, tuple(replicas), reference.unit, reference.choices)
    limits = limits_for(subject)
    noise = limits.excessive_noise(joined, specs)
    if noise:
        return skipped(
            f"{joined.unit} itself errs by {noise:.2g} of the output on {one.label}: they prove "
            "nothing",
        )
    got = one.answered(model, answer.outputs, one.asked)
    judged = {spec.name: got[spec.name] for spec in specs}
    found = judge_outputs(joined, judged, specs, limits)
    result = result_of(subject, one.label, one.asked, found)
    if result.passed:
        return result
    reason = f"{one.label} differ from {one.other}: {result.reason}"
    return replace(result, reason=reason, reproduction=None)


def _agree(one: Outputs, other: Outputs, spec: TensorSpec, same: float) -> bool:
    """Whether native's two ways to an output agree, relative to its largest element."""
    left, right = one[spec.name], other[spec.name]
    if left.shape != right.shape or not left.size:
        return False
    largest = float(np.abs(np.asarray(left, np.float64)).max())
    return bool(np.abs(np.asarray(left, np.float64) - right).max() <= same * largest)
