"""The check of an oracle: whether it was computed in float64.

An oracle that is float32 in a float64 array would share its errors with what it judges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.inputs.recipes import Inputs

INPUT_SETS_TO_UNMASK = 5  # one saturated softmax may be float32 by chance
LEAST_EFFECT = 2.0**-40  # of a value: far below float32's epsilon, far above float64's


def oracle_problem(
    model: ModelSpec,
    input_sets: Sequence[Inputs],
    answers: Sequence[Outputs],
    weights: Callable[[], Outputs],
    answer_to: Callable[[Inputs], Outputs],
) -> str | None:
    """Why the oracle's answers are not computed in float64; None where they are.

    Outputs whose every number is a float32 number are no proof of a false oracle where the model
    only moves or chooses numbers (an embedding, a pooling's maximum, a clip). Then inputs that are
    no float32 numbers come out as such; without floating inputs, the outputs are weights.

    Args:
        weights: native's own.
        answer_to: the oracle's answer to another set of inputs, whose floating arrays are float64.
    """
    floating = [spec.name for spec in model.outputs if spec.floating]
    arrays = [answer[name] for answer in answers for name in floating]
    wrong = [array.dtype for array in arrays if array.dtype != np.float64]
    if wrong:
        return f"an output has dtype {wrong[0]}, not float64"
    alike = [_of_float32(array) for array in arrays if _shows_its_dtype(array)]
    if len(alike) < INPUT_SETS_TO_UNMASK or not all(alike):
        return None
    if _keeps_float64(model, input_sets, floating, answer_to):
        return None
    if _only_moves(input_sets, answers, floating, weights()):
        return None
    return (
        "every output has float32 values in a float64 array; let the model's code take the dtype "
        "from its inputs, or register it with oracle=False: verdicts then rest on allclose"
    )


def _shows_its_dtype(array: NDArray[Any]) -> bool:
    """Whether a number in it is finite and not 0, so that its bits show its type."""
    return bool(array[np.isfinite(array)].any())


def _of_float32(array: NDArray[Any]) -> bool:
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    return bool(((array == narrow) | np.isnan(array)).all())


def _keeps_float64(
    model: ModelSpec,
    input_sets: Sequence[Inputs],
    floating: Sequence[str],
    answer_to: Callable[[Inputs], Outputs],
) -> bool:
    """Whether an input between two float32 numbers comes out as one."""
    real = [spec.name for spec in model.inputs if spec.floating]
    rng = np.random.default_rng(0)
    for inputs in input_sets:
        if all(np.unique(inputs[name]).size <= 2 for name in real):
            continue
        between = Inputs(
            (name, array.astype(np.float64) * (1.0 - LEAST_EFFECT * rng.random(array.shape)))
            if name in real
            else (name, array)
            for name, array in inputs.items()
        )
        answer = answer_to(between)
        if any(not _of_float32(answer[name]) for name in floating):
            return True
    return False


def _only_moves(
    input_sets: Sequence[Inputs],
    answers: Sequence[Outputs],
    floating: Sequence[str],
    weights: Outputs,
) -> bool:
    """Whether every number that comes out is whole, or is one that stands in input or weights."""
    stored = [np.asarray(array, np.float64).ravel() for array in weights.values()]
    for inputs, answer in zip(input_sets, answers, strict=True):
        numbers = [array for array in inputs.values() if array.dtype.kind in "biuf"]  # no texts
        fed = [np.asarray(array, np.float64).ravel() for array in numbers]
        known = np.unique(np.concatenate([*stored, *fed, np.zeros(1)]))
        for name in floating:
            array = answer[name]
            if not (np.isin(array, known) | (array == np.round(array))).all():
                return False
    return True
