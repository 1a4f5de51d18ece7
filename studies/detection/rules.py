"""Other tools' rules, read from ``rules.yaml`` and applied in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from onnx_conformance.core.comparison import Array
from onnx_conformance.inputs.recipes import Recipe

RULES_FILE = Path(__file__).with_name("rules.yaml")
Comparison = Callable[[Array, Array, float, float], bool]


@dataclass(frozen=True)
class Rule:
    """How somebody compares a conversion with native.

    Args:
        recipes: of the inputs, in the order in which they are run.
        close: whether (got, expected) are close at an ``rtol`` and ``atol``.
        counts_outputs: another number of outputs is an error of its own.
    """

    name: str
    who: str
    link: str
    recipes: tuple[Recipe, ...]
    close: Comparison
    rtol: float
    atol: float
    counts_outputs: bool

    def accepts(self, got: Sequence[Array], expected: Sequence[Array]) -> bool:
        """Whether one set of inputs's outputs pass, taken by order."""
        if not got or (self.counts_outputs and len(got) != len(expected)):
            return False
        pairs = zip(got, expected, strict=False)
        return all(self.close(ours, theirs, self.rtol, self.atol) for ours, theirs in pairs)


@dataclass(frozen=True)
class NoiseFloor:
    """Everything that ``rules.yaml`` holds."""

    found: float
    found_of_families: dict[str, float]
    alarms: int
    places: dict[str, int]
    rules: tuple[Rule, ...]
    noise: float
    nan: bool
    suspect_recipes: tuple[Recipe, ...]

    def places_of(self, model: str) -> int:
        """How many places of a model each fault strikes."""
        return self.places.get(model, self.places["default"])


def load_yardstick(path: Path = RULES_FILE) -> NoiseFloor:
    """Read the bars, the rules and the inputs that tell suspects.

    Raises:
        KeyError: an entry is missing, or a comparison is none of :data:`COMPARISONS`.
    """
    data = yaml.safe_load(path.read_text())
    bars, suspects = data["bars"], data["suspects"]
    return NoiseFloor(
        found=bars["found"],
        found_of_families=bars["families"],
        alarms=bars["alarms"],
        places=data["places"],
        rules=tuple(_rule(entry) for entry in data["rules"]),
        noise=suspects["noise"],
        nan=suspects["nan"],
        suspect_recipes=tuple(Recipe(**entry) for entry in suspects["input_sets"]),
    )


def _rule(entry: dict[str, Any]) -> Rule:
    input_sets = entry["input_sets"]
    recipes = tuple(
        Recipe(input_sets["distribution"], batch=input_sets["batch"], seed=seed)
        for seed in range(1, input_sets["count"] + 1)
    )
    return Rule(
        name=entry["name"],
        who=entry["who"],
        link=entry["link"],
        recipes=recipes,
        close=COMPARISONS[entry["comparison"]],
        rtol=entry["rtol"],
        atol=entry["atol"],
        counts_outputs=entry.get("counts_outputs", False),
    )


def _numpy(got: Array, expected: Array, rtol: float, atol: float) -> bool:
    """NumPy's own: shapes must agree unless one is a scalar, NaN equals NaN."""
    try:
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)
    except AssertionError:
        return False
    return True


def _torch(got: Array, expected: Array, rtol: float, atol: float) -> bool:
    """The same shape and dtype; NaN is never close, infinity to itself only."""
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return False
    return bool(np.isclose(got, expected, rtol=rtol, atol=atol).all())


def _pytest_torch(got: Array, expected: Array, rtol: float, atol: float) -> bool:
    """The same shape; dtypes are not looked at, NaN equals NaN."""
    if got.shape != expected.shape:
        return False
    return bool(np.isclose(got, expected, rtol=rtol, atol=atol, equal_nan=True).all())


def _polygraphy(got: Array, expected: Array, rtol: float, atol: float) -> bool:
    """The same shape; an element fails if it exceeds *both* tolerances. NaN exceeds."""
    if got.shape != expected.shape:
        return False
    wide, reference = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        absolute = np.abs(wide - reference)
        relative = absolute / np.abs(reference)
        wrong = ~(absolute <= atol) & ~(relative <= rtol)
    return not wrong.any()


COMPARISONS: dict[str, Comparison] = {
    "numpy.testing.assert_allclose": _numpy,
    "torch.testing.assert_close": _torch,
    "pytest_torch.leaves_diff": _pytest_torch,
    "polygraphy.elemwise": _polygraphy,
}
