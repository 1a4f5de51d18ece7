"""Count false alarms: run the real suite on clean exports with fresh weights and fresh inputs.

    python -m studies.false_alarms              # seeds drawn anew, and printed
    python -m studies.false_alarms --seeds 11 12 13
    python -m studies.false_alarms --only-small # the models of the files SMALL_FILES alone

A trial is one test that judged inputs of one clean case by the error budget; a drawn test's inputs
count as one. The first seed is for every registered model by every exporter, the others for the
small models (sums, norms, recurrent layers, states, masks, boxes among them) and torchvision's, in
turn, until there are trials enough. Known upstream failures
are no trials. Exit status 1: an alarm, or too few trials.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.models import MODELS
from onnx_conformance.plugin.registration import MOST_SEEDS
from tests.meta.running import ROOT, run_suite

TARGET = 1000
BUDGET = ("error_budget", "denormals")
OUTPUT = ROOT / ".conformance" / "false_alarms.json"
SMALL = ("--model=simple_net", "--model=keras_sequential")
TORCHVISION = tuple(
    (f"--model=torchvision:{name}", "--exporter=torch_torchscript", "--opset=14")
    for name in ("mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x1_0", "mnasnet0_5")
)
SMALL_FILES = tuple(
    (f"--models-from={ROOT / 'studies' / name}.py", "--exporter=torch_torchscript", "--opset=17")
    for name in ("sums_and_norms", "small_models")
)
RED = ("failed", "error")


@dataclass
class Tally:
    """What the runs found."""

    seeds: list[int] = field(default_factory=list)
    cases: int = 0
    trials: int = 0
    checks: int = 0
    worst: float = 0.0
    worst_case: str = ""
    alarms: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, document: dict[str, Any], seed: int) -> None:
        """Take in one run's results."""
        for case in document["cases"]:
            judged = [row for row in case["checks"] if row["outcome"] in ("passed", *RED)]
            self.cases += bool(judged)
            self.checks += len(judged)
            for row in judged:
                self._add_row(case["id"], row, seed)

    def _add_row(self, case: str, row: dict[str, Any], seed: int) -> None:
        if row["name"] in BUDGET and row["score"] is not None:
            self.trials += 1
            if row["score"] > self.worst:
                self.worst, self.worst_case = row["score"], f"{case}, seed {seed}, {row['inputs']}"
        if row["outcome"] in RED:
            self.alarms.append({"case": case, "seed": seed, **row})


def jobs(seeds: Iterator[int], *, small: bool = False) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(seed, options), the costliest first; without an end.

    Args:
        small: the models of :data:`SMALL_FILES` alone.
    """
    for file in cycle(SMALL_FILES) if small else ():
        yield next(seeds), file
    first = next(seeds)
    for model in reversed(list(MODELS)):
        yield first, (f"--model={model}",)
    for others in cycle((*TORCHVISION, *SMALL_FILES)):
        yield next(seeds), SMALL
        yield next(seeds), others


def judge(seed: int, options: tuple[str, ...]) -> dict[str, Any]:
    """One run of the suite with a cache of its own, which is then thrown away.

    Raises:
        RuntimeError: the run ended without results.
    """
    common = ("tests", "--ignore=tests/meta", "--provider=cpu", f"--seed={seed}")
    with tempfile.TemporaryDirectory() as folder:
        run = run_suite(Path(folder), *common, *options)
        if run.status not in (0, 1, 5):
            raise RuntimeError(f"seed {seed}, {' '.join(options)}: status {run.status}\n{run.text}")
        return run.document


def count(seeds: Iterator[int], target: int, processes: int, *, small: bool = False) -> Tally:
    """Run jobs side by side until ``target`` trials were judged or the seeds are used up."""
    tally, started = Tally(), time.monotonic()
    todo = jobs(seeds, small=small)
    with ThreadPoolExecutor(processes) as pool:
        while tally.trials < target:
            batch = list(islice(_until_empty(todo), processes))
            if not batch:
                break
            documents = list(pool.map(lambda job: judge(*job), batch))
            for (seed, options), document in zip(batch, documents, strict=True):
                before = len(tally.alarms)
                tally.add(document, seed)
                tally.seeds += [seed] if seed not in tally.seeds else []
                print(f"seed {seed} {' '.join(options)}: {tally.trials} trials", flush=True)
                for alarm in tally.alarms[before:]:
                    print(f"ALARM {alarm['case']}\n{alarm['message'] or alarm['reason']}")
    tally.seconds = round(time.monotonic() - started, 1)
    return tally


def _until_empty(todo: Iterator[Any]) -> Iterator[Any]:
    """A generator whose seeds are used up ends with a RuntimeError; here it just ends."""
    while True:
        try:
            yield next(todo)
        except (StopIteration, RuntimeError):
            return


def fresh() -> Iterator[int]:
    """Seeds that nobody has seen."""
    while True:
        yield secrets.randbelow(MOST_SEEDS)


def main() -> int:
    """Count, print, write, and tell by the status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", help="these instead of fresh ones, in turn")
    parser.add_argument("--trials", type=int, default=TARGET, help=f"default: {TARGET}")
    parser.add_argument("--only-small", action="store_true", help="models of SMALL_FILES alone")
    parser.add_argument("--processes", type=int, choices=(1, 2), default=2)
    chosen = parser.parse_args()
    seeds = iter(chosen.seeds) if chosen.seeds else fresh()
    try:
        tally = count(seeds, chosen.trials, chosen.processes, small=chosen.only_small)
    except (RuntimeError, subprocess.TimeoutExpired) as broken:
        print(broken, file=sys.stderr)
        return 1
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(asdict(tally), indent=1) + "\n")
    print(f"seeds: {' '.join(map(str, tally.seeds))}")
    print(f"{tally.cases} clean cases, {tally.trials} trials, {tally.checks} checks")
    print(f"worst score {tally.worst:.3g}: {tally.worst_case}")
    print(f"{len(tally.alarms)} false alarms in {tally.seconds:.0f} s; data: {OUTPUT}")
    return 1 if tally.alarms or tally.trials < chosen.trials else 0


if __name__ == "__main__":
    sys.exit(main())
