"""The gate's table, its data, and the exit status of a gate that compared nothing."""

from __future__ import annotations

import json

import pytest
from rich.table import Table

from onnx_conformance.core.errors import CapabilityMissing, UsageError
from onnx_conformance.core.extras import page_module
from onnx_conformance.core.files import refuse_unwritable, write_whole
from onnx_conformance.perf.gate import gate_text
from onnx_conformance.perf.gate.gate import BASELINE, CANDIDATE, Gate, Gated
from onnx_conformance.perf.gate.gate_text import as_data, ratio_text
from onnx_conformance.perf.gate.rules import MetricVerdict
from onnx_conformance.perf.run import PerfRun
from onnx_conformance.report import history
from onnx_conformance.report.terminal import render
from onnx_conformance.session.cache_keys import environment

OPTION = "--gate-json"
COLORS = {"slower": "red", "not slower": "green", "undecided": "yellow"}
HEADINGS = {
    "score": "score",
    "artifact_size": "size",
    "node_count": "nodes",
    "peak_memory": "memory",
    "session_creation": "opening",
}
WIDTH = 170  # at least: a table that is cut says nothing, and logs have no edge
NOTHING = (
    "the gate compared nothing: no case reached a verdict on its speed; the lines above say why"
)


class GateReport:
    """A pytest plugin of a gated run."""

    def __init__(self, gate: Gate, run: PerfRun) -> None:
        self._gate = gate
        self._run = run
        self._path = run.gate_json
        self._nothing = False
        self._page = "no page"

    @property
    def results(self) -> list[Gated]:
        """What was compared, in the order of the tests."""
        return [found for found in self._gate.found.values() if isinstance(found, Gated)]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """An earlier gate's data are not true now."""
        if session.config.option.collectonly:
            return
        try:
            paths = {OPTION: self._path, "--gate-html": self._run.gate_html}
            paths |= {"--report-md": self._run.report_md} if self._run.report_md else {}
            for option, path in paths.items():
                refuse_unwritable(path, option)
                path.unlink(missing_ok=True)
            if self._run.history is not None:
                history.refuse_unusable(self._run.history)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from error

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the data; a gate without a verdict on speed is red.

        So is what was found worse by a measurement whose own test ``-k`` left out.
        """
        if session.config.option.collectonly:
            return
        self._nothing = all(found.decision.verdict == "undecided" for found in self.results)
        if (self._nothing or self._red()) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        document = {
            "schema": 1,
            "exit_status": int(session.exitstatus),
            "sentence": self._sentence(),
            "environment": environment(),
            "cases": [as_data(found, self._gate.plan) for found in self.results],
            "not_compared": self._reasons(),
            "left_out": self._left_out(),
        }
        write_whole(self._path, json.dumps(document, indent=1).encode(), OPTION)
        try:
            pages = page_module("onnx_conformance.perf.gate.gate_page")
            pages.write(document, self._run.gate_html)
            self._page = f"page: {self._run.gate_html}"
        except CapabilityMissing as missing:
            self._page = f"no page: {missing}"
        if self._run.history is not None:
            history.keep_gate(document, self._run.history)
        if self._run.report_md is not None:
            reasons = self._reasons().values()
            text = gate_text.render(self._sentence(), self.results, reasons)
            write_whole(self._run.report_md, text.encode(), "--report-md")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table, what was left out and why, and the sentence."""
        if terminalreporter.config.option.collectonly:
            return
        terminalreporter.section("gate")
        if self.results:
            width = max(WIDTH, terminalreporter._screen_width)
            color = terminalreporter.hasmarkup
            terminalreporter.write(render(self._table(), width=width, color=color))
            runtimes = self.results[0].runtimes
            terminalreporter.write_line(
                f"baseline: ONNX Runtime {runtimes[BASELINE]}; "
                f"candidate: ONNX Runtime {runtimes[CANDIDATE]}"
            )
        absent = {
            str(found)
            for found in self._gate.found.values()
            if isinstance(found, CapabilityMissing)
        }
        for reason in sorted(absent):
            terminalreporter.write_line(f"not compared: {reason}")
        if left := self._left_out():
            terminalreporter.write_line(
                f"not compared: {len(left)} cases of the baseline that this run leaves out: "
                f"{', '.join(left[:5])}{', ...' if len(left) > 5 else ''}"
            )
        bad = self._nothing or self._red()
        terminalreporter.write_line(self._sentence(), bold=True, red=bad, green=not bad)
        terminalreporter.write_line(f"{self._page}   data: {self._path}")

    def _reasons(self) -> dict[str, str]:
        return {
            f"{case.id} batch {batch}": str(found)
            for (case, batch), found in self._gate.found.items()
            if not isinstance(found, Gated)
        }

    def _left_out(self) -> list[str]:
        """The baseline's cases that no test asked for."""
        if self._gate.baseline is None:
            return []
        asked = {case.id for case, _ in self._gate.found}
        kept = self._gate.baseline.cases.values()
        return [entry.id for entry in kept if not entry.option and entry.id not in asked]

    def _red(self) -> bool:
        assert self._run.gate is not None
        bad = {"slower", "undecided"} if self._run.gate.strict else {"slower"}
        slow = any(found.decision.verdict in bad for found in self.results)
        return slow or any(m.red for found in self.results for m in found.metrics.values())

    def _table(self) -> Table:
        table = Table("case", "batch", "speed", "time / baseline's", "pairs", "would show")
        for column in table.columns:
            column.no_wrap = True
        for name in self.results[0].metrics:
            table.add_column(HEADINGS.get(name, name), no_wrap=True)
        for found in self.results:
            verdict = found.decision.verdict
            table.add_row(
                found.case.id,
                str(found.batch),
                f"[{COLORS[verdict]}]{verdict}[/]",
                ratio_text(found).replace("[", r"\["),
                str(found.decision.pairs),
                f"{found.decision.smallest_effect - 1:.1%}",
                *(_figure(metric) for metric in found.metrics.values()),
            )
        return table

    def _sentence(self) -> str:
        if self._nothing:
            return NOTHING
        verdicts = [found.decision.verdict for found in self.results]
        counts = {name: sum(verdict == name for verdict in verdicts) for name in COLORS}
        red = sum(metric.red for found in self.results for metric in found.metrics.values())
        plan = self._gate.plan
        return (
            f"{counts['slower']} slower, {counts['not slower']} not slower, "
            f"{counts['undecided']} undecided; {red} other figures failed; threshold "
            f"{plan.delta:.0%}, error rates {plan.alpha:.0%} and {plan.beta:.0%}"
        )


def _figure(metric: MetricVerdict) -> str:
    if metric.baseline is None or metric.candidate is None or metric.outcome == "not measured":
        return "[red]not measured[/]"
    ratio = f"{metric.candidate / metric.baseline:.2f}x" if metric.baseline else "0 before"
    return f"[red]{ratio}[/]" if metric.red else ratio
