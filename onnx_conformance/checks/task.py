"""The check task of int8 files: decisions on real data beside native's, by bounds at 99 %.

Such a file rounds too coarsely for an error budget (:mod:`onnx_conformance.core.statistics`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np

from onnx_conformance.catalog.models import MODELS
from onnx_conformance.checks.precision import CLASSIFIER, Unanswered, answers_to, signal
from onnx_conformance.checks.registry import register_check
from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.results import (
    CheckResult,
    ResultFields,
    failed,
    passed,
    skipped,
    undecided,
)
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.statistics import (
    Interval,
    accuracy,
    accuracy_loss,
    agreement,
    bold_flips,
    divergence,
    margin_lost,
)
from onnx_conformance.core.tolerances import INT8, Rule
from onnx_conformance.inputs.samples import task_samples
from onnx_conformance.inputs.tasks import TASKS, Samples
from onnx_conformance.run.subject import Subject


@dataclass(frozen=True)
class _TaskFigure:
    """One figure of a task's verdict.

    Args:
        key: of the tolerance.
        at_least: the bound that counts is the lower one.
        labelled: it takes the labels too.
        figures: further figures of the tolerance that it takes.
    """

    key: str
    label: str
    ask: Callable[..., Interval]
    at_least: bool = False
    labelled: bool = False
    figures: tuple[str, ...] = ()

    def answer(self, native: Array, runtime: Array, labels: Array | None, rule: Rule) -> Interval:
        """The figure on these logits ``(samples, classes)``."""
        arrays = (labels, native, runtime) if self.labelled else (native, runtime)
        return self.ask(*arrays, *(rule[key] for key in self.figures), rule["confidence"])


QUESTIONS = (
    _TaskFigure("accuracy_loss", "accuracy lost", accuracy_loss, labelled=True),
    _TaskFigure("agreement", "the same class", agreement, at_least=True),
    _TaskFigure("bold_flips", "clear decisions flipped", bold_flips, figures=("bold_margin",)),
    _TaskFigure("margin_lost", "margin lost", margin_lost),
    _TaskFigure("divergence", "divergence in nats", divergence),
)


@register_check(control="layer_saturated", case=CLASSIFIER, precisions=(INT8,))
def check_task(subject: Subject) -> CheckResult:
    """On real data it decides as native does, and where labels are known it is as often right."""
    model = subject.model
    if not model.task:
        judged = ", ".join(name for name in MODELS if MODELS[name].task)
        return skipped(
            f"latency only: there are no data to judge {model.name}'s decisions on "
            f"(--evaluation-data=DIR gives yours); accuracy is judged for {judged}",
        )
    rule = subject.tolerances.rule("task", subject.case)
    first = task_samples(model, subject.seed)
    result = _judged(subject, first, rule, rule["confidence"])
    further = TASKS[model.task].further
    if result.outcome != "skipped" or further is None:
        return result
    # a second look has half of the error that the first may have: 1.5 % in all, at 99 %
    whole = first.with_more(further(model, subject.seed))
    return _judged(subject, whole, rule, 1 - (1 - rule["confidence"]) / 2)


def _judged(subject: Subject, samples: Samples, rule: Rule, confidence: float) -> CheckResult:
    """The verdict on samples: undecided where only the bounds, and not the figures, are wrong."""
    model, figures = subject.model, {**rule.figures, "confidence": confidence}
    rule = replace(rule, figures=figures)
    try:
        both = answers_to(subject, list(samples.input_sets))
        native, runtime = (_logits(model, side) for side in (both.native, both.runtime))
        _refuse_vacuous(native, samples.labels, rule)
        asked = [one for one in QUESTIONS if samples.labels is not None or not one.labelled]
        found = {one.key: one.answer(native, runtime, samples.labels, rule) for one in asked}
    except (Unanswered, ValueError) as problem:
        return failed(str(problem))
    wrong = [one for one in asked if not _within_bound(one, found[one.key], rule)]
    reason = "; ".join(_figure(one, found[one.key]) for one in wrong or asked)
    allowed = ", ".join(f"{one.key} {rule[one.key]:g}" for one in wrong)
    evidence: ResultFields = {
        "statistics": {key: asdict(interval) for key, interval in found.items()},
        "inputs": TASKS[model.task].story,
    }
    if not wrong:
        reason = f"{reason}; {_native_decisions(native, samples.labels)}"
        return passed(reason, compared=len(samples), **evidence)
    reason = f"{reason}; allowed: {allowed} ({rule.origin})"
    if any(not _within(one, found[one.key].estimate, rule) for one in wrong):
        return failed(reason, compared=len(samples), **evidence)
    reason = f"{len(samples)} samples are too few: {reason}; give more (--evaluation-data=DIR)"
    return undecided(reason, compared=len(samples), **evidence)


def _refuse_vacuous(native: Array, labels: Array | None, rule: Rule) -> None:
    """Refuses samples on which a file that knows nothing would pass.

    Raises:
        Unanswered: naming one class for all would be enough, or native does hardly better.
    """
    decided = native.argmax(axis=1)
    counts = np.bincount(decided)
    share = counts.max() / len(decided)
    if share >= rule["agreement"]:
        raise Unanswered(
            f"native names class {counts.argmax()} for {share:.1%} of {len(decided)} samples, so a "
            f"file that named it for all would pass (agreement {rule['agreement']:g}); add samples "
            "of other classes"
        )
    if labels is None:
        return
    right = accuracy(labels, native, rule["confidence"])
    commonest = np.unique(labels, return_counts=True)[1].max() / len(labels)
    if right.low <= commonest:
        raise Unanswered(
            f"native is right on {right.estimate:.1%} of the samples (at least {right.low:.1%} at "
            f"{right.confidence:.0%}), and naming one class for all would be right on "
            f"{commonest:.1%}; check labels and preprocessing, and that the weights are trained"
        )


def _native_decisions(native: Array, labels: Array | None) -> str:
    """On how much native's own decisions rest, in words."""
    decided = native.argmax(axis=1)
    named = f"native names {len(np.unique(decided))} of {native.shape[1]} classes"
    return named if labels is None else f"{named}, and is right on {np.mean(decided == labels):.1%}"


def _logits(model: ModelSpec, outputs: Outputs) -> Array:
    """The first output as logits ``(samples, classes)``."""
    spec = model.outputs[0]
    return signal(spec, outputs[spec.name])


def _within_bound(one: _TaskFigure, found: Interval, rule: Rule) -> bool:
    return _within(one, found.low if one.at_least else found.high, rule)


def _within(one: _TaskFigure, value: float, rule: Rule) -> bool:
    return value >= rule[one.key] if one.at_least else value <= rule[one.key]


def _figure(one: _TaskFigure, found: Interval) -> str:
    side = f"at least {found.low:.4g}" if one.at_least else f"at most {found.high:.4g}"
    return (
        f"{one.label} {found.estimate:.4g} ({side} at {found.confidence:.0%}, "
        f"{found.samples} samples)"
    )
