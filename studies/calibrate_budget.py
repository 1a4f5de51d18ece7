"""What factor does a provider's class of precision need? ``make calibrate-budget PROVIDER=cuda``.

Certifies clean exports with fresh weights and inputs on the provider, and lays the worst scores
beside the factor of ``tolerances.yaml``, both in noise floors of the class of precision.
Exit status 1: a clean export is over the budget; 2: the provider does not work here.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.plugin.registration import MOST_SEEDS
from tests.meta.running import run_suite

MODELS = ("simple_net", "resnet18", "mobilenet_v2", "keras_sequential")
JUDGED = ("tests/test_function.py", "tests/test_robustness.py")
BUDGET = "error_budget"
# float32's factor is 4 over a worst score of 2.88 in the study that set it (docs/numerics.md).
HEADROOM = 4 / 2.88
RED, ABSENT = 1, 2


@dataclass
class Scores:
    """The scores of one model's inputs, and what is allowed."""

    found: list[float] = field(default_factory=list)
    allowed: float = 0.0

    @property
    def worst(self) -> float:
        return max(self.found)


def gather(
    document: dict[str, Any], variant: str, into: dict[str, Scores], absent: set[str]
) -> None:
    """Take in a run's results of a variant; ``absent``: why cases were skipped."""
    cases = [c for c in document["cases"] if c["exporter"].partition("~")[2] == variant]
    for case in cases:
        for row in case["checks"]:
            if row["name"] == BUDGET and row["score"] is not None:
                into[case["model"]].found.append(row["score"])
                into[case["model"]].allowed = row["budget"]
        if case["verdict"] == "skipped":
            absent.add(case["checks"][0]["reason"])


def table(provider: str, scores: dict[str, Scores]) -> Table:
    """A row a model."""
    drawn = Table(
        title=f"clean exports on {provider}, in noise floors of their class", title_justify="left"
    )
    for heading in ("model", "inputs", "median", "worst", "allowed", "used"):
        drawn.add_column(heading, justify="left" if heading == "model" else "right")
    for name, one in scores.items():
        middle, used = median(one.found), one.worst / one.allowed
        cells = (f"{middle:.3g}", f"{one.worst:.3g}", f"{one.allowed:g}", f"{used:.0%}")
        drawn.add_row(name, str(len(one.found)), *cells)
    return drawn


def verdict(scores: dict[str, Scores]) -> tuple[str, int]:
    """The factor that the scores need, beside the one that is there, and the exit status."""
    worst = max(scores.values(), key=lambda one: one.worst / one.allowed)
    share = worst.worst / worst.allowed
    needed = HEADROOM * share
    sentence = (
        f"worst {worst.worst:.3g} of {worst.allowed:g} allowed; with the headroom of the study "
    )
    sentence += f"({HEADROOM:.2f}) the factor would be {needed:.2f} times what it is"
    return (f"RED: {sentence}", RED) if share > 1 else (sentence, 0)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make calibrate-budget")
    parser.add_argument("provider", help="as --provider takes it")
    parser.add_argument("--variant", default="", help="measure a variant, such as fp16")
    parser.add_argument("--model", action="append", default=[], help="(repeatable)")
    parser.add_argument("--n", type=int, default=3, help="fresh seeds (default: %(default)s)")
    chosen, rest = parser.parse_known_args(arguments)
    provider = PROVIDERS[chosen.provider].name
    options = [f"--provider={provider}", *rest, *(f"--model={m}" for m in chosen.model or MODELS)]
    options += [f"--variant={chosen.variant}"] if chosen.variant else []
    scores: dict[str, Scores] = defaultdict(Scores)
    absent: set[str] = set()
    seeds = [secrets.randbelow(MOST_SEEDS) for _ in range(chosen.n)]
    for seed in track(seeds, "seeds"):
        with tempfile.TemporaryDirectory() as folder:
            ran = run_suite(Path(folder), *JUDGED, f"--seed={seed}", "--no-localize", *options)
            gather(ran.document, chosen.variant, scores, absent)
    if not scores:
        print(f"{provider}: nothing was judged: {'; '.join(sorted(absent)) or 'no case'}")
        return ABSENT
    Console().print(table(provider, scores))
    sentence, status = verdict(scores)
    print(f"{sentence}; seeds {' '.join(map(str, seeds))}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
