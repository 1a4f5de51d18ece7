"""Hands measured times to pytest-benchmark, by a clock that the worker's times advance.

pytest-benchmark times a call in its own process. Ours was timed in the worker's, beside its
contenders; its times are played back to it one by one through its public option ``timer``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import pytest

from onnx_conformance.core.errors import ConformanceError
from onnx_conformance.perf.latency.timing_rows import MeasuredRow
from onnx_conformance.perf.options import PerfRun
from onnx_conformance.run.cache_keys import environment


class EngineClock:
    """A clock that stands still until a call's time is played back."""

    def __init__(self) -> None:
        self._now = 0.0

    def read(self) -> float:
        """Seconds since the clock was made."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self._now += seconds


CLOCK = EngineClock()


def play_back(measure: Callable[[], MeasuredRow], benchmark: Any) -> MeasuredRow:
    """Measure a row and give its times to pytest-benchmark's fixture.

    Raises:
        ConformanceError: why there is no row. It is raised through the fixture, which then keeps
            no row either.
    """
    try:
        row = measure()
    except ConformanceError as reason:
        benchmark.pedantic(_fail, args=(reason,))
        raise
    times: Iterator[float] = iter(row.seconds.tolist())
    benchmark.group = row.group
    benchmark.extra_info.update(row.extra_info())
    benchmark.pedantic(lambda: CLOCK.advance(next(times)), rounds=row.seconds.size)
    return row


def _fail(reason: ConformanceError) -> NoReturn:
    raise reason


FAIL = "--benchmark-compare-fail"
Action = Literal["default", "ignore"]
KEY = "conformance"  # of what is added to a stored run
# Where warnings are errors, these end pytest in a traceback; here they are told, and shorter.
FILTERS: tuple[tuple[Action, str], ...] = (
    ("default", "Not saving anything"),
    ("ignore", "Benchmark machine_info is different"),
    ("ignore", "Can't compare. No benchmark files"),
)
MOST_NAMED = 3  # benchmarks that a sentence names
OF_TWO_RUNS = (
    "compared: absolute times of two runs, which differ even on identical code because a machine's "
    "speed changes. The gate (--gate=BASELINE) measures both sides in one run"
)
GATES_NOTHING = f"--benchmark-compare without {FAIL} gates nothing"
# Options that choose which benchmarks run.
NARROWING_OPTIONS = (
    "model", "exporter", "opset", "provider", "artifact", "framework", "batch_size",
    "native_form", "keyword", "markexpr", "deselect",
)  # fmt: skip


# Where and how a run was timed; absolute times of two settings cannot be compared.
Setting = Mapping[str, str | int | list[int]]


@dataclass(frozen=True)
class StoredBenchmarks:
    """A run that pytest-benchmark stored.

    Args:
        names: of its benchmarks.
        selection: the options that chose them; None where they are not known.
    """

    when: str
    names: frozenset[str]
    setting: Setting
    selection: dict[str, list[str]] | None

    def differences(self, now: Setting) -> str:
        """``threads 2, now 1; …``: the figures of its setting that are others now."""
        return "; ".join(
            f"{name} {self.setting.get(name, 'not told')}, now {value}"
            for name, value in now.items()
            if self.setting.get(name) != value
        )


def read_stored(data: dict[str, Any]) -> StoredBenchmarks:
    """A stored run, from pytest-benchmark's JSON."""
    benchmarks = data.get("benchmarks", [])
    infos = [bench.get("extra_info", {}) for bench in benchmarks]
    figures = {
        name: found
        for name in ("processor", "threads", "affinity", "graph_level")
        for found in [next((info[name] for info in infos if name in info), None)]
        if found is not None
    }
    machine = data.get("machine_info", {})
    figures["Python"] = machine.get("python_version", "not told")
    return StoredBenchmarks(
        when=str(data.get("datetime", "unknown date"))[:19],
        names=frozenset(bench["fullname"] for bench in benchmarks),
        setting=figures,
        selection=data.get(KEY, {}).get("selection"),
    )


def setting_of(run: PerfRun) -> Setting:
    """The setting of this run."""
    around = environment()
    return {
        "processor": around["processor"],
        "Python": around["python"],
        "threads": run.settings.threads,
        "affinity": list(run.timing.cpus),
        "graph_level": run.settings.graph_level,
    }


def selection_of(config: pytest.Config) -> dict[str, list[str]]:
    """The options of this run that choose benchmarks, as plain data; none where all run."""
    chosen: dict[str, list[str]] = {}
    for name in NARROWING_OPTIONS:
        value = config.getoption(name, None)
        values = value if isinstance(value, (list, tuple)) else [value] if value else []
        if values:
            chosen[name] = sorted(map(str, values))
    nodes = sorted(str(name) for name in config.args if "::" in str(name))
    return {**chosen, **({"tests": nodes} if nodes else {})}


def compared_badly(
    stored: StoredBenchmarks,
    timed: Collection[str],
    selected: Collection[str],
    selection: dict[str, list[str]],
) -> list[str]:
    """Why the comparison with a stored run is no comparison; empty where it is one.

    Args:
        timed: the benchmarks of this run that have a result.
        selected: those that were to run.
        selection: the options of this run that chose them. Where they are others than the stored
            run's, what was not selected is not missed.
    """
    of = f"the stored run of {stored.when}"
    if not stored.names & set(timed):
        return [f"{FAIL} compared nothing: no benchmark that was timed now is in {of}"]
    same = selection == (stored.selection if stored.selection is not None else {})
    required_tests = stored.names if same else stored.names & set(selected)
    problems = []
    missing, new = required_tests - set(timed), set(timed) - stored.names
    if missing:
        problems.append(
            f"{FAIL}: {len(missing)} benchmark(s) of {of} have no time now, as they were renamed, "
            f"skipped, failed or left out: {_listed(missing)}"
        )
    if new:
        problems.append(
            f"{FAIL}: {len(new)} benchmark(s) timed now are not in {of}, so nothing judges them: "
            f"{_listed(new)}; store a new run with --benchmark-autosave"
        )
    return problems


class CompareGuard:
    """A pytest plugin: no comparison of stored benchmarks passes that compared nothing."""

    def __init__(self, config: pytest.Config, run: PerfRun) -> None:
        self._config = config
        self._run = run
        self._fail = bool(config.getoption("benchmark_compare_fail", None))
        self._compare = bool(config.getoption("benchmark_compare", None))
        self._stored: list[StoredBenchmarks] = []
        self._benchmark_session: Any = None  # pytest-benchmark's session
        self._problems: list[str] = []
        for action, message in FILTERS:
            warnings.filterwarnings(action, message)  # while pytest is configured
            config.addinivalue_line("filterwarnings", f"{action}:{message}")  # afterwards

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_compare_machine_info(
        self, benchmarksession: Any, compared_benchmark: dict[str, Any]
    ) -> None:
        """Called for each stored run that was found."""
        self._benchmark_session = benchmarksession
        self._stored.append(read_stored(compared_benchmark))

    @pytest.hookimpl(optionalhook=True)
    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        """Store what chose the benchmarks, so that a later run knows which it must have."""
        output_json[KEY] = {"selection": selection_of(self._config)}

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Refuse options with which nothing would be compared, before anything is timed."""
        if not self._fail or hasattr(session.config, "workerinput"):
            return
        reason = self._refusal()
        if reason:
            raise pytest.UsageError(f"{FAIL}: {reason}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Red where something was not compared, or has regressed."""
        if not (self._fail and self._stored) or session.config.option.collectonly:
            return
        benchmarks = self._benchmark_session.benchmarks
        timed = {str(bench.fullname) for bench in benchmarks if bench and not bench.has_error}
        selected = {str(item.nodeid) for item in session.items}
        selection = selection_of(self._config)
        for stored in self._stored:
            self._problems += compared_badly(stored, timed, selected, selection)
        red = bool(self._problems or self._benchmark_session.performance_regressions)
        if red and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None]:
        """After pytest-benchmark's table: what it says, and what it does not."""
        try:
            yield
        finally:
            self._print(terminalreporter)

    def _print(self, reporter: pytest.TerminalReporter) -> None:
        if not (self._compare or self._fail):
            return
        now = setting_of(self._run)
        for stored in self._stored:
            if other := stored.differences(now):
                reporter.write_line(
                    f"warning: the stored run of {stored.when} has another setting ({other}), so "
                    "its times cannot be compared with these",
                    yellow=True,
                )
        if not self._stored:
            reporter.write_line("no stored run was found, so nothing was compared", yellow=True)
        for problem in self._problems:
            reporter.write_line(problem, red=True, bold=True)
        if not self._fail:
            reporter.write_line(GATES_NOTHING, yellow=True)
        reporter.write_line(OF_TWO_RUNS)

    def _refusal(self) -> str:
        option = self._config.getoption
        if not self._compare:
            return "without --benchmark-compare it compares nothing; name the stored run"
        if option("benchmark_disable") and not option("benchmark_enable"):
            return "--benchmark-disable times nothing, so there is nothing to compare"
        if option("benchmark_skip"):
            return "--benchmark-skip times nothing, so there is nothing to compare"
        if option("dist", "no") != "no":
            return "pytest-xdist disables benchmarks, so there is nothing to compare; leave out -n"
        if not self._stored:
            return "no stored run was found to compare with; store one with --benchmark-autosave"
        now = setting_of(self._run)
        for stored in self._stored:
            if other := stored.differences(now):
                return (
                    f"the stored run of {stored.when} has another setting ({other}); "
                    "times of two settings cannot be compared, so there is no verdict. "
                    "Use --gate, which measures both sides here"
                )
        return ""


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(name.rpartition("::")[2] for name in names)
    more = len(ordered) - MOST_NAMED
    return ", ".join(ordered[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
