"""LSTM, GRU and RNN of ONNX in the dtype of their inputs, with every form that ONNX Runtime runs.

``onnx.reference`` has one direction of equal lengths. Equations: https://onnx.ai/onnx/operators/.
Shapes: x (time, batch, input), w (directions, gates·hidden, input), y (time, directions, batch,
hidden); with ``layout`` 1 the batch comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnx_conformance.core.arrays import Array

Activation = Callable[[Array], Array]
States = tuple[Array, ...]  # the hidden one first


def _sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):
        result: Array = 1 / (1 + np.exp(-x))
    return result


ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softplus": lambda x: np.logaddexp(x, 0),
}
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


@dataclass(frozen=True)
class Cell:
    """One direction's weights and activations."""

    w: Array
    r: Array
    bias_w: Array
    bias_r: Array
    activations: tuple[Activation, ...]  # each clips what it takes
    peepholes: Array | None = None


Step = Callable[[Cell, Array, States], States]  # from the input of a time and the states


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _cells(
    names: Sequence[str],
    w: Array,
    r: Array,
    b: Array | None,
    attributes: dict[str, Any],
    peepholes: Array | None = None,
) -> list[Cell]:
    """Every direction's; ``names`` are the default ones of a direction's activations."""
    if "activation_alpha" in attributes or "activation_beta" in attributes:
        raise NotImplementedError("activations with alpha or beta")
    count, rows = len(names), w.shape[1]
    clip = float(attributes.get("clip", 0) or 0)

    def clipped(name: str | bytes) -> Activation:
        activation = ACTIVATIONS[_text(name).lower()]
        return (lambda x: activation(np.clip(x, -clip, clip))) if clip else activation

    chosen = [clipped(name) for name in attributes.get("activations") or [*names] * len(w)]
    biases = np.zeros((len(w), 2 * rows), w.dtype) if b is None else b
    return [
        Cell(
            w[place],
            r[place],
            bias[:rows],
            bias[rows:],
            tuple(chosen[place * count : (place + 1) * count]),
            None if peepholes is None else peepholes[place],
        )
        for place, bias in enumerate(biases)
    ]


def _run(
    step: Step,
    cells: Sequence[Cell],
    x: Array,
    lengths: Array | None,
    initial: Sequence[Array | None],
    attributes: dict[str, Any],
) -> tuple[Array, ...]:
    """All steps of all directions: ``y`` and the last states; a sample ends at its length."""
    layout = attributes.get("layout", 0)
    if layout:
        x = x.swapaxes(0, 1)
        initial = [None if state is None else state.swapaxes(0, 1) for state in initial]
    left = np.full(x.shape[1], len(x)) if lengths is None else lengths
    zeros = np.zeros((x.shape[1], cells[0].r.shape[-1]), x.dtype)
    backwards = DIRECTIONS[_text(attributes.get("direction", "forward"))]
    y = np.zeros((len(x), len(backwards), *zeros.shape), x.dtype)
    lasts = []
    for place, backward in enumerate(backwards):
        states: States = tuple(zeros if state is None else state[place] for state in initial)
        for now in reversed(range(len(x))) if backward else range(len(x)):
            active = (now < left)[:, None]
            stepped = step(cells[place], x[now], states)
            y[now, place] = np.where(active, stepped[0], 0)
            pairs = zip(stepped, states, strict=True)
            states = tuple(np.where(active, new, old) for new, old in pairs)
        lasts.append(states)
    outputs = [y, *(np.stack(states) for states in zip(*lasts, strict=True))]
    if layout:
        outputs = [y.transpose(2, 0, 1, 3), *(o.swapaxes(0, 1) for o in outputs[1:])]
    return tuple(outputs)


def lstm(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    lengths: Array | None = None,
    hidden: Array | None = None,
    cell_state: Array | None = None,
    peepholes: Array | None = None,
    **attributes: Any,
) -> tuple[Array, ...]:
    """Gates i, o, f, c. With coupled gates: not implemented."""
    if attributes.get("input_forget", 0):
        raise NotImplementedError("LSTM with coupled gates")

    def step(cell: Cell, x: Array, carried: States) -> States:
        h, c = carried
        i, o, f, g = np.split(x @ cell.w.T + h @ cell.r.T + cell.bias_w + cell.bias_r, 4, axis=1)
        gate, new, out = cell.activations
        held = np.zeros((3, 1)) if cell.peepholes is None else cell.peepholes.reshape(3, -1)
        i, f = i + held[0] * c, f + held[2] * c
        c = gate(f) * c + gate(i) * new(g)
        return gate(o + held[1] * c) * out(c), c

    cells = _cells(("sigmoid", "tanh", "tanh"), w, r, b, attributes, peepholes)
    return _run(step, cells, x, lengths, (hidden, cell_state), attributes)


def gru(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    lengths: Array | None = None,
    hidden: Array | None = None,
    **attributes: Any,
) -> tuple[Array, ...]:
    """Gates z, r, h; ``linear_before_reset`` as torch and cuDNN compute."""
    linear = attributes.get("linear_before_reset", 0)

    def step(cell: Cell, x: Array, carried: States) -> States:
        (h,) = carried
        size = h.shape[-1]
        from_x, weights, bias = x @ cell.w.T + cell.bias_w, cell.r, cell.bias_r
        gate, new = cell.activations
        both = from_x[:, : 2 * size] + h @ weights[: 2 * size].T + bias[: 2 * size]
        update, reset = np.split(gate(both), 2, axis=1)
        last, offset = weights[2 * size :], bias[2 * size :]
        recurrent = reset * (h @ last.T + offset) if linear else (reset * h) @ last.T + offset
        candidate = new(from_x[:, 2 * size :] + recurrent)
        return ((1 - update) * candidate + update * h,)

    cells = _cells(("sigmoid", "tanh"), w, r, b, attributes)
    return _run(step, cells, x, lengths, (hidden,), attributes)


def rnn(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    lengths: Array | None = None,
    hidden: Array | None = None,
    **attributes: Any,
) -> tuple[Array, ...]:
    """The operator RNN of one layer, one or two directions."""

    def step(cell: Cell, x: Array, carried: States) -> States:
        total = x @ cell.w.T + carried[0] @ cell.r.T + cell.bias_w + cell.bias_r
        return (cell.activations[0](total),)

    return _run(step, _cells(("tanh",), w, r, b, attributes), x, lengths, (hidden,), attributes)
