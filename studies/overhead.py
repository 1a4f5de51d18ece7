"""What the suite costs beside a bare script that does the same work and judges nothing.

    python -m studies.overhead resnet18 torch_torchscript

Compares within one run, because machines are noisy; on a busy one, compare processor time alone.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

from studies.growth import ROOT, Cost, adopt, cost_of, start

PARTS = [f"tests/test_{part}.py" for part in ("structure", "function", "robustness")]


def bare(*arguments: str) -> Cost:
    """What the bare script takes."""
    command = [sys.executable, "-m", "studies.bare_script", *arguments]
    pipe = subprocess.PIPE
    return cost_of(lambda: subprocess.Popen(command, cwd=ROOT, text=True, stdout=pipe, stderr=pipe))


def main(model: str, exporter: str) -> None:
    options = [f"--model={model}", f"--exporter={exporter}", "--provider=cpu"]
    adopt()
    with tempfile.TemporaryDirectory() as folder:
        reports = [f"--report-json={folder}/r.json", f"--report-html={folder}/r.html"]
        words = [*PARTS, *options, *reports, f"--cache-dir={folder}/cache"]
        alone = bare(model, exporter)
        cold, warm = (cost_of(lambda: start(ROOT, *words)) for _ in range(2))
    print(f"{model} by {exporter}, two opsets: seconds, and processor seconds of all processes")
    for name, cost in (
        ("bare script", alone),
        ("suite, cold", cold),
        ("suite, caches filled", warm),
    ):
        ratios = f"{cost.wall / alone.wall:.2f}x   {cost.seconds / alone.seconds:.2f}x"
        print(f"  {name:20} {cost.wall:6.1f} {cost.seconds:6.1f}   {ratios}")


if __name__ == "__main__":
    main(*sys.argv[1:])
