"""What the native worker says beside an output of its own: ties in positions, and places left open.

Of outputs of argmax, topk or sort: among equal numbers, or numbers that lie within float32's own
error of each other, either position is right. So the worker says which numbers were to choose from,
and positions are compared by the numbers that they choose. Of padded places: those whose attention
is wholly masked have no value that means anything, and any finite one is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.compute_modes import ULP

CANDIDATES, LAYOUT = " candidates", " layout"  # what a worker adds to the name of such an output
OPEN = " open"  # and to that of one with places left open, of the same shape
SUFFIXES = (CANDIDATES, LAYOUT, OPEN)


@dataclass(frozen=True)
class ChosenPositions:
    """The numbers from which the positions of one output were chosen.

    Args:
        candidates: the numbers in float64, ``(batch, ..., count)``.
        noise: the largest error of native and its replicas in them, a sample each, ``(batch,)``.
        axis: of the positions' shape, along which they choose; None where that axis is gone.
        shape: of the positions after the batch, as the operator gave them.
        ranked: whether several positions stand in the order of their numbers.
    """

    candidates: NDArray[np.float64]
    noise: NDArray[np.float64]
    axis: int | None
    shape: tuple[int, ...]
    ranked: bool

    def chosen(self, samples: list[int] | slice) -> ChosenPositions:
        """The choice of some of the samples, in this order."""
        return replace(self, candidates=self.candidates[samples], noise=self.noise[samples])

    def settled(self, wanted: NDArray[Any], got: NDArray[Any], factor: float) -> NDArray[Any]:
        """``got`` with ``wanted``'s position wherever both choose numbers that tie.

        Args:
            factor: numbers tie within so many times float32's own error.
        """
        if got.shape != wanted.shape or not got.size or got.size != self._count():
            return got
        places, right = self._last(got), self._last(wanted)
        count = self.candidates.shape[-1]
        known = ((places >= 0) & (places < count)).all(axis=-1)
        known &= ~_repeats(places) | _repeats(right)
        values = self._chosen(np.clip(places, 0, count - 1))
        expected = self._chosen(np.clip(right, 0, count - 1))
        if not self.ranked:
            values, expected = np.sort(values, axis=-1), np.sort(expected, axis=-1)
        allowed = (factor * self.noise).reshape(-1, *[1] * (values.ndim - 1))
        with np.errstate(invalid="ignore"):
            tied = (np.abs(values - expected) <= allowed) | (values == expected)
        found = np.where(tied & known[..., None], right, places)
        return self._back(found).reshape(got.shape).astype(got.dtype)

    def _count(self) -> int:
        return int(np.prod((len(self.candidates), *self.shape), dtype=np.int64))

    def _last(self, positions: NDArray[Any]) -> NDArray[np.int64]:
        """Positions with the axis along which they choose last."""
        whole = positions.reshape(len(self.candidates), *self.shape).astype(np.int64)
        return whole[..., None] if self.axis is None else np.moveaxis(whole, self.axis, -1)

    def _back(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.axis is None:
            return positions[..., 0]
        return np.moveaxis(positions, -1, self.axis)

    def _chosen(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.take_along_axis(self.candidates, places, axis=-1)


@dataclass(frozen=True)
class OpenPlaces:
    """The places of one output that native leaves open.

    Args:
        places: truth values of the output's shape, ``(batch, ...)``.
    """

    places: NDArray[np.bool_]

    def chosen(self, samples: list[int] | slice) -> OpenPlaces:
        """Those of some of the samples, in this order."""
        return OpenPlaces(self.places[samples])

    def settled(self, wanted: NDArray[Any], got: NDArray[Any], factor: float) -> NDArray[Any]:
        """``got`` with ``wanted``'s number in each open place where it has a finite one."""
        if not got.shape == wanted.shape == self.places.shape:
            return got
        found: NDArray[Any] = np.where(self.places & np.isfinite(got), wanted, got)
        return found


Choices = Mapping[str, ChosenPositions | OpenPlaces]


def _repeats(places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a position stands twice among those that are chosen together."""
    ordered = np.sort(places, axis=-1)
    found: NDArray[np.bool_] = (ordered[..., 1:] == ordered[..., :-1]).any(axis=-1)
    return found


def layout(axis: int | None, ranked: bool, shape: Sequence[int]) -> NDArray[np.int64]:
    """The layout of an operator's positions, as a worker hands it on."""
    return np.array([-1 if axis is None else axis, ranked, *shape], np.int64)


def in_rows(
    candidates: NDArray[Any], where: NDArray[Any], positions: NDArray[Any], batch: int | None
) -> tuple[NDArray[Any], NDArray[np.int64]] | None:
    """A call's candidates and their layout with the batch as axis 0.

    Args:
        where: as :func:`layout` gives it, in the layout of the call.
        positions: the output that was chosen.
        batch: which axis of the positions is the batch; None for a call of one sample.

    Returns:
        None where positions were chosen along the batch, or reshaped so that its place is unknown.
    """
    first, ranked, *shape = where.tolist()
    axis = None if first < 0 else int(first)
    if batch is None:
        return candidates[None], layout(None if axis is None else axis + 1, ranked, (1, *shape))
    if batch == 0:
        return candidates, layout(axis, ranked, (0, *shape[1:]))
    if axis == batch or len(shape) != positions.ndim:
        return None
    place = batch if axis is None or axis > batch else batch - 1
    moved = axis if axis is None or axis > batch else axis + 1
    rest = (size for other, size in enumerate(shape) if other != batch)
    return np.moveaxis(candidates, place, 0), layout(moved, ranked, (0, *rest))


def answered(row: Outputs) -> dict[str, NDArray[Any]]:
    """A worker's answer without what it adds to outputs of its own."""
    return {name: a for name, a in row.items() if not name.endswith(SUFFIXES)}


def choices_in(
    oracle: Outputs, natives: Sequence[Outputs]
) -> dict[str, ChosenPositions | OpenPlaces]:
    """The choices that the oracle made, with float32's own errors in their numbers.

    And the places that the first of the natives leaves open.
    """
    found: dict[str, ChosenPositions | OpenPlaces] = {
        name.removesuffix(OPEN): OpenPlaces(np.asarray(array, bool))
        for name, array in (natives[0] if natives else {}).items()
        if name.endswith(OPEN)
    }
    for key in (name for name in oracle if name.endswith(CANDIDATES)):
        name = key.removesuffix(CANDIDATES)
        exact = np.asarray(oracle[key], np.float64)
        axis, ranked, *shape = oracle[name + LAYOUT].tolist()
        rows = exact.reshape(len(exact), -1)
        with np.errstate(invalid="ignore"):
            off = [np.abs(np.asarray(native[key], np.float64).reshape(rows.shape) - rows)
                   for native in natives if key in native and
                   native[key].shape == exact.shape]  # fmt: skip
        largest = ULP * np.abs(rows).max(axis=1, initial=0.0)
        errors = [error.max(axis=1, initial=0.0) for error in off]
        noise = np.nan_to_num(np.max([largest, *errors], axis=0), nan=0.0, posinf=0.0)
        found[name] = ChosenPositions(
            exact, noise, None if axis < 0 else axis, tuple(shape[1:]), bool(ranked)
        )
    return found


def settled(
    choices: Choices, wanted: Outputs, got: Outputs, factor: float
) -> dict[str, NDArray[Any]]:
    """``got`` with ``wanted``'s positions wherever both choose numbers that tie.

    And with ``wanted``'s numbers in the places that native leaves open.
    """
    return {
        name: choices[name].settled(wanted[name], array, factor)
        if name in choices and name in wanted
        else array
        for name, array in got.items()
    }


def joined(
    parts: Sequence[Choices], answers: Sequence[Outputs]
) -> dict[str, ChosenPositions | OpenPlaces]:
    """The choices of inputs whose samples stand one below the other, where they are alike.

    Args:
        answers: to each of the inputs; one may leave no place of an output open.
    """
    found: dict[str, ChosenPositions | OpenPlaces] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        several = [part[name] for part in parts if name in part]
        if any(isinstance(one, OpenPlaces) for one in several):
            opened = [_open_in(*pair, name) for pair in zip(parts, answers, strict=True)]
            if len({one.shape[1:] for one in opened}) == 1:
                found[name] = OpenPlaces(np.concatenate(opened))
            continue
        all_of = [one for one in several if isinstance(one, ChosenPositions)]
        forms = {(one.candidates.shape[1:], one.axis, one.shape, one.ranked) for one in all_of}
        if len(all_of) == len(parts) and len(forms) == 1:
            found[name] = ChosenPositions(
                np.concatenate([one.candidates for one in all_of]),
                np.concatenate([one.noise for one in all_of]),
                all_of[0].axis,
                all_of[0].shape,
                all_of[0].ranked,
            )
    return found


def _open_in(part: Choices, answer: Outputs, name: str) -> NDArray[np.bool_]:
    one = part.get(name)
    return one.places if isinstance(one, OpenPlaces) else np.zeros(answer[name].shape, bool)
