"""Measure the gate's error rates on this machine, with the real workers and files.

    make gate-selftest N=100
    python -m studies.gate_error_rates --trials same=300 slow10=150 slow5@0.05=150

A trial is a whole gate of one case at batch 1, as ``pytest --gate`` runs it: fresh processes,
certified artifacts, the sequential test on speed, and the rules on the other figures. ``same``
gates a file against its copy, ``slow10`` against calls that busy waiting makes take 1.10 times as
long; ``@0.05`` sets the threshold. Beside it stands what pytest-benchmark's ``mean:5%`` and
``min:5%`` say of the very same calls. Writes .conformance/gate_selftest.json after every trial.
Exit status 1: an error rate above the bars.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import stats

from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import ConformanceError
from onnx_conformance.core.files import TOLERANCES
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.store import Store
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.perf.gate.gate import CANDIDATE, Gate
from onnx_conformance.perf.latency.certification import Certificates
from onnx_conformance.perf.latency.suspended_worker import chosen_cpus
from onnx_conformance.perf.options import BASELINE, GateOptions, TimingOptions
from onnx_conformance.report.saved_artifacts import Baseline, BaselineCase
from onnx_conformance.run.cache_keys import environment
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.run_workers import RunWorkers
from tests.meta.running import ROOT

ENGINE = "tests.meta.slowed:Slowed"
FORMS = {
    "same": "plain",
    "slow3": "slowed-1.03",
    "slow5": "slowed-1.05",
    "slow10": "slowed-1.10",
    "slow20": "slowed-1.20",
}
# Of N: about 4 seconds a trial, half an hour for 100.
SHARES = {"same": 2.0, "slow3": 0.4, "slow5": 0.4, "slow10": 0.8, "slow20": 0.4}
USUAL = 0.05  # of the rules mean:5% and min:5%
# The cheap ones more often: a whole gate of resnet50 takes three times as long.
CASES = (
    Case("simple_net", "torch_torchscript", 23, "cpu"),
    Case("mobilenet_v2", "torch_torchscript", 23, "cpu"),
    Case("resnet18", "torch_dynamo", 25, "cpu"),
    Case("mobilenet_v2", "torch_dynamo", 25, "cpu"),
    Case("resnet18", "torch_torchscript", 23, "cpu"),
    Case("keras_mobilenet_v2", "tf2onnx_function", 18, "cpu"),
    Case("mobilenet_v2", "torch_torchscript", 23, "cpu"),
    Case("resnet50", "torch_torchscript", 23, "cpu"),
)
# (kind, threshold) -> the most, or for a slowdown the least, that may be called slower. Below the
# threshold either verdict is allowed.
BARS = {
    ("same", 0.1): 0.01,
    ("slow10", 0.1): 0.99,
    ("slow20", 0.1): 0.99,
    ("slow5", 0.05): 0.90,
}
OUTPUT = ROOT / ".conformance" / "gate_selftest.json"


@dataclass(frozen=True)
class Trial:
    """One gate: what it said, and what it took. ``figures`` are those that were red.

    ``mean_red`` and ``min_red`` are what the usual rules say of the same calls.
    """

    kind: str
    threshold: float
    case: str
    verdict: str
    ratio: float
    pairs: int
    draw_seconds: float
    seconds: float
    figures: dict[str, str]
    mean_red: bool = False
    min_red: bool = False


def main() -> int:
    """Run the trials and say the rates."""
    asked = _parse()
    settings = Settings(cache_dir=asked.cache_dir, threads=asked.threads)
    workers = RunWorkers(settings, Store(settings.cache_dir), Clock())
    trials: list[Trial] = []
    try:
        for kind, threshold, number in asked.trials:
            cases = cycle(CASES)
            for place in range(number):
                with tempfile.TemporaryDirectory() as name:
                    case, folder = next(cases), Path(name)
                    trials.append(_trial(workers, settings, kind, threshold, case, place, folder))
                asked.output.parent.mkdir(parents=True, exist_ok=True)
                asked.output.write_text(json.dumps(_document(trials), indent=1))
                _progress(trials[-1], place + 1, number)
    finally:
        workers.close()
    for line in _summary(trials):
        print(line)
    return 1 if any("MISSED" in line for line in _summary(trials)) else 0


def _trial(
    workers: RunWorkers,
    settings: Settings,
    kind: str,
    threshold: float,
    case: Case,
    seed: int,
    folder: Path,
) -> Trial:
    started = time.monotonic()
    run: Any = SimpleNamespace(
        settings=replace(settings, seed=seed),  # of the pairs' order
        frameworks=(),
        timing=TimingOptions(cpus=tuple(chosen_cpus((), settings.threads))),
        tolerances=load_tolerances(TOLERANCES),
        known_failures=(),
        gate=GateOptions(None, None, threshold, None, False, None, (1,)),
    )
    sure: Any = SimpleNamespace(**{**vars(run), "settings": settings})
    certificates = Certificates(sure, workers)
    forms = {BASELINE: "plain", CANDIDATE: FORMS[kind]}
    gate = Gate(run, lambda: (workers, certificates), ENGINE, forms)
    gate.baseline = _copied(workers, case, folder)
    try:
        found = gate.result(case, 1)
    except ConformanceError as reason:
        reasons = {"error": str(reason)}
        return Trial(kind, threshold, case.id, "error", 0.0, 0, 0.0, _since(started), reasons)
    red = {name: v.sentence for name, v in found.figures.items() if v.red}
    decision = found.decision
    return Trial(
        kind, threshold, case.id, decision.verdict, decision.ratio, decision.pairs,
        found.samples.seconds, _since(started), red, *_usual(*found.samples.calls),
    )  # fmt: skip


def _usual(before: tuple[float, ...], after: tuple[float, ...]) -> tuple[bool, bool]:
    """Whether ``mean:5%`` and ``min:5%`` are red."""
    mean, least = np.mean(after) / np.mean(before), min(after) / min(before)
    return bool(mean > 1 + USUAL), bool(least > 1 + USUAL)


def _copied(workers: RunWorkers, case: Case, folder: Path) -> Baseline:
    """The case's own artifact as a baseline: the same bytes at another place."""
    artifact = workers.artifact(case)
    files = tuple(folder / case.artifact_id / path.name for path in artifact.files)
    for path, target in zip(artifact.files, files, strict=True):
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
    kept = BaselineCase(
        case.id, files, artifact.sha256, case.opset, case.opset, "passed", True, False, {}
    )
    return Baseline(folder, {case.id: kept})


def _since(started: float) -> float:
    return time.monotonic() - started


def _progress(trial: Trial, place: int, number: int) -> None:
    print(
        f"{trial.kind:7} {place:>3}/{number} {trial.case:45} {trial.verdict:11} "
        f"{trial.ratio:.3f} {trial.pairs:>3} pairs {trial.seconds:5.1f} s "
        f"{' '.join(trial.figures)}",
        flush=True,
    )


def _document(trials: list[Trial]) -> dict[str, Any]:
    return {"environment": environment(), "trials": [asdict(trial) for trial in trials]}


def _summary(trials: list[Trial]) -> list[str]:
    lines = [f"{'':16} {'this gate red':>28} {'mean:5% red':>28} {'min:5% red':>28}"]
    for kind, threshold in dict.fromkeys((t.kind, t.threshold) for t in trials):
        chosen = [t for t in trials if (t.kind, t.threshold) == (kind, threshold)]
        slower = sum(t.verdict == "slower" for t in chosen)
        counts = (slower, sum(t.mean_red for t in chosen), sum(t.min_red for t in chosen))
        cells = " ".join(f"{_rate(count, len(chosen)):>28}" for count in counts)
        lines += [
            f"{kind + f' at {threshold:.0%}':16} {cells}",
            f"    {_row(kind, threshold, chosen)}",
        ]
    return lines


def _rate(count: int, of: int) -> str:
    """A share with its exact 95 % interval (Clopper and Pearson)."""
    interval = stats.binomtest(count, of).proportion_ci(0.95)
    return f"{count}/{of} ({interval.low:.1%} to {interval.high:.1%})"


def _row(kind: str, threshold: float, trials: list[Trial]) -> str:
    share = sum(t.verdict == "slower" for t in trials) / len(trials)
    bar = BARS.get((kind, threshold))
    verdict = "no bar"
    if bar is not None:
        missed = share > bar if kind == "same" else share < bar
        verdict = f"bar {bar:.0%} {'MISSED' if missed else 'met'}"
    spent = np.array([t.seconds for t in trials])
    verdicts = dict(Counter(t.verdict for t in trials))
    figures = dict(Counter(name for t in trials for name in t.figures))
    return (
        f"{verdicts}; other figures red {figures}; a case {np.median(spent):.1f} s, longest "
        f"{spent.max():.1f} s; {verdict}"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m studies.gate_error_rates")
    parser.add_argument("--trials", nargs="+", type=_asked, default=[])
    parser.add_argument("--n", type=int, default=100, help="scales the default trials")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache-dir", type=Path, default=ROOT / ".conformance" / "cache")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    asked = parser.parse_args()
    asked.trials = asked.trials or [(k, 0.1, round(f * asked.n)) for k, f in SHARES.items()]
    return asked


def _asked(argument: str) -> tuple[str, float, int]:
    """``slow5@0.05=150``: the kind, the threshold and how many."""
    what, _, number = argument.partition("=")
    kind, _, threshold = what.partition("@")
    if kind not in FORMS:
        raise argparse.ArgumentTypeError(f"{kind}: known are {', '.join(FORMS)}")
    return kind, float(threshold or 0.1), int(number)


if __name__ == "__main__":
    sys.exit(main())
