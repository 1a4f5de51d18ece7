"""The check liveness: the native model's outputs depend on its inputs, by what a verdict can see.

An output may move by thousands of float32 errors and yet by less than its case may err: half
precision knows 300 to a quarter. There a constant would pass, so the judge itself is asked whether
it would tell native's answers from such that move less.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from onnx_conformance.checks.registry import register_check
from onnx_conformance.checks.verdict import float32_part, limits_for
from onnx_conformance.checks.whole_numbers import chosen_from_what_moves
from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.budget import Reference, movements
from onnx_conformance.core.judgement import judge_outputs
from onnx_conformance.core.padded_rows import fitted, stacked
from onnx_conformance.core.plain_outputs import is_keys
from onnx_conformance.core.results import CheckResult, failed, passed, skipped
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.core.tolerances import FLOAT32, INT8, Rule
from onnx_conformance.inputs.families import ORDINARY_RECIPES, many, materialise, pinned_inputs
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.subject import Subject


@register_check(control="constant_output", families=("pinned",))
def check_liveness(subject: Subject) -> CheckResult:
    """The native model's outputs depend on its inputs; otherwise no comparison shows anything.

    It fails where no output changes. A single output that never changes, such as tags that trained
    weights never give, is a property of the model: the case is then incomplete, with the reason. So
    it is where trained weights do not move on random inputs: a detector of text that sees none, a
    Gaussian process that answers 0 far from its data. A label that never changes is judged by the
    numbers among which it is a position, if they do. Incomplete too is a case whose error budget,
    or ``allclose``, would pass answers that lack a share of the movement (``missing_share``).
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
        hidden = _hidden(subject, input_sets, outputs, rule["missing_share"])
        if hidden:
            return skipped(_too_little(subject, hidden, rule))
        return passed(text, compared=compared, statistics={"liveness": moved})
    anywhere = movements(references, outputs, floor, 1.0, np.finfo(float).tiny)
    still = [spec for spec in outputs if not found[spec.name] >= least]
    names = ", ".join(repr(spec.name) for spec in still)
    if not any(spec.floating for spec in still) and chosen_from_what_moves(subject, least):
        text = f"{names} hardly change; the numbers among which they are positions do"
        return passed(text, compared=compared)
    if any(one >= least for one in anywhere.values()):
        floating = any(spec.floating for spec in still)
        share = 1.0 - rule["dead_share"] if floating else rule["moving_share"]
        far = f"changes by {least:g} {unit} errors" if floating else "changes"
        remedy = "give inputs (domain=) or weights on which it changes"
        if not any(_varies(references, spec) for spec in still):
            remedy += "; if it is constant on purpose, leave it out of what the model returns"
        return skipped(
            f"in the native model, less than {share:.0%} of {names} {far} between ordinary inputs "
            f"({rule.origin}), so comparing it proves nothing; {remedy}",
        )
    text += f", at least {least:g} is required ({rule.origin}); a model that barely depends on its "
    text += "input proves nothing: give "
    if subject.model.trained:  # nobody gives it other weights for the sake of a comparison
        return skipped(f"{text}inputs (domain=) on which it changes")
    return failed(f"{text}it other weights", compared=compared)


def _hidden(
    subject: Subject, input_sets: Sequence[Inputs], outputs: Sequence[TensorSpec], share: float
) -> list[TensorSpec]:
    """The floating outputs that would be judged right without ``share`` of their movement.

    None in int8, where the movement alone is credited (``sqnr``).
    """
    if subject.case.precision == INT8:
        return []
    judges = [subject, float32_part(subject)]
    seen = {
        spec.name
        for one in judges
        if one is not None
        for spec in _seen(one, input_sets, outputs, share)
    }
    return [spec for spec in outputs if spec.floating and spec.name not in seen]


def _seen(
    subject: Subject, input_sets: Sequence[Inputs], outputs: Sequence[TensorSpec], share: float
) -> Iterator[TensorSpec]:
    """The outputs of which answers that move less are judged wrong on some inputs."""
    limits, references = limits_for(subject), [subject.reference(inputs) for inputs in input_sets]
    for spec in (spec for spec in subject.model.outputs if spec in outputs and spec.floating):
        answers = _with_less_movement(references, spec.name, share)
        if not all(
            judge_outputs(reference, got, [spec], limits).right
            for reference, got in zip(references, answers, strict=True)
            if reference.oracle[spec.name].size
        ):
            yield spec


def _with_less_movement(
    references: Sequence[Reference], name: str, share: float
) -> Iterator[Outputs]:
    """Native's answers, each number nearer by ``share`` to its mean over all samples."""
    samples = stacked(reference.oracle[name] for reference in references)
    known = np.isfinite(samples)  # a mask may leave out another class in each sample
    mean = np.where(known, samples, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        nearer = np.where(known, samples + share * (mean - samples), samples)
    start = 0
    for reference in references:
        wanted = reference.native[name]
        rows = fitted(nearer[start : start + len(wanted)], wanted.shape[1:])
        start += len(wanted)
        yield {name: rows.reshape(wanted.shape).astype(wanted.dtype)}


def _too_little(subject: Subject, hidden: Sequence[TensorSpec], rule: Rule) -> str:
    names = ", ".join(repr(spec.name) for spec in hidden)
    limits = limits_for(subject)
    measure = "allclose" if limits.measure == "allclose" else "the error budget"
    return (
        f"ordinary inputs change {names} so little beside its size that {measure} in "
        f"{subject.case.precision} would pass a file without {rule['missing_share']:.0%} of the "
        f"change ({limits.rule.origin}), so comparing it proves nothing; give inputs (domain=) on "
        "which it changes more, or judge the output without its constant part"
    )


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
