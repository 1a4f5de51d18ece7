"""The HTML page of a run: one self-contained file, the summary first, then the details."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from onnx_conformance.core.documents import ResultsDocument
from onnx_conformance.core.text import size_words, times_of
from onnx_conformance.report import run_plots
from onnx_conformance.report.columns import MARKS, RED_OUTCOMES
from onnx_conformance.report.next_step import command_of
from onnx_conformance.report.pages import clean, page
from onnx_conformance.report.view import CaseView, view

if TYPE_CHECKING:
    from markupsafe import Markup

MOST_MATRIX = 80  # rows of a matrix that is not folded
FIRST_CHECKS = 3  # failures of a case that are listed before the fold


def render(document: ResultsDocument) -> str:
    """The page of a results document (:mod:`onnx_conformance.report.document`)."""
    seen = view(document)
    return page(
        "report.html.j2",
        {
            **document,
            "view": seen,
            "scores": run_plots.scores(_scored(seen.shown)),
            "stages": run_plots.stages(document["time"]),
            "worker_seconds": sum((document["time"].get("engine") or {}).values()),
            "most_rows": run_plots.MOST_ROWS,
            "marks": MARKS,
            "mark": mark,
            "RED": RED_OUTCOMES,
            "first_checks": FIRST_CHECKS,
            "most_matrix": MOST_MATRIX,
        },
        command=command_of,
        pack=_pack,
        count=_count,
        score=_score,
        figures=_figures,
        used=_used,
        within=_within,
        seconds=_seconds,
        size=_size,
        shape=_shape,
    )


@cache
def mark(outcome: str, words: bool = True) -> Markup:
    """An outcome's symbol with its word, which without ``words`` only screen readers read."""
    from markupsafe import Markup

    symbol, word = MARKS.get(outcome, ("?", outcome))
    shown = Markup(" {}") if words else Markup('<span class="unseen"> {}</span>')
    text = Markup('<span class="mark {}" title="{}">{}{}</span>')
    return text.format(outcome, word, symbol, shown.format(word))


def _scored(cases: list[CaseView]) -> list[tuple[str, str, float, float | None]]:
    found = ((case, number(case.entry["worst_score"])) for case in cases)
    return [
        (clean(case.entry["id"]), case.verdict, score, number(case.entry["budget"]))
        for case, score in found
        if score is not None and not math.isnan(score)
    ]


def _pack(bodies: list[str]) -> str:
    """HTML texts for the page's script: JSON, gzip, base64."""
    text = json.dumps([str(body) for body in bodies]).encode()
    return base64.b64encode(gzip.compress(text, mtime=0)).decode()


# -- words and numbers -------------------------------------------------------------------------


def number(value: Any) -> float | None:
    """A figure of the document; JSON holds NaN and infinity as text."""
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _count(value: Any) -> str:
    found = number(value)
    return "–" if found is None or not math.isfinite(found) else f"{found:,.0f}"


def _score(value: Any) -> str:
    found = number(value)
    if found is None:
        return "–"
    return "−∞" if found == -math.inf else times_of(found)


def _figures(statistics: Mapping[str, Any]) -> str:
    return " · ".join(f"{name} {_score(figure)}" for name, figure in statistics.items())


def _used(score: Any, budget: Any) -> int | None:
    """The part of the budget used, in percent; None where nothing was scored."""
    found, allowed = number(score), number(budget)
    if found is None or not allowed:
        return None
    return 100 if math.isnan(found) else round(100 * min(1.0, max(0.0, found / allowed)))


def _within(score: Any, budget: Any) -> bool:
    """Whether a score is allowed; NaN never is."""
    found, allowed = number(score), number(budget)
    return found is not None and allowed is not None and found <= allowed


def _seconds(value: Any) -> str:
    found = number(value)
    if found is None:
        return "–"
    if found >= 120:
        return f"{int(found // 60)} min {found % 60:.0f} s"
    return f"{found:.1f} s" if found >= 1 else f"{1000 * found:.0f} ms"


def _size(value: Any) -> str:
    found = number(value)
    return "–" if found is None else size_words(found)


def _shape(value: Any) -> str:
    """``[batch_size, 3, 224, 224]``; a shape that the file does not give is ``[?]``."""
    return "[?]" if value is None else f"[{', '.join(map(str, value))}]"
