"""Validation of a user model and its spec: each finding in one sentence, with the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnx_conformance.catalog.models import Declaration
from onnx_conformance.core.comparison import Outputs
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import Axes, TensorSpec
from onnx_conformance.inputs.recipes import Inputs, Recipe
from onnx_conformance.workers.user_model.build import Looked
from onnx_conformance.workers.user_model.infer_spec import from_examples, outputs_of, with_axes

RUNS = (Recipe("uniform", batch=2), Recipe("normal", batch=3, extent=1.0))


def inferred_inputs(one: Declaration, examples: Any, looked: Looked) -> tuple[TensorSpec, ...]:
    """The inputs where a declaration names none: from examples, or from the model itself."""
    if examples is not None:
        return from_examples(examples, looked.parameters)
    if looked.inputs:
        return looked.inputs
    raise UsageError(
        f"model '{one.name}' says nothing of its inputs; give "
        'inputs=[TensorSpec("x", ("batch", 16))], or examples={"x": array}, or return '
        "(model, {name: array})"
    )


def checked_axes(one: Declaration, inputs: tuple[TensorSpec, ...]) -> Axes:
    """The symbolic axes other than the batch, each with a range."""
    for spec in inputs:
        if not spec.shape or not isinstance(spec.shape[0], str):
            raise UsageError(
                f"model '{one.name}': axis 0 of input '{spec.name}' is "
                f"{spec.shape[0] if spec.shape else 'missing'}; it must be the batch, by a name: "
                f'TensorSpec("{spec.name}", ("batch", ...))'
            )
    batches = {spec.shape[0] for spec in inputs}
    if len(batches) > 1:
        raise UsageError(
            f"model '{one.name}': its inputs call their batch axis {sorted(map(str, batches))}; "
            "one name is wanted"
        )
    axes = with_axes(inputs, one.axes)
    for label, axis in axes:
        if axis.size(0.0) == axis.size(1.0):
            raise UsageError(
                f"model '{one.name}': axis '{label}' has one size, {axis.low}, which cannot show "
                f"that it may vary; give it a range, or write {axis.low} in the shape"
            )
    return axes


def check_inputs(name: str, inputs: tuple[TensorSpec, ...], looked: Looked) -> None:
    """As many inputs as the model accepts, each with a known range."""
    for spec in inputs:
        if not spec.floating and spec.domain.real:
            raise UsageError(
                f"model '{name}': input '{spec.name}' is {spec.dtype} and nothing says of which "
                "range; add domain=Integers(0, N), Mask(), Choice(...) or Lengths(axis)"
            )
    problem = looked.refuses([spec.name for spec in inputs])
    if problem:
        raise UsageError(f"model '{name}' {problem}")
    if looked.framework in ("torch", "python"):
        return
    least, most = looked.arity
    if not least <= len(inputs) <= most:
        takes = f"{least}" if least == most else f"{least} to {most}"
        raise UsageError(
            f"model '{name}' takes {takes} inputs ({', '.join(looked.parameters) or 'unnamed'}), "
            f"its spec names {len(inputs)}: {', '.join(spec.name for spec in inputs)}"
        )


def check_calibrable(name: str, inputs: tuple[TensorSpec, ...]) -> None:
    """Calibration inputs one floating input of one size."""
    one = inputs[0]
    if len(inputs) > 1 or not one.floating or any(isinstance(dim, str) for dim in one.shape[1:]):
        raise UsageError(
            f"model '{name}': calibrate=True is for models of one floating input of one size; "
            "leave it out, and give the model weights that are alive"
        )


def answer_to(
    name: str, looked: Looked, inputs: tuple[TensorSpec, ...], input_set: Inputs
) -> dict[str, np.ndarray[Any, Any]]:
    """What the model answers to inputs that its spec describes."""
    try:
        return looked.run(input_set)
    except UsageError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{n} {list(a.shape)} {a.dtype}" for n, a in input_set.items())
        text = " ".join(str(error).split())[:300]
        raise UsageError(
            f"model '{name}' refuses what its spec describes ({shapes}): "
            f"{type(error).__name__}: {text}; fix shape, dtype, domain or axes in the spec"
        ) from error


def checked_outputs(
    one: Declaration,
    inputs: tuple[TensorSpec, ...],
    axes: Axes,
    answers: Sequence[tuple[int, float, Outputs]],
) -> tuple[TensorSpec, ...]:
    """What the model answered, under the declared names; a declared spec must say the same."""
    found = list(answers[0][2])
    if not found:
        raise UsageError(f"model '{one.name}' returns no tensor")
    names = [spec.name for spec in one.outputs] or found
    if len(names) != len(found):
        raise UsageError(
            f"model '{one.name}' returns {len(found)} outputs, its spec names {len(names)}: "
            f"{', '.join(names)}"
        )
    taken = {spec.name for spec in inputs}
    free = [f"{name}_out" if name in taken else name for name in names]
    renamed = [
        (size, extent, dict(zip(free, out.values(), strict=True))) for size, extent, out in answers
    ]
    seen = outputs_of(free, renamed, str(inputs[0].shape[0]), axes)
    if not one.outputs:
        return seen
    for wanted, got in zip(one.outputs, seen, strict=True):
        if (wanted.shape, wanted.dtype) != (got.shape, got.dtype):
            raise UsageError(
                f"model '{one.name}': output '{wanted.name}' is {got.dtype} {list(got.shape)}, its "
                f"spec says {wanted.dtype} {list(wanted.shape)}; fix it, or leave outputs out"
            )
    return one.outputs


def check_steady(
    name: str, looked: Looked, inputs: tuple[TensorSpec, ...], axes: Axes, first: Outputs
) -> None:
    """The same answer twice, by a model that leaves its weights alone."""
    again = looked.run(RUNS[0].inputs(inputs, axes))
    if looked.changed():
        raise UsageError(
            f"model '{name}' changes its own weights when it runs: it trains in eval mode; make "
            "its eval() reach every layer"
        )
    for (label, one), other in zip(first.items(), again.values(), strict=True):
        if one.tobytes() != other.tobytes():
            raise UsageError(
                f"model '{name}' answers the same input twice differently ('{label}'): it trains "
                "in eval mode or draws random numbers (Dropout?); make it deterministic"
            )


def check_oracle(
    name: str, looked: Looked, inputs: tuple[TensorSpec, ...], input_set: Inputs
) -> None:
    """The model can be computed in float64."""
    problem = looked.float64_problem(input_set)
    if problem:
        raise UsageError(
            f"model '{name}' cannot be computed in float64 ({problem}); let its code take the "
            "dtype from its inputs, or register it with oracle=False: verdicts then rest on "
            "allclose"
        )
