"""LSTM, GRU and RNN of ONNX in the dtype of their inputs, with every form that ONNX Runtime runs.

``onnx.reference`` has one direction of equal lengths. Equations: https://onnx.ai/onnx/operators/.
Shapes: x (time, batch, input), w (directions, gates·hidden, input), y (time, directions, batch,
hidden); with ``layout`` 1 the batch comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnx_conformance.core.arrays import Array

Activation = Callable[[Array], Array]


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
class RecurrentCell:
    """One direction's weights, and how it steps."""

    w: Array
    r: Array
    bias_w: Array
    bias_r: Array
    activations: tuple[Activation, ...]
    clip: float
    peepholes: Array | None = None

    def bounded(self, x: Array) -> Array:
        """Clipped before an activation."""
        return np.clip(x, -self.clip, self.clip) if self.clip else x


Step = Callable[[RecurrentCell, Array, tuple[Array, ...]], tuple[Array, ...]]


@dataclass(frozen=True)
class Recurrence:
    """One of the operators.

    Args:
        step: from a cell, the input of a time and the states to the new states, the hidden one
            first.
        gates: how many matrices of (hidden, input) stand in ``w``.
        activations: the default names of a direction's.
    """

    step: Step
    gates: int
    activations: tuple[str, ...]

    def run(
        self,
        x: Array,
        w: Array,
        r: Array,
        b: Array | None,
        lengths: Array | None,
        initial: Sequence[Array | None],
        attributes: Mapping[str, Any],
        peepholes: Array | None = None,
    ) -> tuple[Array, ...]:
        """All steps of all directions: ``y`` and the last states."""
        layout = attributes.get("layout", 0)
        if layout:
            x = x.swapaxes(0, 1)
            initial = [None if state is None else state.swapaxes(0, 1) for state in initial]
        directions = DIRECTIONS[_text(attributes.get("direction", "forward"))]
        left = np.full(x.shape[1], len(x)) if lengths is None else lengths
        zeros = np.zeros((x.shape[1], r.shape[-1]), x.dtype)
        ys, lasts = [], []
        for place, backwards in enumerate(directions):
            cell = self._cell(place, w, r, b, attributes, peepholes)
            states = tuple(zeros if state is None else state[place] for state in initial)
            y, last = self._along(cell, x, states, left, backwards)
            ys.append(y)
            lasts.append(last)
        outputs = [np.stack(ys, axis=1), *(np.stack(states) for states in zip(*lasts, strict=True))]
        if layout:
            outputs = [outputs[0].transpose(2, 0, 1, 3), *(o.swapaxes(0, 1) for o in outputs[1:])]
        return tuple(outputs)

    def _cell(
        self,
        place: int,
        w: Array,
        r: Array,
        b: Array | None,
        attributes: Mapping[str, Any],
        peepholes: Array | None,
    ) -> RecurrentCell:
        """A direction's weights."""
        if "activation_alpha" in attributes or "activation_beta" in attributes:
            raise NotImplementedError("activations with alpha or beta")
        count, rows = len(self.activations), self.gates * r.shape[-1]
        named = attributes.get("activations") or [*self.activations] * len(w)
        chosen = [_text(name).lower() for name in named][place * count : (place + 1) * count]
        bias = np.zeros(2 * rows, w.dtype) if b is None else b[place]
        return RecurrentCell(
            w[place],
            r[place],
            bias[:rows],
            bias[rows:],
            tuple(ACTIVATIONS[name] for name in chosen),
            float(attributes.get("clip", 0) or 0),
            None if peepholes is None else peepholes[place],
        )

    def _along(
        self, cell: RecurrentCell, x: Array, states: tuple[Array, ...], left: Array, backwards: bool
    ) -> tuple[Array, tuple[Array, ...]]:
        """The hidden states of every time, and the last states; a sample ends at its length."""
        y = np.zeros((len(x), *states[0].shape), x.dtype)
        for now in reversed(range(len(x))) if backwards else range(len(x)):
            active = (now < left)[:, None]
            stepped = self.step(cell, x[now], states)
            y[now] = np.where(active, stepped[0], 0)
            states = tuple(
                np.where(active, new, old) for new, old in zip(stepped, states, strict=True)
            )
        return y, states


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


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

    def step(cell: RecurrentCell, x: Array, carried: tuple[Array, ...]) -> tuple[Array, ...]:
        h, c = carried
        i, o, f, g = np.split(x @ cell.w.T + h @ cell.r.T + cell.bias_w + cell.bias_r, 4, axis=1)
        gate, new, out = cell.activations
        held = np.zeros((3, 1)) if cell.peepholes is None else cell.peepholes.reshape(3, -1)
        i, f = i + held[0] * c, f + held[2] * c
        c = gate(cell.bounded(f)) * c + gate(cell.bounded(i)) * new(cell.bounded(g))
        o = o + held[1] * c
        return gate(cell.bounded(o)) * out(cell.bounded(c)), c

    recurrence = Recurrence(step, 4, ("sigmoid", "tanh", "tanh"))
    return recurrence.run(x, w, r, b, lengths, (hidden, cell_state), attributes, peepholes)


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

    def step(cell: RecurrentCell, x: Array, carried: tuple[Array, ...]) -> tuple[Array, ...]:
        (h,) = carried
        size = h.shape[-1]
        from_x, weights, bias = x @ cell.w.T + cell.bias_w, cell.r, cell.bias_r
        gate, new = cell.activations
        both = from_x[:, : 2 * size] + h @ weights[: 2 * size].T + bias[: 2 * size]
        update, reset = np.split(gate(cell.bounded(both)), 2, axis=1)
        last, offset = weights[2 * size :], bias[2 * size :]
        recurrent = reset * (h @ last.T + offset) if linear else (reset * h) @ last.T + offset
        candidate = new(cell.bounded(from_x[:, 2 * size :] + recurrent))
        return ((1 - update) * candidate + update * h,)

    recurrence = Recurrence(step, 3, ("sigmoid", "tanh"))
    return recurrence.run(x, w, r, b, lengths, (hidden,), attributes)


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

    def step(cell: RecurrentCell, x: Array, carried: tuple[Array, ...]) -> tuple[Array, ...]:
        total = x @ cell.w.T + carried[0] @ cell.r.T + cell.bias_w + cell.bias_r
        return (cell.activations[0](cell.bounded(total)),)

    return Recurrence(step, 1, ("tanh",)).run(x, w, r, b, lengths, (hidden,), attributes)
