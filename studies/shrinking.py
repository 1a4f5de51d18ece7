"""How well failures shrink: ``python -m studies.shrinking [MODEL ...]`` prints a table.

Each fault shows on some values only. The checks find it as in a run (the pinned recipes in their
order, then the drawn ones), :mod:`onnx_conformance.diagnose.simplest_inputs` searches the simplest
recipe that fails, and
brute force says whether it is. Beside it stands what Hypothesis' own shrinker ends with.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

from hypothesis import Phase, given, seed, settings

from onnx_conformance.checks.function import check_error_budget
from onnx_conformance.core.case import Case
from onnx_conformance.core.files import TOLERANCES
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.store import Store
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.diagnose.simplest_inputs import MOST_EXAMPLES, Simplest, search, simplicity
from onnx_conformance.inputs.families import pinned
from onnx_conformance.inputs.recipes import CONSTANT, DISTRIBUTIONS, SCALES, Recipe
from onnx_conformance.inputs.strategies import foresee, recipes
from onnx_conformance.plugin.configuration import PROFILES
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.live_subject import LiveSubject
from onnx_conformance.run.run_workers import RunWorkers
from onnx_conformance.run.subject import Subject
from tests.meta.value_faults import wrong_subjects

MODELS = ("simple_net", "mobilenet_v2")


@dataclass(frozen=True)
class Outcome:
    """How one fault was found and shrunk; ``None`` where it was not."""

    fault: str
    found: Recipe | None
    simplest: Simplest | None = None
    forced: Recipe | None = None
    hypothesis: Simplest | None = None

    @property
    def is_simplest(self) -> bool:
        """Whether brute force knows nothing simpler."""
        assert self.simplest is not None
        return as_simple(self.simplest.recipe, self.forced)

    @property
    def good(self) -> bool:
        """Batch 1 or 2, the simplest recipe, and no more examples than allowed."""
        assert self.simplest is not None
        small = self.simplest.recipe.batch <= 2 and self.simplest.tried <= MOST_EXAMPLES
        return small and self.is_simplest


def as_simple(ours: Recipe, truth: Recipe | None) -> bool:
    """Whether nothing simpler is known; a seed is a label and does not count."""
    return truth is None or simplicity(ours)[:3] <= simplicity(truth)[:3]


def shrink(name: str, subject: Subject, seeds: int = 4, *, both: bool = False) -> Outcome:
    """Find a fault and shrink it; ``both``: by Hypothesis too."""

    @cache
    def fails(recipe: Recipe) -> bool:
        return check_error_budget(subject, recipe).outcome == "failed"

    planned = [*pinned(subject.seed).values(), *foresee(subject.seed)]
    found = next(filter(fails, planned), None)
    if found is None:
        return Outcome(name, None)
    simplest, truth = search(fails, found), by_force(fails, found, seeds)
    return Outcome(name, found, simplest, truth, by_hypothesis(fails) if both else None)


def by_force(fails: Callable[[Recipe], bool], found: Recipe, seeds: int) -> Recipe | None:
    """The simplest of all recipes with these seeds and no more samples than ``found``."""
    every = [
        Recipe(distribution, scale, batch, number)
        for distribution, scale, batch, number in product(
            DISTRIBUTIONS, SCALES, range(1, found.batch + 1), range(seeds)
        )
        if not (distribution in CONSTANT and number) and (distribution != "zeros" or scale == 1)
    ]
    return next(filter(fails, sorted(every, key=simplicity)), None)


def by_hypothesis(fails: Callable[[Recipe], bool], number: int = 0) -> Simplest | None:
    """What Hypothesis draws and shrinks to, and after how many different recipes."""
    seen: dict[Recipe, bool] = {}
    last: list[Recipe] = []

    @settings(
        max_examples=PROFILES["ci"],
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
    )
    @seed(number)
    @given(recipes())
    def judge(recipe: Recipe) -> None:
        seen[recipe] = fails(recipe)
        last[:] = [recipe]
        assert not seen[recipe]

    try:
        judge()
    except AssertionError:
        return Simplest(last[0], len(seen))
    return None


def table(outcomes: list[Outcome]) -> str:
    """One line a fault, and the shares."""
    lines = [f"{'fault':64} {'found with':38} {'simplest':36} tried good  Hypothesis"]
    for one in outcomes:
        if one.simplest is None:
            lines.append(f"{one.fault:64} not found")
            continue
        drawn = f"{one.hypothesis.recipe} {one.hypothesis.tried}" if one.hypothesis else "-"
        mark = "yes" if one.good else f"NO: {one.forced}"
        lines.append(
            f"{one.fault:64} {one.found!s:38} {one.simplest.recipe!s:36} "
            f"{one.simplest.tried:5} {mark:5} {drawn}"
        )
    found = [one for one in outcomes if one.simplest is not None]
    lines.append(
        f"{len(found)} of {len(outcomes)} faults found; {sum(one.good for one in found)} of these "
        f"shrink to batch 1 or 2 and the simplest recipe within {MOST_EXAMPLES} examples"
    )
    compared = [(one.hypothesis, one.forced) for one in found if one.hypothesis]
    if compared:
        good = [
            ours.tried <= MOST_EXAMPLES and ours.recipe.batch <= 2 and as_simple(ours.recipe, truth)
            for ours, truth in compared
        ]
        lines.append(f"Hypothesis' own shrinker: {sum(good)} of the {len(good)} that it finds")
    return "\n".join(lines)


def main() -> None:
    """Shrink every fault on the chosen models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--cache-dir", type=Path, default=Path(".conformance/cache"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=8, help="tried by brute force")
    parser.add_argument("--places", type=int, default=2, help="at which a fault is tried")
    parser.add_argument("--hypothesis", action="store_true", help="compare its own shrinker")
    chosen = parser.parse_args()
    store = Store(chosen.cache_dir.absolute())
    plain = Settings(seed=chosen.seed, cache_dir=store.root)
    workers, tolerances = RunWorkers(plain, store, Clock()), load_tolerances(TOLERANCES)
    outcomes = []
    try:
        for model in chosen.models:
            right = LiveSubject(Case(model, "torch_torchscript", 14, "cpu"), workers, tolerances)
            with tempfile.TemporaryDirectory() as folder:
                for name, wrong in wrong_subjects(right, Path(folder), chosen.places):
                    label = f"{model}: {name}"
                    outcomes.append(shrink(label, wrong, chosen.seeds, both=chosen.hypothesis))
                    print(table(outcomes[-1:]).splitlines()[1], flush=True)
    finally:
        workers.close()
    print(table(outcomes))


if __name__ == "__main__":
    main()
