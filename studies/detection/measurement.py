"""From a choice of models and faults to a row for every file: make, judge, compare."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.models import MODELS, resolve_model
from onnx_conformance.core.arrays import Array
from onnx_conformance.core.errors import UsageError
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.run.run_workers import RunWorkers
from onnx_conformance.run.subject import NativeWeights
from studies.corpus import FAULTS, Fault
from studies.corpus.mutant_files import load_corpus
from studies.detection.bases import Bases, adopt_small_models, find_bases, open_workers
from studies.detection.mutants import Trial, make_trials
from studies.detection.peers import Runtime, found_by, native_answers
from studies.detection.rules import StudyRules
from studies.detection.suite_verdicts import SuiteRun, Verdict, run_suite
from studies.detection.suspects import is_suspect

Progress = Callable[[str, str, int, int], None]  # model, stage, done, of how many


@dataclass(frozen=True)
class Choice:
    """What to measure; empty means all.

    Args:
        places: how many places of a model each fault strikes; 0: as ``rules.yaml`` says.
        routes: names of export routes, without the opset.
        rules: put other tools' rules beside the suite.
        jobs: how many models are judged at the same time.
    """

    models: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    places: int = 0
    rules: bool = True
    jobs: int = 2

    @property
    def full(self) -> bool:
        """Whether nothing was narrowed."""
        narrowed = (self.models, self.families, self.faults, self.routes, self.places)
        return self.rules and not any(narrowed)

    def chosen_faults(self) -> list[Fault]:
        """The faults of the corpus that are asked for.

        Raises:
            UsageError: an unknown fault or family, or a choice that leaves none.
        """
        load_corpus()
        known = {fault.family for fault in FAULTS.values()}
        if set(self.families) - known:
            raise UsageError(f"unknown family; known: {', '.join(sorted(known))}")
        chosen = [FAULTS[name] for name in self.faults] or FAULTS.values()
        chosen = [f for f in chosen if not self.families or f.family in self.families]
        if not chosen:
            raise UsageError("no fault is left")
        return chosen


@dataclass
class Prepared:
    """A model's right conversions, its weights, and what native answers to the rules' inputs."""

    model: str
    bases: Bases
    weights: NativeWeights
    native: dict[Recipe, list[Array]]

    @property
    def cost(self) -> int:
        """A guess at how long its files take, in bytes to load."""
        return sum(base.clean.stat().st_size for base in self.bases.found)


@dataclass
class Judged:
    """A model's rows, and where the time went in seconds."""

    model: str
    bases: Bases
    defects: list[str]
    run: SuiteRun
    making_seconds: float
    rows: list[dict[str, Any]] = field(default_factory=list)
    rules_seconds: float = 0.0


class Measurement:
    """Makes, judges and compares the files of the chosen models.

    Args:
        work: where the mutants and the reports go.
        cache_dir: of the suite.
    """

    def __init__(
        self,
        choice: Choice,
        study_rules: StudyRules,
        work: Path,
        cache_dir: Path,
        progress: Progress,
    ) -> None:
        self._choice = choice
        self._study_rules = study_rules
        self._rules = study_rules.rules if choice.rules else ()
        self._faults = choice.chosen_faults()
        self._work = work
        self._cache_dir = cache_dir
        self._progress = progress

    def run(self) -> list[Judged]:
        """All models, those that cost most first; given back in the order they were chosen in."""
        models = list(self._choice.models or MODELS)
        adopt_small_models(models)
        prepared = sorted(self._prepare_all(models), key=lambda one: -one.cost)
        with ThreadPoolExecutor(self._choice.jobs) as pool:
            done = {judged.model: judged for judged in pool.map(self._judge, prepared)}
        return [done[model] for model in models]

    def _prepare_all(self, models: list[str]) -> list[Prepared]:
        """The frameworks at the same time: each has a worker of its own."""
        groups: dict[str, list[str]] = {}
        for model in models:
            groups.setdefault(resolve_model(model).framework, []).append(model)

        with (
            open_workers(self._cache_dir) as workers,
            ThreadPoolExecutor(len(groups)) as pool,
        ):
            done = pool.map(
                lambda group: [self._prepare(workers, model) for model in group], groups.values()
            )
            return [one for group in done for one in group]

    def _prepare(self, workers: RunWorkers, model: str) -> Prepared:
        self._progress(model, "exporting", 0, 0)
        bases = find_bases(workers, model, self._work / model, self._choice.routes)
        if not bases.found:
            raise UsageError(f"{model}: no route is left, or none exports it: {bases.absent}")
        native = native_answers(workers, model, self._rules)
        weights = workers.weights(resolve_model(model))
        self._progress(model, "waiting", 0, 0)
        return Prepared(model, bases, weights, native)

    def _judge(self, one: Prepared) -> Judged:
        started = time.monotonic()
        places = self._choice.places or self._study_rules.places_of(one.model)
        trials = make_trials(
            one.bases.found,
            one.weights,
            self._faults,
            places,
            lambda done, total: self._progress(one.model, "making mutants", done, total),
        )
        seconds, count = time.monotonic() - started, len(trials.made)
        reports = self._work / f"{one.model}-reports"
        reports.mkdir(parents=True, exist_ok=True)
        run = run_suite(
            one.model,
            self._work / one.model,
            reports,
            self._cache_dir,
            lambda done: self._progress(one.model, "the suite", done, count),
        )
        judged = Judged(one.model, one.bases, trials.defects, run, seconds)
        started = time.monotonic()
        with Runtime() as runtime:
            for number, trial in enumerate(trials.made, start=1):
                judged.rows.append(self._row(runtime, one, trial, run.verdict(trial.path)))
                self._progress(one.model, "other rules", number, count)
        judged.rules_seconds = time.monotonic() - started
        return judged

    def _row(
        self, runtime: Runtime, one: Prepared, trial: Trial, verdict: Verdict
    ) -> dict[str, Any]:
        row = {**trial.as_row(), **outcome_of(trial, verdict)}
        row["rules"] = found_by(runtime, trial.path, one.model, self._rules, one.native)
        if row["outcome"] == "missed":
            clean = next(base.clean for base in one.bases.found if base.name == trial.base)
            row["suspect"] = is_suspect(runtime, one.model, clean, trial.path, self._study_rules)
        return row


def outcome_of(trial: Trial, verdict: Verdict) -> dict[str, Any]:
    """``found``, ``edge`` or ``missed`` for what is wrong; ``alarm``, ``quiet`` or ``unjudged``
    else. ``edge``: an edge finding tells of it, which decides nothing.
    """
    outcomes = {"failed": "alarm", "known_failure": "alarm", "passed": "quiet"}
    outcome = outcomes.get(verdict.outcome, "unjudged")
    if trial.verdict == "wrong":
        outcome = "edge" if verdict.edge else "missed"
        outcome = "found" if verdict.outcome == "failed" else outcome
    return {
        "outcome": outcome,
        "suite": verdict.outcome,
        "complete": verdict.complete,
        "checks": list(verdict.checks),
        "edge": list(verdict.edge),
        "reason": verdict.reason,
        "score": verdict.score,
        "suspect": False,
    }
