"""The terminal: the matrix, the totals and the table of time by stage."""

from __future__ import annotations

import io

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnx_conformance.core.documents import CaseEntry, ResultsDocument, TimeTable
from onnx_conformance.diagnose.messages import place_of
from onnx_conformance.report.columns import rows_of
from onnx_conformance.report.document import EDGE, cell_of, edge_of, proved

MOST_ROWS = 80
STYLES = {"passed": "green", "failed": "bold red", "known_failure": "yellow", "skipped": "dim"}


def render(table: Table, *, width: int, color: bool) -> str:
    """A rich table as text for pytest's own writer."""
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=color, no_color=not color)
    console.print(table)
    return file.getvalue()


def matrix(document: ResultsDocument) -> Table:
    """One row a model and route, one column an opset and provider that was judged.

    Of very many cases, only those that did not pass every check; the page has them all.
    """
    judged = [case for case in document["cases"] if case["verdict"] != "skipped"]
    title = "verdict and worst score / budget"
    if len(judged) > MOST_ROWS:
        left = [case for case in judged if not proved(case)]
        title += f" ({len(judged) - len(left)} cases that passed are not shown)"
        judged = left
    models = list(dict.fromkeys(case["model"] for case in judged))
    judged.sort(key=lambda case: models.index(case["model"]))  # export options beside their model
    providers = list(dict.fromkeys(place_of(case) for case in judged))
    headings, rows = rows_of(judged)
    table = Table(title=title, title_justify="left")
    for heading in (*headings, *providers):
        table.add_column(heading, no_wrap=True)
    previous = None
    for (model, *texts), cases in rows:
        if previous not in (None, model):
            table.add_section()
        cells = {place_of(case): _cell(case) for case in cases}
        shown = [model if previous != model else "", *texts]
        table.add_row(*map(escape, shown), *(cells.get(name, "") for name in providers))
        previous = model
    return table


def _cell(case: CaseEntry) -> str:
    mark, score = cell_of(case)
    return f"[{STYLES[case['verdict']]}]{mark}[/] {score}".rstrip()


def stages(time: TimeTable) -> Table:
    """Worker seconds by stage, and how long the judge stood waiting for each."""
    several = time.get("processes", 1)
    summed = f", in {several} processes" if several > 1 else ""
    table = Table(title=f"time by stage (s{summed})", title_justify="left")
    table.add_column("stage")
    for heading in ("workers busy", "judge waited"):
        table.add_column(heading, justify="right")
    for stage, seconds in time["engine"].items():
        table.add_row(stage, f"{seconds:.1f}", f"{time['waited'][stage]:.1f}")
    share = 100.0 * time["rest"] / max(time["rest"] + sum(time["waited"].values()), 1e-9)
    table.add_row("rest", "", f"{time['rest']:.1f} ({share:.0f} %)")
    table.add_row("wall", "", f"{time['wall']:.1f}")
    return table


def bases(document: ResultsDocument) -> list[str]:
    """Of each ONNX file in the native model's place: what verdicts rest on, and its inputs."""
    lines: dict[str, None] = {}
    for case in document["cases"]:
        for line in (case.get("basis"), *(case.get("notes") or ())):
            if line:
                lines[f"{case['model']}: {line}"] = None
    return list(lines)


def absences(document: ResultsDocument) -> list[str]:
    """Why cases were skipped, each reason once with a count."""
    counts: dict[str, int] = {}
    for case in document["cases"]:
        if case["verdict"] == "skipped":
            reason = next((row["reason"] for row in case["checks"] if row["reason"]), "no reason")
            counts[reason] = counts.get(reason, 0) + 1
    return [f"cases skipped: {count} ({reason})" for reason, count in counts.items()]


def surveyed(document: ResultsDocument) -> list[str]:
    """Of each right case that was localised on demand, the node that adds the most error."""
    return [
        f"{case['id']}: {line}"
        for case in document["cases"]
        if case["divergence"] and case["verdict"] == "passed"
        for line in case["divergence"]["words"].splitlines()
    ]


def unsteady(document: ResultsDocument) -> list[str]:
    """Where two runs of the same inputs differed, in how many cases and by how much at most."""
    found: dict[str, list[float]] = {}
    for case in document["cases"]:
        for row in case["checks"]:
            if row["name"] == "determinism" and row["statistics"].get("differing"):
                found.setdefault(place_of(case), []).append(row["statistics"]["largest"])
    return [
        f"~ {place}: two runs of the same inputs differ in {len(largest)} case(s), "
        f"by {max(largest):.3g} "
        "at most"
        for place, largest in found.items()
    ]


def edges(document: ResultsDocument) -> list[str]:
    """Each edge finding once, with the cases that have it."""
    cases: dict[str, list[str]] = {}
    known: dict[str, dict[str, None]] = {}
    for case in document["cases"]:
        for told in edge_of(case):
            cases.setdefault(told, []).append(case["id"])
        for row in case["checks"]:
            if row["outcome"] == "edge":
                lines_of = known.setdefault(f"{row['name']}: {row['reason']}", {})
                lines_of.update(dict.fromkeys(row.get("upstream") or ()))
    lines = []
    for told, names in cases.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"{EDGE} {names[0]}{more}: edge finding in {told}")
        lines += [f"  {line}" for line in known.get(told, {})]
    note = "edge findings decide nothing; --edge-cases=fail makes them red"
    return [*lines, *([f"{EDGE} {note}"] if lines else [])]


def known(document: ResultsDocument) -> list[str]:
    """Each known failure once, with the cases it covers."""
    lines = []
    for case in document["cases"]:
        rows = [row for row in case["checks"] if row["outcome"] == "known_failure"]
        if rows:
            lines.append(f"{case['id']}: known failure: {rows[0]['reason']}")
    return lines
