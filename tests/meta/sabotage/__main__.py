"""Play every scenario and write docs/sabotage.md: ``python -m tests.meta.sabotage``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from fixtures.live import LiveSubject
from fixtures.paths import TOLERANCES
from fixtures.pipeline.clock import Clock
from fixtures.pipeline.workbench import Workbench
from fixtures.settings import Settings
from fixtures.store import Store
from fixtures.tolerances import load_tolerances
from tests.meta.sabotage import SCENARIOS, load_scenarios
from tests.meta.sabotage.judging import Outcome, judge
from tests.meta.sabotage.table import write


def play_all(root: Path) -> list[Outcome]:
    """Every scenario's outcome; caches and folders under ``root``."""
    cache = root / "cache"
    bench = Workbench(Settings(cache_dir=cache), Store(cache), Clock())
    tolerances = load_tolerances(TOLERANCES)
    outcomes = []
    try:
        for number, scenario in enumerate(SCENARIOS.values()):
            folder = root / str(number)
            folder.mkdir()
            outcomes.append(
                judge(scenario, lambda case: LiveSubject(case, bench, tolerances), folder, cache)
            )
    finally:
        bench.close()
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
