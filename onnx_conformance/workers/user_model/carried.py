"""What a user model carries from call to call: declared, or read from names, and tried."""

from __future__ import annotations

from dataclasses import replace

from onnx_conformance.catalog.models import Declaration
from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.carries import (
    carry_problem,
    in_a_row,
    inferred_carries,
    initial_problem,
    marked_alike,
)
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.inputs.batch_layout import native_layout
from onnx_conformance.inputs.loops import loops
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.workers.built_model import BuiltModel


def carrying(spec: ModelSpec, declaration: Declaration, built: BuiltModel) -> ModelSpec:
    """The spec with its ``carries``; what only names suggest is left out where calls in a row fail.

    Raises:
        UsageError: what is declared cannot be carried, or the model refuses its own state.
    """
    declared = declaration.carries is not None
    carries = declaration.carries or () if declared else inferred_carries(spec.inputs, spec.outputs)
    found = replace(spec, carries=carries)
    problem = carry_problem(spec.inputs, spec.outputs, carries) or initial_problem(found)
    if not carries and not problem:
        return spec
    problem = problem or _refusal(found, built)
    given = any(one.initial is not None for one in spec.inputs)
    if problem and (declared or given):
        raise UsageError(f"model '{declaration.name}': {problem}")
    if problem:
        return spec
    notes = [] if declared else [_understood(found)]
    if not loops(found, 0):
        notes.append(
            "its memory is not tried over several calls: the values decide the size of an output, "
            "or axes= leaves its past no room to grow"
        )
    return replace(found, notes=(*spec.notes, *notes))


def _understood(spec: ModelSpec) -> str:
    """What names tell, and which further ones look like a state's."""
    told = f"its names say that it carries {dict(spec.carries)} (carries=)"
    pairs = [pair for pair in marked_alike(spec.inputs, spec.outputs) if pair not in spec.carries]
    return f"{told}, and not {dict(pairs)}: if it does, declare all of them" if pairs else told


def _refusal(spec: ModelSpec, built: BuiltModel) -> str:
    """What the model says to calls in a row; empty where it answers them all."""

    def answer(inputs: Outputs) -> Outputs:
        outputs = built.run(Inputs((one.name, inputs[one.name]) for one in spec.inputs))
        return dict(zip((one.name for one in spec.outputs), outputs.values(), strict=True))

    for label, loop in loops(spec, 0).items():
        for calls in loop.groups(native_layout(spec)):
            answers = in_a_row(calls, spec.carries, answer)
            for place in range(len(calls)):
                try:
                    next(answers)
                except Exception as error:  # noqa: BLE001 - whatever a user's model raises
                    said = " ".join(str(error).split())[:200]
                    return (
                        f"it refuses call {place + 1} of {len(calls)} in a row {label}, with the "
                        f"state that the one before gave: {type(error).__name__}: {said}; fix "
                        "carries=, axes= or domain="
                    )
    return ""
