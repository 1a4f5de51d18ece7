"""Other tools' rules, read from ``rules.yaml`` and applied in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnx_conformance.core.arrays import Array
from onnx_conformance.core.yaml_reader import YamlNode, read_yaml
from onnx_conformance.inputs.recipes import Recipe, read_recipe

RULES_FILE = Path(__file__).with_name("rules.yaml")
MOST = 10_000
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
class StudyRules:
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


def load_rules(path: Path = RULES_FILE) -> StudyRules:
    """Read the bars, the rules and the inputs that tell suspects.

    Raises:
        UsageError: an entry is missing or wrong; names the line and the key.
    """
    top = read_yaml(path).keys(("bars", "places", "rules", "suspects"))
    bars = top["bars"].keys(("found", "families", "alarms"))
    suspects = top["suspects"].keys(("noise", "nan", "input_sets"))
    return StudyRules(
        found=bars["found"].number(0.0, 1.0),
        found_of_families={
            name: node.number(0.0, 1.0) for name, node in bars["families"].mapping().items()
        },
        alarms=bars["alarms"].whole(0, MOST),
        places={name: node.whole(0, MOST) for name, node in top["places"].mapping().items()},
        rules=tuple(_rule(entry) for entry in top["rules"].entries("a rule")),
        noise=suspects["noise"].positive(),
        nan=suspects["nan"].flag(),
        suspect_recipes=tuple(read_recipe(entry) for entry in suspects["input_sets"].entries()),
    )


def _rule(entry: YamlNode) -> Rule:
    required = ("name", "who", "link", "input_sets", "comparison", "rtol", "atol")
    found = entry.keys(required, optional=("counts_outputs",))
    sets = found["input_sets"].keys(("distribution", "batch", "count"))
    distribution, batch = sets["distribution"].text(), sets["batch"].whole(1, MOST)
    seeds = range(1, sets["count"].whole(1, MOST) + 1)
    return Rule(
        name=found["name"].text(),
        who=found["who"].text(),
        link=found["link"].link(),
        recipes=tuple(Recipe(distribution, batch=batch, seed=seed) for seed in seeds),
        close=COMPARISONS[found["comparison"].choice(COMPARISONS)],
        rtol=found["rtol"].number(0.0, 1.0),
        atol=found["atol"].number(0.0, 1.0),
        counts_outputs="counts_outputs" in found and found["counts_outputs"].flag(),
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
