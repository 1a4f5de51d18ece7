"""Negative controls of models with memory: each call is right, and the state goes astray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from onnx_conformance.checks.controls import AlteredSubject, changed, register_control
from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.carries import flow_axis, generates
from onnx_conformance.core.domains import Mask
from onnx_conformance.inputs.loops import Loop, of_call
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.subject import Answer, Subject

States = list[dict[str, Array]]  # what each call so far got of its predecessor


def misfed(subject: Subject, change: Callable[[States], dict[str, Array]]) -> Subject:
    """The subject whose loops are fed ``change(states)`` instead of the last of ``states``.

    Args:
        change: is given the states that there were, the first call's own among them.
    """

    def run(inputs: Inputs, repeat: int) -> Answer:
        if not isinstance(inputs, Loop):
            return subject.run(inputs, repeat)
        carries = subject.model.carries
        found: dict[str, Array] = {}
        states: States = [{old: inputs.calls[0][old] for _, old in carries}]
        for place, call in enumerate(inputs.calls):
            state = change(states) if place else states[0]
            answer = subject.run(Inputs({**call, **state}))
            if answer.outputs is None:
                return answer
            states.append({old: answer.outputs[new] for new, old in carries})
            found |= {of_call(name, place): array for name, array in answer.outputs.items()}
        return Answer(found)

    return AlteredSubject(subject, run=run, again=lambda other: misfed(other, change))


@register_control(steps="call 2 of 8 calls in a row from an empty state")
def state_is_stale(subject: Subject, folder: Path) -> Subject:
    """What a call adds to the state is lost: zeros stand where its keys and values belong."""

    def stale(states: States) -> dict[str, Array]:
        before, last = states[-2], states[-1]
        return {name: _padded_kept(before[name], array) for name, array in last.items()}

    def _padded_kept(before: Array, now: Array) -> Array:
        kept = np.zeros_like(now)
        kept[tuple(slice(0, size) for size in before.shape)] = before
        return kept

    return misfed(subject, stale)


@register_control(steps="call 2 of 8 calls in a row from an empty state")
def state_of_another_sample(subject: Subject, folder: Path) -> Subject:
    """Each sample goes on with the state of the one before it in the batch."""
    return misfed(
        subject, lambda states: {name: np.roll(a, 1, axis=0) for name, a in states[-1].items()}
    )


@register_control(
    steps="call 3 of 8 calls in a row from an empty state",
    one_pass="8 calls in a row from an empty state differ from one call with all of it",
)
def positions_off_by_one(subject: Subject, folder: Path) -> Subject:
    """From the third call on the past is read one place late, as by a counter that starts at 1."""
    return misfed(
        subject,
        lambda states: {
            name: np.roll(a, 1, axis=1) if len(states) > 2 else a for name, a in states[-1].items()
        },
    )


@register_control(
    reset="begun anew after other calls, call 1 of 6 calls in a row from a state in use"
)
def state_left_over(subject: Subject, folder: Path) -> Subject:
    """Where the calls are run again, the first goes on with the state that was there at the end."""

    def run(inputs: Inputs, repeat: int) -> Answer:
        answer = subject.run(inputs)
        if not isinstance(inputs, Loop) or not repeat or answer.outputs is None:
            return answer
        first, last = inputs.calls[0], len(inputs.calls) - 1
        left = {
            old: _last_of(answer.outputs[of_call(new, last)], first[old])
            for new, old in subject.model.carries
        }
        return subject.run(Loop([Inputs({**first, **left}), *inputs.calls[1:]]))

    def _last_of(state: Array, wanted: Array) -> Array:
        """The last places of a state, as many as are wanted."""
        return state[
            tuple(
                slice(size - less, size)
                for size, less in zip(state.shape, wanted.shape, strict=True)
            )
        ]

    return AlteredSubject(subject, run=run, again=lambda other: state_left_over(other, folder))


def _fed(subject: Subject, change: Callable[[Loop], Loop]) -> Subject:
    """The subject whose session gets other loops than it is asked."""

    def run(inputs: Inputs, repeat: int) -> Answer:
        return subject.run(change(inputs) if isinstance(inputs, Loop) else inputs, repeat)

    return AlteredSubject(subject, run=run, again=lambda other: _fed(other, change))


@register_control(chunks="longer calls from an empty state differ from 8 calls in a row")
def new_tokens_unordered(subject: Subject, folder: Path) -> Subject:
    """Later calls that take several new tokens at once take them in reverse."""
    new = {spec.name for spec in subject.model.inputs if flow_axis(subject.model) in spec.sample}

    def reverse(call: Inputs) -> Inputs:
        return Inputs((n, np.flip(a, 1) if n in new else a) for n, a in call.items())

    return _fed(subject, lambda loop: Loop([loop.calls[0], *map(reverse, loop.calls[1:])]))


@register_control(mask="padded differ from the same with other values under the padding")
def padding_is_seen(subject: Subject, folder: Path) -> Subject:
    """The masks are not read: what is padded counts as the rest does."""
    masks = {spec.name for spec in subject.model.inputs if isinstance(spec.domain, Mask)}

    def unmask(call: Inputs) -> Inputs:
        return Inputs((n, np.ones_like(a) if n in masks else a) for n, a in call.items())

    return _fed(subject, lambda loop: Loop([unmask(call) for call in loop.calls]))


@register_control(generation="greedy token 3 of sample 0")
def leading_tokens_swapped(subject: Subject, folder: Path) -> Subject:
    """The third call's two largest logits change places."""
    pair = generates(subject.model)
    third = of_call(pair[0], 2) if pair else ""

    def swap(outputs: Outputs, inputs: Inputs, repeat: int) -> Outputs:
        if third not in outputs:
            return outputs
        logits = np.array(outputs[third])
        second, first = np.moveaxis(np.argsort(logits, axis=-1)[..., -2:, None], -2, 0)
        large, less = (np.take_along_axis(logits, place, -1) for place in (first, second))
        np.put_along_axis(logits, first, less, -1)
        np.put_along_axis(logits, second, large, -1)
        return {**outputs, third: logits}

    return changed(subject, swap)
