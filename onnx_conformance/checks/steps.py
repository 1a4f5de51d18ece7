"""The check of models with memory: calls in a row, each with the state that the one before gave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from onnx_conformance.checks.registry import FAITHFUL, register_check
from onnx_conformance.checks.verdict import (
    evidence_lines,
    float32_part,
    judge,
    limits_for,
    result_of,
)
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.case import Case
from onnx_conformance.core.judgement import Judgement, judge_outputs
from onnx_conformance.core.results import CheckResult, failed, not_applicable, passed, skipped
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.inputs.families import InputPlan, input_family
from onnx_conformance.inputs.loops import LEAST_CALLS, Loop, judged_at, loops, of_call
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.subject import Answer, Subject

WITH_MEMORY = Case("decoder_with_cache", "torch_dynamo", 18, "cpu")  # examples/models/memory.py
GROWS = 2.0  # times its error at the first wrong call, above which an error is called growing


@input_family("loops")
def _loops_plan(model: ModelSpec, seed: int) -> InputPlan:
    return InputPlan(sweep=tuple(loops(model, seed).values()))


@input_family("loops_again")
def _again_plan(model: ModelSpec, seed: int) -> InputPlan:
    return InputPlan(repeats=tuple(loops(model, seed).values()))


@dataclass(frozen=True)
class LoopRun:
    """One loop, native's side and the runtime's; ``description`` says how it begins."""

    description: str
    loop: Loop
    reference: Reference
    answer: Answer

    @property
    def label(self) -> str:
        """The loop's name in messages."""
        return f"{len(self.loop.calls)} calls in a row {self.description}"


def _has_loops(model: ModelSpec) -> bool:
    return bool(loops(model, 0))


@register_check(
    control="state_is_stale",
    families=("loops",),
    case=WITH_MEMORY,
    where=_has_loops,
    precisions=FAITHFUL,
)
def check_steps(subject: Subject) -> CheckResult:
    """Calls in a row, on each side with its own state, give what native's calls give.

    The noise floor is that of the loop: the oracle, native and its replicas run it each on their
    own.
    """
    return _judge_loops(subject, 0)


@register_check(
    control="state_left_over",
    families=("loops", "loops_again"),
    case=WITH_MEMORY,
    where=_has_loops,
    precisions=FAITHFUL,
)
def check_reset(subject: Subject) -> CheckResult:
    """A fresh start, in a session that ran other calls before, gives what the first start gave."""
    result = _judge_loops(subject, 1)
    if result.outcome != "failed":
        return result
    return replace(result, reason=f"begun anew after other calls, {result.reason}")


def _judge_loops(subject: Subject, repeat: int) -> CheckResult:
    """The loops of a model, each in the session's run that ``repeat`` counts."""
    chosen = loops(subject.model, subject.seed)
    if not chosen:
        return state_is_fixed()
    references = subject.references(list(chosen.values()))
    ran, refused = [], []
    for (description, loop), reference in zip(chosen.items(), references, strict=True):
        if isinstance(reference, str):
            refused.append(f"{description}: {reference}")
        else:
            ran.append(LoopRun(description, loop, reference, subject.run(loop, repeat)))
    if not ran:
        return skipped(f"native itself refuses calls in a row ({refused[0]})")
    results = [_judge(subject, one) for one in ran]
    for outcome in ("failed", "skipped"):
        for result in (one for one in results if one.outcome == outcome):
            return result
    worst = max(results, key=lambda result: result.score or 0.0)
    text = "; ".join(
        f"{one.label}: {result.reason}" for one, result in zip(ran, results, strict=True)
    )
    text += f"; native itself refuses them {refused[0]}" if refused else ""
    compared = sum(result.compared for result in results)
    return passed(text, compared=compared, score=worst.score, budget=worst.budget)


def state_is_fixed() -> CheckResult:
    """The result for a file that fixes the size of a state which grows from call to call."""
    return not_applicable(
        "the file fixes the size of a state that grows, so no call can follow another",
    )


# -- one loop --------------------------------------------------------------------------------------


def _judge(subject: Subject, ran: LoopRun) -> CheckResult:
    if ran.answer.outputs is None:
        return failed(
            f"{ran.label}: the session refused {ran.answer.error}",
            inputs=ran.label,
            details=evidence_lines(subject),
        )
    found = list(_judged_calls(subject, ran))
    first = next((place for place, one in enumerate(found) if not one.right), None)
    if first is not None:
        return _failed_at(subject, ran, found, first)
    part = float32_part(subject)
    if part is not None:
        exact = _judge(part, replace(ran, reference=part.reference(ran.loop)))
        if exact.outcome == "failed":
            return exact
    if len(found) < LEAST_CALLS:
        specs = judged_at(subject.model, len(found))
        noise = limits_for(subject).excessive_noise(ran.reference, specs)
        return skipped(
            f"{ran.reference.unit} itself errs by {noise:.2g} of the output at call "
            f"{len(found) + 1} of {ran.label}: they prove nothing",
        )
    worst = max(found, key=lambda one: one.severity)
    few = f"; after call {len(found)} float32's own error says nothing"
    return passed(
        f"within budget at each: {worst}{few if len(found) < len(ran.loop.calls) else ''}",
        compared=sum(one.elements for one in found),
        score=worst.score.value if worst.score else None,
        budget=worst.limits.rule["factor"] if worst.score else None,
    )


def _judged_calls(subject: Subject, ran: LoopRun) -> Iterator[Judgement]:
    """Each call's verdict, up to the first at which float32's own error leaves nothing to say."""
    limits, outputs = limits_for(subject), ran.answer.outputs
    assert outputs is not None
    for place in range(len(ran.loop.calls)):
        specs = judged_at(subject.model, place)
        if limits.excessive_noise(ran.reference, specs):
            return
        yield judge_outputs(ran.reference, outputs, specs, limits)


def _failed_at(
    subject: Subject, ran: LoopRun, found: Sequence[Judgement], first: int
) -> CheckResult:
    """The first wrong call, whether the error grows after it, and whether its state is to blame."""
    result = result_of(subject, ran.label, ran.loop, found[first])
    alone = judge(subject, _with_native_state(subject.model, ran, first), ran.label)
    if alone.outcome == "failed":
        blame = "this call alone, given native's state, is wrong too"
    else:
        blame = "this call alone, given native's state, is right: wrong is the state it was given"
    return replace(
        result,
        reason=f"call {first + 1} of {ran.label}: {result.reason}",
        details=(_error_growth(found, first), blame, *result.details),
        compared=sum(one.elements for one in found),
        reproduction=alone.reproduction,
    )


def _error_growth(found: Sequence[Judgement], first: int) -> str:
    """How the error goes on after the first wrong call."""
    scores = [one.score for one in found[first:]]
    if first + 1 == len(found):
        return f"right up to call {first}; the last call is wrong" if first else "its only call"
    if scores[0] is None or scores[-1] is None or not scores[0].error:
        wrong = sum(not one.right for one in found)
        return f"{wrong} of {len(found)} calls are wrong, the first is call {first + 1}"
    ratio = scores[-1].error / scores[0].error
    way = "grows" if ratio > GROWS else "fades" if ratio * GROWS < 1 else "stays as large"
    return (
        f"the error begins at call {first + 1} and {way}: {scores[0].error:.3g} there, "
        f"{scores[-1].error:.3g} at call {len(found)}"
    )


def _with_native_state(model: ModelSpec, ran: LoopRun, place: int) -> Inputs:
    """The inputs of one call of the loop by themselves, with the state that native has there."""
    inputs = dict(ran.loop.calls[place])
    if place:
        native = ran.reference.native
        inputs |= {old: native[of_call(new, place - 1)] for new, old in model.carries}
    return Inputs((spec.name, inputs[spec.name]) for spec in model.inputs)
