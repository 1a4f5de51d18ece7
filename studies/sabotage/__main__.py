"""Play every scenario and write docs/sabotage.md: ``python -m studies.sabotage``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from onnx_conformance.core.files import TOLERANCES
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.store import Store
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.live_subject import LiveSubject
from onnx_conformance.run.run_workers import RunWorkers
from studies.sabotage import SCENARIOS, load_scenarios
from studies.sabotage.scenario_verdict import Outcome, judge
from studies.sabotage.table import write


def play_all(root: Path) -> list[Outcome]:
    """Every scenario's outcome; caches and folders under ``root``."""
    cache = root / "cache"
    workers = RunWorkers(Settings(cache_dir=cache), Store(cache), Clock())
    tolerances = load_tolerances(TOLERANCES)
    outcomes = []
    try:
        for number, scenario in enumerate(SCENARIOS.values()):
            folder = root / str(number)
            folder.mkdir()
            outcomes.append(
                judge(scenario, lambda case: LiveSubject(case, workers, tolerances), folder, cache)
            )
    finally:
        workers.close()
    return outcomes


def main() -> int:
    """Exit status 1 where a scenario is not red, or does not name its cause."""
    load_scenarios()
    with tempfile.TemporaryDirectory(prefix="conformance-sabotage-") as root:
        outcomes = play_all(Path(root))
    holes = [outcome for outcome in outcomes if not (outcome.red and outcome.named)]
    for hole in holes:
        print(f"HOLE: {hole.scenario.name}: {hole.where or 'green'}: {hole.says}", file=sys.stderr)
    if not holes:
        print(write(outcomes))
    return bool(holes)


if __name__ == "__main__":
    sys.exit(main())
