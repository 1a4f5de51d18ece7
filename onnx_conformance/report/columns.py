"""The matrix in words, for terminal, Markdown and pages: its columns, and the verdict on a case."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from onnx_conformance.core.documents import CaseEntry
from onnx_conformance.core.text import times_of

PROVED, INCOMPLETE, FAILED = "passed", "incomplete", "failed"
KNOWN, SKIPPED = "known_failure", "skipped"
EDGE = "◇"  # beside the mark of a case with edge findings


class OutcomeMark(NamedTuple):
    """How an outcome or verdict looks: a symbol beside a colour, and its word."""

    symbol: str
    word: str


MARKS = {
    PROVED: OutcomeMark("✓", "passed"),
    INCOMPLETE: OutcomeMark("◐", "incomplete"),
    FAILED: OutcomeMark("✗", "failed"),
    "error": OutcomeMark("!", "error"),
    "edge": OutcomeMark(EDGE, "edge finding"),
    KNOWN: OutcomeMark("△", "known failure"),
    "not_applicable": OutcomeMark("·", "not applicable"),
    SKIPPED: OutcomeMark("–", "skipped"),
}
WORDED = (INCOMPLETE, KNOWN)  # verdicts that a cell of the terminal says in words
DIGITS = 2  # of a score in a cell
RED_OUTCOMES = ("failed", "error")  # outcomes of checks


@dataclass(frozen=True)
class Column:
    """A column of the matrix.

    Args:
        text: the cell's text for a case; a row shows each different text of its cases once.
        key: cases that differ in it have rows of their own.
    """

    heading: str
    text: Callable[[CaseEntry], str]
    key: bool = False

    def of_row(self, cases: Iterable[CaseEntry]) -> str:
        """The cell's text in a row of several cases."""
        return " / ".join(dict.fromkeys(text for text in map(self.text, cases) if text))


def opset_text(case: CaseEntry) -> str:
    """The opset asked for and, where it differs, the one delivered."""
    asked, got = case["opset_requested"], case["opset"]
    if asked is None:
        return "–" if got is None else str(got)
    return str(asked) if got in (asked, None) else f"{asked} → {got}"


MODEL = Column("model", lambda case: str(case["model"]), key=True)
EXPORTER = Column("exporter", lambda case: str(case["exporter"]), key=True)
OPSET = Column("opset", opset_text, key=True)
COLUMNS = [MODEL, EXPORTER, OPSET]


def rows_of(
    cases: Iterable[CaseEntry], *, without: Column | None = None
) -> tuple[list[str], list[tuple[list[str], list[CaseEntry]]]]:
    """Headings, and of each row its texts and its cases; the model is the first column.

    Args:
        without: a column that is shown otherwise, and parts no rows.
    """
    columns = [column for column in COLUMNS if column is not without]
    keys = [column for column in columns if column.key]
    rows: dict[tuple[str, ...], list[CaseEntry]] = {}
    for case in cases:
        rows.setdefault(tuple(column.text(case) for column in keys), []).append(case)
    texts = [[column.of_row(found) for column in columns] for found in rows.values()]
    return [column.heading for column in columns], list(zip(texts, rows.values(), strict=True))


def passed_every_check(case: CaseEntry) -> bool:
    """Whether the case passed every required check."""
    return bool(case["verdict"] == "passed" and case["complete"])


def incomplete(case: CaseEntry) -> bool:
    """Whether the case is not red and lacks checks, without a known failure that says why."""
    return bool(case["verdict"] == "passed" and not case["complete"])


def kind_of(case: CaseEntry) -> str:
    """The case's verdict, where a pass of only some of the checks is ``incomplete``."""
    if case["verdict"] != "passed":
        return str(case["verdict"])
    return PROVED if passed_every_check(case) else INCOMPLETE


def score_of(case: CaseEntry) -> str:
    """``16 dB``, ``0.84× ≤ 4×``, ``41× > 4×``, else ``allclose`` if all was passed, or nothing.

    The unit is what the precision itself errs on the same inputs: the noise floor.
    """
    # of a document that was read, infinity is text
    decibels = case["decibels"]
    if decibels is not None:
        return f"{float(decibels):.0f} dB"
    if case["worst_score"] is None or case["budget"] is None:
        whole = case["verdict"] == "passed" and case["complete"]
        return "allclose" if whole else ""  # there was no oracle
    score, budget = float(case["worst_score"]), float(case["budget"])
    sign = "≤" if score <= budget else ">"
    return f"{times_of(score, DIGITS)}× {sign} {budget:g}×"


def cell_of(case: CaseEntry) -> tuple[str, str]:
    """``✓`` and ``0.84× ≤ 4×``, as the matrix words it.

    A case that failed by another check than the score names it: ``initializers (0.49× ≤ 4×)``.
    ``~`` where two runs of a set of inputs differ, ``◇`` where there are edge findings.
    """
    score, differs = score_of(case), "~" if case["same_bits"] is False else ""
    red = [row["name"] for row in case["checks"] if row["outcome"] in RED_OUTCOMES]
    if kind_of(case) == FAILED and red and ">" not in score:
        score = f"{red[0]} ({score})" if score else red[0]
    signs = [score, differs, EDGE if edge_of(case) else ""]
    mark = MARKS[kind_of(case)]
    text = mark.word if kind_of(case) in WORDED else mark.symbol
    return text, " ".join(filter(None, signs))


def edge_of(case: CaseEntry) -> list[str]:
    """The case's edge findings, each as ``check: reason``."""
    found = (row for row in case["checks"] if row["outcome"] == "edge")
    return list(dict.fromkeys(f"{row['name']}: {row['reason']}" for row in found))


def why(case: CaseEntry) -> str:
    """Why it did not pass every check; empty if it did."""
    kind, checks = kind_of(case), case["checks"]
    if kind == PROVED:
        return ""
    skipped = dict.fromkeys(row["reason"] for row in checks if row["outcome"] == "skipped")
    if kind == INCOMPLETE:
        absent = [name for name, reason in case["missing"].items() if not reason]
        left = [f"checks not run: {', '.join(absent)}"] if absent else []
        return "; ".join([*skipped, *left]) or "some of the required checks were not run"
    red = RED_OUTCOMES if kind == FAILED else (KNOWN,)
    reasons = [row["reason"] for row in checks if row["outcome"] in red]
    more = f"; {len(reasons) - 1} more failed" if kind == FAILED and len(reasons) > 1 else ""
    return (next(iter([*reasons, *skipped]), "") or "no reason was given") + more
