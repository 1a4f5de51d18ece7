"""The check of models that generate: greedy tokens, decided by margins.

Both sides are fed the tokens that native chooses. A token of the session's that is another is a
fault where native's logits of the two are clearly apart, and none where they tie.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnx_conformance.checks.closeness import absolute_error
from onnx_conformance.checks.registry import FAITHFUL, register_check
from onnx_conformance.checks.steps import WITH_MEMORY
from onnx_conformance.checks.verdict import limits_for
from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.budget import Reference, largest_noise_floor
from onnx_conformance.core.carries import generates
from onnx_conformance.core.comparison import structure_problem
from onnx_conformance.core.domains import Integers
from onnx_conformance.core.judgement import AnswerLimits
from onnx_conformance.core.results import CheckResult, failed, not_applicable, passed, skipped
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.inputs.loops import Loop, judged_at, loops, of_call, without_call
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.subject import Subject


@dataclass(frozen=True)
class GreedyDecoding:
    """How a model's tokens are chosen: of ``ids``, the one whose logit is the largest."""

    logits: str
    tokens: str
    ids: Integers

    @staticmethod
    def of(model: ModelSpec) -> GreedyDecoding | None:
        """How a model decodes; None where it does not generate one token a call."""
        pair = generates(model)
        loop = next(iter(loops(model, 0).values()), None)
        if pair is None or loop is None or loop.calls[1][pair[1]][0].size != 1:
            return None
        domain = next(spec.domain for spec in model.inputs if spec.name == pair[1])
        return GreedyDecoding(*pair, domain) if isinstance(domain, Integers) else None

    def specs(self, model: ModelSpec, calls: int) -> list[TensorSpec]:
        """The logits of each of a loop's calls."""
        every = (spec for call in range(calls) for spec in judged_at(model, call))
        return [spec for spec in every if without_call(spec.name) == self.logits]

    def row(self, outputs: Outputs, call: int) -> Array:
        """The logits of the next token after one of a loop's calls, ``(samples, ids)``."""
        return self._last(outputs[of_call(self.logits, call)])

    def chosen(self, outputs: Outputs, tokens: Array) -> Array:
        """What native, which gave ``outputs`` at one call, is fed at the next: like ``tokens``."""
        found = self._last(outputs[self.logits]).argmax(-1) + self.ids.low
        fed: Array = found.astype(tokens.dtype).reshape(tokens.shape)
        return fed

    def _last(self, logits: Array) -> Array:
        """The logits of the last place, if there are several, and of the tokens that may be fed."""
        last: Array = logits[:, -1] if logits.ndim > 2 else logits
        return last[:, self.ids.low : self.ids.high]


@register_check(
    control="leading_tokens_swapped",
    families=("loops",),
    case=WITH_MEMORY,
    where=lambda model: GreedyDecoding.of(model) is not None,
    precisions=FAITHFUL,
)
def check_generation(subject: Subject) -> CheckResult:
    """Greedy tokens are native's, or tie with them."""
    greedy = GreedyDecoding.of(subject.model)
    loop = next(iter(loops(subject.model, subject.seed).values()))
    assert greedy is not None
    (begun,) = subject.references([loop])
    if isinstance(begun, str):
        return not_applicable("generation", f"native itself refuses calls in a row ({begun})")
    chosen = _with_natives_tokens(subject, greedy, loop)
    reference, answer = subject.reference(chosen), subject.run(chosen)
    label = f"{len(loop.calls)} greedy tokens"
    if answer.outputs is None:
        return failed("generation", f"{label}: the session refused {answer.error}", inputs=label)
    problem = structure_problem(reference.native, answer.outputs)
    if problem:
        return failed("generation", f"{label}: {problem}", inputs=label)
    limits = limits_for(subject)
    noise = largest_noise_floor(reference, greedy.specs(subject.model, len(loop.calls)))
    if limits.measure == "score" and noise > limits.rule["maximum_noise_floor"]:
        return skipped(
            "generation",
            f"{reference.unit} itself errs by {noise:.2g} of the logits: {label} prove nothing",
        )
    flips = list(_flips(greedy, chosen, reference, answer.outputs, limits))
    wrong = [flip for flip in flips if not flip.gap <= flip.allowed]
    samples = len(chosen.calls[0][greedy.tokens])
    compared = samples * len(chosen.calls)
    if wrong:
        more = f" ({len(wrong)} of {compared} tokens are wrong)" if len(wrong) > 1 else ""
        return failed("generation", f"{wrong[0]}{more}", inputs=label, compared=compared)
    return passed(
        "generation",
        f"{label} of {samples} samples: {compared - len(flips)} are native's, {len(flips)} tie",
        compared=compared,
        statistics={"ties": len(flips)},
    )


@dataclass(frozen=True)
class ChosenToken:
    """One side's token, its logit of it, and its logit of the other side's token."""

    token: int
    best: float
    other: float


@dataclass(frozen=True)
class TokenFlip:
    """A token that is not native's.

    Args:
        native, session: what each chose.
        gap: between native's two logits, in float64; they tie if it is at most ``allowed``.
    """

    call: int
    sample: int
    native: ChosenToken
    session: ChosenToken
    gap: float
    allowed: float

    def __str__(self) -> str:
        ours, theirs = self.native, self.session
        return (
            f"greedy token {self.call + 1} of sample {self.sample} is {theirs.token}, native's is "
            f"{ours.token}: native's logits of {ours.token} and {theirs.token} are "
            f"{ours.best:.6g} and {ours.other:.6g}, the session's {theirs.other:.6g} and "
            f"{theirs.best:.6g} (ties are closer than {self.allowed:.3g})"
        )


def _with_natives_tokens(subject: Subject, greedy: GreedyDecoding, loop: Loop) -> Loop:
    """The loop, each call of which but the first is fed the token that native chose before."""
    model, calls = subject.model, [loop.calls[0]]
    state = Inputs()
    for call in loop.calls[1:]:
        given = {**calls[-1], **state}
        answer = subject.native(Inputs((spec.name, given[spec.name]) for spec in model.inputs))
        state = Inputs((old, answer[new]) for new, old in model.carries)
        tokens = greedy.chosen(answer, call[greedy.tokens])
        calls.append(Inputs({**call, greedy.tokens: tokens}))
    return Loop(calls)


def _flips(
    greedy: GreedyDecoding, loop: Loop, reference: Reference, outputs: Outputs, limits: AnswerLimits
) -> Iterator[TokenFlip]:
    for call in range(len(loop.calls)):
        exact, got = greedy.row(reference.oracle, call), greedy.row(outputs, call)
        for sample, (wanted, found) in enumerate(zip(exact, got, strict=True)):
            best, other = int(wanted.argmax()), int(found.argmax())
            if best == other or not np.isfinite(wanted).all():
                continue
            first = greedy.ids.low
            yield TokenFlip(
                call,
                sample,
                ChosenToken(best + first, float(wanted[best]), float(wanted[other])),
                ChosenToken(other + first, float(found[other]), float(found[best])),
                float(wanted[best] - wanted[other]),
                _allowed(reference, of_call(greedy.logits, call), sample, limits),
            )


def _allowed(reference: Reference, name: str, sample: int, limits: AnswerLimits) -> float:
    """How close two logits are that tie: within float32's errors, or allclose's tolerance."""
    if limits.measure == "score":
        return limits.tie_factor * absolute_error(reference, name, sample)
    exact = np.abs(reference.oracle[name][sample])
    rms = float(np.sqrt(np.mean(np.square(exact, dtype=np.float64))))
    return limits.rule["rtol"] * float(exact.max()) + limits.rule["atol_rms"] * rms
