"""Collects the rows that tests leave in their reports, under xdist too, and ends the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from onnx_conformance.core.case import Case
from onnx_conformance.core.documents import (
    AboutRun,
    CaseEntry,
    CaseFacts,
    CheckRow,
    ProbeFacts,
    ResultsDocument,
    ShardRecord,
)
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.files import refuse_unwritable, remove_earlier
from onnx_conformance.core.results import NOT_APPLICABLE, SKIPPED
from onnx_conformance.core.text import count_of
from onnx_conformance.perf.options import PerfRun
from onnx_conformance.plugin.progress import Progress
from onnx_conformance.plugin.typed_command import typed_command, whole_run_of
from onnx_conformance.report import code_hosts, history, terminal
from onnx_conformance.report.document import (
    absent_requirements,
    make_cases,
    make_document,
    status_of,
)
from onnx_conformance.report.next_step import next_step
from onnx_conformance.report.written_reports import write_reports
from onnx_conformance.run.cache_keys import environment
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.known_failures import operator_entry_problems

FURTHER = "red in a case that failed before"  # in pytest's last line, beside "failed"
MOST_FURTHER = 20  # cases whose further red checks are listed; the page has them all
MEASURED_TIME = "conformance_time"  # in what a worker of xdist hands over at its end


class Collector:
    """A pytest plugin; ``rows`` holds, by case, one entry a conformance test."""

    def __init__(
        self,
        config: pytest.Config,
        run: PerfRun,
        clock: Clock,
        shard: ShardRecord | None = None,
    ) -> None:
        self.config = config
        self.run = run
        self.clock = clock
        self.shard = shard
        self.rows: dict[Case, list[CheckRow]] = {}
        self.facts: dict[str, CaseFacts] = {}
        self.probes: dict[str, ProbeFacts] = {}
        self.problems: list[str] = []
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.progress: Progress | None = None
        self._absent: set[str] = set()  # providers
        self.reported: set[str] = set()  # reasons to skip, above the tests
        self.selected = False
        self.page = "no page"
        self.document: ResultsDocument | None = None

    # -- while it runs -------------------------------------------------------------------

    def begin(self, counts: dict[Case, int]) -> None:
        """Count the selected tests of each case, and remove the reports of an earlier run."""
        if counts and not hasattr(self.config, "workerinput"):
            self._clear()
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or not counts:
            return
        self.progress = Progress(reporter, self.reported)
        self.progress.expect(counts)
        self.progress.leave_out(self._absent)
        self.clock.on_tick = self.progress.tick
        reporter.showfspath = self.config.option.verbose > 0

    def _clear(self) -> None:
        """Take an earlier run's reports away, or find out that none can be written."""
        self.selected = True
        remove_earlier(self._files())
        if self.run.history is not None:
            history.refuse_unusable(self.run.history)
        if self.run.save_onnx is not None:
            refuse_unwritable(self.run.save_onnx / "any", "--save-onnx")

    def _files(self) -> dict[str, Path | None]:
        """The files that the run writes, by option."""
        return {
            "--report-json": self.run.report_json,
            "--report-html": self.run.report_html,
            "--report-md": self.run.report_md,
            "--report-sarif": self.run.report_sarif,
            "--report-codequality": self.run.report_codequality,
        }

    def leave_out(self, providers: Collection[str]) -> None:
        """Leave the cases of absent providers out of the progress count."""
        self._absent.update(providers)
        if self.progress is not None:
            self.progress.leave_out(self._absent)

    def pytest_report_teststatus(
        self, report: pytest.TestReport, config: pytest.Config
    ) -> tuple[str, str, str] | None:
        """Print no dot for a conformance test: each case has a line. ``-v`` shows every test."""
        found = _row_of(report)
        if found is None or self.progress is None or config.option.verbose > 0:
            return None
        if report.skipped:
            return "xfailed" if hasattr(report, "wasxfail") else "skipped", "", ""
        if report.when != "call":
            return None
        if report.passed:
            return "passed", "", ""
        return (FURTHER if self._repeats(report, found) else "failed"), "", ""

    def _repeats(self, report: pytest.TestReport, found: CheckRow) -> bool:
        """Whether a test fails as an earlier one of its case did: by its numbers, or by its check.

        pytest prints messages of tests in the category "failed" alone.
        """
        if _outcome(report, found) != "failed":
            return False
        others = self.rows.get(Case.from_row(found["case"]), [])
        earlier = [
            row for row in others if row["nodeid"] != report.nodeid and row["outcome"] == "failed"
        ]
        if found["score"] is not None:
            return any(row["score"] is not None for row in earlier)
        return any(row["score"] is None and row["name"] == found["name"] for row in earlier)

    @pytest.hookimpl(trylast=True)  # after JUnit's, which keeps each message whole
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of a test."""
        found = _row_of(report)
        if found is None:
            return
        if not self.selected and not hasattr(self.config, "workerinput"):
            try:  # the workers of xdist selected the tests: here this is the first that is known
                self._clear()
            except UsageError as error:
                raise pytest.UsageError(str(error)) from error
        row: CheckRow = {**found, "outcome": _outcome(report, found), "nodeid": report.nodeid}
        row["message"] = str(report.longrepr) if report.failed else ""
        xfail_reason = None if row["outcome"] == "edge" else getattr(report, "wasxfail", None)
        row["reason"] = xfail_reason or row["reason"] or _skip_reason(report)
        case = Case.from_row(row.pop("case"))
        self.facts.setdefault(case.id, {}).update(row.pop("facts", CaseFacts()))
        self.probes.update(row.pop("probes", {}))
        self.rows.setdefault(case, []).append(row)
        if self.progress is not None:
            self.progress.add(case, row)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add what an xdist worker measured; a worker that died reports nothing."""
        measured = getattr(node, "workeroutput", {}).get(MEASURED_TIME)
        if measured is not None:
            self.clock.add(measured)

    # -- at its end ----------------------------------------------------------------------

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the reports, and change the exit status where a case is incomplete."""
        if hasattr(self.config, "workerinput"):
            getattr(self.config, "workeroutput")[MEASURED_TIME] = self.clock.table()  # noqa: B009
            return
        empty = self.shard is not None and not self.config.option.collectonly  # to be joined, too
        if not (self.rows or self.selected or empty):
            return
        cases = make_cases(self.run, self.rows, self.facts)
        explained = operator_entry_problems(self.run.known_failures, self.rows, self._operators())
        self.problems += self.run.refused
        if self.shard is None:
            self.problems += absent_requirements(self.run.required, cases, self.probes)
            self.problems += filter(None, explained.values())
        else:  # whoever joins the shards decides
            self.shard["explains"] = explained
        session.exitstatus = status_of(int(session.exitstatus), cases, self.problems)
        self.document = self._make_document(cases, int(session.exitstatus))
        try:
            self.page = write_reports(self.document, self._files())
            folders = {"--history": self.run.history, "--save-onnx": self.run.save_onnx}
            write_reports(self.document, folders)
        except UsageError as error:
            self.problems.append(str(error))
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def _operators(self) -> dict[Case, dict[str, int]]:
        """Operator counts of each case's file, as far as it was made."""
        made = {case: self.facts.get(case.id, {}).get("artifact", {}) for case in self.rows}
        return {case: facts.get("nodes", {}) for case, facts in made.items()}

    def _make_document(self, cases: list[CaseEntry], exit_status: int) -> ResultsDocument:
        about: AboutRun = {
            "profile": self.config.getoption("hypothesis_profile", None) or "default",
            "command": typed_command(self.config.invocation_params.args),
            "started": self.started,
            "exit_status": exit_status,
            "problems": self.problems,
            "models_from": list(self.run.models_from),
        }
        if self.shard is not None:
            about["shard"] = self.shard
        return make_document(
            self.run,
            cases,
            environment={**environment(), "providers": self.probes},
            about=about,
            time=self.clock.table(),
        )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the matrix and the closing sentence."""
        if self.document is None:
            return
        write = terminalreporter.write_line
        width = max(100, terminalreporter._screen_width)
        color = terminalreporter.hasmarkup
        terminalreporter.section("conformance")
        if self.document["totals"]["judged"]:
            terminalreporter.write(
                terminal.render(terminal.matrix(self.document), width=width, color=color)
            )
        sections = (
            terminal.legend,
            terminal.bases,
            terminal.surveyed,
            terminal.unsteady,
            terminal.edges,
            terminal.known,
            terminal.absences,
            lambda document: terminal.stages(document["time"]),
            terminal.longest,
        )
        for line in (line for lines in sections for line in lines(self.document)):
            write(line)
        self._closing_lines(terminalreporter)
        # pytest cuts its last lines to the terminal's width, which a test's id alone may fill
        self.config.option.verbose = max(2, self.config.option.verbose)

    def _closing_lines(self, terminalreporter: pytest.TerminalReporter) -> None:
        assert self.document is not None
        numbers = self.document["totals"]
        checks = ", ".join(f"{n} {outcome}" for outcome, n in sorted(numbers["checks"].items()))
        terminalreporter.write_line(
            f"{count_of(numbers['judged'], 'case')} judged; checks: {checks}; "
            f"{numbers['compared']:,} elements and facts compared"
        )
        for line in self._further_red(terminalreporter):
            terminalreporter.write_line(line)
        sentence = self.document["run"]["sentence"]
        for problem in self.problems:
            if problem not in sentence:
                terminalreporter.write_line(problem, red=True, bold=True)
        colours = {"passed": {"green": True}, "incomplete": {"yellow": True}}
        verdict = self.document["run"]["verdict"]
        colour = colours.get(verdict, {"red": True})
        terminalreporter.write_line(f"{verdict.upper()}: {sentence}", bold=True, **colour)
        terminalreporter.write_line(f"{self.page}   data: {self.run.report_json}")
        for line in code_hosts.github(self.document):
            terminalreporter.write_line(line)
        again = whole_run_of([str(word) for word in self.config.invocation_params.args])
        terminalreporter.write_line(f"next: {next_step(self.document, again)}")

    def _further_red(self, terminalreporter: pytest.TerminalReporter) -> list[str]:
        """The red checks whose messages pytest does not print, a line a case."""
        further = {report.nodeid for report in terminalreporter.stats.get(FURTHER, [])}
        lines = []
        for case, rows in self.rows.items():
            names = Counter(row["name"] for row in rows if row["nodeid"] in further)
            if names:
                listed = ", ".join(f"{name} ({n})" if n > 1 else name for name, n in names.items())
                lines.append(f"{case.id} is red in these checks, too: {listed}")
        if len(lines) > MOST_FURTHER:
            lines[MOST_FURTHER:] = [f"and {count_of(len(lines) - MOST_FURTHER, 'further case')}"]
        return [*lines, "their messages are in the page, or printed by -v"] if lines else []


def _row_of(report: pytest.TestReport) -> CheckRow | None:
    if report.when == "teardown" and report.passed:
        return None
    if report.when == "setup" and report.passed:
        return None
    rows: list[Any] = [row for name, row in report.user_properties if name == "conformance"]
    return cast("CheckRow", rows[0]) if rows and isinstance(rows[0], dict) else None


def _skip_reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return ""


def _outcome(report: pytest.TestReport, row: CheckRow) -> str:
    if hasattr(report, "wasxfail"):
        if report.skipped and row["outcome"] == "edge":
            return "edge"
        return "known_failure" if report.skipped else "failed"
    if report.passed:
        return "passed"
    if report.skipped:
        return NOT_APPLICABLE if row["outcome"] == NOT_APPLICABLE else SKIPPED
    return "error" if row["outcome"] == "error" else "failed"
