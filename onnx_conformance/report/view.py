"""A results document as the page and the Markdown show it: headline, failures, matrix, notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from textwrap import dedent

from onnx_conformance.core.documents import CaseEntry, CheckRow, ProbeFacts, ResultsDocument
from onnx_conformance.diagnose.messages import place_of
from onnx_conformance.report.columns import (
    INCOMPLETE,
    OPSET,
    PROVED,
    RED_OUTCOMES,
    SKIPPED,
    edge_of,
    kind_of,
    rows_of,
    score_of,
)
from onnx_conformance.report.next_step import case_command, command_of


@dataclass(frozen=True)
class CaseView:
    """A case of the document, and how it is shown.

    Args:
        verdict: the document's, or ``incomplete`` where it passed only some of its checks.
        figure: its worst score as the matrix shows it.
        counts: how many checks ended how.
        again: the command that judges it again, or nothing.
        packed: the chunk and the place in it, of a page that packs its details.
    """

    entry: CaseEntry
    verdict: str
    figure: str
    anchor: str
    counts: Counter[str]
    edge_findings: list[str]
    again: str
    packed: str

    @property
    def checks(self) -> list[CheckRow]:
        """The rows of its checks."""
        return self.entry["checks"]


@dataclass(frozen=True)
class RedCheck:
    """A red check: its message as a headline and a body, less the lines that have a place."""

    row: CheckRow
    headline: str
    body: str
    inputs: str
    bundle: str
    reproduce: str
    open: bool


@dataclass(frozen=True)
class Failure:
    """A case with its red checks."""

    case: CaseView
    checks: list[RedCheck]


@dataclass(frozen=True)
class AbsentProvider:
    """A provider that is absent here, and how many cases were not run for it."""

    name: str
    reason: str
    cases: int


@dataclass
class Note:
    """A reason beside the matrix: how many cases it covers, and which checks of theirs."""

    number: int
    outcome: str
    reason: str
    cases: int = 0
    checks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class MatrixCell:
    """A case in the matrix, and the numbers of its notes."""

    case: CaseView
    notes: list[int]


@dataclass(frozen=True)
class MatrixRow:
    """A row of the matrix.

    Args:
        texts: of the first columns.
        span: over how many rows the first of them reaches; 0 where it stands above.
        cells: of the further columns.
    """

    texts: list[str]
    span: int
    cells: list[MatrixCell | None]


@dataclass(frozen=True)
class Matrix:
    """Verdicts by route and opset or provider: ``columns`` head texts, ``headings`` the cells."""

    columns: list[str]
    headings: list[str]
    rows: list[MatrixRow]
    notes: list[Note]


@dataclass(frozen=True)
class View:
    """What the page and the Markdown show of a document, worked out.

    Args:
        verdict: of the run, a key of ``MARKS`` of :mod:`.columns`; ``headline`` says it in words.
        verdicts: how many cases ended how.
        outcomes: how many checks ended how.
        shown: the cases but those of absent providers; ``models`` has them by model.
    """

    verdict: str
    headline: str
    verdicts: Counter[str]
    outcomes: Counter[str]
    absent: list[AbsentProvider]
    failures: list[Failure]
    matrix: Matrix
    shown: list[CaseView]

    @property
    def models(self) -> dict[str, list[CaseView]]:
        """The cases by model, in the order of the document."""
        return _by_model(self.shown)

    @property
    def packed(self) -> bool:
        """Whether the cases are so many that their details are packed."""
        return len(self.shown) > MOST_WHOLE

    @property
    def chunks(self) -> list[list[CaseView]]:
        """The cases that are packed together."""
        starts = range(0, len(self.shown), CHUNK) if self.packed else ()
        return [self.shown[start : start + CHUNK] for start in starts]


OPEN_FAILURES = 3  # cases whose first failure is unfolded
MOST_WHOLE = 100  # cases whose details stand in the page as they are; of more they are packed
CHUNK = 50  # cases that are packed together


def view(document: ResultsDocument) -> View:
    """What the page and the Markdown show."""
    providers = document["environment"].get("providers", {})
    hidden = [name for name, probe in providers.items() if not probe["usable"]]
    entries = document["cases"]
    reached = [
        (number, case)
        for number, case in enumerate(entries)
        if not any(_unreached(case, name) for name in hidden)
    ]
    models_from = document["run"].get("models_from") or ()
    shown = [
        CaseView(
            entry=case,
            verdict=kind_of(case),
            figure=score_of(case),
            anchor=f"case-{number}",
            counts=_counts(case["checks"]),
            edge_findings=edge_of(case),
            again=case_command(case, models_from),
            packed=f"{place // CHUNK}:{place % CHUNK}",
        )
        for place, (number, case) in enumerate(reached)
    ]
    verdicts = Counter(case.verdict for case in shown)
    verdict, headline = _headline(document["run"]["verdict"], verdicts)
    return View(
        verdict=verdict,
        headline=headline,
        verdicts=verdicts,
        outcomes=_counts(check for case in shown for check in case.checks),
        absent=[_absent(name, providers[name], entries) for name in hidden],
        failures=_failures(shown),
        matrix=matrix(shown),
        shown=shown,
    )


def _headline(verdict: str, cases: Counter[str]) -> tuple[str, str]:
    """How the run's verdict looks, and its words."""
    red = cases["failed"]
    if verdict == "red":
        return "failed", f"Red: {red} {'case' if red == 1 else 'cases'}" if red else "Red"
    return verdict if verdict in (PROVED, INCOMPLETE) else SKIPPED, verdict.capitalize()


def _absent(name: str, probe: ProbeFacts, cases: list[CaseEntry]) -> AbsentProvider:
    return AbsentProvider(name, probe["reason"], sum(_unreached(case, name) for case in cases))


def _unreached(case: CaseEntry, provider: str) -> bool:
    """Whether the case belongs to a provider and never got a verdict."""
    return place_of(case) == provider and case["verdict"] == "skipped"


def _counts(checks: Iterable[CheckRow]) -> Counter[str]:
    return Counter(check["outcome"] for check in checks)


# -- failures ----------------------------------------------------------------------------------


def _failures(cases: list[CaseView]) -> list[Failure]:
    """Cases with failures; the first of each of the first few is unfolded."""
    red = [(case, [row for row in case.checks if row["outcome"] in RED_OUTCOMES]) for case in cases]
    return [
        Failure(
            case,
            [
                _red_check(case.entry, row, unfold=place < OPEN_FAILURES and row is rows[0])
                for row in rows
            ],
        )
        for place, (case, rows) in enumerate(pair for pair in red if pair[1])
    ]


def _red_check(case: CaseEntry, row: CheckRow, *, unfold: bool) -> RedCheck:
    lines = str(row.get("message") or "").splitlines()
    first = lines[0].removeprefix(f"{case['id']}: ") if lines else ""
    headline = row["reason"] or first or "no reason was given"
    lines = lines[1:] if first == headline else lines
    placed = {"inputs": row.get("inputs"), "bundle": row.get("bundle"), "reproduce": None}
    kept = []
    for line in lines:
        label, _, rest = line.strip().partition(": ")
        if label in placed:
            placed[label] = placed[label] or rest
        else:
            kept.append(line)
    return RedCheck(
        row=row,
        headline=headline,
        body=dedent("\n".join(kept)).strip(),
        inputs=placed["inputs"] or "",
        bundle=placed["bundle"] or "",
        reproduce=placed["reproduce"] or command_of(row),
        open=unfold,
    )


# -- matrix ------------------------------------------------------------------------------------


def matrix(cases: list[CaseView]) -> Matrix:
    """Rows of the keys of ``COLUMNS``, a column for each opset, and numbered notes.

    With several providers, these are the columns and the opset is part of the row: routes share few
    opsets, so columns of opsets would make a wide table that is mostly empty.
    """
    shown = {id(case.entry): case for case in cases}
    entries = [case.entry for case in cases]
    providers = list(dict.fromkeys(place_of(case) for case in entries))
    opsets = sorted({_opset(case) for case in entries})
    wide = len(providers) > 1
    notes: dict[tuple[str, str], Note] = {}
    by_model = [case.entry for group in _by_model(cases).values() for case in group]
    columns, rows = rows_of(by_model, without=None if wide else OPSET)
    spans = Counter(texts[0] for texts, _ in rows)
    listed: list[MatrixRow] = []
    for texts, found in rows:
        cells = {
            place_of(case) if wide else _opset(case): MatrixCell(
                shown[id(case)], [_note(notes, *key, case) for key in _note_keys(case)]
            )
            for case in found
        }
        span = 0 if listed and listed[-1].texts[0] == texts[0] else spans[texts[0]]
        listed.append(
            MatrixRow(texts, span, [cells.get(key) for key in (providers if wide else opsets)])
        )
    headings = providers if wide else [f"opset {opset or '?'}" for opset in opsets]
    return Matrix(columns, headings, listed, list(notes.values()))


def _by_model(cases: Iterable[CaseView]) -> dict[str, list[CaseView]]:
    groups: dict[str, list[CaseView]] = {}
    for case in cases:
        groups.setdefault(case.entry["model"], []).append(case)
    return groups


def _opset(case: CaseEntry) -> int:
    """The opset asked for, or, of a file that none was asked of, its own; 0 if unknown."""
    return int(case["opset_requested"] or case["opset"] or 0)


def _note_keys(case: CaseEntry) -> list[tuple[str, str]]:
    """What a cell must explain: known failures, edge findings and, if nothing ran, why."""
    outcomes = {"known_failure", "edge"} | ({"skipped"} if case["verdict"] == "skipped" else set())
    keys = [
        (check["outcome"], check["reason"] or "no reason was given")
        for check in case["checks"]
        if check["outcome"] in outcomes
    ]
    return list(dict.fromkeys(keys))


def _note(notes: dict[tuple[str, str], Note], outcome: str, reason: str, case: CaseEntry) -> int:
    """The number of a note; the same reason is noted once, with what it covers."""
    note = notes.setdefault((outcome, reason), Note(len(notes) + 1, outcome, reason))
    note.cases += 1
    names = (c["name"] for c in case["checks"] if (c["outcome"], c["reason"]) == (outcome, reason))
    note.checks = list(dict.fromkeys([*note.checks, *names]))
    return note.number
