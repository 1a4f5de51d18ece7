"""Measure what the suite finds: print the table and write it as JSON and Markdown."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from onnx_conformance.core.errors import ConformanceError
from studies.detection import tables
from studies.detection.bases import FAMILIES_OF_SMALL, SMALL
from studies.detection.document import figures, make_document
from studies.detection.markdown import page
from studies.detection.measurement import Choice, Judged, Measurement
from studies.detection.rules import StudyRules, load_rules
from studies.detection.suite_verdicts import ROOT
from studies.detection.tables import TextTable

STATE = ROOT / ".conformance"
DOCUMENTED = ROOT / "docs" / "detection.md"
FIGURES = ROOT / "docs" / "figures" / "detection.json"


def main() -> int:
    """Exit status: 0 the bars are met, 1 they are not, 2 bad input."""
    options = _parse()
    small = options.small
    choice = Choice(
        models=tuple(options.models or (SMALL if small else ())),
        families=tuple(options.families or (FAMILIES_OF_SMALL if small else ())),
        faults=tuple(options.faults or ()),
        routes=tuple(options.routes or ()),
        places=options.places,
        rules=not (options.no_rules or small),
        jobs=options.jobs,
    )
    console, study_rules, started = Console(), load_rules(), time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="conformance-detection-") as temporary:
            work = Path(options.keep or temporary).absolute()
            judged = _measure(choice, study_rules, work, options.cache_dir, console)
    except ConformanceError as error:
        console.print(f"[bold red]{error}[/]")
        return 2
    document = make_document(
        judged,
        study_rules,
        command=_command(choice),
        seconds=time.monotonic() - started,
    )
    markdown = options.markdown or (DOCUMENTED if choice.full else STATE / "detection.md")
    written = {options.json: json.dumps(document, indent=1), markdown: page(document)}
    if markdown == DOCUMENTED:
        written[FIGURES] = json.dumps(figures(document), indent=1) + "\n"
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    _print(document, console)
    console.print(f"page: {markdown}   data: {options.json}")
    return 1 if document["shortfalls"] else 0


def _command(choice: Choice) -> str:
    """What measures the same again, without this machine's folders."""
    if choice.full:
        return "make detection"
    return f"python -m studies.detection {shlex.join(sys.argv[1:])}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m studies.detection", description=__doc__)
    several: dict[str, Any] = {"nargs": "+", "metavar": "NAME"}
    parser.add_argument("--models", help="of these models only", **several)
    parser.add_argument("--families", help="faults of these families only", **several)
    parser.add_argument("--faults", help="these faults only", **several)
    parser.add_argument("--routes", help="exports of these routes only", **several)
    parser.add_argument(
        "--places",
        type=int,
        default=0,
        metavar="N",
        help="of a model for each fault (default: rules.yaml)",
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="small models of sizes, state and boxes, and the families of faults that need them",
    )
    parser.add_argument("--no-rules", action="store_true", help="leave other tools' rules out")
    parser.add_argument("--jobs", type=int, default=2, help="models judged at the same time")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep mutants and reports there")
    parser.add_argument("--json", type=Path, default=STATE / "detection.json")
    parser.add_argument(
        "--markdown", type=Path, help="default: docs/detection.md if nothing is narrowed"
    )
    parser.add_argument("--cache-dir", type=Path, default=STATE / "cache")
    return parser.parse_args()


def _measure(
    choice: Choice, study_rules: StudyRules, work: Path, cache_dir: Path, console: Console
) -> list[Judged]:
    columns = (
        TextColumn("{task.description:<20}"),
        TextColumn("{task.fields[stage]:<15}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as shown:
        tasks: dict[str, Any] = {}

        def progress(model: str, stage: str, done: int, total: int) -> None:
            if model not in tasks:
                tasks[model] = shown.add_task(model, total=None, stage=stage)
            shown.update(tasks[model], stage=stage, completed=done, total=total or None)

        measurement = Measurement(choice, study_rules, work, cache_dir, progress)
        return measurement.run()


def _print(document: dict[str, Any], console: Console) -> None:
    shown = [tables.by_model, tables.by_family, tables.by_check, tables.by_rule]
    lists = [tables.misses, tables.alarms]
    for make in (*shown, *lists):
        table = make(document)
        if table.rows:
            console.print(_table(table))
    for problem in document["shortfalls"]:
        console.print(f"[bold red]not met: {problem}[/]")
    minutes = document["seconds"] / 60
    console.print(f"{len(document['rows'])} files judged in {minutes:.1f} minutes")


def _table(table: TextTable) -> Table:
    shown = Table(title=table.title, title_justify="left")
    for heading in table.headings:
        shown.add_column(heading, overflow="fold")
    for row in table.rows:
        shown.add_row(*row)
    return shown


if __name__ == "__main__":
    sys.exit(main())
