"""What the suite costs beside a bare script that does the same work and judges nothing.

    python -m studies.overhead resnet18 torch_torchscript

Compares within one run, because machines are noisy; quiet machines only.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

PARTS = [f"tests/test_{part}.py" for part in ("structure", "function", "robustness")]


def seconds(*command: str) -> float:
    """Wall time of a command that must succeed."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - started


def main(model: str, exporter: str) -> None:
    options = [f"--model={model}", f"--exporter={exporter}", "--provider=cpu"]
    with tempfile.TemporaryDirectory() as folder:
        reports = [f"--report-json={folder}/r.json", f"--report-html={folder}/r.html"]
        suite = ["-m", "pytest", *PARTS, *options, *reports, f"--cache-dir={folder}/cache"]
        bare = seconds("-m", "studies.bare_script", model, exporter)
        cold, warm = seconds(*suite), seconds(*suite)
    print(f"{model} by {exporter}, two opsets: bare script {bare:.1f} s")
    print(f"  suite, cold          {cold:.1f} s  {cold / bare:.2f}x")
    print(f"  suite, caches filled {warm:.1f} s  {warm / bare:.2f}x")


if __name__ == "__main__":
    main(*sys.argv[1:])
