"""``onnx-conformance versions 1.24.4 1.28.0``: may we bump ONNX Runtime, or move?

Builds an environment for each version or build that is named, certifies the same exports there and
here in one run, times those that passed side by side in the next, and shows one table, one page
(``.conformance/versions.html``) and data (``versions.json``).

``versions --answers=driver-570=DIR --answers=driver-580=DIR``: may we bump the driver? Judges what
``run.py`` of one kit wrote under both, and shows the same table, without times.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnx_conformance.cli import environments, suite_runs
from onnx_conformance.cli.console import Arguments, print_table, say
from onnx_conformance.core.documents import ResultsDocument
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.files import write_json
from onnx_conformance.core.project import project
from onnx_conformance.perf import versions_document
from onnx_conformance.perf.latency.latency_document import LatencyDocument
from onnx_conformance.perf.latency.latency_table import milliseconds, styled
from onnx_conformance.perf.options import TimingOptions
from onnx_conformance.perf.version_comparison import Comparison, VersionCell, join
from onnx_conformance.report.columns import FAILED, INCOMPLETE, KNOWN, PROVED
from onnx_conformance.report.pages import write_page
from onnx_conformance.run.provider_sources import ANSWERS_OPTION, label_of

NAME = "versions"
CPU_HERE = "cpu"
BATCH = 1
COLOURS = {PROVED: "green", INCOMPLETE: "yellow", KNOWN: "yellow", FAILED: "bold red"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, certify, time and report: 1 where anything failed, 5 where a place has no answer."""
    chosen, rest = _parser().parse_known_args(arguments)
    _refuse_mixed(chosen)
    for page in _pages():
        page.unlink(missing_ok=True)  # an earlier answer is not true now
    runs = project().outputs / NAME  # the reports of the runs
    if chosen.answers:
        return _of_answers(chosen.answers, runs, rest)
    wanted = list(dict.fromkeys(chosen.wanted))
    workers = [environments.option(each, environments.folder()) for each in wanted]
    others = [environments.named(each)[0] for each in wanted]
    batches = sorted(set(chosen.batch_size)) or [BATCH]
    # what timing is asked for is checked by the first run too, before minutes are spent
    options = [*(f"--provider={name}" for name in (CPU_HERE, *others)), *workers]
    options += [*_timing(batches, 1 + len(others)), *rest]
    results = suite_runs.run_checks(runs, options)
    found = join(results, None, here=CPU_HERE, others=others, batches=batches)
    timed = None
    if any(versions_document.worth_timing(found, place) for place in found.others):
        timed = suite_runs.time(runs, options)
        found = join(results, timed, here=CPU_HERE, others=others, batches=batches)
    ended = (results["run"]["exit_status"], timed.exit_status if timed else 0)
    return _report(found, results, timed, red=versions_document.RED in ended)


def _of_answers(folders: Sequence[str], runs: Path, rest: Sequence[str]) -> int:
    """Judge recorded answers in one run, those of the first machine being what is compared with."""
    here, *others = (label_of(each) for each in folders)
    results = suite_runs.run_checks(
        runs, [*(f"{ANSWERS_OPTION}={each}" for each in folders), *rest]
    )
    found = join(results, None, here=here, others=others, batches=())
    return _report(found, results, None, red=results["run"]["exit_status"] == versions_document.RED)


def _report(
    found: Comparison, results: ResultsDocument, timed: LatencyDocument | None, *, red: bool
) -> int:
    """Show and write the answer; its exit status."""
    status = versions_document.status_of(found, red=red)
    document = versions_document.make_document(found, results, timed, status)
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
    seconds = f"--bench-seconds={TimingOptions.seconds * places:g}"
    return ["--native-form=eager", seconds, *(f"--batch-size={size}" for size in batches)]


def _print(console: Console, document: versions_document.VersionsDocument) -> None:
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
        words = f"no answer for {names}: {document.open}"
        say(console, words, "bold red")
    say(console, f"may we bump? {document.headline}", "bold")


def table(found: Comparison) -> Table:
    """A row a model and route, a column a place: its verdict, then its speed."""
    drawn = Table()
    for heading in ("model", "exporter", "opset", *found.headings):
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


def _cell(cell: VersionCell, batches: Sequence[int]) -> str:
    style = COLOURS.get(cell.kind, "dim")
    verdict = f"[{style}]{cell.mark}[/] {cell.score}".rstrip() if cell.mark else ""
    speeds = [
        f"{f'b{batch} ' if len(batches) > 1 else ''}{text}"
        for batch in batches
        if (text := _speed(cell, batch))
    ]
    return "\n".join([verdict, *speeds])


def _speed(cell: VersionCell, batch: int) -> str:
    """The ratio; of the place that ratios are over, its milliseconds."""
    if batch in cell.ratios:
        return styled(cell.ratios[batch])
    timed = batch in cell.seconds and not cell.untimed
    return milliseconds(cell.seconds[batch]) if timed else ""


def _refuse_mixed(chosen: argparse.Namespace) -> None:
    """Refuse words that do not say what is compared with what.

    Raises:
        UsageError: which words.
    """
    if len(chosen.answers) == 1:
        raise UsageError(
            f"{ANSWERS_OPTION} {chosen.answers[0]}: nothing to compare with; give it once for each "
            "driver or machine"
        )
    if chosen.answers and (chosen.wanted or chosen.batch_size):
        raise UsageError(
            f"{ANSWERS_OPTION} compares recorded answers, which are not timed: leave out versions "
            "and --batch-size"
        )
    if not (chosen.answers or chosen.wanted):
        raise UsageError(f"name versions of onnxruntime, or recorded answers ({ANSWERS_OPTION})")


def _parser() -> Arguments:
    parser = Arguments(prog="versions", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "wanted",
        nargs="*",
        metavar="VERSION",
        help="of onnxruntime, such as 1.24.4, or LABEL=REQUIREMENT, such as "
        "openvino=onnxruntime-openvino==1.24.1",
    )
    parser.add_argument(
        ANSWERS_OPTION,
        action="append",
        default=[],
        metavar="LABEL=DIR",
        help="instead: what run.py of a kit wrote; given twice or more, the first is compared with",
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
