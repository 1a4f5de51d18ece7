"""Progress: a line when a case is complete and, on a terminal, what the workers do now."""

from __future__ import annotations

from typing import Any

from onnx_conformance.core.documents import CheckRow
from onnx_conformance.core.spec import Case
from onnx_conformance.report.document import RED, case_verdict

WORDS = {"failed": "RED", "passed": "passed", "known_failure": "known failure"}


class Progress:
    """Writes to pytest's terminal reporter; under xdist, where order is lost, it stays silent.

    Args:
        told: reasons to skip that stand above the tests already.
    """

    def __init__(self, reporter: Any, told: set[str]) -> None:
        self._reporter = reporter
        self._expected: dict[Case, int] = {}
        self._rows: dict[Case, list[CheckRow]] = {}
        self._absent = told
        self._place = 0
        self._live = False

    def expect(self, counts: dict[Case, int]) -> None:
        """How many tests each case has."""
        self._expected = counts

    def tick(self, activities: dict[str, str]) -> None:
        """Show what the workers do, on a terminal only."""
        if self._reporter.isatty and activities:
            text = " · ".join(f"{what}" for what in activities.values())
            self._reporter.rewrite(f"  … {text}"[: self._reporter._screen_width - 1], erase=True)
            self._live = True

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
        self._clear()
        scores = [row["score"] for row in rows if row["score"] is not None]
        worst = f"worst score {max(scores):.2g}" if scores else ""
        red = sum(row["outcome"] in RED for row in rows)
        passed = sum(row["outcome"] == "passed" for row in rows)
        edge = sum(row["outcome"] == "edge" for row in rows)
        counts = f"checks passed: {passed}" + (f", red: {red}" if red else "")
        counts += f", edge findings: {edge}" if edge else ""
        style = {"failed": {"red": True, "bold": True}, "passed": {"green": True}}
        self._reporter.write(f"[{self._place:>3}/{len(self._expected)}] ")
        self._reporter.write(f"{WORDS[verdict]:<13}", **style.get(verdict, {"yellow": True}))
        self._reporter.write_line(f" {case.id:<52} {counts}  {worst}")

    def _absence(self, reason: str) -> None:
        """A reason to skip is shown once, not once a case."""
        if reason not in self._absent:
            self._absent.add(reason)
            self._clear()
            self._reporter.write_line(f"      skipped       {reason}")

    def _clear(self) -> None:
        if self._live:
            self._reporter.rewrite("", erase=True)
            self._live = False
