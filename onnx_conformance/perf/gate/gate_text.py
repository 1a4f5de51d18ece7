"""The gate's verdicts as messages and as table rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from onnx_conformance.perf.gate.gate import Gated
from onnx_conformance.perf.gate.sequential_test import GatePlan
from onnx_conformance.report.markdown import prose


def speed_text(plan: GatePlan, found: Gated) -> str:
    """One line: the verdict, the ratio with its interval, and what would have been seen."""
    decision = found.decision
    what = {
        "slower": "slower than its baseline",
        "not slower": f"not slower than its baseline by {plan.delta:.0%}",
        "undecided": "not decided whether it is slower than its baseline",
    }[decision.verdict]
    words = (
        f"{found.case.id} at batch {found.batch}: {what}: {ratio_text(found)} times its time, "
        f"after {decision.pairs} pairs in {found.samples.seconds:.1f} s"
    )
    if decision.reason:
        return f"{words}; {decision.reason}"
    return f"{words}; {effect_text(found)}"


def ratio_text(found: Gated) -> str:
    """``1.003 [0.991, 1.014]``."""
    decision = found.decision
    return f"{decision.ratio:.3f} [{decision.low:.3f}, {decision.high:.3f}]"


def effect_text(found: Gated) -> str:
    """The smallest slowdown that these pairs would have shown."""
    effect = found.decision.smallest_effect
    if math.isinf(effect):
        return "no slowdown could have been shown"
    return f"a slowdown of {effect - 1:.1%} would have been shown"


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
