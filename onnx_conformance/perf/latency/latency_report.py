"""Reports of a run that times: a line a group, the table, the data, the page, the exit status."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from typing import Any

import pytest

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.files import remove_earlier, write_json
from onnx_conformance.perf.latency.latency_document import (
    Groups,
    LatencyDocument,
    TimingSettings,
    absences_of,
    rows_of,
)
from onnx_conformance.perf.latency.latency_table import LEGEND, milliseconds, ratio_text, table
from onnx_conformance.perf.options import PerfRun
from onnx_conformance.report.document import PROVED_NOTHING
from onnx_conformance.report.pages import write_page
from onnx_conformance.report.terminal import render
from onnx_conformance.run.cache_keys import environment

OPTION, PAGE_OPTION = "--latency-json", "--latency-html"
WIDTH = 400  # at most: a table that is cut says nothing, and logs have no edge


class LatencyReport:
    """A pytest plugin of a run that was asked for timings.

    Args:
        groups: gives what the bench has measured so far; nothing before it was first needed.
    """

    def __init__(self, groups: Callable[[], Groups], run: PerfRun) -> None:
        self._groups = groups
        self._run = run
        self._shown: set[tuple[str, int]] = set()
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._reporter: Any = None
        self._document: LatencyDocument | None = None
        self._problem = ""
        self._page = "no page"

    # -- while it runs -------------------------------------------------------------------

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Remove the files of an earlier run, or refuse places that cannot be written."""
        if session.config.option.collectonly or hasattr(session.config, "workerinput"):
            return
        timing = self._run.timing
        try:
            remove_earlier({OPTION: timing.json, PAGE_OPTION: timing.html})
        except UsageError as error:
            raise pytest.UsageError(str(error)) from error
        self._reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if self._reporter is not None:
            self._reporter.showfspath = session.config.option.verbose > 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        """On a terminal, show which model and batch size is being certified and timed."""
        wanted = getattr(getattr(item, "callspec", None), "params", {}).get("timed")
        if wanted is None or self._reporter is None or not self._reporter.isatty:
            return
        if (wanted.contender.model, wanted.batch) not in self._shown:
            text = f"  … certifying and timing {wanted.contender.model} batch {wanted.batch}"
            self._reporter.rewrite(text, erase=True)

    def pytest_report_teststatus(
        self, report: pytest.TestReport, config: pytest.Config
    ) -> tuple[str, str, str] | None:
        """Print no dot for a row, because each group has a line; ``-v`` shows every test."""
        if config.option.verbose > 0 or not _of_latency(report):
            return None
        if report.skipped:
            return "xfailed" if hasattr(report, "wasxfail") else "skipped", "", ""
        if report.when == "call":
            return ("passed" if report.passed else "failed"), "", ""
        return None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print a line for a group after its first row, with which all of it was measured."""
        if self._reporter is None or report.when != "call" or not _of_latency(report):
            return
        groups = self._groups()
        for key in [key for key in groups if key not in self._shown]:
            self._shown.add(key)
            if self._reporter.isatty:
                self._reporter.rewrite("", erase=True)
            self._reporter.write_line(_line(key, groups))

    # -- at its end ----------------------------------------------------------------------

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write data and page; a run that was to time and timed nothing is red."""
        config = session.config
        if config.option.collectonly or hasattr(config, "workerinput"):
            return
        rows, run = rows_of(self._groups()), self._run
        if not rows and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = PROVED_NOTHING
        self._document = LatencyDocument(
            command=f"pytest {shlex.join(config.invocation_params.args)}",
            started=self._started,
            exit_status=int(session.exitstatus),
            environment=environment(),
            settings=TimingSettings.of(run),
            rows=rows,
            absent=absences_of(self._groups()),
        )
        try:
            write_json(run.timing.json, self._document.to_json(), OPTION)
            module = "onnx_conformance.perf.latency.latency_page"
            self._page = write_page(module, run.timing.html, PAGE_OPTION, self._document)
        except UsageError as error:
            self._problem = str(error)
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None]:
        """After pytest-benchmark's table, also where that ends in a regression."""
        try:
            yield
        finally:
            if self._document is not None:
                self._summary(terminalreporter, self._document)

    def _summary(self, reporter: pytest.TerminalReporter, document: LatencyDocument) -> None:
        reporter.section("latency")
        if document.rows:
            drawn = table(document.rows)
            reporter.write(render(drawn, width=WIDTH, color=reporter.hasmarkup))
            reporter.write_line(LEGEND)
        for line in document.beyond:
            reporter.write_line(line)
        for outcome, reason, count in document.reasons:
            tail = f" ({count} rows)" if count > 1 else ""
            red = outcome == "red"
            reporter.write_line(f"{outcome}: {reason}{tail}", red=red, bold=red)
        if self._problem:
            reporter.write_line(self._problem, red=True, bold=True)
        bad = bool(document.exit_status or self._problem)
        reporter.write_line(document.sentence, bold=True, red=bad, green=not bad)
        reporter.write_line(f"{self._page}   data: {self._run.timing.json}")


def _of_latency(report: pytest.TestReport) -> bool:
    return "latency" in getattr(report, "keywords", ())  # a failed collection has none


def _line(key: tuple[str, int], groups: Groups) -> str:
    """``resnet18 batch 4: native-eager 98.1 ms; torch_dynamo-opset25-cpu 1.45x [1.43, 1.47]``."""
    group = {key: groups[key]}
    parts = [
        f"{row.label} {ratio_text(row.speedup) or milliseconds(row.times.p50)}"
        for row in rows_of(group)
    ]
    counts = Counter(entry.outcome for entry in absences_of(group))
    parts += [f"{count} {outcome}" for outcome, count in counts.items()]
    return f"{key[0]} batch {key[1]}: {'; '.join(parts)}"
