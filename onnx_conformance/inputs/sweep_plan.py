"""Sweeps: ordinary noise at many sizes, and many rows of it at several scales.

The pinned inputs are few. What goes wrong at single lengths, batches or values is found by
counting elements instead: a small model gets every size and thousands of rows, a large one a few.
How much each may cost stands in ``sweep.yaml``.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.core.domains import Bounded, Integers
from onnx_conformance.core.spec import Axis, ModelSpec, TensorSpec
from onnx_conformance.core.yaml_reader import read_figures
from onnx_conformance.inputs.recipes import COARSE, EVERY, Recipe

FILE = Path(__file__).with_name("sweep.yaml")
BATCHES = (5, 6, 7, 17, 33)  # beside 1 to 4 and 8, which other checks have
DEPLOYED_SIZES = (16, 32, 12, 64)  # where the cost allows them too
SIZE_SEED, ROW_SEED = 100, 200  # after those of the pinned recipes
# Distribution and scale of each set of inputs of rows; whole numbers have neither.
ROWS = (
    ("normal", 1.0),
    ("normal", 3.0),
    (COARSE, 2.0),
    ("normal", 0.1),
    ("normal", 10.0),
    ("normal", 100.0),
    ("normal", 300.0),
    ("uniform", 1.0),
    ("sparse", 1.0),
)
TYING_DISTRIBUTIONS = ("sparse",)  # many equal numbers, among which a decision is arbitrary
WHOLE_ROWS = (("normal", 1.0), ("normal", 1.0))
STRIDE = 7  # between the combinations of sizes that larger batches take
IMAGE_RANK = 4
SHARED = 16  # of a convolution network's parameters: pixels that one application stands for


@dataclass(frozen=True)
class SweepFigures:
    """What sweeps may cost; each figure's reason stands in ``sweep.yaml``."""

    element_work: float
    size_work: float
    row_work: float
    batch_work: float
    most_sizes: int
    most_sizes_compiled: int
    least_sizes: int
    size_rows: int
    most_rows: int
    least_rows: int
    least_pairs: int
    most_calls: int
    most_values: int


def load_figures(path: Path = FILE) -> SweepFigures:
    """Read the figures.

    Raises:
        UsageError: a figure or a reason is missing, or there is one that nothing reads.
    """
    found = read_figures(path, (field.name for field in fields(SweepFigures)), "value")
    whole = {name: n if name.endswith("_work") else int(n) for name, n in found.items()}
    return SweepFigures(**whole)  # type: ignore[arg-type] # whole where they count


@cache
def shipped_figures() -> SweepFigures:
    """The figures of ``sweep.yaml``."""
    return load_figures()


# -- what a sample costs ----------------------------------------------------------------------


def work(model: ModelSpec, recipe: Recipe) -> float:
    """Multiplications that a recipe's samples cost, roughly."""
    sizes = recipe.sizes_on(model.axes)
    inputs = [spec.rows(1, sizes) for spec in model.inputs]
    outputs = [spec.rows(1, sizes) for spec in model.outputs]
    elements = sum(math.prod(shape) for shape in (*inputs, *outputs))
    places = max(
        (_positions(spec, shape) for spec, shape in zip(model.inputs, inputs, strict=True)),
        default=1.0,
    )
    figures = shipped_figures()
    return recipe.batch * max(figures.element_work * elements, model.parameters * places)


def _positions(spec: TensorSpec, shape: tuple[int, ...]) -> float:
    """At how many places of a sample a model of such an input applies its parameters.

    Once to a row of features, to each token of a sequence, and to groups of an image's pixels.
    """
    elements = float(math.prod(shape))
    features = min(shape[1:], default=1) if spec.floating else 1
    places = elements / max(features, 1)
    return max(1.0, places / SHARED if len(shape) >= IMAGE_RANK else places)


def extra_batches(model: ModelSpec) -> tuple[int, ...]:
    """Batch sizes beyond the usual ones that are within the cost allowed for them."""
    for found in ((*BATCHES, *DEPLOYED_SIZES), BATCHES) if model.open_batch else ():
        if work(model, Recipe("normal", batch=sum(found))) <= shipped_figures().batch_work:
            return found
    return ()


# -- sizes ------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def size_recipes(model: ModelSpec, seed: int) -> tuple[Recipe, ...]:
    """Ordinary noise at many sizes of the symbolic axes and of the batch, corners first.

    All sizes of an axis where that is cheap, else its ends, those next to them, and some that
    ``seed`` draws from the whole range. The first has the largest sizes and full masks.
    """
    figures = shipped_figures()
    compiled = FRAMEWORKS[model.framework].compiles_per_shape
    most = figures.most_sizes_compiled if compiled else figures.most_sizes
    rows = figures.size_rows if model.open_batch else 1
    found, left = [], figures.size_work
    for place, sizes in enumerate(_assignments(dict(model.axes), seed)):
        recipe = Recipe("normal", 1.0, rows, seed + SIZE_SEED + place, sizes=sizes, full=not place)
        kept = place < figures.least_sizes
        if kept and place and left < 0:
            recipe = Recipe("normal", 1.0, 1, recipe.seed, sizes=sizes)
        left -= work(model, recipe)
        if place >= most or (left < 0 and not kept):
            break
        found.append(recipe)
    return (*found, *_batch_recipes(model, seed, left))


def _batch_recipes(model: ModelSpec, seed: int, left: float) -> Iterator[Recipe]:
    """Ordinary noise at batches that are not usual, at the largest, middling and other sizes."""
    batches = extra_batches(model)
    if FRAMEWORKS[model.framework].compiles_per_shape:
        batches = batches[: len(BATCHES)]
    if work(model, Recipe("normal", batch=sum(batches))) > left:
        return
    largest, *others = _assignments(dict(model.axes), seed) if model.axes else [()]
    for place, batch in enumerate(batches):
        kinds = (largest, (), others[STRIDE * place % len(others)] if others else ())
        sizes = kinds[place % len(kinds)]
        recipe = Recipe("normal", 1.0, batch, seed + SIZE_SEED - 1 - place, sizes=sizes)
        left -= work(model, recipe)
        yield recipe if left > 0 else replace(recipe, sizes=())


def _assignments(axes: dict[str, Axis], seed: int) -> Iterator[tuple[tuple[str, int], ...]]:
    """Sizes of all axes, each combination once: the corners, then each axis' sizes in turn."""
    if not axes:
        return
    known: dict[tuple[tuple[str, int], ...], None] = {}
    for corner in (*_corners(axes), *_equal(axes)):
        known.setdefault(tuple(corner.items()))
    orders = {name: _order(name, axis, seed) for name, axis in axes.items()}
    longest = max(len(order) for order in orders.values())
    least = shipped_figures().least_pairs if len(axes) > 1 else 0
    for block in range(max(longest, least)):  # each time round against other sizes of the others
        known.setdefault(
            tuple(
                (name, order[(block + place * (block // longest)) % len(order)])
                for place, (name, order) in enumerate(orders.items())
            )
        )
    yield from known


def _corners(axes: dict[str, Axis]) -> Iterator[dict[str, int]]:
    """All largest, all smallest, and each axis large or small against the others.

    At first next to its largest: of a large model, which gets no more, each axis has either parity.
    """
    least = {name: axis.low for name, axis in axes.items()}
    most = {name: axis.size(1.0) for name, axis in axes.items()}
    yield most
    yield least
    if len(axes) == 1:
        return
    for name, axis in axes.items():
        yield least | {name: max(axis.low, most[name] - axis.step)}
    for name in axes:
        yield least | {name: most[name]}
        yield most | {name: least[name]}


def _equal(axes: dict[str, Axis]) -> Iterator[dict[str, int]]:
    """All axes of one size, the largest that all of them take and a middling one."""
    common = set.intersection(
        *(set(range(axis.low, axis.high + 1, axis.step)) for axis in axes.values())
    )
    ordered = sorted(common)
    several = len(axes) > 1 and bool(common)
    for size in dict.fromkeys((ordered[-1], ordered[len(ordered) // 2])) if several else ():
        yield dict.fromkeys(axes, size)


def _order(name: str, axis: Axis, seed: int) -> list[int]:
    """Every size of an axis: next to the smallest, next to the largest, then as drawn."""
    sizes = range(axis.low, axis.high + 1, axis.step)
    first = list(
        dict.fromkeys(sizes[place] for place in (1, -2) if -len(sizes) <= place < len(sizes))
    )
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    drawn = _drawn(rng, sizes)
    return [*first, *(size for size in drawn if size not in first)]


def _drawn(rng: np.random.Generator, sizes: range) -> list[int]:
    """Sizes in random order; of a long range some, each from another stretch of it."""
    most = shipped_figures().most_sizes
    count = min(len(sizes), most)
    drawn = rng.random(most) if count < len(sizes) else np.zeros(count)
    places = ((np.arange(count) + drawn) * len(sizes) / count).astype(np.int64)
    return [sizes[int(place)] for place in rng.permutation(places)]


# -- rows -------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def row_recipes(model: ModelSpec, seed: int) -> tuple[Recipe, ...]:
    """Thousands of rows at several scales, and every whole number of a range once.

    None for a model of which so many are too costly: its samples have elements enough. Of a model
    that fixes its batch or has none, as many as a bounded number of calls takes, at some scales.
    """
    figures = shipped_figures()
    drawn = any(spec.floating or isinstance(spec.domain, Bounded) for spec in model.inputs)
    kinds: tuple[tuple[str, float], ...] = ROWS if drawn else WHOLE_ROWS
    arbitrary: tuple[str, ...] = (
        TYING_DISTRIBUTIONS if any(not spec.floating for spec in model.outputs) else ()
    )
    if model.by_values:  # among boxes of equal scores another may be kept
        arbitrary = (*TYING_DISTRIBUTIONS, COARSE)
    kinds = tuple(kind for kind in kinds if kind[0] not in arbitrary)
    most = figures.most_rows
    if not model.open_batch:
        kinds = kinds[: figures.most_calls // figures.least_rows]
        most = figures.most_calls // len(kinds) * max(model.group, 1)
    cost = work(model, Recipe("normal")) * len(kinds)
    rows = min(int(figures.row_work / cost), most)
    found = (
        Recipe(kind, scale, rows, seed + ROW_SEED + place)
        for place, (kind, scale) in enumerate(kinds)
    )
    many = tuple(found) if rows >= figures.least_rows else ()
    return (*many, *_value_recipes(model))


def _value_recipes(model: ModelSpec) -> Iterator[Recipe]:
    """Inputs that hold every value of the widest range of whole numbers, at the largest sizes."""
    figures = shipped_figures()
    one = Recipe(EVERY, sizes=tuple((name, axis.size(1.0)) for name, axis in model.axes))
    sizes = one.sizes_on(model.axes)
    rows = 0
    for spec in model.inputs:
        if isinstance(spec.domain, Integers) and not spec.floating:
            width = spec.domain.high - spec.domain.low
            if width <= figures.most_values:
                rows = max(rows, math.ceil(width / math.prod(spec.rows(1, sizes))))
    free = model.open_batch
    if not free and rows > figures.most_calls * max(model.group, 1):
        return
    if rows and rows * work(model, one) <= figures.row_work:
        most = int(figures.batch_work / work(model, one)) if free else 0
        batch = min(rows, max(figures.least_rows, min(most, figures.most_rows)))
        for block in range(math.ceil(rows / batch)):
            yield Recipe(EVERY, batch=batch, seed=block, sizes=one.sizes)
