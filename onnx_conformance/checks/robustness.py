"""Checks on edge cases: NaN and infinity, denormals, the empty batch, malformed inputs."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from onnx.reference import ReferenceEvaluator

from onnx_conformance.checks import reproduction
from onnx_conformance.checks.registry import FAITHFUL, register_check
from onnx_conformance.checks.verdict import (
    evidence_lines,
    not_answered,
    refusal_of,
    unanswered,
    unless_refused,
)
from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.budget import largest_noise_floor
from onnx_conformance.core.case import ExternalCase
from onnx_conformance.core.comparison import allclose_mismatch, nonfinite_problem, structure_problem
from onnx_conformance.core.onnx_file import load_model
from onnx_conformance.core.results import CheckResult, failed, not_applicable, passed, skipped
from onnx_conformance.core.spec import BATCH_NAMES, MIDDLE, ModelSpec, TensorSpec, sizes_of
from onnx_conformance.core.tolerances import FLOAT32
from onnx_conformance.inputs.batch_layout import FileNames, fixed_batch
from onnx_conformance.inputs.families import (
    NON_FINITE,
    NamedInputs,
    empty,
    fixed_axis,
    malformed,
    non_finite,
    non_finite_specs,
)
from onnx_conformance.inputs.recipes import Inputs, RawInputs
from onnx_conformance.run.subject import Answer, Subject

HUGE = float(np.sqrt(np.finfo(np.float32).max))  # products of two such numbers overflow
# A study asks the first alone: a wrapper may cast inputs in silence.
FLAWS = ("dtype", "name", "rank", "size")
NO_SUCH_FLAW = {
    "size": "every axis is symbolic: no size is wrong",
    "rank": "every input is a scalar, of which ONNX Runtime checks no rank",
}
# ONNX Runtime's words for a Reshape of (0, ...) to (0, ..., -1, ...)
UNDEFINED_RESHAPE = re.compile(r"Input shape:\{0,[^}]*\}, requested shape:\{0,[^}]*-1")


@register_check(
    control="nan_replaced",
    families=("non_finite",),
    where=lambda model: bool(non_finite_specs(model)),
    precisions=FAITHFUL,
    edge=True,
)
def check_nonfinite(subject: Subject) -> CheckResult:
    """No NaN or infinity of native's comes out as a number, and none spoils another sample.

    Among numbers ONNX Runtime's MaxPool keeps a NaN or drops it, by its place in the window. So
    where a session runs that operator and a lone value comes out otherwise, whole samples of it
    decide.
    """
    return unless_refused(subject, non_finite(subject.model, subject.seed).inputs, _judged)


def _judged(subject: Subject) -> CheckResult:
    result = _judge_non_finite(subject, non_finite(subject.model, subject.seed))
    if result.passed or not _runs_max_pool(subject):
        return result
    return _judge_non_finite(subject, _flooded(subject))


def _runs_max_pool(subject: Subject) -> bool:
    return any("MaxPool" in counts for counts in subject.session.placement.values())


def _flooded(subject: Subject) -> NamedInputs:
    """Samples of nothing but NaN, +inf and -inf, and the clean one."""
    base = non_finite(subject.model, subject.seed)
    inputs = Inputs((name, array.copy()) for name, array in base.inputs.items())
    for spec in non_finite_specs(subject.model):
        for sample, value in enumerate(NON_FINITE):
            inputs[spec.name][sample] = value
    return NamedInputs("whole samples of NaN, of +inf and of -inf, and a normal one", inputs)


def _judge_non_finite(subject: Subject, named: NamedInputs) -> CheckResult:
    rule, clean = subject.tolerances.rule("allclose", subject.case), len(NON_FINITE)
    answer, native = subject.run(named.inputs), subject.native(named.inputs)
    if answer.outputs is None:
        return not_answered(answer, named.inputs, named.label)
    problem = structure_problem(native, answer.outputs) or _lost_nonfinite(native, answer.outputs)
    if problem is None:
        of_a_sample = subject.model.of_a_sample
        wrong = allclose_mismatch(
            *_finite_in_native(
                {name: array for name, array in native.items() if name in of_a_sample},
                {name: array for name, array in answer.outputs.items() if name in of_a_sample},
                clean,
            ),
            rule["rtol"],
            rule["atol_rms"],
            scale_atol=True,
        )
        noise = _noise(subject, named.inputs, clean) if wrong else None
        if noise:
            return skipped(noise)
        problem = f"sample {clean}, which is clean, is wrong in '{wrong.output}'" if wrong else None
    if problem:
        return failed(
            problem,
            inputs=named.label,
            details=evidence_lines(subject),
            reproduction=reproduction.not_close(
                named.inputs, native, answer.outputs, rule, first_sample=clean
            ),
        )
    compared = sum(array.size for array in answer.outputs.values())
    text = "NaN, +inf and -inf wherever native has them"
    return passed(text, compared=compared, inputs=named.label)


def _finite_in_native(native: Outputs, got: Outputs, clean: int) -> tuple[Outputs, Outputs]:
    """Both answers from the clean sample on, with 0 where native itself is not finite.

    Native may couple its samples (a BatchNorm without statistics): then another sample's NaN is
    right there, and was compared by its place already.
    """
    wanted = {name: np.array(array[clean:]) for name, array in native.items()}
    found = {name: np.array(array[clean:]) for name, array in got.items()}
    for name, array in wanted.items():
        if np.issubdtype(array.dtype, np.floating):
            lost = ~np.isfinite(array)
            array[lost] = found[name][lost] = 0
    return wanted, found


def _noise(subject: Subject, inputs: Inputs, clean: int) -> str | None:
    """Why the clean sample shows nothing: the budget on it is wider than the fixed tolerance."""
    if subject.case.precision == FLOAT32 or not subject.model.oracle:
        return None
    budget = subject.tolerances.rule("error_budget", subject.case)["factor"]
    allowed = subject.tolerances.rule("allclose", subject.case)["atol_rms"]
    reference = subject.reference(inputs.chosen(slice(clean, None)))
    noise = largest_noise_floor(reference, subject.model.outputs)
    if budget * noise <= allowed:
        return None
    return (
        f"{reference.unit} itself errs by {noise:.2g} of the output on the clean sample, too much "
        "to tell whether another sample's NaN changes it"
    )


def _lost_nonfinite(native: Outputs, got: Outputs) -> str | None:
    """One sentence on the first NaN or infinity of native's that came out as a number.

    In a non-finite sample NaN may spread further than in native: a kernel padded with zeros
    multiplies them by infinity, and that is NaN.
    """
    wanted, found = _huge_as_nan(native), _huge_as_nan(got)
    for name, array in wanted.items():
        if np.issubdtype(array.dtype, np.floating):
            non_finite_ones = slice(0, len(NON_FINITE))
            ours, theirs = array[non_finite_ones], found[name][non_finite_ones]
            spread = np.isfinite(ours) & ~np.isfinite(theirs)
            theirs[spread] = ours[spread]
    return nonfinite_problem(wanted, found)


def _huge_as_nan(outputs: Outputs) -> Outputs:
    """The outputs with all that infinity may become in samples 1 and 2 as NaN.

    A Relu that was written as a Clip cuts infinity off at float32's largest number, so a
    difference of infinities, which is NaN, may come out as infinity or as a huge number.
    """
    tamed = {name: np.array(array) for name, array in outputs.items()}
    for array in tamed.values():
        if np.issubdtype(array.dtype, np.floating):
            infinite = array[1 : len(NON_FINITE)]
            huge = min(HUGE, float(np.sqrt(float(np.finfo(array.dtype).max))))
            infinite[~(np.abs(infinite) < huge)] = np.nan
    return tamed


@register_check(
    control="refuses_empty",
    families=("empty",),
    where=lambda model: model.open_batch,
    edge=True,
)
def check_empty_batch(subject: Subject) -> CheckResult:
    """A batch of no samples gives no samples, in the specified shape and dtype.

    A model that refuses it natively may refuse it anywhere: that is the same function. None may
    end the runtime's process. A Reshape that leaves a size open (-1) cannot find it among no
    elements: ONNX does not define it.
    """
    named = empty(subject.model)
    fixed = fixed_batch(subject.model, subject.artifact.facts)
    answer = subject.run(RawInputs(named.inputs) if fixed else named.inputs)
    if answer.error is not None and fixed and not answer.died:
        reason = f"refused, as by a batch fixed at {fixed}"
        return passed(reason, compared=1, inputs=named.label)
    if answer.died:
        return failed(f"no samples: {unanswered(answer)}", inputs=named.label)
    if answer.outputs is None:
        return _refused_empty(subject, named, answer)
    wanted = _none_of(subject, answer.outputs)
    problem = structure_problem(wanted, answer.outputs)
    if problem:
        return failed(
            problem,
            inputs=named.label,
            reproduction=reproduction.misshapen(named.inputs, wanted, answer.outputs),
        )
    facts = sum(array.ndim for array in wanted.values())
    return passed("no sample in, none out", compared=facts, inputs=named.label)


def _refused_empty(subject: Subject, named: NamedInputs, answer: Answer) -> CheckResult:
    """A refusal is right where native refuses too, or ONNX does not define what was asked for."""
    refusal = refusal_of(subject, named.inputs)
    if refusal is not None:
        return passed(f"native refuses an empty batch too: {refusal}", compared=1)
    if UNDEFINED_RESHAPE.search(answer.error or ""):
        reason = "refused: ONNX's Reshape cannot find an open size (-1) without elements"
        return passed(reason, compared=1, inputs=named.label)
    defined = by_definition(subject, named.inputs, answer.error or "")
    if defined is None or structure_problem(_none_of(subject, defined[1]), defined[1]):
        reason = f"no samples: {unanswered(answer)}"
        return failed(reason, inputs=named.label)
    reason = f"right by ONNX's definition; ONNX Runtime refuses an empty batch at {defined[0]}"
    return passed(reason, compared=len(defined[1]), inputs=named.label)


def _none_of(subject: Subject, got: Outputs) -> Outputs:
    """Every output of no samples."""
    return {
        spec.name: _no_samples(spec, subject.model, got.get(spec.name))
        for spec in subject.model.outputs
    }


def _no_samples(spec: TensorSpec, model: ModelSpec, got: Array | None) -> Array:
    """An output of no samples; sizes that only the model knows are those that it has."""
    sizes = sizes_of(model.axes, MIDDLE)
    if got is not None and got.ndim == len(spec.shape):
        known = {*BATCH_NAMES, *sizes}
        sizes |= {
            dim: size
            for dim, size in zip(spec.shape, got.shape, strict=True)
            if isinstance(dim, str) and dim not in known
        }
    return np.zeros(spec.concrete(0, sizes), spec.held)


@register_check(
    control="accepts_anything",
    families=("malformed",),
    calls=lambda model, seed: {
        flaw: {"flaw": flaw} for flaw in FLAWS if flaw != "size" or fixed_axis(model)
    },
    malformed=True,
)
def check_refusal(subject: Subject, flaw: str) -> CheckResult:
    """Inputs with a wrong name, dtype, rank or size get an error, not a number."""
    flaws = malformed(subject.model, subject.seed)
    if flaw not in flaws:
        return not_applicable(NO_SUCH_FLAW.get(flaw, f"no input has a {flaw}"))
    named = flaws[flaw]
    answer = subject.run(named.inputs)
    if answer.error is None:
        return failed(
            f"{named.label}: the session answered with numbers",
            inputs=named.label,
            reproduction=reproduction.accepted(named.inputs, answer.outputs),
        )
    if answer.died:
        return failed(f"{named.label}: {unanswered(answer)}", inputs=named.label)
    if not answer.error.strip():
        return failed(f"{named.label}: refused without a message", inputs=named.label)
    return passed(f"{named.label}: {answer.error[:200]}", compared=1, inputs=named.label)


# -- an empty batch by ONNX's definition -----------------------------------------------------------

# ONNX Runtime's words for a node that failed while it ran; a set of inputs is refused in others.
IN_A_NODE = re.compile(r"while running (?P<operator>\w+) node\. Name:'(?P<name>[^']*)'")


def by_definition(subject: Subject, inputs: Inputs, error: str) -> tuple[str, Outputs] | None:
    """The node at which ONNX Runtime stopped, and what ``onnx.reference`` gives in its place.

    None where the runtime stopped at no node of the file, where the definition fails too, and
    for given files, which are computed in no process without limits.
    """
    named = IN_A_NODE.search(error)
    if named is None or isinstance(subject.case, ExternalCase):
        return None
    model = load_model(subject.artifact.path)
    if named["name"] not in {node.name for node in model.graph.node}:
        return None
    names = FileNames.of(subject.model, subject.artifact.facts)
    file_inputs = dict(names.to_file(inputs))
    try:
        arrays: Any = ReferenceEvaluator(model).run(None, file_inputs)
    except Exception:  # noqa: BLE001 - whatever its operators raise: the definition refuses too
        return None
    outputs = [output.name for output in model.graph.output]
    found = names.to_model(dict(zip(outputs, arrays, strict=True)))
    return f"{named['operator']} '{named['name']}'", found
