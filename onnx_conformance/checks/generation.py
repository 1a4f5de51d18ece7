"""The check of models that generate: greedy tokens, decided by margins.

Both sides are fed the tokens that native chooses. A token of the session's that is another is a
fault where native's logits of the two are clearly apart, and none where they tie; then both sides
are fed the session's token as well, and what follows is judged alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from onnx_conformance.checks.closeness import absolute_error
from onnx_conformance.checks.registry import FAITHFUL, register_check
from onnx_conformance.checks.steps import WITH_MEMORY, state_is_fixed
from onnx_conformance.checks.verdict import limits_for
from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.budget import Reference
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
    """GreedyDecoding tokens are native's, or tie with them."""
    greedy = GreedyDecoding.of(subject.model)
    if greedy is None:
        return state_is_fixed()
    loop = next(iter(loops(subject.model, subject.seed).values()))
    (begun,) = subject.references([loop])
    if isinstance(begun, str):
        return not_applicable(f"native itself refuses calls in a row ({begun})")
    chosen = _with_natives_tokens(subject, greedy, loop, {})
    label = f"{len(loop.calls)} greedy tokens"
    found = _compared(subject, greedy, chosen, label)
    if isinstance(found, CheckResult):
        return found
    ties = {(flip.call, flip.sample): flip.session.token for flip in reversed(found)}
    followed = _first_of_samples(ties, len(loop.calls) - 1)
    if followed and not any(flip.wrong for flip in found):
        other = _with_natives_tokens(subject, greedy, loop, followed)
        further = _compared(subject, greedy, other, f"{label} after a tie")
        if isinstance(further, CheckResult):
            return further
        found += [flip for flip in further if flip.wrong]
    wrong = [flip for flip in found if flip.wrong]
    samples = len(chosen.calls[0][greedy.tokens])
    compared = samples * len(chosen.calls)
    if wrong:
        more = f" ({len(wrong)} of {compared} tokens are wrong)" if len(wrong) > 1 else ""
        return failed(f"{wrong[0]}{more}", inputs=label, compared=compared)
    both = f", of which {len(followed)} were followed on both ways" if followed else ""
    return passed(
        f"{label} of {samples} samples: {compared - len(found)} are native's, {len(found)} "
        f"tie{both}",
        compared=compared,
        statistics={"ties": len(found)},
    )


def _compared(
    subject: Subject, greedy: GreedyDecoding, loop: Loop, label: str
) -> list[TokenFlip] | CheckResult:
    """The tokens of a loop that are not native's, or why they cannot be compared."""
    reference, answer = subject.reference(loop), subject.run(loop)
    if answer.outputs is None:
        return failed(f"{label}: the session refused {answer.error}", inputs=label)
    problem = structure_problem(reference.native, answer.outputs)
    if problem:
        return failed(f"{label}: {problem}", inputs=label)
    limits = limits_for(subject)
    noise = limits.excessive_noise(reference, greedy.specs(subject.model, len(loop.calls)))
    if noise:
        return skipped(
            f"{reference.unit} itself errs by {noise:.2g} of the logits: {label} prove nothing",
        )
    return list(_flips(greedy, loop, reference, answer.outputs, limits))


def _first_of_samples(
    ties: Mapping[tuple[int, int], int], calls: int
) -> dict[tuple[int, int], int]:
    """The first tie of each sample that a further call follows."""
    found: dict[int, tuple[int, int]] = {}
    for call, sample in sorted(ties):
        if call < calls:
            found.setdefault(sample, (call, sample))
    return {place: ties[place] for place in found.values()}


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

    @property
    def wrong(self) -> bool:
        """Whether native's two logits do not tie."""
        return not self.gap <= self.allowed

    def __str__(self) -> str:
        ours, theirs = self.native, self.session
        return (
            f"greedy token {self.call + 1} of sample {self.sample} is {theirs.token}, native's is "
            f"{ours.token}: native's logits of {ours.token} and {theirs.token} are "
            f"{ours.best:.6g} and {ours.other:.6g}, the session's {theirs.other:.6g} and "
            f"{theirs.best:.6g} (ties are closer than {self.allowed:.3g})"
        )


def _with_natives_tokens(
    subject: Subject, greedy: GreedyDecoding, loop: Loop, instead: Mapping[tuple[int, int], int]
) -> Loop:
    """The loop, each call of which but the first is fed the token that native chose before.

    Args:
        instead: other tokens, by the call after which and the sample of which they are fed.
    """
    model, calls = subject.model, [loop.calls[0]]
    state = Inputs()
    for call in loop.calls[1:]:
        given = {**calls[-1], **state}
        answer = subject.native(Inputs((spec.name, given[spec.name]) for spec in model.inputs))
        state = Inputs((old, answer[new]) for new, old in model.carries)
        tokens = greedy.chosen(answer, call[greedy.tokens])
        for (after, sample), token in instead.items():
            if after + 1 == len(calls):
                tokens[sample] = token
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
