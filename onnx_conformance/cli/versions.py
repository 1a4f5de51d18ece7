"""``onnx-conformance versions 1.24.4 1.28.0``: may we bump ONNX Runtime, or move?

Builds an environment for each version or build that is named, certifies the same exports there and
here in one run, times those that passed side by side in the next, and shows one table, one page
(``.conformance/versions.html``) and data (``versions.json``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnx_conformance.cli import environments, suite
from onnx_conformance.cli.terminal import Arguments, guarded, say, told_pages
from onnx_conformance.core.documents import ResultsDocument
from onnx_conformance.core.extras import page_module
from onnx_conformance.core.files import write_whole
from onnx_conformance.core.project import project
from onnx_conformance.perf.latency.latency_document import verdict_on
from onnx_conformance.perf.latency.latency_table import STYLES, milliseconds, told
from onnx_conformance.perf.latency.options import Timing
from onnx_conformance.perf.versions import version_answer as says
from onnx_conformance.perf.versions.version_comparison import Cell, Comparison, join
from onnx_conformance.report.document import FAILED, IN_PART, KNOWN, PROVED
from onnx_conformance.report.terminal import render as drawn

NAME = "versions"
HERE = "cpu"
BATCH = 1
BUILDS = ("onnxruntime-gpu", "onnxruntime")  # which of them is here
WIDE = 400  # columns at most, so that no cell is cut
COLOURS = {PROVED: "green", IN_PART: "yellow", KNOWN: "yellow", FAILED: "bold red"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, certify, time and report: 1 where anything failed, 5 where a place has no answer."""
    chosen, rest = _parser().parse_known_args(arguments)
    wanted = list(dict.fromkeys(chosen.wanted))
    workers = [environments.option(each, environments.folder()) for each in wanted]
    others = [environments.named(each)[0] for each in wanted]
    batches = sorted(set(chosen.batch_size)) or [BATCH]
    # what timing is asked for is checked by the first run too, before minutes are spent
    options = [*(f"--provider={name}" for name in (HERE, *others)), *workers]
    options += [*_timing(batches, 1 + len(others)), *rest]
    runs = project().outputs / NAME  # the reports of the two runs
    for page in _pages():
        page.unlink(missing_ok=True)  # an earlier answer is not true now
    results = suite.run_checks(runs, options)
    found = join(results, None, here=HERE, others=others, batches=batches)
    timed = None
    if any(says.worth_timing(found, place) for place in found.others):
        timed = suite.time(runs, options)
        found = join(results, timed, here=HERE, others=others, batches=batches)
    ended = {document["exit_status"] for document in (results["run"], timed or {"exit_status": 0})}
    status = says.status_of(found, red=says.RED in ended)
    document = _document(found, results, timed, status)
    _tell(Console(), found, document)
    _write(found, document)
    return status


def _pages() -> tuple[Path, Path]:
    """The page and the data."""
    return project().outputs / "versions.html", project().outputs / "versions.json"


def _timing(batches: Sequence[int], places: int) -> list[str]:
    """Native's other forms answer another question; every place gets the time of a run alone."""
    seconds = f"--bench-seconds={Timing.seconds * places:g}"
    return ["--native-form=eager", seconds, *(f"--batch-size={size}" for size in batches)]


def _document(
    found: Comparison, results: ResultsDocument, timed: dict[str, Any] | None, status: int
) -> dict[str, Any]:
    unlike, alike = says.verdicts(found)
    packages = results["environment"]["versions"]
    installed = [f"{name} {packages[name]}" for name in BUILDS if name in packages]
    return {
        "schema": 1,
        "exit_status": status,
        "headline": says.headline(found, status),
        "meaning": meaning(found, next(iter(installed), "another build of ONNX Runtime")),
        "answers": says.answers(found),
        "unlike": unlike,
        "alike": alike,
        "untimed": says.untimed(found),
        "unanswered": says.unanswered(found),
        "problems": results["run"]["problems"],
        "around": suite.around(timed) if timed else None,
    }


def meaning(found: Comparison, build: str) -> str:
    """What the second line of a cell says."""
    return (
        f"verdict and worst score ≤ budget; below, how many times as fast as {found.here} here "
        f"({build}), paired by rounds, with the 95 % interval; above 1 is faster there; "
        "=: the interval contains 1, so no difference is shown"
    )


def _tell(console: Console, found: Comparison, document: dict[str, Any]) -> None:
    say(console, f"\n{document['meaning']}", "bold")
    text = drawn(table(found), width=WIDE, color=console.is_terminal)
    for line in text.splitlines():
        sys.stdout.write(f"{line.rstrip()}\n")
    for heading, lines in (
        ("verdicts that differ:", document["unlike"]),
        ("not passed, neither there nor here:", document["alike"]),
        ("", document["untimed"]),
        ("", document["problems"]),
    ):
        if heading and lines:
            say(console, heading, "bold")
        for line in lines:
            say(console, f"  {line}" if heading else line)
    for line in document["answers"]:
        say(console, line, "bold")
    if document["unanswered"]:
        say(console, unanswered(document), "bold red")
    say(console, f"may we bump? {document['headline']}", "bold")


def unanswered(document: dict[str, Any]) -> str:
    """The places of which the table cannot answer."""
    names = ", ".join(document["unanswered"])
    return f"no answer for {names}: nothing was judged there, or nothing was timed"


def table(found: Comparison) -> Table:
    """A row a model and route, a column a place: its verdict, then its speed."""
    lay = Table()
    for heading in ("model", "exporter", "opset", f"{found.here} (here)", *found.others):
        lay.add_column(escape(heading), no_wrap=True)
    previous = ""
    for line in found.lines:
        cells = (_cell(line.cells[place], found.batches) for place in found.places)
        if previous not in ("", line.model):
            lay.add_section()
        shown = "" if line.model == previous else line.model
        lay.add_row(escape(shown), escape(line.exporter), line.opset, *cells)
        previous = line.model
    return lay


def _cell(cell: Cell, batches: Sequence[int]) -> str:
    style = COLOURS.get(cell.kind, "dim")
    verdict = f"[{style}]{cell.mark}[/] {cell.score}".rstrip() if cell.mark else ""
    speeds = [
        f"{f'b{batch} ' if len(batches) > 1 else ''}{text}"
        for batch in batches
        if (text := _speed(cell, batch))
    ]
    return "\n".join([verdict, *speeds])


def _speed(cell: Cell, batch: int) -> str:
    """The ratio; of the place that ratios are over, its milliseconds."""
    if batch in cell.ratios:
        ratio = cell.ratios[batch].as_dict()
        return f"[{STYLES[verdict_on(ratio)]}]{escape(told(ratio))}[/]"
    timed = batch in cell.seconds and not cell.untimed
    return milliseconds(cell.seconds[batch]) if timed else ""


def _write(found: Comparison, document: dict[str, Any]) -> None:
    plain = {**document, "comparison": asdict(found)}
    page, data = _pages()
    write_whole(data, json.dumps(plain, indent=1).encode(), NAME)
    with told_pages(data):
        module = page_module("onnx_conformance.perf.versions.versions_page")
        write_whole(page, module.render(document, found).encode(), NAME)
        say(Console(), f"page: {page}   data: {data}")


def _parser() -> Arguments:
    parser = Arguments(prog="versions", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "wanted",
        nargs="+",
        metavar="VERSION",
        help="of onnxruntime, such as 1.24.4, or LABEL=REQUIREMENT, such as "
        "openvino=onnxruntime-openvino==1.24.1",
    )
    parser.add_argument(
        "--batch-size",
        action="append",
        default=[],
        type=int,
        metavar="N",
        help=f"to time (default: {BATCH}; repeatable)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(guarded(NAME, main))
