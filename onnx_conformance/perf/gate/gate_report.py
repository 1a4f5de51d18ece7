"""The reports of a gated run: its table, its files, and the exit status."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.table import Table

from onnx_conformance.core.errors import CapabilityMissing, UsageError
from onnx_conformance.core.files import remove_earlier, write_json, write_whole
from onnx_conformance.perf.gate.gate import CANDIDATE, Gate
from onnx_conformance.perf.gate.gate_document import GateDocument, GateResult
from onnx_conformance.perf.gate.rules import MetricVerdict
from onnx_conformance.perf.options import BASELINE, PerfRun
from onnx_conformance.report import history
from onnx_conformance.report.pages import write_page
from onnx_conformance.report.terminal import render
from onnx_conformance.run.cache_keys import environment

OPTION, PAGE_OPTION, MARKDOWN_OPTION = "--gate-json", "--gate-html", "--report-md"
COLORS = {"slower": "red", "not slower": "green", "undecided": "yellow"}
HEADINGS = {
    "score": "score",
    "artifact_size": "size",
    "node_count": "nodes",
    "peak_memory": "memory",
    "session_creation": "opening",
}
WIDTH = 170  # at least: a table that is cut says nothing, and logs have no edge
MOST_NAMED = 5


class GateReport:
    """A pytest plugin of a gated run."""

    def __init__(self, gate: Gate, run: PerfRun) -> None:
        self._gate = gate
        self._run = run
        self._document: GateDocument | None = None
        self._page = "no page"

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Remove the files of an earlier gate, or refuse places that cannot be written."""
        if session.config.option.collectonly:
            return
        run = self._run
        paths = {OPTION: run.gate_json, PAGE_OPTION: run.gate_html, MARKDOWN_OPTION: run.report_md}
        try:
            remove_earlier(paths)
            if run.history is not None:
                history.refuse_unusable(run.history)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from error

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the files; a gate without a verdict on speed is red."""
        if session.config.option.collectonly:
            return
        document = self._make_document()
        if document.red and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        self._document = document = replace(document, exit_status=int(session.exitstatus))
        run = self._run
        write_json(run.gate_json, document.to_json(), OPTION)
        module = "onnx_conformance.perf.gate.gate_document"
        self._page = write_page(module, run.gate_html, PAGE_OPTION, document)
        if run.history is not None:
            history.add(document.kept_run(), run.history)
        if run.report_md is not None:
            write_whole(run.report_md, document.markdown().encode(), MARKDOWN_OPTION)

    def _make_document(self) -> GateDocument:
        gate, options = self._gate, self._run.gate
        assert options is not None
        asked = {case.id for case, _ in gate.found}
        kept = gate.baseline.cases.values() if gate.baseline else ()
        return GateDocument(
            timing=gate.timing,
            environment=environment(),
            results=tuple(found for found in gate.found.values() if isinstance(found, GateResult)),
            not_compared={
                f"{case.id} batch {batch}": str(found)
                for (case, batch), found in gate.found.items()
                if not isinstance(found, GateResult)
            },
            left_out=tuple(one.id for one in kept if not one.option and one.id not in asked),
            strict=options.strict,
        )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table, what was left out and why, and the sentence."""
        document, write = self._document, terminalreporter.write_line
        if document is None:
            return
        terminalreporter.section("gate")
        if document.results:
            width = max(WIDTH, terminalreporter._screen_width)
            color = terminalreporter.hasmarkup
            terminalreporter.write(render(table(document), width=width, color=color))
            runtimes = document.results[0].runtimes
            write(
                f"baseline: ONNX Runtime {runtimes[BASELINE]}; "
                f"candidate: ONNX Runtime {runtimes[CANDIDATE]}"
            )
        absent = {str(f) for f in self._gate.found.values() if isinstance(f, CapabilityMissing)}
        for reason in sorted(absent):
            write(f"not compared: {reason}")
        if left := document.left_out:
            write(
                f"not compared: {len(left)} cases of the baseline that this run leaves out: "
                f"{', '.join(left[:MOST_NAMED])}{', ...' if len(left) > MOST_NAMED else ''}"
            )
        write(document.sentence, bold=True, red=document.red, green=not document.red)
        write(f"{self._page}   data: {self._run.gate_json}")


def table(document: GateDocument) -> Table:
    """A row a case: speed with its interval, then how each other figure moved."""
    drawn = Table("case", "batch", "speed", "time / baseline's", "pairs", "would show")
    for name in document.results[0].figures:
        drawn.add_column(HEADINGS.get(name, name))
    for column in drawn.columns:
        column.no_wrap = True
    for found in document.results:
        decision = found.decision
        drawn.add_row(
            found.case.id,
            str(found.batch),
            f"[{COLORS[decision.verdict]}]{decision.verdict}[/]",
            str(decision).replace("[", r"\["),
            str(decision.pairs),
            f"{decision.smallest_effect - 1:.1%}",
            *(_figure(figure) for figure in found.figures.values()),
        )
    return drawn


def _figure(figure: MetricVerdict) -> str:
    if figure.baseline is None or figure.candidate is None or figure.outcome == "not measured":
        return "[red]not measured[/]"
    ratio = f"{figure.candidate / figure.baseline:.2f}x" if figure.baseline else "0 before"
    return f"[red]{ratio}[/]" if figure.red else ratio
