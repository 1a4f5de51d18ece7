"""Which rows a run times, as parameters of the latency tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.errors import UsageError
from onnx_conformance.perf.latency.bench import Bench
from onnx_conformance.perf.latency.contenders import (
    Contender,
    native_contenders,
    runtime_contenders,
    timed_cases,
)
from onnx_conformance.perf.latency.minimum_speedups import (
    SHIPPED,
    MinimumSpeedup,
    load_minimum_speedups,
    minimum_speedup_of,
)
from onnx_conformance.perf.latency.rows import Row
from onnx_conformance.perf.latency.timed_inputs import sizes_of_calls
from onnx_conformance.perf.latency.timed_sessions import NoResult
from onnx_conformance.perf.run import PerfRun


@dataclass(frozen=True)
class Wanted:
    """One row to be: a contender at a batch size, and whom it is timed beside."""

    contender: Contender
    batch: int
    contenders: tuple[Contender, ...]

    @property
    def id(self) -> str:
        """Stable across runs: ``resnet18-b4-native-eager``."""
        return f"{self.contender.model}-b{self.batch}-{self.contender.label}"


@dataclass(frozen=True)
class Timed:
    """The parameters of a latency test."""

    wanted: Wanted
    bench: Bench

    def row(self) -> Row:
        """Measure it, beside its contenders.

        Raises:
            ConformanceError: why there is no row.
        """
        return self.bench.row(self.wanted.contender, self.wanted.contenders, self.wanted.batch)


@dataclass(frozen=True)
class Required:
    """A row whose speed-up must reach a minimum."""

    timed: Timed
    minimum_speedup: MinimumSpeedup

    def check(self) -> None:
        """Raise unless the speed-up may reach its minimum.

        Raises:
            NoResult: its interval lies below the minimum, or there is no speed-up.
        """
        row, who = self.timed.row(), self.timed.wanted.id
        if row.speedup is None:
            raise NoResult(f"{who}: native eager was not timed, so there is no speed-up")
        problem = self.minimum_speedup.problem(row.speedup)
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
        contenders = (
            *native_contenders(model, framework, run.timing.forms, own),
            *runtime_contenders(own),
        )
        for batch in sizes_of_calls(resolve_model(model), run.timing.batch_sizes):
            yield from (Wanted(contender, batch, contenders) for contender in contenders)


def required_rows(run: PerfRun) -> Iterator[tuple[Wanted, MinimumSpeedup]]:
    """The rows of ONNX Runtime with their minimum speed-ups, where these are required.

    Raises:
        UsageError: a malformed file, or a row that no entry fits.
    """
    if not run.timing.minimum_speedups:
        return
    path = (
        SHIPPED if run.timing.minimum_speedups == "shipped" else Path(run.timing.minimum_speedups)
    )
    minimum_speedups = load_minimum_speedups(path)
    found = [wanted for wanted in wanted_rows(run) if wanted.contender.case is not None]
    if not found:
        raise UsageError("--require-speedup: no case is timed, so there is nothing to require")
    for wanted in found:
        assert wanted.contender.case is not None
        yield wanted, minimum_speedup_of(minimum_speedups, wanted.contender.case.id, wanted.batch)
