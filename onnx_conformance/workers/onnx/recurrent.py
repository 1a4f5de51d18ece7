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
ONE_OF = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


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


def _run(
    step: Step,
    gates: int,
    defaults: Sequence[str],
    states: int,
    x: Array,
    w: Array,
    r: Array,
    b: Array | None,
    lengths: Array | None,
    initial: Sequence[Array | None],
    attributes: dict[str, Any],
    peepholes: Array | None = None,
) -> tuple[Array, ...]:
    """All steps of all directions.

    Args:
        states: how many arrays a step carries on: the hidden one first.
    """
    layout = attributes.get("layout", 0)
    if layout:
        x = x.swapaxes(0, 1)
        initial = [None if one is None else one.swapaxes(0, 1) for one in initial]
    reverse = ONE_OF[_text(attributes.get("direction", "forward"))]
    names = [_text(n).lower() for n in attributes.get("activations") or [*defaults] * len(reverse)]
    if "activation_alpha" in attributes or "activation_beta" in attributes:
        raise NotImplementedError("activations with alpha or beta")
    time, batch, hidden = x.shape[0], x.shape[1], r.shape[-1]
    left = np.full(batch, time) if lengths is None else lengths
    ys, lasts = [], []
    for place, backwards in enumerate(reverse):
        bias = np.zeros(2 * gates * hidden, x.dtype) if b is None else b[place]
        chosen = names[place * len(defaults) : (place + 1) * len(defaults)]
        cell = RecurrentCell(
            w[place],
            r[place],
            bias[: gates * hidden],
            bias[gates * hidden :],
            tuple(ACTIVATIONS[name] for name in chosen),
            float(attributes.get("clip", 0) or 0),
            None if peepholes is None else peepholes[place],
        )
        carried = tuple(
            np.zeros((batch, hidden), x.dtype) if one is None else one[place]
            for one in [*initial, *[None] * states][:states]
        )
        y = np.zeros((time, batch, hidden), x.dtype)
        for now in reversed(range(time)) if backwards else range(time):
            active = (now < left)[:, None]
            stepped = step(cell, x[now], carried)
            y[now] = np.where(active, stepped[0], 0)
            carried = tuple(
                np.where(active, new, old) for new, old in zip(stepped, carried, strict=True)
            )
        ys.append(y)
        lasts.append(carried)
    outputs = [np.stack(ys, axis=1)]
    outputs += [np.stack([last[one] for last in lasts]) for one in range(states)]
    if layout:
        outputs = [outputs[0].transpose(2, 0, 1, 3), *(o.swapaxes(0, 1) for o in outputs[1:])]
    return tuple(outputs)


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

    return _run(
        step, 4, ("sigmoid", "tanh", "tanh"), 2, x, w, r, b, lengths, (hidden, cell_state),
        attributes, peepholes,
    )  # fmt: skip


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

    return _run(step, 3, ("sigmoid", "tanh"), 1, x, w, r, b, lengths, (hidden,), attributes)


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

    return _run(step, 1, ("tanh",), 1, x, w, r, b, lengths, (hidden,), attributes)
