"""Which rows a run times, as parameters of the latency tests, and their minimum speed-ups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.yaml_reader import Node, read_yaml
from onnx_conformance.perf.latency.bench import Bench
from onnx_conformance.perf.latency.contenders import (
    Contender,
    native_contenders,
    runtime_contenders,
    timed_cases,
)
from onnx_conformance.perf.latency.ratios import Ratio
from onnx_conformance.perf.latency.rows import Row
from onnx_conformance.perf.latency.timed_call import NoResult, sizes_of_calls
from onnx_conformance.perf.options import PerfRun


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
        raise UsageError("--require-speedup: no case is timed, so nothing would be required")
    for wanted in found:
        assert wanted.contender.case is not None
        yield wanted, minimum_speedup_of(minimum_speedups, wanted.contender.case.id, wanted.batch)


SHIPPED = Path(__file__).with_name("minimum_speedups.yaml")
_KEYS = ("cases", "batch_sizes", "minimum_speedup", "reason")


@dataclass(frozen=True)
class MinimumSpeedup:
    """One entry: what the cases that fit it must reach at these batch sizes."""

    cases: str
    batch_sizes: tuple[int, ...]
    minimum_speedup: float
    reason: str

    def fits(self, case: str, batch: int) -> bool:
        """Whether it is about this case's id and batch size."""
        return fnmatchcase(case, self.cases) and batch in self.batch_sizes

    def problem(self, speedup: Ratio) -> str | None:
        """Why a speed-up is too small, or None. What an interval leaves open is not red."""
        if speedup.high >= self.minimum_speedup:
            return None
        return (
            f"{speedup} times native eager's speed, at least {self.minimum_speedup:g} is required "
            f"({self.reason})"
        )


def load_minimum_speedups(path: Path) -> list[MinimumSpeedup]:
    """Read and validate a file of minimum speed-ups.

    Raises:
        UsageError: naming the file, the line and what is wrong there.
    """
    file = read_yaml(path)
    entries = file.entries()
    if not entries:
        file.fail("the file must be a list of minimum speed-ups, and has none")
    return [_entry(entry) for entry in entries]


def _entry(entry: Node) -> MinimumSpeedup:
    found = entry.keys(_KEYS)
    sizes = found["batch_sizes"].value
    if not isinstance(sizes, list) or not all(type(n) is int and n > 0 for n in sizes):
        found["batch_sizes"].fail("'batch_sizes' must be a list of numbers above 0, such as [1, 4]")
    return MinimumSpeedup(
        cases=found["cases"].text(),
        batch_sizes=tuple(sizes),
        minimum_speedup=found["minimum_speedup"].positive(),
        reason=found["reason"].reason(),
    )


def minimum_speedup_of(
    minimum_speedups: list[MinimumSpeedup], case: str, batch: int
) -> MinimumSpeedup:
    """The first entry that fits.

    Raises:
        UsageError: none does.
    """
    for minimum_speedup in minimum_speedups:
        if minimum_speedup.fits(case, batch):
            return minimum_speedup
    raise UsageError(
        f"--require-speedup: no entry fits {case} at batch {batch}; add one, or leave the case out"
    )
