"""Load and validate ``found_recipes.yaml``: recipes that found a fault, replayed ever since."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from onnx_conformance.catalog.models import MODELS
from onnx_conformance.core.project import project
from onnx_conformance.core.spec import Case
from onnx_conformance.core.yaml_reader import Node, read_yaml
from onnx_conformance.inputs.recipes import COARSE, DISTRIBUTIONS, EVERY, Recipe

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


def _entry(node: Node, number: int) -> FoundRecipe:
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


def read_recipe(node: Node) -> Recipe:
    """A recipe, as files write it."""
    found = node.keys(("distribution",), RECIPE_KEYS)
    readers: dict[str, Callable[[Node], Any]] = {
        "scale": lambda node: node.number(-LARGEST_SCALE, LARGEST_SCALE),
        "batch": lambda node: node.whole(1, LARGEST_BATCH),
        "seed": lambda node: node.whole(0, LARGEST_SEED),
        "extent": lambda node: node.number(0.0, 1.0),
        "sizes": _sizes,
        "full": Node.flag,
    }
    fields = {key: read(found[key]) for key, read in readers.items() if key in found}
    return Recipe(found["distribution"].choice((*DISTRIBUTIONS, EVERY, COARSE)), **fields)


def _sizes(node: Node) -> tuple[tuple[str, int], ...]:
    return tuple((axis, size.whole(1, LARGEST_SIZE)) for axis, size in node.mapping().items())
