"""Checks of values: liveness, error budget, batch invariance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnx_conformance.checks.registry import FAITHFUL, FLOAT32_WEIGHTS, register_check
from onnx_conformance.checks.verdict import (
    judge,
    limits_for,
    not_answered,
    result_of,
    unless_refused,
)
from onnx_conformance.checks.whole_numbers import chosen_from_what_moves
from onnx_conformance.core.budget import Reference, movements, stack
from onnx_conformance.core.judgement import judge_outputs
from onnx_conformance.core.plain_outputs import is_keys
from onnx_conformance.core.results import CheckResult, failed, passed, skipped
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.core.tolerances import FLOAT32
from onnx_conformance.inputs.batch_layout import fixed_batch
from onnx_conformance.inputs.families import (
    BATCH_MATES,
    ORDINARY_RECIPES,
    UNLIKE_SAMPLES,
    batch_mates,
    denormal,
    many,
    materialise,
    pinned_inputs,
    replayed,
    stack_inputs,
)
from onnx_conformance.inputs.recipes import Inputs, Recipe, suited
from onnx_conformance.run.subject import Subject


def takes_any_number(model: ModelSpec) -> bool:
    """Whether an input may hold every number: denormals, NaN and infinities too."""
    return any(spec.real for spec in model.inputs)


@register_check(control="constant_output", families=("pinned",))
def check_liveness(subject: Subject) -> CheckResult:
    """The native model's outputs depend on its inputs; otherwise no comparison shows anything.

    It fails where no output changes. A single output that never changes, such as tags that trained
    weights never give, is a property of the model: the case is then incomplete, with the reason. So
    it is where trained weights do not move on random inputs: a detector of text that sees none, a
    Gaussian process that answers 0 far from its data. A label that never changes is judged by the
    numbers among which it is a position, if they do.
    """
    rule = subject.tolerances.rule("liveness", subject.case)
    plain = replace(subject.case, precision=FLOAT32)  # it is the native model that is asked
    floor = subject.tolerances.rule("error_budget", plain)["floor_ulp"]
    unit = subject.model.precision  # in which its own code computes
    least = rule["minimum" if unit == FLOAT32 else "coarse_minimum"]
    input_sets = pinned_inputs(ORDINARY_RECIPES, subject.model, subject.seed)
    references = [subject.plain_reference(inputs) for inputs in input_sets]
    outputs = _outputs_that_should_change(subject, references)
    found = movements(references, outputs, floor, rule["dead_share"], rule["moving_share"])
    moved = float(np.min(list(found.values())))
    if not moved >= least:  # a few samples may leave a threshold's outputs at rest
        input_sets = [materialise(recipe, subject.model) for recipe in many(subject.seed)]
        references += [subject.plain_reference(inputs) for inputs in input_sets]
        found = movements(references, outputs, floor, rule["dead_share"], rule["moving_share"])
        moved = float(np.min(list(found.values())))
    compared = sum(array.size for ref in references for array in ref.oracle.values())
    text = f"outputs change by {moved:.3g} {unit} errors between inputs"
    if moved >= least:
        return passed("liveness", text, compared=compared, statistics={"liveness": moved})
    anywhere = movements(references, outputs, floor, 1.0, np.finfo(float).tiny)
    still = [spec for spec in outputs if not found[spec.name] >= least]
    names = ", ".join(repr(spec.name) for spec in still)
    if not any(spec.floating for spec in still) and chosen_from_what_moves(subject, least):
        text = f"{names} hardly change; the numbers among which they are positions do"
        return passed("liveness", text, compared=compared)
    if any(one >= least for one in anywhere.values()):
        floating = any(spec.floating for spec in still)
        share = 1.0 - rule["dead_share"] if floating else rule["moving_share"]
        far = f"changes by {least:g} {unit} errors" if floating else "changes"
        return skipped(
            "liveness",
            f"in the native model, less than {share:.0%} of {names} {far} between ordinary inputs "
            f"({rule.origin}), so comparing it proves nothing; give inputs (domain=) or "
            "weights on which it changes",
        )
    text += f", at least {least:g} is required ({rule.origin}); a model that barely depends on its "
    text += "input proves nothing: give "
    if subject.model.trained:  # nobody gives it other weights for the sake of a comparison
        return skipped("liveness", f"{text}inputs (domain=) on which it changes")
    return failed("liveness", f"{text}it other weights", compared=compared)


def _outputs_that_should_change(
    subject: Subject, references: Sequence[Reference]
) -> list[TensorSpec]:
    """All outputs but tables that the model hands on, where some other output changes."""
    outputs = [spec for spec in subject.model.outputs if not is_keys(spec.name)]
    constant = [spec for spec in outputs if spec.name in subject.weights.constant_outputs]
    if len(constant) == len(outputs):
        return outputs
    return [spec for spec in outputs if spec not in constant or _varies(references, spec)]


def _varies(references: Sequence[Reference], spec: TensorSpec) -> bool:
    """Whether an output is not the same throughout; at another size it may be another."""
    arrays = [reference.oracle[spec.name] for reference in references]
    if spec.batch_axis is not None:
        arrays = [row for array in arrays for row in array]
    first = {array.shape: array for array in reversed(arrays)}
    return any(array.tobytes() != first[array.shape].tobytes() for array in arrays)


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
    if abs(recipe.scale) <= rule["ordinary_scale"]:
        return judge(subject, "error_budget", inputs, str(recipe))
    return unless_refused(
        subject, "error_budget", inputs, lambda one: judge(one, "error_budget", inputs, str(recipe))
    )


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
    return unless_refused(
        subject, "denormals", inputs, lambda one: judge(one, "denormals", inputs, str(recipe))
    )


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
        "batch_invariance",
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
    name, inputs = "batch_invariance", one.inputs
    answer = subject.run(inputs)
    if answer.outputs is None:
        return not_answered(name, answer, inputs, one.label, f"{one.place}, ")
    specs = subject.model.judged if whole else tuple(_with_batch(subject.model))
    found = judge_outputs(wanted, answer.outputs, specs, limits_for(subject, name))
    result = result_of(subject, name, one.label, inputs, found)
    return result if result.passed else replace(result, reason=f"{one.place}, {found}")
