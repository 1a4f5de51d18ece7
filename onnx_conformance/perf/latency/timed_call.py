"""A call to be timed: its inputs, their reference, and the judgement on its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.budget import Reference, stack
from onnx_conformance.core.carries import flow_axis, growth
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import ConformanceError
from onnx_conformance.core.judgement import AnswerLimits, Judgement, judge_outputs, limits_of
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import INT8, Tolerances
from onnx_conformance.inputs.families import materialise, pinned_inputs, stack_inputs
from onnx_conformance.inputs.recipes import Inputs, Recipe
from onnx_conformance.inputs.samples import typical_inputs
from onnx_conformance.run.noise_floor import FLOAT32_NOISE_FLOOR, NoiseFloor, noise_floor_of


class InvalidTiming(ConformanceError):
    """The answer of a timed call is wrong, or a required speed-up is not reached."""


@dataclass(frozen=True)
class CallSpec:
    """A call to be timed, and what its answer must be.

    Args:
        label: what the worker calls it; ``who``: what messages call it.
        form: how it is called: of native see the workers' ``timing`` modules, of a session
            ``plain``, ``io_binding`` or ``copies``.
        reference: of the inputs, by :func:`noise_floor_of_timed`.
        case: by whose limits it is judged; None for native in float32.
    """

    model: ModelSpec
    label: str
    who: str
    form: str
    inputs: Inputs
    reference: Reference
    case: Case | None


def noise_floor_of_timed(case: Case | None) -> NoiseFloor:
    """What a timed call is measured by; ``case`` as of :class:`CallSpec`."""
    return FLOAT32_NOISE_FLOOR if case is None else noise_floor_of(case)


def judge_timed(call: CallSpec, outputs: Outputs, tolerances: Tolerances) -> Judgement:
    """Judge the outputs of the very call that is timed.

    By decibels for int8, which has no error budget.

    Raises:
        InvalidTiming: they are off by too much; a fast wrong answer is no result.
    """
    limits = limits_of(tolerances, call.case, oracle=call.model.oracle)
    if call.case is not None and call.case.precision == INT8:
        limits = AnswerLimits("decibels", tolerances.rule("sqnr", call.case))
    found = judge_outputs(call.reference, outputs, call.model.judged, limits)
    if not found.right:
        raise InvalidTiming(f"{call.who}: the timed call gave a wrong answer: {found}")
    return found


SAMPLES = ("image",)  # of the pinned inputs; its samples one after the other
FIRST_TOKEN, NEXT_TOKEN = "first_token", "next_token"
PHASES = (FIRST_TOKEN, NEXT_TOKEN)  # a prompt beside an empty past, one token beside a full one


def phases_of(model: ModelSpec) -> tuple[str, ...]:
    """The calls of a model that are timed apart: of one whose past grows."""
    return PHASES if growth(model) and flow_axis(model) in dict(model.axes) else ()


def timed_inputs(model: ModelSpec, seed: int, batch: int, call: str = "") -> Inputs:
    """``batch`` samples of :func:`_known_samples`, repeated, or as many as the model's calls take.

    Args:
        call: one of :func:`phases_of` instead.
    """
    batch = samples_of_a_call(model, batch)
    if call:
        axes = dict(model.axes)
        sizes = {axis: axes[axis].size(float(call == NEXT_TOKEN)) for axis in growth(model)}
        sizes |= {flow_axis(model): axes[flow_axis(model)].size(float(call == FIRST_TOKEN))}
        recipe = Recipe("normal", batch=batch, seed=seed, sizes=tuple(sizes.items()), full=True)
        return materialise(recipe, model)
    input_sets = _known_samples(model, seed)
    return stack_inputs(input_sets * _repeats(input_sets[0], batch)).chosen(slice(batch))


def timed_reference(
    model: ModelSpec,
    seed: int,
    batch: int,
    reference: Callable[[ModelSpec, Inputs, NoiseFloor], Reference],
    noise_floor: NoiseFloor = FLOAT32_NOISE_FLOOR,
    call: str = "",
) -> Reference:
    """The reference of :func:`timed_inputs`, put together from that of its samples.

    Of a model with an output of a call as a whole, such as a mean over the batch, or with one whose
    size the values decide, there is no such thing: native is asked for these very inputs.
    """
    if call or model.by_values or any(s.name not in model.of_a_sample for s in model.judged):
        return reference(model, timed_inputs(model, seed, batch, call), noise_floor)
    batch = samples_of_a_call(model, batch)
    input_sets = _known_samples(model, seed)
    known = [reference(model, inputs, noise_floor) for inputs in input_sets]
    return stack(known * _repeats(input_sets[0], batch)).chosen(slice(batch))


def pinned_call(
    model: ModelSpec,
    case: Case | None,
    reference: Callable[[ModelSpec, Inputs, NoiseFloor], Reference],
    *,
    label: str,
    who: str,
    form: str,
    batch: int,
    seed: int,
    call: str = "",
) -> CallSpec:
    """The call on :func:`timed_inputs`; ``case`` as of :class:`CallSpec`."""
    inputs = timed_inputs(model, seed, batch, call)
    known = timed_reference(model, seed, batch, reference, noise_floor_of_timed(case), call)
    return CallSpec(model, label, who, form, inputs, known, case)


def samples_of_a_call(model: ModelSpec, batch: int) -> int:
    """How many samples one call of the model takes, where ``batch`` are asked for."""
    return batch if model.open_batch else model.group or 1


def sizes_of_calls(model: ModelSpec, batch_sizes: Iterable[int]) -> tuple[int, ...]:
    """How many samples the model's calls take, of the numbers that are asked for; each once."""
    return tuple(dict.fromkeys(samples_of_a_call(model, batch) for batch in batch_sizes))


def _known_samples(model: ModelSpec, seed: int) -> list[Inputs]:
    """The pinned image inputs; of a model with a task its own samples, which int8 is made for."""
    return typical_inputs(model, seed)[:1] if model.task else pinned_inputs(SAMPLES, model, seed)


def _repeats(inputs: Inputs, batch: int) -> int:
    return -(-batch // inputs.samples)
