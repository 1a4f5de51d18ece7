"""Which rows a run times, as parameters of the latency tests, and their minimum speed-ups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.yaml_reader import YamlNode, read_yaml
from onnx_conformance.perf.latency.bench import Bench
from onnx_conformance.perf.latency.contenders import (
    Contender,
    native_contenders,
    runtime_contenders,
    timed_cases,
)
from onnx_conformance.perf.latency.ratios import Ratio
from onnx_conformance.perf.latency.timed_call import InvalidTiming, phases_of, sizes_of_calls
from onnx_conformance.perf.latency.timing_rows import MeasuredRow
from onnx_conformance.perf.options import PerfRun

SHIPPED_FILE = Path(__file__).with_name("minimum_speedups.yaml")
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


@dataclass(frozen=True)
class RowRequest:
    """A row to time: a contender at a batch size, and the contenders that it is timed beside.

    Args:
        minimum: of its speed-up, where one is required.
    """

    contender: Contender
    batch: int
    contenders: tuple[Contender, ...]
    minimum: MinimumSpeedup | None = None

    @property
    def id(self) -> str:
        """Stable across runs: ``resnet18-b4-native-eager``."""
        return f"{self.contender.model}-b{self.batch}-{self.contender.label}"


@dataclass(frozen=True)
class TimedRow:
    """A requested row on the run's bench: the fixture of the latency tests."""

    request: RowRequest
    bench: Bench

    def row(self) -> MeasuredRow:
        """Measure it, beside its contenders.

        Raises:
            ConformanceError: why there is no row.
        """
        wanted = self.request
        return self.bench.row(wanted.contender, wanted.contenders, wanted.batch)

    def check_speedup(self) -> None:
        """Raise unless the speed-up may reach its minimum.

        Raises:
            InvalidTiming: its interval lies below the minimum, or there is no speed-up.
        """
        speedup, minimum = self.row().speedup, self.request.minimum
        if speedup is None:
            raise InvalidTiming(
                f"{self.request.id}: native eager was not timed, so there is no speed-up"
            )
        if minimum is not None and (problem := minimum.problem(speedup)):
            raise InvalidTiming(f"{self.request.id}: {problem}")


def requested_rows(run: PerfRun) -> Iterator[RowRequest]:
    """Every row, model by model and batch size by batch size."""
    cases: dict[str, list[Case]] = {}
    for case in timed_cases(run.cases, run.selection.opsets):
        if not run.frameworks or resolve_model(case.model).framework in run.frameworks:
            cases.setdefault(case.model, []).append(case)
    for name, own in cases.items():
        model = resolve_model(name)
        plain = (
            *native_contenders(name, model.framework, run.timing.forms, own),
            *runtime_contenders(own),
        )
        contenders = (*plain, *(replace(o, call=c) for c in phases_of(model) for o in plain))
        for batch in sizes_of_calls(model, run.timing.batch_sizes):
            yield from (RowRequest(contender, batch, contenders) for contender in contenders)


def required_rows(run: PerfRun) -> Iterator[RowRequest]:
    """The rows of ONNX Runtime with their minimum speed-ups, where these are required.

    Raises:
        UsageError: a malformed file, or a row that no entry fits.
    """
    file = run.timing.minimum_speedups
    if not file:
        return
    minimum_speedups = load_minimum_speedups(SHIPPED_FILE if file == "shipped" else Path(file))
    found = [(one, one.contender.case) for one in requested_rows(run)]
    if not any(case for _, case in found):
        raise UsageError("--require-speedup: no case is timed, so there is nothing to require")
    for one, case in found:
        if case is not None and not one.contender.call:
            yield replace(one, minimum=minimum_speedup_of(minimum_speedups, case.id, one.batch))


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


def _entry(entry: YamlNode) -> MinimumSpeedup:
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
        f"--require-speedup: no entry matches {case} at batch {batch}; add one, or leave the case "
        "out"
    )
