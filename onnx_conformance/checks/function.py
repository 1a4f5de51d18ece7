"""Checks of values: error budget, denormals, batch invariance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from onnx_conformance.checks.registry import FAITHFUL, FLOAT32_WEIGHTS, register_check
from onnx_conformance.checks.verdict import (
    judge,
    limits_for,
    not_answered,
    result_of,
    unless_refused,
)
from onnx_conformance.core.budget import Reference, stack
from onnx_conformance.core.judgement import judge_outputs
from onnx_conformance.core.results import CheckResult, passed
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.inputs.batch_layout import fixed_batch
from onnx_conformance.inputs.families import (
    BATCH_MATES,
    UNLIKE_SAMPLES,
    batch_mates,
    denormal,
    materialise,
    replayed,
    stack_inputs,
)
from onnx_conformance.inputs.recipes import Inputs, Recipe, suited
from onnx_conformance.run.subject import Subject


def takes_any_number(model: ModelSpec) -> bool:
    """Whether an input may hold every number: denormals, NaN and infinities too."""
    return any(spec.real for spec in model.inputs)


@register_check(
    control="one_weight_flipped",
    families=("pinned",),
    calls=lambda model, seed: {
        label: {"recipe": recipe} for label, recipe in replayed(model.name, seed).items()
    },
    drawn=True,
    precisions=FAITHFUL,
    localised=True,
)
def check_error_budget(subject: Subject, recipe: Recipe) -> CheckResult:
    """The verdict: the runtime's error is at most a small multiple of float32's own error."""
    rule = subject.tolerances.rule("error_budget", subject.case)
    recipe = suited(recipe, subject.model.axes)
    # a class of a narrow range is asked nothing beyond it; above it, it may overflow
    recipe = replace(recipe, scale=min(recipe.scale, rule.get("largest_scale", recipe.scale)))
    inputs = materialise(recipe, subject.model)
    if 1 / rule["ordinary_scale"] <= abs(recipe.scale) <= rule["ordinary_scale"]:
        return judge(subject, inputs, str(recipe))
    return unless_refused(subject, inputs, lambda one: judge(one, inputs, str(recipe)))


@register_check(
    control="denormals_divided",
    families=("denormal",),
    where=takes_any_number,
    precisions=FLOAT32_WEIGHTS,
    edge=True,
    calls=lambda model, seed: {"": {"recipe": denormal(seed)}},
)
def check_denormals(subject: Subject, recipe: Recipe) -> CheckResult:
    """The same budget on inputs below float32's smallest normal number."""
    inputs = materialise(recipe, subject.model)
    return unless_refused(subject, inputs, lambda one: judge(one, inputs, str(recipe)))


def takes_batches(model: ModelSpec) -> bool:
    """Whether a call may take several samples."""
    return model.batched and model.group != 1


@register_check(
    control="leaks_between_samples",
    families=("batches",),
    where=takes_batches,
    precisions=FAITHFUL,
    localised=True,
)
def check_batch_invariance(subject: Subject) -> CheckResult:
    """A sample has the same answer alone and in batches of up to 8, of small models up to 64.

    Where the file fixes its batch, a sample has the same answer in each slot of it, beside
    samples of unlike size. Where native answers otherwise beside batch mates (a BatchNorm without
    statistics, a softmax over the batch), its answer to the same batch is the right one.
    """
    rule = subject.tolerances.rule("batch_invariance", subject.case)
    input_sets, sizes = batch_mates(subject.model, subject.seed)
    fixed = fixed_batch(subject.model, subject.artifact.facts)
    if fixed:
        input_sets = input_sets[: len(BATCH_MATES)]
    whole, alone = (
        stack_inputs(input_sets),
        _stacked(subject.model, [subject.reference(inputs) for inputs in input_sets]),
    )
    worst, compared, coupled = 0.0, 0, alone is None
    for rows, label in _batches(fixed, sizes):
        inputs = whole.chosen(rows)
        taken = subject.reference(inputs) if coupled or alone is None else alone.chosen(rows)
        one = _Batch(inputs, label, f"at a fixed batch of {fixed}" if fixed else "")
        result = _judge_batch(subject, one, taken, whole=coupled)
        if result.outcome == "failed" and not coupled and len(rows) > 1:
            whole_batch = _judge_batch(subject, one, subject.reference(inputs), whole=True)
            if whole_batch.passed:
                result, coupled = whole_batch, True
        if not result.passed:
            return result
        worst, compared = max(worst, result.score or 0.0), compared + result.compared
    oracle = subject.model.oracle
    return passed(
        _passed_reason(fixed, sizes, coupled=coupled),
        compared=compared,
        score=worst if oracle else None,
        budget=rule["factor"] if oracle else None,
    )


@dataclass(frozen=True)
class _Batch:
    """Samples that are run together, the words that describe them, and where the batch is fixed."""

    inputs: Inputs
    label: str
    fixed: str

    @property
    def place(self) -> str:
        return self.fixed or f"at batch {self.inputs.samples}"


def _passed_reason(fixed: int, sizes: Sequence[int], *, coupled: bool) -> str:
    same = "as native answers the same batch" if coupled else "the same answer"
    if fixed == 1:
        return f"{same} for each of several samples, one by one: the file fixes a batch of 1"
    if fixed:
        return f"{same} in each of the {fixed} slots of a batch that the file fixes"
    return f"{same} at batch {', '.join(map(str, sizes))}"


def _batches(fixed: int, sizes: Sequence[int]) -> Iterator[tuple[list[int], str]]:
    """Which samples are run together, with the words that describe them.

    Of a fixed batch as many as it holds, so often that each unlike sample stands in each slot.
    """
    if not fixed:
        for size in sizes:
            yield list(range(size)), f"{size} samples, {UNLIKE_SAMPLES} unlike ones in turn"
        return
    for first in range(UNLIKE_SAMPLES):
        rows = [(first + slot) % UNLIKE_SAMPLES for slot in range(fixed)]
        yield rows, f"{fixed} samples, {UNLIKE_SAMPLES} unlike ones in turn from sample {first} on"


def _stacked(model: ModelSpec, references: Sequence[Reference]) -> Reference | None:
    """The samples' references one below the other; None where there is no such thing.

    That is so where no output has a batch, or where one's other sizes differ and not by values.
    """
    if not _with_batch(model):
        return None
    shapes = {
        tuple(
            (name, array.shape[1:])
            for name, array in reference.native.items()
            if name in model.of_a_sample and name not in model.by_values
        )
        for reference in references
    }
    return stack(references) if len(shapes) == 1 else None


def _with_batch(model: ModelSpec) -> list[TensorSpec]:
    """The outputs that each sample has of its own; others follow their whole batch."""
    return [spec for spec in model.judged if spec.name in model.of_a_sample]


def _judge_batch(subject: Subject, one: _Batch, wanted: Reference, *, whole: bool) -> CheckResult:
    """The answer to a batch, beside what each of its samples should get.

    Args:
        whole: ``wanted`` is of this very batch, so outputs of a call as a whole are judged too.
    """
    inputs = one.inputs
    answer = subject.run(inputs)
    if answer.outputs is None:
        return not_answered(answer, inputs, one.label, f"{one.place}, ")
    specs = subject.model.judged if whole else tuple(_with_batch(subject.model))
    found = judge_outputs(wanted, answer.outputs, specs, limits_for(subject, "batch_invariance"))
    result = result_of(subject, one.label, inputs, found)
    return result if result.passed else replace(result, reason=f"{one.place}, {found}")
