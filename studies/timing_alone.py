"""Is an interleaved speed-up the one that two workers show alone?

    python -m studies.timing_alone --threads 2

For each model at batch 1, native eager over ONNX Runtime: once interleaved, as ``make bench``
times it, and once from processes that run alone, native and runtime by turns, each in a fresh
process while the other is not even started. The repetitions alternate, so that the machine's
drift hits both. Writes .conformance/timing_alone.json. Exit status 1: a model whose two ratios
differ by more than 5 % and whose intervals do not overlap, or one with an interval so wide that
it shows nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from onnx_conformance.catalog.frameworks import EAGER
from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.case import Case
from onnx_conformance.core.files import TOLERANCES
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.store import Store
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.perf.latency.bench import WARM_SECONDS, Bench
from onnx_conformance.perf.latency.certification import Certificates
from onnx_conformance.perf.latency.contenders import Contender
from onnx_conformance.perf.latency.ratios import CONFIDENCE, Ratio
from onnx_conformance.perf.latency.suspended_worker import chosen_cpus
from onnx_conformance.perf.latency.timed_call import timed_inputs
from onnx_conformance.perf.latency.timed_sessions import TimedSessions
from onnx_conformance.perf.options import TimingOptions
from onnx_conformance.run.cache_keys import environment
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.run_workers import RunWorkers
from tests.meta.running import ROOT

CASES = {
    "simple_net": Case("simple_net", "torch_torchscript", 23, "cpu"),
    "resnet18": Case("resnet18", "torch_torchscript", 23, "cpu"),
    "mobilenet_v2": Case("mobilenet_v2", "torch_torchscript", 23, "cpu"),
    "keras_mobilenet_v2": Case("keras_mobilenet_v2", "tf2onnx_function", 18, "cpu"),
}
DEFAULT = ("resnet18", "mobilenet_v2", "keras_mobilenet_v2")
WITHIN = 0.05  # of each other, or else the intervals must overlap
WIDEST = 1.3  # upper over lower bound: an interval beyond it overlaps with anything
LEAST_CALLS = 10
OUTPUT = ROOT / ".conformance" / "timing_alone.json"


@dataclass(frozen=True)
class Agreement:
    """A model's two ratios, native's time over the runtime's.

    Args:
        native, runtime: median seconds of a call, alone, one value a repetition.
    """

    model: str
    interleaved: Ratio
    alone: Ratio
    native: tuple[float, ...]
    runtime: tuple[float, ...]

    @property
    def apart(self) -> float:
        """By how much the ratios differ, as a share of the one alone."""
        return abs(self.interleaved.value / self.alone.value - 1)

    @property
    def agrees(self) -> bool:
        """Within 5 %, or the intervals overlap."""
        one, other = self.interleaved, self.alone
        overlap = one.low <= other.high and other.low <= one.high
        return not self.vague and (self.apart <= WITHIN or overlap)

    @property
    def vague(self) -> bool:
        """An interval is so wide that no agreement could be shown."""
        both = (self.interleaved, self.alone)  # NaN where there was one repetition
        return not all(ratio.high <= WIDEST * ratio.low for ratio in both)

    @property
    def sentence(self) -> str:
        """In a word."""
        if self.agrees:
            return "[green]agrees[/]"
        return "[red]too noisy to tell[/]" if self.vague else "[red]MISSED[/]"


def main() -> int:
    """Compare the models and print the table."""
    asked = _parse()
    settings = Settings(cache_dir=asked.cache_dir, threads=asked.threads)
    timing = TimingOptions(
        batch_sizes=(1,),
        seconds=asked.seconds,
        cpus=tuple(chosen_cpus(asked.cpus, asked.threads)),
    )
    run: Any = SimpleNamespace(
        settings=settings,
        timing=timing,
        tolerances=load_tolerances(TOLERANCES),
        known_failures=(),
    )
    found = [
        _agreement(run, CASES[model], asked.repetitions, asked.alone_seconds)
        for model in asked.model or DEFAULT
    ]
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "environment": environment(),
        "threads": asked.threads,
        "cpus": timing.cpus,
        "models": [asdict(agreement) for agreement in found],
    }
    asked.output.write_text(json.dumps(document, indent=1))
    Console(width=120).print(_table(found))
    return 0 if all(agreement.agrees for agreement in found) else 1


def _agreement(run: Any, case: Case, repetitions: int, seconds: float) -> Agreement:
    contenders = (Contender(case.model, EAGER), Contender(case.model, "plain", case))
    workers = RunWorkers(run.settings, Store(run.settings.cache_dir), Clock())
    with closing(workers):  # ends its workers; what they made stays at hand
        certificates = Certificates(run, workers)
        with closing(Bench(run, workers, certificates)) as bench:
            row = bench.row(contenders[1], contenders, batch=1)
    if row.speedup is None:
        raise RuntimeError(f"{case.id}: native eager was not timed")
    times = np.empty((repetitions, 2))
    for repetition in range(repetitions):
        order = (0, 1) if repetition % 2 == 0 else (1, 0)
        for place in order:
            times[repetition, place] = _alone(run, workers, contenders[place], seconds)
    native, runtime = times.T
    return Agreement(
        case.model,
        row.speedup,
        ratio_alone(native, runtime),
        tuple(native.tolist()),
        tuple(runtime.tolist()),
    )


def _alone(run: Any, workers: RunWorkers, contender: Contender, seconds: float) -> float:
    """Median seconds of a call of a contender in a fresh process, while no other worker lives."""
    model = resolve_model(contender.model)
    timed_sessions = TimedSessions(run, workers)
    try:
        timed_session = timed_sessions.of(model, contender)
        inputs = timed_session.inputs(timed_inputs(model, run.settings.seed, 1))
        worker, label = timed_session.worker, contender.label
        form, request = contender.form, timed_session.request
        worker.call("rehearse", label=label, form=form, inputs=inputs, **request)
        warmup = worker.call("warm", label=label, seconds=WARM_SECONDS)
        calls = max(LEAST_CALLS, int(seconds / warmup["seconds"]))
        found = timed_session.worker.time(
            contender.label, discard=1, calls=calls
        )  # awake all the time
    finally:
        timed_sessions.close()
    return float(np.median(found))


def ratio_alone(native: np.ndarray, runtime: np.ndarray, seed: int = 0) -> Ratio:
    """The ratio of two workers' mean medians, with a 95 % interval.

    Args:
        native, runtime: seconds, one value a repetition; repetitions do not pair.

    Welch's interval of the logarithms' difference (:func:`scipy.stats.ttest_ind`): a bootstrap
    over so few repetitions would be too narrow.
    """
    logs = np.log(native), np.log(runtime)
    found = stats.ttest_ind(*logs, equal_var=False).confidence_interval(CONFIDENCE)
    middle = np.exp(logs[0].mean() - logs[1].mean())
    return Ratio(float(middle), float(np.exp(found.low)), float(np.exp(found.high)))


def _table(found: list[Agreement]) -> Table:
    table = Table("model", "native ms", "runtime ms", "interleaved", "alone", "apart", "")
    for agreement in found:
        native, runtime = (
            f"{1000 * float(np.median(times)):.2f}"
            for times in (agreement.native, agreement.runtime)
        )
        table.add_row(
            agreement.model,
            native,
            runtime,
            str(agreement.interleaved).replace("[", r"\["),
            str(agreement.alone).replace("[", r"\["),
            f"{agreement.apart:.1%}",
            agreement.sentence,
        )
    return table


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m studies.timing_alone")
    parser.add_argument("--model", action="append", choices=tuple(CASES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpus", type=int, nargs="*", default=())
    parser.add_argument("--seconds", type=float, default=TimingOptions.seconds, help="interleaved")
    parser.add_argument("--alone-seconds", type=float, default=3.0, help="of each repetition")
    parser.add_argument("--repetitions", type=int, default=6)
    parser.add_argument("--cache-dir", type=Path, default=ROOT / ".conformance" / "cache")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
