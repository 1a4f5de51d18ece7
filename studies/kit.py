"""Are a kit's verdicts and scores those in place? Every default case, answered without a framework.

    python -m studies.kit --python=BARE/bin/python --model=resnet18

BARE is an environment with NumPy and ONNX Runtime alone. Of each model (all, where none is named) a
kit is made, answered by BARE and judged beside the same cases in place; differences are printed.
Exit status 1: there is one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.models import MODELS
from onnx_conformance.checks.registry import CHECKS
from onnx_conformance.cli import kit
from onnx_conformance.core.project import project

ABSENT = "import importlib.util as u; print([m for m in {modules} if u.find_spec(m)])"
FRAMEWORKS = ["torch", "tensorflow", "keras", "onnx", "pytest"]
HERE, THERE = "cpu", "there"
Row = dict[str, Any]


def answered(model: str, python: str, folder: Path) -> Path:
    """The folder of what ``python`` answered to a kit of the model's default cases."""
    out = folder / "kit.zip"
    kit.main([f"--model={model}", f"--out={out}", "-q", "--tb=line"])
    with zipfile.ZipFile(out) as packed:
        packed.extractall(folder / "kit")
    answers = folder / "answers"
    subprocess.run([python, folder / "kit" / "run.py", f"--out={answers}"], check=True)
    return answers


def judged(model: str, answers: Path, folder: Path) -> list[Row]:
    """The cases of one run, in place and answered."""
    results = folder / "results.json"
    arguments = ["-m", "onnx_conformance", "run", model, f"--answers={THERE}={answers}", "-q"]
    arguments += [
        f"--provider={HERE}",
        f"--report-json={results}",
        f"--report-html={folder}/r.html",
    ]
    subprocess.run([sys.executable, *arguments, "--tb=line", "--bundles=0"], check=False)
    cases: list[Row] = json.loads(results.read_text())["cases"]
    return cases


def differences(cases: list[Row]) -> Iterator[str]:
    """What a case in place says otherwise than the same case answered."""
    there = {_common(case): case for case in cases if case["provider"] == THERE}
    for case in cases:
        if case["provider"] != HERE or case["option"]:  # of export options: of the file alone
            continue
        other = there.get(_common(case))
        if other is None:
            yield f"{case['id']}: not answered"
            continue
        for key in ("verdict", "complete", "worst_score", "artifact_sha256"):
            if case[key] != other[key]:
                yield f"{case['id']}: {key} {case[key]} in place, {other[key]} answered"
        if _rows(case) != _rows(other):
            yield f"{case['id']}: {sorted(_rows(case) ^ _rows(other), key=str)}"


def _common(case: Row) -> str:
    return str(case["id"]).removesuffix(f"-{case['provider']}")


def _rows(case: Row) -> set[tuple[Any, ...]]:
    """What every provider's cases require, and not what the provider cpu alone does."""
    return {
        (row["name"], row["inputs"], row["outcome"], row["score"], row["compared"])
        for row in case["checks"]
        if CHECKS[row["name"]].required and not CHECKS[row["name"]].providers
    }


def main() -> int:
    """Compare; 1 where a verdict or a score differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True)
    parser.add_argument("--model", action="append", default=[])
    chosen = parser.parse_args()
    project().load()
    asked = [chosen.python, "-c", ABSENT.format(modules=FRAMEWORKS)]
    found = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    print(f"{chosen.python} has of {', '.join(FRAMEWORKS)}: {found.strip()}")
    wrong, count = [], 0
    for model in chosen.model or [each.name for each in MODELS.values() if not each.on_request]:
        with tempfile.TemporaryDirectory() as name:
            cases = judged(model, answered(model, chosen.python, Path(name)), Path(name))
        count += sum(case["provider"] == THERE for case in cases)
        wrong += differences(cases)
        print(f"{model}: {count} cases by now, {len(wrong)} differences", *wrong, sep="\n  ")
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main())
