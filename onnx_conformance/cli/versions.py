"""``onnx-conformance versions 1.24.4 1.28.0``: may we bump ONNX Runtime, or move?

Builds an environment for each version or build that is named, certifies the same exports there and
here in one run, times those that passed side by side in the next, and shows one table, one page
(``.conformance/versions.html``) and data (``versions.json``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnx_conformance.cli import environments, suite_runs
from onnx_conformance.cli.console import Arguments, print_table, say
from onnx_conformance.core.files import write_json
from onnx_conformance.core.project import project
from onnx_conformance.perf import version_answer
from onnx_conformance.perf.latency.latency_table import milliseconds, styled
from onnx_conformance.perf.options import Timing
from onnx_conformance.perf.version_comparison import Cell, Comparison, join
from onnx_conformance.report.columns import FAILED, INCOMPLETE, KNOWN, PROVED
from onnx_conformance.report.pages import write_page

NAME = "versions"
HERE = "cpu"
BATCH = 1
COLOURS = {PROVED: "green", INCOMPLETE: "yellow", KNOWN: "yellow", FAILED: "bold red"}


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
    results = suite_runs.run_checks(runs, options)
    found = join(results, None, here=HERE, others=others, batches=batches)
    timed = None
    if any(version_answer.worth_timing(found, place) for place in found.others):
        timed = suite_runs.time(runs, options)
        found = join(results, timed, here=HERE, others=others, batches=batches)
    ended = (results["run"]["exit_status"], timed.exit_status if timed else 0)
    status = version_answer.status_of(found, red=version_answer.RED in ended)
    document = version_answer.make_document(found, results, timed, status)
    _print(Console(), document)
    page, data = _pages()
    write_json(data, asdict(document), NAME)
    drawn = write_page("onnx_conformance.perf.versions_page", page, NAME, document)
    say(Console(), f"{drawn}   data: {data}")
    return status


def _pages() -> tuple[Path, Path]:
    """The page and the data."""
    return project().outputs / "versions.html", project().outputs / "versions.json"


def _timing(batches: Sequence[int], places: int) -> list[str]:
    """Native's other forms answer another question; every place gets the time of a run alone."""
    seconds = f"--bench-seconds={Timing.seconds * places:g}"
    return ["--native-form=eager", seconds, *(f"--batch-size={size}" for size in batches)]


def _print(console: Console, document: version_answer.VersionsDocument) -> None:
    say(console, f"\n{document.meaning}", "bold")
    print_table(table(document.comparison), console)
    for heading, lines in (
        ("verdicts that differ:", document.unlike),
        ("not passed, there as here:", document.alike),
        ("", document.untimed),
        ("", document.problems),
    ):
        if heading and lines:
            say(console, heading, "bold")
        for line in lines:
            say(console, f"  {line}" if heading else line)
    for line in document.answers:
        say(console, line, "bold")
    if document.unanswered:
        names = ", ".join(document.unanswered)
        words = f"no answer for {names}: nothing was judged there, or nothing was timed"
        say(console, words, "bold red")
    say(console, f"may we bump? {document.headline}", "bold")


def table(found: Comparison) -> Table:
    """A row a model and route, a column a place: its verdict, then its speed."""
    drawn = Table()
    for heading in ("model", "exporter", "opset", f"{found.here} (here)", *found.others):
        drawn.add_column(escape(heading), no_wrap=True)
    previous = ""
    for line in found.lines:
        cells = (_cell(line.cells[place], found.batches) for place in found.places)
        if previous not in ("", line.model):
            drawn.add_section()
        shown = "" if line.model == previous else line.model
        drawn.add_row(escape(shown), escape(line.exporter), line.opset, *cells)
        previous = line.model
    return drawn


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
        return styled(cell.ratios[batch])
    timed = batch in cell.seconds and not cell.untimed
    return milliseconds(cell.seconds[batch]) if timed else ""


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
