"""The simplest recipe that still fails: a walk through simpler recipes, the simplest first.

Hypothesis shrinks step by step from what it drew: it stays where no single step fails, and it
does not shrink failing pinned inputs at all. Recipes are few enough to be tried in order, so the
first that fails *is* the simplest of them (``python -m studies.shrinking`` compares the two).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, product
from weakref import WeakKeyDictionary

from onnx_conformance.core.errors import ConformanceError
from onnx_conformance.core.results import CheckResult
from onnx_conformance.core.spec import MIDDLE
from onnx_conformance.inputs.families import replayed
from onnx_conformance.inputs.recipes import CONSTANT, DISTRIBUTIONS, SCALES, Recipe, entry, suited
from onnx_conformance.inputs.strategies import EXTENTS
from onnx_conformance.run.subject import Subject

Verdict = Callable[[Subject, Recipe], CheckResult]
MOST_EXAMPLES = 200  # of one search, the failing recipe that it starts from included
SIZES = 16  # parts of an axis' range whose sizes are tried
SEEDS = 4  # that are tried of a distribution and scale, where one sample failed


@dataclass(frozen=True)
class Simplest:
    """What a search ended with. ``tried`` counts its examples, the one it began with included."""

    recipe: Recipe
    tried: int


def simplicity(recipe: Recipe) -> tuple[bool, int, int, int, int, tuple[bool, int, float]]:
    """Sorts recipes, the simplest first: by distribution, scale, batch, seed and sizes.

    Whatever has at most two samples comes before whatever has more.
    """
    plain = list(DISTRIBUTIONS).index(recipe.distribution)
    scale = SCALES.index(recipe.scale) if recipe.scale in SCALES else len(SCALES)
    size = EXTENTS.index(recipe.extent) if recipe.extent in EXTENTS else len(EXTENTS)
    sizes = bool(recipe.sizes or recipe.full), size, recipe.extent
    return recipe.batch > 2, plain, scale, recipe.batch, recipe.seed, sizes


def plainer_sizes(than: Recipe) -> Iterator[Recipe]:
    """The same recipe at simpler sizes, the simplest first; none where its sizes are middling.

    The middle, the ends, then the sizes from the smallest up.
    """
    if (than.extent, than.sizes, than.full) == (MIDDLE, (), False):
        return
    plain = replace(than, sizes=(), full=False)
    extents = (*EXTENTS, *(part / SIZES for part in range(1, SIZES)))
    for extent in dict.fromkeys(extents):
        recipe = replace(plain, extent=extent)
        if simplicity(recipe) < simplicity(than):
            yield recipe


def simpler(than: Recipe) -> Iterator[Recipe]:
    """The recipes to try, in order: simpler than this one, and none with more samples."""
    seeds = list(dict.fromkeys((0, than.seed, *(range(1, SEEDS) if than.batch == 1 else ()))))
    small = range(1, min(than.batch, 2) + 1)
    large = range(3, than.batch + 1)
    yield from _ordered(SCALES, small, sorted(seeds[:SEEDS]), than)
    yield from _ordered(tuple(dict.fromkeys((1.0, than.scale))), large, [0], than)


def _ordered(
    scales: tuple[float, ...], batches: range, seeds: list[int], than: Recipe
) -> Iterator[Recipe]:
    """Every set of inputs once: zeros have neither scale nor seed, ones no seed."""
    for distribution, scale, batch, seed in product(DISTRIBUTIONS, scales, batches, seeds):
        again = distribution == "zeros" and scale != scales[0]
        again |= distribution in CONSTANT and seed != seeds[0]
        recipe = replace(than, distribution=distribution, scale=scale, batch=batch, seed=seed)
        if not again and simplicity(recipe) < simplicity(than):
            yield recipe


def search(fails: Callable[[Recipe], bool], found: Recipe) -> Simplest:
    """The simplest recipe that fails, where ``found`` is known to: its values, then its sizes.

    A worker that dies on another recipe ends the search: its death must not replace the verdict,
    and its time limit must not be spent again and again.
    """
    best, tried = found, 1
    for candidates in (simpler, plainer_sizes):
        for recipe in islice(candidates(best), MOST_EXAMPLES - tried):
            tried += 1
            try:
                if fails(recipe):
                    best = recipe
                    break
            except ConformanceError:
                return Simplest(best, tried)
    return Simplest(best, tried)


_SEARCHED: WeakKeyDictionary[Subject, Simplest] = WeakKeyDictionary()


def explained(check: Verdict, subject: Subject, recipe: Recipe) -> CheckResult:
    """The check's verdict on a recipe; a failure also tells the simplest recipe that fails.

    The search is made once for each subject; its other failures get the same answer. With
    ``--first-finding`` there is no search.
    """
    recipe = suited(recipe, subject.model.axes)
    result = check(subject, recipe)
    if result.outcome != "failed" or subject.fail_fast:
        return result
    return replace(result, details=(*result.details, *_lines(check, subject, recipe)))


def shrunk(check: Verdict, subject: Subject, recipe: Recipe) -> CheckResult:
    """The check's verdict on a recipe; a failure is that of the simplest recipe that fails."""
    recipe = suited(recipe, subject.model.axes)
    result = check(subject, recipe)
    if result.outcome != "failed" or subject.fail_fast:
        return result
    simplest = _simplest(check, subject, recipe).recipe
    if simplest != recipe:
        result = check(subject, simplest)
    lines = (f"found by: {recipe}", *_lines(check, subject, recipe))
    return replace(result, details=(*result.details, *lines))


def _lines(check: Verdict, subject: Subject, recipe: Recipe) -> Iterator[str]:
    found = _simplest(check, subject, recipe)
    yield f"simplest recipe that fails: {found.recipe}, of {found.tried} tried"
    replays = replayed(subject.model.name, subject.seed).values()
    known = [_simplified(suited(one, subject.model.axes)) for one in replays]
    if found.recipe not in known:
        yield "to replay it in every run, add to found_recipes.yaml:"
        yield f"  {entry(found.recipe, subject.case)}"


def _simplified(recipe: Recipe) -> Recipe:
    """The simplest recipe of the same inputs."""
    if recipe.distribution == "zeros":
        return replace(recipe, scale=1.0, seed=0)
    return replace(recipe, seed=0) if recipe.distribution in CONSTANT else recipe


def _simplest(check: Verdict, subject: Subject, recipe: Recipe) -> Simplest:
    plain = _simplified(recipe)
    if subject not in _SEARCHED:
        _SEARCHED[subject] = search(lambda other: check(subject, other).outcome == "failed", plain)
    return min(_SEARCHED[subject], Simplest(plain, 1), key=lambda one: simplicity(one.recipe))
