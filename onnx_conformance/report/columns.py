"""The columns before the verdicts in the matrix: terminal, Markdown and page read this one list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from onnx_conformance.core.documents import CaseEntry


@dataclass(frozen=True)
class Column:
    """One column.

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
