"""Recipes for inputs: a distribution, a scale, a seed and a batch size instead of elements.

A recipe is small, readable, repeatable in any process, and shrinks well. Those that found a fault
once stand in ``found_recipes.yaml`` and are replayed ever since.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from onnx_conformance.catalog.models import MODELS
from onnx_conformance.core import bfloat16
from onnx_conformance.core.arrays import digest_arrays
from onnx_conformance.core.case import Case
from onnx_conformance.core.domains import Bounded, Draw, Lengths, Mask
from onnx_conformance.core.project import project
from onnx_conformance.core.spec import MIDDLE, Axes, TensorSpec, sizes_of
from onnx_conformance.core.yaml_reader import YamlNode, read_yaml

Float32Array = NDArray[np.float32]
Sampler = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]


class Inputs(dict[str, NDArray[Any]]):
    """Arrays by input name, not to be changed once made: the content key is computed once."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names, dtypes, shapes and bytes."""
        return digest_arrays({name: self[name] for name in sorted(self)})

    @property
    def samples(self) -> int:
        """How many samples it holds: the rows of its first input."""
        return len(next(iter(self.values())))

    def chosen(self, samples: list[int] | slice) -> Inputs:
        """Some of the samples, in this order; one may come several times."""
        return Inputs((name, array[samples]) for name, array in self.items())

    def each_alone(self) -> list[Inputs]:
        """The samples, one by one."""
        return [self.chosen(slice(place, place + 1)) for place in range(self.samples)]


class RawInputs(Inputs):
    """Arrays as a worker takes them, in the layout of the model and not of samples."""

    @cached_property
    def digest(self) -> str:
        """SHA-256, other than that of samples of the same bytes."""
        return f"raw-{Inputs(self).digest}"


def smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Image-like noise: a sum of octaves, each twice as fine and half as strong.

    Every axis but the first is a candidate for smoothness; those shorter than 8 (channels)
    stay independent.
    """
    total = np.zeros(shape)
    for octave in range(5):
        coarse = tuple(
            size if axis == 0 or size < 8 else min(size, 4 * 2**octave)
            for axis, size in enumerate(shape)
        )
        grid = rng.standard_normal(coarse)
        for axis, size in enumerate(shape):
            if coarse[axis] != size:
                grid = np.take(grid, np.arange(size) * coarse[axis] // size, axis=axis)
        total += grid / 2.0**octave
    unit: NDArray[np.float64] = total / np.sqrt(sum(4.0**-octave for octave in range(5)))
    return unit


def _onehot(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    rows = np.zeros((shape[0], int(np.prod(shape[1:]))))
    if rows.size:
        rows[np.arange(shape[0]), rng.integers(rows.shape[1], size=shape[0])] = 1.0
    return rows.reshape(shape)


def _sparse(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    kept: NDArray[np.float64] = rng.standard_normal(shape) * (rng.random(shape) < 0.05)
    return kept


# In the order in which Hypothesis shrinks: the simplest first.
DISTRIBUTIONS: dict[str, Sampler] = {
    "zeros": lambda rng, shape: np.zeros(shape),
    "ones": lambda rng, shape: np.ones(shape),
    "onehot": _onehot,
    "uniform": lambda rng, shape: rng.random(shape),
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "sparse": _sparse,
    "image": smooth,
}
# Whole numbers in turn, each value of a range once; other inputs are normal. ``seed`` counts
# the inputs that share a range. Not drawn by Hypothesis: a set of inputs of many values does not
# shrink.
EVERY = "every"
# Normal numbers in steps of a half, and now and then an input that is 0 throughout: what rounds,
# floors or compares meets its limits, and a state is seen as it begins. Not drawn either.
COARSE = "coarse"
STEP = 0.5
EMPTY_SHARE = 0.25  # of the samples, for each of several inputs
CONSTANT = ("zeros", "ones")  # without chance: every seed gives the same inputs
# In the same order: ordinary sizes, faint, past half precision (65504), and negative.
SCALES = (1.0, 0.1, 10.0, 1e-4, 1e3, 1e6, -1.0, -10.0)


@dataclass(frozen=True)
class Recipe:
    """How to make inputs. ``scale`` multiplies the distribution; ``seed`` drives it.

    ``extent`` says how large symbolic axes other than the batch are: 0 smallest, 1 largest.
    ``sizes`` names the size of single axes instead; axes that a model has not are left out.
    ``full`` fills masks and lengths.
    """

    distribution: str
    scale: float = 1.0
    batch: int = 1
    seed: int = 0
    extent: float = MIDDLE
    sizes: tuple[tuple[str, int], ...] = ()
    full: bool = False

    def __str__(self) -> str:
        size = "" if self.extent == MIDDLE else f", extent={self.extent:g}"
        size += "".join(f", {axis}={length}" for axis, length in self.sizes)
        size += ", full masks" if self.full else ""
        fields = f"scale={self.scale:g}, batch={self.batch}, seed={self.seed}{size}"
        return f"{self.distribution}({fields})"

    def inputs(self, inputs: tuple[TensorSpec, ...], axes: Axes = ()) -> Inputs:
        """The samples, a row each in every input: ``(batch, ...)``, of the input's dtype.

        All have the same of what they share: inputs without a batch, of a model that has one.
        """
        kinds = [*DISTRIBUTIONS, EVERY, COARSE]
        rng = np.random.default_rng([self.seed, kinds.index(self.distribution)])
        sample = DISTRIBUTIONS.get(self.distribution, DISTRIBUTIONS["normal"])
        sizes = self.sizes_on(axes)
        batched = any(spec.batch_axis is not None for spec in inputs)
        input_set = Inputs()
        for spec in inputs:
            shared = batched and spec.batch_axis is None
            values = self.scale * sample(rng, spec.rows(1 if shared else self.batch, sizes))
            if self.distribution == COARSE:
                values = _coarse(values, rng, EMPTY_SHARE if len(inputs) > 1 else 0.0)
            filled = self.full and isinstance(spec.domain, (Mask, Lengths))
            kind = "ones" if filled else self.distribution
            drawn = spec.domain.draw(Draw(kind, values, rng, sizes, input_set, block=self.seed))
            array = _cast(np.asarray(drawn), spec)
            input_set[spec.name] = np.repeat(array, self.batch, axis=0) if shared else array
        return input_set

    def sizes_on(self, axes: Axes) -> dict[str, int]:
        """The size of each of a model's symbolic axes other than the batch, by name."""
        named = {axis: size for axis, size in self.sizes if axis in dict(axes)}
        return sizes_of(axes, self.extent) | named


def _coarse(
    values: NDArray[np.float64], rng: np.random.Generator, empty: float
) -> NDArray[np.float64]:
    """The numbers in whole steps; those of a share ``empty`` of the samples are 0."""
    kept = rng.random(len(values)) >= empty
    stepped: NDArray[np.float64] = STEP * np.round(values / STEP)
    return stepped * kept.reshape(-1, *[1] * (values.ndim - 1))


def _cast(drawn: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """The numbers in the input's dtype; those beyond it are its largest, and no infinity."""
    if spec.floating and np.issubdtype(drawn.dtype, np.floating):
        coarse = spec.dtype == bfloat16.NAME
        largest = bfloat16.LARGEST_BFLOAT16 if coarse else float(np.finfo(spec.dtype).max)
        drawn = np.clip(drawn, -largest, largest)
        return bfloat16.rounded(drawn) if coarse else drawn.astype(spec.dtype)
    if np.issubdtype(drawn.dtype, np.floating) and isinstance(spec.domain, Bounded):
        drawn = np.rint(drawn)
    return drawn.astype(spec.held)


def suited(recipe: Recipe, axes: Axes) -> Recipe:
    """The recipe without its extent where a model has no symbolic axes: the inputs are the same."""
    return recipe if axes else replace(recipe, extent=MIDDLE, sizes=())


def calibration_batch(shape: tuple[int, ...], seed: int) -> Float32Array:
    """Inputs to calibrate weights on: half image-like, a quarter normal, the rest faint or flat.

    ``shape`` includes the batch, a multiple of 8.
    """
    rng = np.random.default_rng(seed)
    eighth = (shape[0] // 8, *shape[1:])
    parts = [smooth(rng, eighth) for _ in range(4)]
    parts += [rng.standard_normal(eighth) for _ in range(2)]
    parts += [0.1 * rng.standard_normal(eighth), rng.random(eighth)]
    batch: Float32Array = np.concatenate(parts).astype(np.float32)
    return batch


# -- recipes that found a fault --------------------------------------------------------------------

FOUND: Path | None = None  # instead of the file that the project names
LARGEST_BATCH = 64
LARGEST_SIZE = 2**20
LARGEST_SCALE = 1e30
LARGEST_SEED = 2**32 - 1
RECIPE_KEYS = ("scale", "batch", "seed", "extent", "sizes", "full")


@dataclass(frozen=True)
class FoundRecipe:
    """One entry: the recipe, the models that it is for (a glob), and what it found."""

    name: str
    recipe: Recipe
    model: str
    reason: str


def found_recipes(model: str) -> dict[str, Recipe]:
    """The recipes that are replayed on a model, by the name that stands in a test's id."""
    path = FOUND or project().found_recipes
    return {
        found.name: found.recipe
        for found in (_loaded(path) if path else ())
        if fnmatch.fnmatchcase(model, found.model)
    }


def entry(recipe: Recipe, case: Case) -> str:
    """An entry for the file, on one line."""
    parts = asdict(recipe) | {"sizes": dict(recipe.sizes)}
    plain = asdict(Recipe(recipe.distribution)) | {"sizes": {}}
    for key in ("extent", "sizes", "full"):
        if parts[key] == plain[key]:
            del parts[key]
    found = {"recipe": parts, "model": case.model, "reason": f"failed on {case.id}"}
    text = yaml.safe_dump(found, default_flow_style=True, sort_keys=False, width=math.inf)
    return f"- {text.strip()}"


@cache
def _loaded(path: Path) -> tuple[FoundRecipe, ...]:
    return load_found_recipes(path)


def load_found_recipes(path: Path) -> tuple[FoundRecipe, ...]:
    """Read and validate a file of found recipes.

    Raises:
        UsageError: naming the file, the line and what is wrong there.
    """
    found: list[FoundRecipe] = []
    for number, node in enumerate(read_yaml(path).entries(), start=1):
        entry = _entry(node, number)
        for other in found:
            if other.name == entry.name:
                node.fail(f"two entries have the name '{entry.name}'; rename one")
            if (other.recipe, other.model) == (entry.recipe, entry.model):
                node.fail(f"{entry.recipe} for '{entry.model}' is listed already, as {other.name}")
        found.append(entry)
    return tuple(found)


def _entry(node: YamlNode, number: int) -> FoundRecipe:
    found = node.keys(("recipe", "reason"), ("model", "name", "link", "date"))
    if "link" in found:
        found["link"].link()
    name = str(found["name"].value) if "name" in found else str(number)
    if not re.fullmatch(r"\w+", name, re.ASCII):
        found["name"].fail(f"'name' must be letters, digits and _, not {name!r}")
    model = found["model"].text() if "model" in found else "*"
    if not (fnmatch.filter(MODELS, model) or model.startswith("torchvision:")):
        found["model"].fail(f"no model matches '{model}'; known: {', '.join(MODELS)}")
    return FoundRecipe(
        f"found_{name}", read_recipe(found["recipe"]), model, found["reason"].reason()
    )


def read_recipe(node: YamlNode) -> Recipe:
    """A recipe, as files write it."""
    found = node.keys(("distribution",), RECIPE_KEYS)
    readers: dict[str, Callable[[YamlNode], Any]] = {
        "scale": lambda node: node.number(-LARGEST_SCALE, LARGEST_SCALE),
        "batch": lambda node: node.whole(1, LARGEST_BATCH),
        "seed": lambda node: node.whole(0, LARGEST_SEED),
        "extent": lambda node: node.number(0.0, 1.0),
        "sizes": _sizes,
        "full": YamlNode.flag,
    }
    fields = {key: read(found[key]) for key, read in readers.items() if key in found}
    return Recipe(found["distribution"].choice((*DISTRIBUTIONS, EVERY, COARSE)), **fields)


def _sizes(node: YamlNode) -> tuple[tuple[str, int], ...]:
    return tuple((axis, size.whole(1, LARGEST_SIZE)) for axis, size in node.mapping().items())
