"""The gate's results: the record behind table, data, page and Markdown, and its sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnx_conformance.core.documents import Environment
from onnx_conformance.perf.gate.gate import GateResult
from onnx_conformance.perf.gate.rules import TimingRules
from onnx_conformance.report.history import KeptRun, Point, now
from onnx_conformance.report.markdown import prose, table

SCHEMA = 1
NOTHING = (
    "the gate compared nothing: no case reached a verdict on its speed, so nothing is known of "
    "the candidate"
)
SYMBOLS = {"slower": "❌", "not slower": "✅", "undecided": "❓"}
HEADINGS = ("case", "speed", "time / baseline's", "pairs", "other figures")


@dataclass(frozen=True)
class GateDocument:
    """What ``--gate-json`` holds.

    Args:
        timing: threshold and error rates.
        not_compared: ``CASE batch N`` -> why it has no result.
        left_out: ids of the baseline's cases that no test asked for.
        strict: an undecided case is red.
    """

    timing: TimingRules
    environment: Environment
    results: tuple[GateResult, ...] = ()
    not_compared: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    strict: bool = False
    exit_status: int = 0

    @property
    def nothing(self) -> bool:
        """Whether no case reached a verdict on speed."""
        return self.count("slower") + self.count("not slower") == 0

    @property
    def red(self) -> bool:
        """Whether anything measured is worse, or nothing was decided.

        A measurement counts where ``-k`` left its own test out, too.
        """
        bad = self.count("slower") + self.strict * self.count("undecided") + self.red_figures
        return self.nothing or bad > 0

    @property
    def red_figures(self) -> int:
        """How many figures beside speed are red."""
        return sum(figure.red for found in self.results for figure in found.figures.values())

    def count(self, verdict: str) -> int:
        """How many cases have this verdict on speed."""
        return sum(found.decision.verdict == verdict for found in self.results)

    @property
    def sentence(self) -> str:
        """What was found, and with which error rates."""
        if self.nothing:
            return NOTHING
        counts = ", ".join(f"{self.count(verdict)} {verdict}" for verdict in SYMBOLS)
        timing = self.timing
        return (
            f"{counts}; {self.red_figures} other figures red; threshold {timing.threshold:.0%}, "
            f"error rates {timing.alpha:.0%} and {timing.beta:.0%}"
        )

    def to_json(self) -> dict[str, Any]:
        """The whole of ``--gate-json``."""
        return {
            "schema": SCHEMA,
            "exit_status": self.exit_status,
            "sentence": self.sentence,
            "environment": self.environment,
            "cases": [found.to_json(self.timing) for found in self.results],
            "not_compared": dict(self.not_compared),
            "left_out": list(self.left_out),
        }

    def kept_run(self) -> KeptRun:
        """What ``--history`` keeps of it: each case at its smallest batch."""
        cases = {
            found.case.id: _point(found)
            for found in sorted(self.results, key=lambda found: -found.batch)
        }
        verdict = "red" if self.exit_status else "passed"
        return KeptRun(now(), verdict, self.environment["versions"], cases)

    def markdown(self) -> str:
        """The sentence, what was not compared, and a row a case."""
        lines = [f"## Gate: {prose(self.sentence)}", ""]
        reasons = list(dict.fromkeys(self.not_compared.values()))
        lines += [f"- not compared: {prose(reason)}" for reason in reasons]
        lines += [""] if reasons else []
        rows = [_row(found) for found in self.results]
        return "\n".join([*lines, *([table(HEADINGS, rows)] if rows else [])]) + "\n"


def _point(found: GateResult) -> Point:
    decision = found.decision
    kind = "failed" if decision.verdict == "slower" else "passed"
    bounded = decision.high < float("inf")
    speed = (decision.ratio, decision.low, decision.high) if bounded else None
    return Point(kind, decision.verdict, None, speed)


def _row(found: GateResult) -> list[str]:
    red = [figure.sentence for figure in found.figures.values() if figure.red]
    verdict = found.decision.verdict
    return [
        prose(f"{found.case.id} batch {found.batch}"),
        f"{SYMBOLS[verdict]} {verdict}",
        prose(str(found.decision)),
        str(found.decision.pairs),
        "❌ " + "; ".join(prose(sentence) for sentence in red) if red else "✅",
    ]
