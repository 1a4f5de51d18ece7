"""The terminal: the matrix, what it leaves out, and the time by stage."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onnx_conformance.core.documents import CaseEntry, ResultsDocument, TimeTable
from onnx_conformance.core.text import count_of
from onnx_conformance.diagnose.messages import NOT_HERE, place_of
from onnx_conformance.report.columns import (
    EDGE,
    EXPORTER,
    FAILED,
    MODEL,
    cell_of,
    edge_of,
    kind_of,
    passed_every_check,
    rows_of,
    score_of,
)
from onnx_conformance.report.critical_path import critical_path

WIDTH = 100  # columns that the matrix may take
MOST_ROWS = 80
MOST_OPEN = 400  # cases that did not pass, of which more are in the page alone
MOST_BASES = 12  # lines on what the verdicts of reference files rest on; the page has them all
FOLDED_COLUMNS = (MODEL.heading, EXPORTER.heading)  # columns whose texts may go on in the next line
STYLES = {"passed": "green", "failed": "bold red", "known_failure": "yellow", "skipped": "dim"}


def render(table: Table, *, width: int, color: bool) -> str:
    """A rich table as text for pytest's own writer."""
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=color, no_color=not color)
    console.print(table)
    return file.getvalue()


def matrix(document: ResultsDocument) -> Table:
    """One row a model, route and opset, one column a provider that was judged.

    Export options that passed share a row. Of very many cases, only those are shown that did not
    pass every check; where the columns need more than 100 characters, every case has its own row.
    """
    judged = [case for case in document["cases"] if case["verdict"] != "skipped"]
    options = [case for case in judged if _passed_option(case)]
    shown, left_out = _shown([case for case in judged if not _passed_option(case)])
    title = f"verdict, and worst score ≤ what is allowed{left_out}"
    providers = list(dict.fromkeys(place_of(case) for case in judged))
    names = dict.fromkeys(case["model"] for case in judged)
    models = {name: place for place, name in enumerate(names)}
    shown.sort(key=lambda case: models[case["model"]])  # export options beside their model
    headings, rows = rows_of(shown)
    table = _table(
        title, [*headings, *providers], _matrix_by_provider(rows, options, len(headings), providers)
    )
    if Console(width=1000).measure(table).maximum <= WIDTH:
        return table
    return _table(title, [*headings, "provider", "verdict"], _matrix_by_case(rows))


def _passed_option(case: CaseEntry) -> bool:
    return case["option"] and passed_every_check(case)


def _shown(cases: list[CaseEntry]) -> tuple[list[CaseEntry], str]:
    """The cases that the matrix has room for, failed ones first, and what it leaves out."""
    if len(cases) <= MOST_ROWS:
        return cases, ""
    open_ = [case for case in cases if not passed_every_check(case)]
    text = f"{len(cases) - len(open_)} cases that passed"
    if len(open_) > MOST_OPEN:
        text += f" and {len(open_) - MOST_OPEN} that did not"
        open_.sort(key=lambda case: kind_of(case) != FAILED)
    return open_[:MOST_OPEN], f" ({text} are not shown)"


def _table(title: str, headings: Sequence[str], rows: list[list[str]]) -> Table:
    """A table in which each model is named once."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:  # a long name goes on in the next line, so that no verdict is cut
        table.add_column(heading, no_wrap=heading not in FOLDED_COLUMNS, overflow="fold")
    before = None
    for model, *texts in rows:
        table.add_row(model if model != before else "", *texts)
        before = model
    return table


def _matrix_by_provider(
    rows: list[tuple[list[str], list[CaseEntry]]],
    options: list[CaseEntry],
    width: int,
    places: list[str],
) -> list[list[str]]:
    """A column a provider; the export options of a model that passed are counted in its last row.

    Args:
        width: columns before the providers.
    """
    passed: dict[str, Counter[str]] = {}
    for case in options:
        passed.setdefault(MODEL.text(case), Counter())[place_of(case)] += 1
    found: dict[str, list[list[str]]] = {}
    for texts, cases in rows:
        cells = {place_of(case): _cell(case) for case in cases}
        row = [*map(escape, texts), *(cells.get(place, "") for place in places)]
        found.setdefault(texts[0], []).append(row)
    for model, counts in passed.items():
        text = [f"[green]✓[/] {counts[place]} passed" if counts[place] else "" for place in places]
        row = [escape(model), "export options", *[""] * (width - 2), *text]
        found.setdefault(model, []).append(row)
    return [row for model in found.values() for row in model]


def _matrix_by_case(rows: list[tuple[list[str], list[CaseEntry]]]) -> list[list[str]]:
    """A row a case."""
    return [
        [*map(escape, texts), place_of(case), _cell(case)]
        for texts, cases in rows
        for case in cases
    ]


def legend(document: ResultsDocument) -> list[str]:
    """What the figures of the matrix mean."""
    scored = [case for case in document["cases"] if "×" in score_of(case)]
    if not scored:
        return []
    case = next((case for case in scored if passed_every_check(case)), scored[0])
    score, _, allowed = score_of(case).replace("×", "").split()
    return [
        f"{score_of(case)}: the worst error is {score} times {case['precision']}'s own rounding "
        f"error on that model and inputs; {allowed} times is allowed"
    ]


def _cell(case: CaseEntry) -> str:
    mark, score = cell_of(case)
    return f"[{STYLES[case['verdict']]}]{mark}[/] {score}".rstrip()


def stages(time: TimeTable) -> list[str]:
    """The seconds of the run, and of the workers by stage, in one line."""
    busy = [f"{stage} {seconds:.1f}" for stage, seconds in time["engine"].items() if seconds > 0.05]
    several = time.get("processes", 1)
    summed = f" in {several} processes" if several > 1 else ""
    share = 100.0 * time["rest"] / max(time["rest"] + sum(time["waited"].values()), 1e-9)
    return [
        f"time: {time['wall']:.1f} s; seconds of workers, several at once{summed}: "
        f"{', '.join(busy) or 'none'}; judging {time['rest']:.1f} ({share:.0f} %)"
    ]


def longest(document: ResultsDocument) -> list[str]:
    """The critical path, which more processes do not shorten; none of a single model."""
    path = critical_path(document)
    if path is None or len({case["model"] for case in document["cases"]}) < 2:
        return []
    return [f"critical path, which more processes (-n) do not shorten: {path}"]


def bases(document: ResultsDocument) -> list[str]:
    """What verdicts rest on, and the inputs, of each ONNX file in the native model's place.

    A sentence that holds for several files is printed once.
    """
    models: dict[str, dict[str, None]] = {}
    for case in document["cases"]:
        for line in (case.get("basis"), *(case.get("notes") or ())):
            if line:
                models.setdefault(line, {})[case["model"]] = None
    lines = [f"{_models(list(names))}: {line}" for line, names in models.items()]
    more = len(lines) - MOST_BASES
    return lines if more <= 0 else [*lines[:MOST_BASES], f"{more} more such lines are on the page"]


def _models(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} models, {names[0]} the first"


def absences(document: ResultsDocument) -> list[str]:
    """Why cases were not run: absent providers in one line, every other reason once.

    Except for reasons that the closing sentence gives in full (``--require``).
    """
    counts: dict[str, int] = {}
    providers: dict[str, int] = {}
    probes = document["environment"].get("providers", {})
    judged = document["totals"]["judged"]  # where nothing was, the whole reasons are wanted
    absent = [name for name, probe in probes.items() if judged and not probe["usable"]]
    for case in document["cases"]:
        if case["verdict"] == "skipped":
            reason = next((row["reason"] for row in case["checks"] if row["reason"]), "no reason")
            name = case["provider"]
            if reason in document["run"]["sentence"]:
                continue
            if name in absent and reason.startswith(f"{name}: "):
                providers[name] = providers.get(name, 0) + 1
            else:
                counts[reason] = counts.get(reason, 0) + 1
    lines = [f"not run: {count_of(count, 'case')}: {reason}" for reason, count in counts.items()]
    if providers:
        text = ", ".join(f"{name} ({count_of(n, 'case')})" for name, n in providers.items())
        lines.append(f"not run: {text}: {NOT_HERE}")
    return lines


def surveyed(document: ResultsDocument) -> list[str]:
    """The node that adds the most error, of each right case that was localised on demand."""
    return [
        f"{case['id']}: {line}"
        for case in document["cases"]
        if case["divergence"] and case["verdict"] == "passed"
        for line in case["divergence"]["text"].splitlines()
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
        for text in edge_of(case):
            cases.setdefault(text, []).append(case["id"])
        for row in case["checks"]:
            if row["outcome"] == "edge":
                lines_of = known.setdefault(f"{row['name']}: {row['reason']}", {})
                lines_of.update(dict.fromkeys(row.get("upstream") or ()))
    lines = []
    for text, names in cases.items():
        lines.append(f"{EDGE} {names[0]}{_more(names)}: edge finding in {text}")
        lines += [f"  {line}" for line in known.get(text, {})]
    note = "edge findings do not affect the verdict; --edge-cases=fail makes them failures"
    return [*lines, *([f"{EDGE} {note}"] if lines else [])]


def known(document: ResultsDocument) -> list[str]:
    """Each known failure once, with the cases it covers."""
    cases: dict[str, list[str]] = {}
    for case in document["cases"]:
        rows = [row for row in case["checks"] if row["outcome"] == "known_failure"]
        if rows:
            cases.setdefault(rows[0]["reason"], []).append(case["id"])
    return [
        f"known failure upstream: {names[0]}{_more(names)}: {reason}"
        for reason, names in cases.items()
    ]


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
