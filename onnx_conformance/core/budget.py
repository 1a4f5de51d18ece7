"""The error budget: how many times float32's own error a runtime may err.

For each sample, output and view (the values; those beside masked ones by themselves; for
probabilities their logarithms too), in both the rms norm and the max norm, with
err(y) = ‖y - oracle‖ / ‖oracle‖:

    score = err(runtime) / (max(err(native), err(replica 1), ..., err(replica 3)) + floor·2⁻²³)

The runtime is within budget if every score is at most the factor in ``tolerances.yaml``.
Native and its replicas compute in the case's class of precision, float32 unless it has fewer bits.
Source of the formula, of the replicas and of the factor: docs/numerics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from onnx_conformance.core.arrays import Array, Outputs
from onnx_conformance.core.compute_modes import FLOAT32, ULP
from onnx_conformance.core.padded_rows import stacked
from onnx_conformance.core.spec import ModelSpec, TensorSpec, size_of
from onnx_conformance.core.text import times_of
from onnx_conformance.core.ties import Choices, joined, settled
from onnx_conformance.core.views import LOGARITHMS, UNMASKED, Rows, views


@dataclass(frozen=True)
class Reference:
    """Native's answers to inputs: the float64 oracle, and the same in fewer bits.

    Args:
        oracle: output names to float64 arrays ``(batch, ...)``; of a model without a float64
            oracle, its float32 answers.
        native: native in float32.
        replicas: the other compute modes of the case's class of precision, in float32 arrays.
        unit: that class, and where else it was computed, in words.
        choices: of outputs that are positions, what they were chosen from; of others, the places
            that native leaves open.
        alternatives: without an oracle, asks native with its weights, or a plain callable's
            inputs, off by a float32 ulp: where its decisions hang on that, either is right.
    """

    oracle: Outputs
    native: Outputs
    replicas: tuple[Outputs, ...]
    unit: str = "float32"
    choices: Choices = field(default_factory=dict)
    alternatives: Callable[[], tuple[Outputs, ...]] = tuple

    @property
    def natives(self) -> tuple[Outputs, ...]:
        """Native and its replicas, whose errors against the oracle are the noise floor."""
        return (self.native, *self.replicas)

    def settled(self, got: Outputs, factor: float) -> Outputs:
        """``got`` with the oracle's positions wherever both choose numbers that tie.

        And with its numbers in the places that native leaves open.

        Args:
            factor: numbers tie within so many times float32's own error.
        """
        return settled(self.choices, self.oracle, got, factor) if self.choices else got

    def chosen(self, samples: list[int] | slice) -> Reference:
        """The reference of some of the samples, in this order; one may come several times."""

        def take(outputs: Outputs) -> Outputs:
            return {name: array[samples] for name, array in outputs.items()}

        def others() -> tuple[Outputs, ...]:
            return tuple(map(take, self.alternatives()))

        replicas = tuple(map(take, self.replicas))
        choices = {name: choice.chosen(samples) for name, choice in self.choices.items()}
        return Reference(take(self.oracle), take(self.native), replicas, self.unit, choices, others)


def stack(references: Sequence[Reference]) -> Reference:
    """The reference of inputs that stack those of ``references`` along the batch axis."""

    def join(parts: Sequence[Outputs]) -> Outputs:
        return {name: stacked([part[name] for part in parts]) for name in parts[0]}

    columns = zip(*(reference.replicas for reference in references), strict=True)
    return Reference(
        join([reference.oracle for reference in references]),
        join([reference.native for reference in references]),
        tuple(join(column) for column in columns),
        references[0].unit,
        joined(
            [reference.choices for reference in references],
            [reference.oracle for reference in references],
        ),
    )


def matching_sizes(reference: Reference, actual: Outputs, model: ModelSpec) -> Reference:
    """The reference for samples about whose size native and its replicas disagree.

    A score may lie so near a threshold that the oracle keeps a box which native drops. Where the
    runtime's sizes are those of another compute mode than the oracle's, its rows are compared with
    that mode; modes of other sizes say nothing of a sample.
    """
    names = [size_of(name) for name in model.by_values]
    answers = [reference.oracle, *reference.natives]
    if any(name not in actual or actual[name].shape != answers[0][name].shape for name in names):
        return reference
    alike = [
        np.all(
            [(answer[n] == actual[n]).reshape(len(answer[n]), -1).all(axis=1) for n in names],
            axis=0,
        )
        for answer in answers
    ]
    if all(found.all() for found in alike):
        return reference
    changed = [{name: np.array(array) for name, array in answer.items()} for answer in answers]
    for sample in range(len(alike[0])):
        agreeing = [place for place, found in enumerate(alike) if found[sample]]
        if not agreeing or len(agreeing) == len(answers):
            continue
        for place, answer in enumerate(changed):
            if place == 0 or place not in agreeing:
                for name in answer:
                    answer[name][sample] = answers[agreeing[0]][name][sample]
    return replace(reference, oracle=changed[0], native=changed[1], replicas=tuple(changed[2:]))


@dataclass(frozen=True)
class Score:
    """The worst score of a comparison and where it was found."""

    value: float
    output: str
    sample: int
    norm: str
    view: str
    error: float
    noise_floor: float
    unit: str = "float32"

    def __str__(self) -> str:
        return (
            f"sample {self.sample} of '{self.output}', {self.norm} norm of the {self.view}: "
            f"error {self.error:.3g}, {times_of(self.value)}x the {self.unit} noise floor "
            f"{self.noise_floor:.3g}"
        )


@dataclass(frozen=True)
class Turns:
    """How many whole numbers and truth values rounding may turn, beside those native leaves open.

    An image of bytes is a hundred thousand roundings: one may fall otherwise in the runtime alone.
    Of a few numbers, or where none of native's compute modes turns one, each must be native's.

    Args:
        flips: at most so many in a set of inputs.
        open_share: the largest share of elements that is turned, and that native's modes may
            leave open: above it, it is no longer rounding that decides.
    """

    flips: float = 0.0
    open_share: float = 0.0

    def few(self, left_open: int, elements: int) -> bool:
        """Whether rounding decides some of the elements, and only some."""
        return 0 < left_open <= self.open_share * elements

    def of_size(self, elements: int) -> float:
        """How many elements rounding may turn: ``flips``, or ``open_share`` of them if less."""
        return min(self.flips, self.open_share * elements)


EXACT = Turns()


def worst_score(
    reference: Reference,
    actual: Outputs,
    outputs: Sequence[TensorSpec],
    floor_ulp: float,
    turns: Turns = EXACT,
    most: float = np.inf,
) -> Score:
    """The worst score over samples, outputs, views and norms.

    Args:
        most: the largest error of float32 itself in a logarithm, beyond which it tells nothing.

    Raises:
        ValueError: nothing to compare: no output, or no sample.
    """
    scores = list(_scores(reference, actual, outputs, floor_ulp, turns, most))
    if not scores:
        raise ValueError("no element to compare")
    return max(scores, key=lambda score: score.value)


def largest_noise_floor(reference: Reference, outputs: Sequence[TensorSpec]) -> float:
    """The largest relative error of the class itself, over samples, outputs, views and norms.

    0 where there is no sample. Logarithms are a second look at values, and decide nothing here.
    """
    found = [
        float(np.max(error, initial=0.0))
        for spec in outputs
        if spec.floating
        for native in reference.natives
        for _, view, error in errors(reference.oracle, native, spec)
        if view != LOGARITHMS
    ]
    return max(found, default=0.0)


def _of_logarithms(reference: Reference, spec: TensorSpec, norm: str, relative: Rows) -> Rows:
    """Errors of logarithms themselves, which are relative errors of their numbers."""
    rows = next(
        wanted
        for view, wanted, _ in views(reference.oracle[spec.name], reference.native[spec.name], spec)
        if view == LOGARITHMS
    )
    return relative * NORMS[norm](rows)


def errors(
    reference: Outputs, actual: Outputs, spec: TensorSpec
) -> Iterator[tuple[str, str, Rows]]:
    """Norm, view and each sample's relative error of one output against the oracle."""
    for view, wanted, got in views(reference[spec.name], actual[spec.name], spec):
        for norm, size in NORMS.items():
            with np.errstate(invalid="ignore"):  # infinity less infinity is NaN, and so an error
                unit = spec.scale == "unit" or view == UNMASKED
                least = 1.0 if unit else np.finfo(np.float32).tiny
                error = size(got - wanted) / np.maximum(size(wanted), least)
            yield norm, view, np.where(np.isnan(error), np.inf, error)


def noise_floors(reference: Reference, spec: TensorSpec, floor_ulp: float) -> list[Rows]:
    """For each norm and view of :func:`errors`, float32's own error of each sample, and the floor.

    Of numbers beside masked ones a sample may hold a single one: there it is the largest of all
    samples.
    """
    found = []
    for same in zip(*(errors(reference.oracle, n, spec) for n in reference.natives), strict=True):
        floor: Rows = np.max([error for _, _, error in same], axis=0) + floor_ulp * ULP
        unmasked = same[0][1] == UNMASKED
        found.append(np.full_like(floor, floor.max(initial=0.0)) if unmasked else floor)
    return found


def _scores(
    reference: Reference,
    actual: Outputs,
    outputs: Sequence[TensorSpec],
    floor_ulp: float,
    turns: Turns,
    most: float,
) -> Iterator[Score]:
    for spec in outputs:
        if not reference.oracle[spec.name].size:
            continue
        if not spec.floating:
            yield _exactness(reference, actual, spec, turns)
            continue
        floors = noise_floors(reference, spec, floor_ulp)
        answered = errors(reference.oracle, actual, spec)
        for noise_floor, (norm, view, error) in zip(floors, answered, strict=True):
            measurable = np.isfinite(noise_floor)  # float32's own infinity excuses nothing
            ratio = np.where(measurable, error, np.inf) / np.where(measurable, noise_floor, 1.0)
            if view == LOGARITHMS and reference.unit == FLOAT32:
                ratio = np.where(
                    _of_logarithms(reference, spec, norm, noise_floor) > most, 0, ratio
                )
            sample = int(ratio.argmax())
            yield Score(
                float(ratio[sample]),
                spec.name,
                sample,
                norm,
                view,
                float(error[sample]),
                float(noise_floor[sample]),
                reference.unit,
            )


def wrong_decisions(reference: Reference, got: Outputs, spec: TensorSpec) -> tuple[Rows, int]:
    """Where an output of whole numbers or truth values is none of native's.

    Where native and its replicas disagree (an argmax of a tie), any of theirs is right.

    Returns:
        The wrong places, and how many places native's own compute modes leave open.
    """
    found = np.asarray(got[spec.name])
    right = found == reference.oracle[spec.name]
    open_places = np.zeros(found.shape, bool)
    for native in reference.natives:
        right |= found == native[spec.name]
        open_places |= native[spec.name] != reference.oracle[spec.name]
    return ~right, int(open_places.sum())


def _exactness(reference: Reference, actual: Outputs, spec: TensorSpec, turns: Turns) -> Score:
    """Whole numbers and truth values: each is one of native's, or infinitely wrong."""
    places, left_open = wrong_decisions(reference, actual, spec)
    if places.sum() <= turns.of_size(places.size) and turns.few(left_open, places.size):
        places = np.zeros_like(places)
    wrong = places.reshape(len(places), -1).mean(axis=1) if places.ndim else places[None]
    sample = int(wrong.argmax())
    share = float(wrong[sample])
    return Score(np.inf if share else 0.0, spec.name, sample, "share", "unequal", share, 0.0)


def natives_disagree(reference: Reference, outputs: Sequence[TensorSpec]) -> bool:
    """Whether native and its replicas give different whole numbers or truth values."""
    return any(
        bool((native[spec.name] != reference.oracle[spec.name]).any())
        for spec in outputs
        if not spec.floating
        for native in reference.natives
    )


def _rms(rows: Rows) -> Rows:
    if not rows.size:
        return np.zeros(len(rows))
    with np.errstate(over="ignore"):  # of numbers beyond float32, which the oracle knows
        result: Rows = np.sqrt(np.mean(rows**2, axis=1))
    return result


def _max(rows: Rows) -> Rows:
    result: Rows = np.max(np.abs(rows), axis=1) if rows.size else np.zeros(len(rows))
    return result


NORMS = {"rms": _rms, "max": _max}


def movements(
    references: Sequence[Reference],
    outputs: Sequence[TensorSpec],
    floor_ulp: float,
    dead_share: float,
    moving_share: float,
) -> dict[str, float]:
    """How much each output changes between inputs, in units of float32's own error.

    The standard deviation over samples that all but ``dead_share`` of an output's elements reach,
    over the largest absolute rms error of float32. Probabilities are judged by their logarithms: a
    1000-class softmax barely moves in value. Outputs of natural size 1 must move relative to it, as
    their errors are judged. Whole numbers and truth values have no error, and the class of
    most pixels may be the background in every sample: such an output moves wholly if
    ``moving_share`` of its elements change, else not at all.
    """
    whole = stack(references)
    return {
        spec.name: _liveness_of(whole, spec, floor_ulp, dead_share)
        if spec.floating
        else float(_changing(whole.oracle[spec.name]) >= moving_share) / (floor_ulp * ULP + 1e-300)
        for spec in outputs
    }


def _changing(array: Array) -> float:
    """The share of elements that are not the same in all samples."""
    return float(np.mean((array != array[:1]).any(axis=0)))


def _moving_views(wanted: Array, got: Array, spec: TensorSpec) -> list[tuple[Rows, Rows]]:
    """The logarithms of probabilities, the values of others; then those beside masked ones."""
    found = {view: (exact, other) for view, exact, other in views(wanted, got, spec)}
    values, unmasked = found["values"], found.get(UNMASKED)
    return [found.get(LOGARITHMS, values), *([unmasked] if unmasked is not None else [])]


def _liveness_of(
    reference: Reference, spec: TensorSpec, floor_ulp: float, dead_share: float
) -> float:
    """The liveness of the view that moves most: a constant mask hides the numbers beside it."""
    exact = reference.oracle[spec.name]
    own = [_moving_views(exact, native[spec.name], spec) for native in reference.natives]
    found = []
    for place, (wanted, _) in enumerate(_moving_views(exact, exact, spec)):
        deviations = np.std(wanted, axis=0)
        if place:  # of the masked numbers, which are 0 here, nothing is asked
            deviations = deviations[(wanted != 0).any(axis=0)]
        spread = float(np.quantile(deviations, dead_share, method="higher"))
        error = float(np.max([_rms(got - right).max() for right, got in (v[place] for v in own)]))
        least = 1.0 if place or spec.scale == "unit" else 0.0
        size = max(float(_rms(wanted).max()), least)
        found.append(spread / (error + floor_ulp * ULP * size + 1e-300))
    return max(found)
