"""Hypothesis strategies, which draw recipes for inputs, never their elements."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache

from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException

from onnx_conformance.core.spec import MIDDLE
from onnx_conformance.inputs.recipes import DISTRIBUTIONS, SCALES, Recipe

DEFAULT_EXAMPLES = 4  # recipes that a drawn test runs where nobody asks for another number
LARGEST_BATCH = 3
SEEDS = 2**8
# Of symbolic axes, in the order in which they shrink; sizes of the whole range follow.
EXTENTS = (MIDDLE, 0.0, 1.0, 0.25)
FINEST = 2**8  # parts of an axis' range that a draw tells apart
# What a failing draw shrinks to is searched by onnx_conformance.diagnose.simplest_inputs, in order.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def recipes() -> st.SearchStrategy[Recipe]:
    """Recipes that shrink toward zeros, scale 1, batch 1, seed 0 and axes of middle size."""
    return st.builds(
        Recipe,
        distribution=_below(len(DISTRIBUTIONS)).map(list(DISTRIBUTIONS).__getitem__),
        scale=_below(len(SCALES)).map(SCALES.__getitem__),
        batch=_below(LARGEST_BATCH).map(lambda number: number + 1),
        seed=_below(SEEDS),
        extent=_below(FINEST).map(_extent),
    )


def _extent(number: int) -> float:
    """The first numbers are the simplest extents, the others any share of an axis' range."""
    return EXTENTS[number] if number < len(EXTENTS) else number / (FINEST - 1)


def new_recipes() -> st.SearchStrategy[Recipe]:
    """Recipes that repeat no pinned inputs: no zeros, no ones of scale 1 or -1.

    Hypothesis always draws the simplest recipe first, which would be zeros.
    """
    return recipes().filter(
        lambda recipe: (
            recipe.distribution != "zeros"
            and not (recipe.distribution == "ones" and abs(recipe.scale) == 1)
        )
    )


def _below(count: int) -> st.SearchStrategy[int]:
    """A number from 0 to ``count - 1``, drawn as bits and shrinking toward 0.

    Hypothesis draws some integers from constants that it finds in the modules loaded so far, so
    they would depend on which tests were selected; booleans depend on the seed alone.
    """
    bits = (count - 1).bit_length()
    return st.tuples(*[st.booleans()] * bits).map(
        lambda drawn: int("".join("01"[bit] for bit in drawn), 2) % count
    )


def foresee(number: int, examples: int | None = None) -> tuple[Recipe, ...]:
    """The recipes that a drawn test seeded with ``number`` will see if it passes.

    Hypothesis is deterministic for a seed, so workers can compute these ahead; a test that
    fails goes on to other recipes, which are then computed when asked for.

    Args:
        examples: how many, at least 1; None for as many as the Hypothesis profile in force says.
    """
    return _foresee(number, settings().max_examples if examples is None else examples)


@lru_cache(maxsize=8)
def _foresee(number: int, max_examples: int) -> tuple[Recipe, ...]:
    seen: dict[Recipe, None] = {}

    @settings(max_examples=max_examples, phases=[Phase.generate], database=None, deadline=None)
    @seed(number)
    @given(new_recipes())
    def record(recipe: Recipe) -> None:
        seen[recipe] = None

    with suppress(HypothesisException):  # the test itself will tell
        record()
    return tuple(seen)
