"""Progress: a line for each complete case and, on a terminal, a live line."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext

import pytest

from onnx_conformance.core.case import Case
from onnx_conformance.core.documents import CheckRow
from onnx_conformance.core.text import count_of, times_of
from onnx_conformance.report.columns import RED_OUTCOMES
from onnx_conformance.report.document import case_verdict

WORDS = {"failed": "RED", "passed": "passed", "known_failure": "known failure"}


class Progress:
    """Writes to pytest's terminal reporter, but not under xdist, where cases run out of order.

    Args:
        reported: reasons to skip that were printed already.
    """

    def __init__(self, reporter: pytest.TerminalReporter, reported: set[str]) -> None:
        self._reporter = reporter
        self._expected: dict[Case, int] = {}
        self._rows: dict[Case, list[CheckRow]] = {}
        self._absent = reported
        self._place = 0
        self._red = 0
        self._live = False
        self._judged = 0  # cases that were not skipped
        self._started = time.monotonic()

    def expect(self, counts: dict[Case, int]) -> None:
        """Set how many tests each case has, and start to measure the time of a case."""
        self._expected = counts
        self._started = time.monotonic()

    def tick(self, activities: dict[str, str]) -> None:
        """Show how far the run is and what the workers do, on a terminal only."""
        if self._reporter.isatty and activities:
            now = " · ".join((self._position(), *activities.values()))
            with self._captured_not():
                self._reporter.rewrite(f"  … {now}"[: self._reporter._screen_width - 1], erase=True)
            self._live = True

    def leave_out(self, providers: Collection[str]) -> None:
        """Leave cases on absent providers out of the count."""
        kept = {case: n for case, n in self._expected.items() if case.provider not in providers}
        self._expected = kept

    def _captured_not(self) -> AbstractContextManager[None]:
        """Remember pytest's capture: it takes what is written while a test runs."""
        capture = self._reporter.config.pluginmanager.getplugin("capturemanager")
        return capture.global_and_fixture_disabled() if capture is not None else nullcontext()

    def _position(self) -> str:
        """Cases done, failed cases, and the time left at the pace so far."""
        left = len(self._expected) - self._place
        parts = [f"{self._place} of {len(self._expected)} cases"]
        parts += [f"{self._red} red"] if self._red else []
        if self._judged and left:
            seconds = (time.monotonic() - self._started) / self._place * left
            parts.append(f"about {_rounded(seconds)} left")
        return ", ".join(parts)

    def add(self, case: Case, row: CheckRow) -> None:
        """A test of a case has ended."""
        rows = self._rows.setdefault(case, [])
        rows.append(row)
        if len(rows) == self._expected.get(case):
            self._place += 1
            self._line(case, rows)

    def _line(self, case: Case, rows: list[CheckRow]) -> None:
        verdict = case_verdict(row["outcome"] for row in rows)
        if verdict == "skipped":
            self._absence(rows[0]["reason"])
            return
        self._judged += 1
        self._red += verdict == "failed"
        self._clear()
        scores = [row["score"] for row in rows if row["score"] is not None]
        worst = f", worst score {times_of(max(scores), 2)}x" if scores else ""
        red = sum(row["outcome"] in RED_OUTCOMES for row in rows)
        passed = sum(row["outcome"] == "passed" for row in rows)
        edge = sum(row["outcome"] == "edge" for row in rows)
        counts = count_of(passed, "check") + (f" passed, {red} red" if red else "")
        counts += f", {count_of(edge, 'edge finding')}" if edge else ""
        style = {"failed": {"red": True, "bold": True}, "passed": {"green": True}}
        self._reporter.write(f"[{self._place:>3}/{len(self._expected)}] ")
        self._reporter.write(f"{WORDS[verdict]:<7}", **style.get(verdict, {"yellow": True}))
        self._reporter.write_line(f" {case.id:<46} {counts}{worst}")

    def _absence(self, reason: str) -> None:
        """Whether a reason to skip is shown; each is shown only once."""
        if reason not in self._absent:
            self._absent.add(reason)
            self._clear()
            self._reporter.write_line(f"        skipped {reason}")

    def _clear(self) -> None:
        if self._live:
            self._reporter.rewrite("", erase=True)
            self._reporter.rewrite("")  # back to the line's start
            self._live = False


def _rounded(seconds: float) -> str:
    """A duration, rounded to how well it is known."""
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} s"
    return f"{round(seconds / 60)} min"
