"""Load and validate ``found_recipes.yaml``: recipes that found a fault, replayed ever since."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from onnx_conformance.catalog.models import MODELS
from onnx_conformance.core.project import project
from onnx_conformance.core.spec import MIDDLE, Case
from onnx_conformance.core.yaml_reader import NodeReader, compose
from onnx_conformance.inputs.recipes import COARSE, DISTRIBUTIONS, EVERY, Recipe

FOUND: Path | None = None  # instead of the file that the project names
LARGEST_BATCH = 64
LARGEST_SIZE = 2**20
LARGEST_SCALE = 1e30
LARGEST_SEED = 2**32 - 1
RECIPE_KEYS = ("distribution", "scale", "batch", "seed", "extent", "sizes", "full")
KEYS = ("recipe", "model", "name", "reason", "link", "date")


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
    root = compose(path)
    if root is None:
        return ()
    reader = _Reader(path)
    if not isinstance(root, yaml.SequenceNode):
        reader.fail(root, "the file must be a list of entries")
    return tuple(reader.entries(root.value))


class _Reader(NodeReader):
    """Reads the entries of a file of found recipes."""

    def entries(self, nodes: list[Any]) -> Iterator[FoundRecipe]:
        seen: dict[tuple[Recipe, str], str] = {}
        for number, node in enumerate(nodes, start=1):
            found = self._entry(node, number)
            if found.name in seen.values():
                self.fail(node, f"another entry is called '{found.name}' too")
            if (found.recipe, found.model) in seen:
                before = seen[found.recipe, found.model]
                self.fail(node, f"{found.recipe} for '{found.model}' stands already as {before}")
            seen[found.recipe, found.model] = found.name
            yield found

    def _entry(self, node: Any, number: int) -> FoundRecipe:
        given = self._mapping(node, "an entry", KEYS)
        for key in ("recipe", "reason"):
            if key not in given:
                self.fail(node, f"'{key}' is missing in an entry")
        reason = self.reason(given["reason"], "an entry")
        if "link" in given and not self._text(given["link"], "link").startswith("http"):
            self.fail(given["link"], "'link' must be the address of an issue")
        name = self._text(given["name"], "name") if "name" in given else str(number)
        if not re.fullmatch(r"\w+", name, re.ASCII):
            self.fail(given["name"], f"'name' must be letters, digits and _, not {name!r}")
        model = self._text(given["model"], "model") if "model" in given else "*"
        if not (fnmatch.filter(MODELS, model) or model.startswith("torchvision:")):
            self.fail(given["model"], f"no model matches '{model}'; known: {', '.join(MODELS)}")
        return FoundRecipe(f"found_{name}", self._recipe(given["recipe"]), model, reason)

    def _recipe(self, node: Any) -> Recipe:
        given = self._mapping(node, "'recipe'", RECIPE_KEYS)
        if "distribution" not in given:
            self.fail(node, "'distribution' is missing in 'recipe'")
        distribution = self._text(given["distribution"], "distribution")
        if distribution not in (*DISTRIBUTIONS, EVERY, COARSE):
            known = ", ".join((*DISTRIBUTIONS, EVERY, COARSE))
            self.fail(given["distribution"], f"no distribution '{distribution}'; known: {known}")
        return Recipe(
            distribution,
            self._scale(given.get("scale")),
            self._whole(given.get("batch"), "batch", 1, 1, LARGEST_BATCH),
            self._whole(given.get("seed"), "seed", 0, 0, LARGEST_SEED),
            self._extent(given.get("extent")),
            self._sizes(given.get("sizes")),
            self._full(given.get("full")),
        )

    def _sizes(self, node: Any) -> tuple[tuple[str, int], ...]:
        if node is None:
            return ()
        given = self.mapping(node, "'sizes'")
        return tuple(
            (axis, self._whole(size, f"sizes: {axis}", 1, 1, LARGEST_SIZE))
            for axis, size in given.items()
        )

    def _full(self, node: Any) -> bool:
        if node is None:
            return False
        value = self.value(node)
        if not isinstance(value, bool):
            self.fail(node, f"'full' must be true or false, not {node.value}")
        return value

    def _extent(self, node: Any) -> float:
        if node is None:
            return MIDDLE
        value = self._number(node)
        if not 0.0 <= value <= 1.0:
            self.fail(node, f"'extent' must be a number from 0 to 1, not {node.value}")
        return value

    def _scale(self, node: Any) -> float:
        if node is None:
            return 1.0
        value = self._number(node)
        if not abs(value) <= LARGEST_SCALE:
            self.fail(node, f"'scale' must be a number up to {LARGEST_SCALE:g}, not {node.value}")
        return value

    def _number(self, node: Any) -> float:
        try:
            return float(node.value)  # YAML 1.1 takes 1e6 for a text
        except (TypeError, ValueError):
            return math.nan

    def _whole(self, node: Any, key: str, default: int, least: int, most: int) -> int:
        if node is None:
            return default
        text = str(node.value)
        if not re.fullmatch(r"\d+", text) or not least <= int(text) <= most:
            self.fail(node, f"'{key}' must be a whole number from {least} to {most}, not {text}")
        return int(text)

    def _mapping(self, node: Any, what: str, keys: tuple[str, ...]) -> dict[str, Any]:
        given = self.mapping(node, what)
        self.among(node, keys, what)
        return given

    def _text(self, node: Any, key: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
            self.fail(node, f"'{key}' must be a text")
        return str(node.value).strip()
