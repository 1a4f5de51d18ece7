"""The gate's results: the records behind its table, and their sentence, data, Markdown and page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnx_conformance.core.case import Case
from onnx_conformance.core.documents import Environment, Placement
from onnx_conformance.perf.gate.rules import MetricVerdict, TimingRules
from onnx_conformance.perf.gate.sequential_test import Decision, PairedSamples
from onnx_conformance.report.history import KeptRun, Point, now
from onnx_conformance.report.markdown import prose, table
from onnx_conformance.report.pages import page

SCHEMA = 1
NOTHING_COMPARED = (
    "the gate compared nothing: no case reached a verdict on its speed; the lines above say why"
)
SYMBOLS = {"slower": "❌", "not slower": "✅", "undecided": "❓"}
LEAST_SPAN = 0.05  # of the axis on either side of 1, so that noise does not fill it
HEADINGS = ("case", "speed", "time / baseline's", "pairs", "other figures")


@dataclass(frozen=True)
class GateResult:
    """What the gate found of one case at one batch size.

    Args:
        batch: samples a call.
        samples: seconds of the paired calls, and the decision on speed.
        figures: verdicts on the figures beside speed, by name.
        placement: side -> provider -> operator -> nodes.
        runtimes: side -> version of ONNX Runtime.
        same_file: whether both sides are the very same bytes.
    """

    case: Case
    batch: int
    samples: PairedSamples
    figures: dict[str, MetricVerdict]
    placement: dict[str, Placement] = field(default_factory=dict)
    runtimes: dict[str, str] = field(default_factory=dict)
    same_file: bool = False

    @property
    def decision(self) -> Decision:
        """The decision on speed."""
        return self.samples.decision

    def sentence(self, timing: TimingRules) -> str:
        """The verdict, the ratio with its interval, and what would have been seen, in one line."""
        found = self.decision
        what = {
            "slower": "slower than its baseline",
            "not slower": f"not slower than its baseline by {timing.threshold:.0%}",
            "undecided": "not decided whether it is slower than its baseline",
        }[found.verdict]
        return (
            f"{self.case.id} at batch {self.batch}: {what}: {found} times its time, after "
            f"{found.pairs} pairs in {self.samples.seconds:.1f} s; {found.reason or found.power}"
        )

    def to_json(self, timing: TimingRules) -> dict[str, Any]:
        """An entry of ``cases`` of ``--gate-json``; seconds are of one call, one value a pair."""
        found = self.decision
        return {
            "case": self.case.id,
            "batch": self.batch,
            "verdict": found.verdict,
            "threshold": timing.threshold,
            "ratio": found.ratio,
            "low": _finite(found.low),
            "high": _finite(found.high),
            "pairs": found.pairs,
            "smallest_effect": _finite(found.smallest_effect),
            "reason": found.reason,
            "seconds_spent": self.samples.seconds,
            "baseline_seconds": list(self.samples.baseline),
            "candidate_seconds": list(self.samples.candidate),
            "same_file": self.same_file,
            "placement": self.placement,
            "runtimes": self.runtimes,
            "figures": {name: verdict.to_json() for name, verdict in self.figures.items()},
        }


def _finite(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None


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
            return NOTHING_COMPARED
        counts = ", ".join(f"{self.count(verdict)} {verdict}" for verdict in SYMBOLS)
        timing = self.timing
        return (
            f"{counts}; {self.red_figures} other figures failed; threshold {timing.threshold:.0%}, "
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
    bounded = math.isfinite(decision.high)
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


def render(document: GateDocument) -> str:
    """The page, self-contained."""
    decisions = [found.decision for found in document.results]
    ends = [end for found in decisions for end in (found.ratio, found.low, found.high)]
    ratios = [1 + document.timing.threshold, *filter(math.isfinite, ends)]
    low, high = min([1 - LEAST_SPAN, *ratios]), max([1 + LEAST_SPAN, *ratios])

    def place(ratio: float) -> float:
        """Where a ratio lies on the axis, in percent; an open end lies at its edge."""
        return round(100 * (min(ratio, high) - low) / (high - low), 1)

    context = {"gate": document, "low": low, "high": high, "headline": _headline(document)}
    return page(
        "gate.html.j2", context, effect=_effect, factor=_factor, figure=_figure, place=place
    )


def _headline(document: GateDocument) -> str:
    if slower := document.count("slower"):
        return f"{slower} of {len(document.results)} cases slower than the baseline"
    if document.exit_status == 0:
        return "No worse than the baseline"
    return "Worse than the baseline, or not compared"


def _factor(ratio: float) -> str:
    return f"{ratio:.3f}×" if math.isfinite(ratio) else "?"


def _effect(ratio: float) -> str:
    return f"{100 * (ratio - 1):.1f} %" if math.isfinite(ratio) else ""


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}"
