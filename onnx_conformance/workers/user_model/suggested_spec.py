"""A spec that a model takes, where it refuses the one that was written."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from itertools import islice

from onnx_conformance.core.domains import Integers
from onnx_conformance.core.size_expressions import is_expression
from onnx_conformance.core.spec import BATCH_NAMES, Axes, Dim, Shape, TensorSpec
from onnx_conformance.inputs.batch_layout import first_call
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.workers.built_model import BuiltModel
from onnx_conformance.workers.onnx.file_axes import RANGES

BATCH = BATCH_NAMES[0]
PROBES = (
    Recipe("uniform", batch=2),
    Recipe("ones", batch=3, extent=1.0),
    Recipe("normal", batch=2, extent=0.33),  # odd sizes, too
    Recipe("uniform", batch=5, extent=0.0),
)
FLOATS = ("float32", "float16", "float64")
MOST_TRIALS, SECONDS = 200, 10.0  # that are spent on a suggestion
FEW_ROWS, MOST_ROWS = 10, 64  # of an axis that whole numbers index
LARGEST_SIZE = 4096  # of the sizes in a refusal that are tried

Specs = tuple[TensorSpec, ...]
Near = Iterator[tuple[Specs, Axes]]


def suggestion(built: BuiltModel, inputs: Specs, axes: Axes, refusal: str) -> str:
    """The first spec near the written one that the model takes, as one would write it.

    Args:
        words: in which the model refuses the written one; sizes that they name are tried.

    Returns:
        ``it takes TensorSpec(…)``, what differs alone; empty if nothing near is taken.
    """
    end = time.monotonic() + SECONDS
    for candidate, sizes in islice(_near(built, inputs, axes, refusal), MOST_TRIALS):
        if time.monotonic() > end:
            break
        if (candidate, sizes) == (inputs, axes) or not _takes(built, candidate, sizes):
            continue
        changed = [str(new) for new, old in zip(candidate, inputs, strict=True) if new != old]
        if sizes != axes:
            ranges = {name: (one.low, one.high, one.step) for name, one in sizes}
            changed.append(f"axes={ranges}")
        return f"it takes {', '.join(changed)}"
    return ""


def _takes(built: BuiltModel, inputs: Specs, axes: Axes) -> bool:
    try:
        for recipe in PROBES:
            built.run(first_call(recipe, inputs, axes))
    except Exception:  # noqa: BLE001 - it refuses this one too
        return False
    return True


def _near(built: BuiltModel, inputs: Specs, axes: Axes, refusal: str) -> Near:
    """Specs near the written ones, those that change least first."""
    for dtype in FLOATS:
        yield tuple(replace(s, dtype=dtype) if s.floating else s for s in inputs), axes
    for place, spec in enumerate(inputs):

        def with_spec(other: TensorSpec, place: int = place) -> Specs:
            return (*inputs[:place], other, *inputs[place + 1 :])

        if isinstance(spec.domain, Integers):
            whole = spec.domain
            yield from _with_enough_rows(with_spec(spec), axes, whole.high)
            bounded = _bounded(built, spec, whole, with_spec, axes)
            if bounded.domain != Integers(whole.low, whole.low + 1):  # more than one number
                yield with_spec(bounded), axes
            few = replace(spec, domain=Integers(whole.low, whole.low + FEW_ROWS))
            yield from _with_enough_rows(with_spec(few), axes, whole.low + FEW_ROWS)
        elsewhere = {dim for other in inputs if other is not spec for dim in other.shape}
        for shape in _shapes(spec.shape, refusal, elsewhere):
            yield with_spec(replace(spec, shape=shape)), axes
        if len(inputs) > 1:  # the samples share it
            yield with_spec(replace(spec, shape=spec.sample)), axes
        if spec.floating and spec.real:
            yield with_spec(replace(spec, dtype="int64", domain=Integers(0, 2))), axes
    for one in RANGES[1:] if axes else ():
        yield inputs, tuple((name, one) for name, _ in axes)
    yield from ((candidate, axes) for candidate in _other_batches(inputs))


def _with_enough_rows(inputs: Specs, axes: Axes, rows: int) -> Near:
    """For numbers below ``rows`` that index an axis, such as edges' nodes: one never shorter."""
    for name, axis in axes if rows <= MOST_ROWS else ():
        longer = replace(axis, low=rows * axis.step, high=2 * rows * axis.step)
        yield inputs, tuple((label, longer if label == name else one) for label, one in axes)


def _bounded(
    built: BuiltModel,
    spec: TensorSpec,
    domain: Integers,
    with_spec: Callable[[TensorSpec], Specs],
    axes: Axes,
) -> TensorSpec:
    """The input with the largest range that the model takes, found by halving."""
    taken, refused = domain.low + 1, domain.high

    def at(high: int) -> TensorSpec:
        return replace(spec, domain=Integers(domain.low, high))

    while refused - taken > 1:
        middle = (taken + refused) // 2
        if _takes(built, with_spec(at(middle)), axes):
            taken = middle
        else:
            refused = middle
    return at(taken)


def _shapes(shape: Shape, refusal: str, elsewhere: Collection[Dim]) -> Iterator[Shape]:
    """Other layouts, sizes that follow from other inputs' axes or stand in the refusal, ranks."""
    if len(shape) > 2:
        yield (shape[0], shape[-1], *shape[1:-1])  # channels first
        yield (shape[0], *shape[2:], shape[1])
    if len(shape) > 1:
        yield (shape[1], shape[0], *shape[2:])
    named = list(dict.fromkeys(int(number) for number in re.findall(r"\d+", refusal)))
    for axis, dim in enumerate(shape):
        others: list[int | str] = []
        if dim in elsewhere and dim not in BATCH_NAMES and not is_expression(dim):
            others = [f"{dim}+1", f"2*{dim}"]
        elif isinstance(dim, int):
            others = [number for number in named if 0 < number <= LARGEST_SIZE and number != dim]
        yield from ((*shape[:axis], other, *shape[axis + 1 :]) for other in others)
    yield (*shape, 1)
    if len(shape) > 2:
        yield (*shape, shape[-1])


def _other_batches(inputs: Specs) -> Iterator[Specs]:
    """The inputs with a batch of 1, without their batch, or with one before all."""
    if any(spec.batch_axis is not None for spec in inputs):
        yield tuple(replace(spec, shape=_with_one(spec)) for spec in inputs)
        yield tuple(replace(spec, shape=spec.sample) for spec in inputs)
    else:
        yield tuple(replace(spec, shape=(BATCH, *spec.shape)) for spec in inputs)


def _with_one(spec: TensorSpec) -> Shape:
    return tuple(1 if axis == spec.batch_axis else dim for axis, dim in enumerate(spec.shape))
