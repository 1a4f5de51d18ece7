"""The results as Markdown: for a CI job's summary, or a note under a merge request.

Both places cut or refuse long texts (GitHub's summary: 1 MiB for each step), so the first failed
cases and rows are listed and the rest counted; the page has them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from onnx_conformance.core.documents import ResultsDocument
from onnx_conformance.report.columns import EDGE, MARKS
from onnx_conformance.report.pages import LINK, clean
from onnx_conformance.report.view import (
    AbsentProvider,
    Failure,
    Matrix,
    MatrixCell,
    MatrixRow,
    Note,
    view,
)

MOST_RED = 50
MOST_ROWS = 200
LONGEST_REASON = 400
LONGEST_COMMAND = 2000
INNER = r"[^\W_]"  # an underscore between two of these is never emphasis, and reads better
SPECIAL = re.compile(rf"[\\`*~\[\]<>&|#@!$%]|(?<!{INNER})_|_(?!{INNER})")
REFERENCE = re.compile(r"(?<!\w)[@#!~%$&](?=\w)")  # a person, an issue, a merge request, a label


def render(document: ResultsDocument) -> str:
    """The summary of a results document (:mod:`onnx_conformance.report.document`)."""
    seen = view(document)
    mark, notes = MARKS[seen.verdict], seen.matrix.notes
    sections = [
        f"## {mark.symbol} {prose(seen.headline)}",
        prose(document["run"]["sentence"]),
        *_failures_table(seen.failures),
        *_matrix(seen.matrix),
        *_notes("Edge findings, not part of the verdict", "edge", notes),
        *_notes("Known failures", "known_failure", notes),
        *_notes("Not run", "skipped", notes),
        *_absent(seen.absent),
        *_environment(document),
    ]
    return "\n\n".join(sections) + "\n"


# -- sections ----------------------------------------------------------------------------------


def _failures_table(failures: list[Failure]) -> list[str]:
    """One row for each failed case: the first failure, and the command that repeats it."""
    if not failures:
        return []
    rows = [_red_row(failure) for failure in failures[:MOST_RED]]
    left = len(failures) - len(rows)
    more = [f"… and {left} more failed cases: see the page."] if left else []
    return ["### Failed cases", table(("case", "check", "reason", "repeat"), rows), *more]


def _red_row(failure: Failure) -> list[str]:
    case, checks = failure.case, failure.checks
    first, others = checks[0], len(checks) - 1
    reason = prose(first.headline, most=LONGEST_REASON)
    divergence = case.entry["divergence"]
    if divergence:
        reason += f"<br>{prose(divergence['text'].splitlines()[0], most=LONGEST_REASON)}"
    for line in first.row.get("upstream") or ():
        reason += f"<br>{prose(line, most=LONGEST_REASON)}"
    if others:
        reason += f"<br>and {others} more failed {'check' if others == 1 else 'checks'}"
    short = len(first.reproduce) <= LONGEST_COMMAND
    again = code(first.reproduce) if short else "see the page"
    return [code(case.entry["id"]), code(first.row["name"]), reason, again]


def _matrix(matrix: Matrix) -> list[str]:
    """The matrix: rows that did not pass are visible, those that passed every check are folded."""
    if not matrix.rows:
        return ["No case reached a verdict."]
    headings = [*map(prose, matrix.columns), *map(prose, matrix.headings)]
    folded = [row for row in matrix.rows if _all_passed(row)]
    open_rows = [row for row in matrix.rows if not _all_passed(row)]
    sections = ["### Verdict, worst score and what is allowed"]
    if open_rows:
        sections += _rows(headings, open_rows)
    if folded:
        summary = f"{len(folded)} of {len(matrix.rows)} rows passed every check"
        sections += [f"<details><summary>{summary}</summary>"]
        sections += [*_rows(headings, folded), "</details>"]
    return sections


def _rows(headings: Iterable[str], rows: list[MatrixRow]) -> list[str]:
    cells = [
        [*map(code, row.texts[:2]), *map(prose, row.texts[2:]), *map(_cell, row.cells)]
        for row in rows[:MOST_ROWS]
    ]
    left = len(rows) - len(cells)
    return [table(headings, cells), *([f"… and {left} more rows: see the page."] if left else [])]


def _all_passed(row: MatrixRow) -> bool:
    return all(cell is None or cell.case.verdict == "passed" for cell in row.cells)


def _cell(cell: MatrixCell | None) -> str:
    if cell is None:
        return ""
    case = cell.case
    mark = MARKS[case.verdict]
    word = mark.symbol if case.verdict == "passed" else f"{mark.symbol} {mark.word}"
    edge = EDGE if case.edge_findings else ""
    return prose(" ".join(filter(None, (word, case.figure, edge))))


def _notes(heading: str, outcome: str, notes: list[Note]) -> list[str]:
    lines = [
        f"- {_cases(note.cases)}{_checks_of_note(note)}: {prose(note.reason, most=LONGEST_REASON)}"
        for note in notes
        if note.outcome == outcome
    ]
    return _listed(heading, lines)


def _checks_of_note(note: Note) -> str:
    """The checks that an edge finding is of."""
    return f" ({', '.join(note.checks)})" if note.outcome == "edge" else ""


def _absent(providers: list[AbsentProvider]) -> list[str]:
    lines = [
        f"- {prose(probe.name)}: {_cases(probe.cases)} not run: "
        f"{prose(probe.reason, most=LONGEST_REASON)}"
        for probe in providers
    ]
    return _listed("Providers that are absent here", lines)


def _listed(heading: str, lines: list[str]) -> list[str]:
    left = len(lines) - MOST_RED
    more = [f"- … and {left} more: the page has them."] if left > 0 else []
    return [f"### {heading}", "\n".join(lines[:MOST_RED] + more)] if lines else []


def _environment(document: ResultsDocument) -> list[str]:
    run, around = document["run"], document["environment"]
    packages = {"Python": around["python"], **around["versions"]}
    versions = [f"{name} {version}" for name, version in packages.items()]
    lines = [
        f"- {prose(', '.join(versions))}",
        f"- {prose(around['processor'])}, {prose(around['platform'])}",
        *(f"- {prose(name)}: {prose(told)}" for name, told in around.get("devices", {}).items()),
        f"- seed {run['seed']}, {prose(run['weights'])} weights, profile {prose(run['profile'])}",
        f"- {code(run['command'])}",
    ]
    return ["### Versions", "\n".join(lines)]


def _cases(number: int) -> str:
    return f"{number} {'case' if number == 1 else 'cases'}"


# -- text that stays text ----------------------------------------------------------------------


def table(headings: Iterable[str], rows: list[list[str]]) -> str:
    """A table of cells that are Markdown already."""
    head = list(headings)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def prose(text: Any, *, most: int | None = None) -> str:
    """One line of text in which nothing is markup; web addresses are links.

    Entities are never structure to Markdown (CommonMark 2.5), so neither pipes nor backslashes
    can break a table. ``most``: the longest text that is told whole.
    """
    plain = _line(text)
    if most is not None and len(plain) > most:
        plain = plain[: most - 1].rstrip() + "…"
    parts, end = [], 0
    for found in LINK.finditer(plain):
        parts += [_escape(plain[end : found.start()]), f"<{found[0].replace('|', '%7C')}>"]
        end = found.end()
    return "".join([*parts, _escape(plain[end:])])


def code(text: Any) -> str:
    """One line of code; backticks would need a fence of their own, and pipes an escape."""
    plain = _line(text)
    return f"<code>{SPECIAL.sub(_entity, plain)}</code>" if plain else ""


def _line(text: Any) -> str:
    return " ".join(clean("" if text is None else str(text)).split())


def _escape(text: str) -> str:
    """Escape signs that would mention a person or an issue, so that none is notified."""
    parts, end = [], 0
    for found in REFERENCE.finditer(text):
        parts += [SPECIAL.sub(_entity, text[end : found.start()])]
        parts += [f"<span>{_entity(found)}</span>"]
        end = found.end()
    return "".join([*parts, SPECIAL.sub(_entity, text[end:])])


def _entity(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};"
