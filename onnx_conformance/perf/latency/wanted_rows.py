"""Which rows a run times, as parameters of the latency tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.errors import UsageError
from onnx_conformance.perf.latency.bench import Bench
from onnx_conformance.perf.latency.certification import NoResult
from onnx_conformance.perf.latency.contenders import (
    Rival,
    native_rivals,
    runtime_rivals,
    timed_cases,
)
from onnx_conformance.perf.latency.minimum_speedups import SHIPPED, Floor, floor_of, load_floors
from onnx_conformance.perf.latency.rows import Row
from onnx_conformance.perf.run import PerfRun


@dataclass(frozen=True)
class Wanted:
    """One row to be: a rival at a batch size, and whom it is timed beside."""

    rival: Rival
    batch: int
    rivals: tuple[Rival, ...]

    @property
    def id(self) -> str:
        """Stable across runs: ``resnet18-b4-native-eager``."""
        return f"{self.rival.model}-b{self.batch}-{self.rival.label}"


@dataclass(frozen=True)
class Timed:
    """What a latency test is given."""

    wanted: Wanted
    bench: Bench

    def row(self) -> Row:
        """Measure it, beside its rivals.

        Raises:
            ConformanceError: why there is no row.
        """
        return self.bench.row(self.wanted.rival, self.wanted.rivals, self.wanted.batch)


@dataclass(frozen=True)
class Required:
    """A row whose speed-up has a floor."""

    timed: Timed
    floor: Floor

    def check(self) -> None:
        """Raise unless the speed-up may reach its floor.

        Raises:
            NoResult: its interval lies below the floor, or there is no speed-up.
        """
        row, who = self.timed.row(), self.timed.wanted.id
        if row.speedup is None:
            raise NoResult(f"{who}: native eager was not timed, so there is no speed-up")
        problem = self.floor.problem(row.speedup)
        if problem:
            raise NoResult(f"{who}: {problem}")


def wanted_rows(run: PerfRun) -> Iterator[Wanted]:
    """Every row, model by model and batch size by batch size."""
    cases = [
        case
        for case in timed_cases(run.cases, run.selection.opsets)
        if not run.frameworks or resolve_model(case.model).framework in run.frameworks
    ]
    for model in dict.fromkeys(case.model for case in cases):
        framework = resolve_model(model).framework
        own = [case for case in cases if case.model == model]
        rivals = (
            *native_rivals(model, framework, run.timing.forms, own),
            *runtime_rivals(own),
        )
        for batch in run.timing.batch_sizes:
            yield from (Wanted(rival, batch, rivals) for rival in rivals)


def required_rows(run: PerfRun) -> Iterator[tuple[Wanted, Floor]]:
    """The rows of ONNX Runtime with their floors, where floors are required.

    Raises:
        UsageError: a malformed file, or a row that no floor fits.
    """
    if not run.timing.floors:
        return
    path = SHIPPED if run.timing.floors == "shipped" else Path(run.timing.floors)
    floors = load_floors(path)
    found = [wanted for wanted in wanted_rows(run) if wanted.rival.case is not None]
    if not found:
        raise UsageError("--require-speedup: no case is timed, so nothing would be required")
    for wanted in found:
        assert wanted.rival.case is not None
        yield wanted, floor_of(floors, wanted.rival.case.id, wanted.batch)
