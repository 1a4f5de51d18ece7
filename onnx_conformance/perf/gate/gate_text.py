"""The gate's verdicts as messages and as table rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from onnx_conformance.perf.gate.gate import Gated, ratio_text
from onnx_conformance.perf.gate.sequential_test import GatePlan
from onnx_conformance.report.markdown import prose


def as_data(found: Gated, plan: GatePlan) -> dict[str, Any]:
    """As plain data, for JSON. Seconds are of one call, one value a pair."""
    decision = found.decision
    return {
        "case": found.case.id,
        "batch": found.batch,
        "verdict": decision.verdict,
        "threshold": plan.delta,
        "ratio": decision.ratio,
        "low": decision.low if math.isfinite(decision.low) else None,
        "high": decision.high if math.isfinite(decision.high) else None,
        "pairs": decision.pairs,
        "smallest_effect": _finite(decision.smallest_effect),
        "reason": decision.reason,
        "seconds_spent": found.samples.seconds,
        "baseline_seconds": list(found.samples.baseline),
        "candidate_seconds": list(found.samples.candidate),
        "same_file": found.same_file,
        "placement": found.placement,
        "runtimes": found.runtimes,
        "figures": {
            name: {
                "outcome": verdict.outcome,
                "baseline": verdict.baseline,
                "candidate": verdict.candidate,
                "sentence": verdict.sentence,
            }
            for name, verdict in found.metrics.items()
        },
    }


def _finite(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None


SYMBOLS = {"slower": "❌", "not slower": "✅", "undecided": "❓"}


def render(sentence: str, results: Sequence[Gated], missing: Iterable[str]) -> str:
    """The sentence, what was not compared, and a row a case.

    Args:
        missing: reasons why cases were not compared.
    """
    lines = [f"## Gate: {prose(sentence)}", ""]
    reasons = list(dict.fromkeys(missing))
    lines += [f"- not compared: {prose(reason)}" for reason in reasons]
    lines += [""] if reasons else []
    if results:
        lines += [
            "| case | speed | time / baseline's | pairs | other figures |",
            "|---|---|---|---|---|",
        ]
        lines += [_row(found) for found in results]
    return "\n".join(lines) + "\n"


def _row(found: Gated) -> str:
    red = [metric.sentence for metric in found.metrics.values() if metric.red]
    verdict = found.decision.verdict
    cells = (
        prose(f"{found.case.id} batch {found.batch}"),
        f"{SYMBOLS[verdict]} {verdict}",
        prose(ratio_text(found)),
        str(found.decision.pairs),
        "❌ " + "; ".join(prose(sentence) for sentence in red) if red else "✅",
    )
    return f"| {' | '.join(cells)} |"
