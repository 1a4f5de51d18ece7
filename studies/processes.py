"""What pytest-xdist costs: one process and two on the same cases, cold and warm.

    python -m studies.processes simple_net resnet18 keras_sequential

Prints wall and processor seconds (user and system, of all processes), whether both judged the same
bit for bit, and, from the durations of one process, the critical path and the least and the most
that N processes can take.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx_conformance.core.project import project
from onnx_conformance.report.critical_path import critical_path
from studies.growth import ROOT, Cost, adopt, cost_of, start

COUNTS = (2, 4, 8, 16)
CACHE_STATES = ("cold", "warm")
Document = dict[str, Any]


def run(folder: Path, words: list[str], processes: int) -> tuple[Cost, Document]:
    """A run of the conformance tests with a cache in ``folder``."""
    target = folder / "results.json"
    options = [f"--cache-dir={folder / 'cache'}", f"--report-json={target}", "--report-html="]
    options += [f"-n{processes}"] if processes > 1 else []
    suite = ["tests", "--ignore=tests/meta", "--provider=cpu"]
    cost = cost_of(lambda: start(ROOT, *suite, *words, *options))
    return cost, json.loads(target.read_text())


def bounds(
    jobs: Mapping[str, Mapping[str, float]], longest: float, count: int
) -> tuple[float, float]:
    """The least and the most seconds of a schedule that lets no process idle.

    Graham, Bounds for certain multiprocessing anomalies (1966): no schedule is shorter than the
    critical path or an equal share of the work, and none takes longer than both together.
    """
    share = sum(sum(stages.values()) for stages in jobs.values()) / count
    return max(longest, share), longest + share


def verdicts(document: Document) -> list[Any]:
    """What was judged, in its order, and how; exporters may write other bytes each time."""
    keys = ("name", "inputs", "outcome", "score", "compared")
    return [
        [case["id"], case["verdict"], [[row[key] for key in keys] for row in case["checks"]]]
        for case in document["cases"]
    ]


def compared(words: list[str]) -> bool:
    """Print both; whether they judged the same."""
    found: dict[tuple[int, str], tuple[Cost, Document]] = {}
    with tempfile.TemporaryDirectory() as name:
        for processes in (1, 2):
            folder = Path(name) / str(processes)
            folder.mkdir()
            for state in CACHE_STATES:
                cost, document = found[processes, state] = run(folder, words, processes)
                took = f"{cost.wall:.1f} s, {cost.seconds:.1f} processor seconds"
                print(f"{state}, -n {processes}: {took}", flush=True)
    for state in CACHE_STATES:
        (one, _), (two, _) = found[1, state], found[2, state]
        print(f"{state}: {two.seconds / one.seconds:.3f} times the processor time", end=", ")
        print(f"{two.wall / one.wall:.2f} times the wall time of one process")
    same = len({json.dumps(verdicts(document)) for _, document in found.values()}) == 1
    print("verdicts and scores: " + ("the same, bit for bit" if same else "THEY DIFFER"))
    tell_path(found[1, "cold"][1])
    return same


def tell_path(document: Any) -> None:
    """Print the critical path, and what it leaves to N processes."""
    if (path := critical_path(document)) is None:
        return
    print(f"critical path: {path}")
    for count in COUNTS:
        least, most = bounds(document["time"]["jobs"], path.seconds, count)
        print(f"  {count:2} processes: {least:.1f} to {most:.1f} s")


def main() -> int:
    """Compare; 1 where verdicts differ."""
    parser = argparse.ArgumentParser(prog="studies.processes", description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--of", type=Path, metavar="results.json", help="only the path of this run")
    chosen, words = parser.parse_known_args()
    project().load()
    if chosen.of:
        tell_path(json.loads(chosen.of.read_text()))
        return 0
    adopt()
    return 0 if compared([*(f"--model={name}" for name in chosen.models), *words]) else 1


if __name__ == "__main__":
    sys.exit(main())
