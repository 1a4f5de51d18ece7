"""What a run of many small models costs: collection, a case as their number grows, a shared cache.

    python -m studies.growth                     # 500 models, 20,000 cases: collection alone
    python -m studies.growth --judge 5 10 20     # processor seconds of a case, by how many models
    python -m studies.growth --together 5        # two runs at once on one cache, beside one
    python -m studies.growth --page 20000        # the page of so many cases, in a browser too

The models are perceptrons of 4 numbers; each has 40 cases (two exporters, five opsets, four
providers) where it is collected, and one where it is judged. ``--plot FILE.svg`` draws the cost of
a case by their number; ``CHROMIUM`` names the browser.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from onnx_conformance.core.documents import CaseEntry, ResultsDocument
from onnx_conformance.core.files import write_json
from onnx_conformance.report import html, terminal
from tests.meta.report.test_browser import BROWSER, in_browser

SUBREAPER = 36  # of Linux's prctl
ROOT = Path(__file__).resolve().parents[1]
MODULE = """
from onnx_conformance.catalog.models import register_model
from onnx_conformance.core.spec import TensorSpec


def build(*, pretrained):
    from torch import nn

    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


for number in range({count}):
    register_model(
        f"small{{number:04}}",
        framework="torch",
        inputs=(TensorSpec("input", ("batch", 4)),),
        outputs=(TensorSpec("output", ("batch", 2)),),
    )(build)
"""
EACH = (  # of a model: 2 exporters × 5 opsets × 4 providers
    *(f"--exporter={name}" for name in ("torch_torchscript", "torch_dynamo")),
    *(f"--opset={opset}" for opset in range(18, 23)),
    *(f"--provider={name}" for name in ("cpu", "cuda", "tensorrt", "openvino")),
)
ONE = ("--exporter=torch_torchscript", "--opset=18", "--provider=cpu", "--no-localize")
TESTS = tuple(str(ROOT / "tests" / f"test_{part}.py") for part in ("structure", "function"))


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Args:
        seconds: of a processor, user and system, of the command and all that it started.
        megabytes: the most that one process held.
    """

    wall: float
    seconds: float
    megabytes: float
    text: str


class Project:
    """A folder with so many models, and runs in it."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        (folder / "pyproject.toml").write_text(
            '[tool.onnx-conformance]\nregister = ["many_small_models"]\n'
        )
        (folder / "many_small_models.py").write_text(MODULE.format(count=count))

    def start(self, name: str, arguments: Sequence[str]) -> subprocess.Popen[str]:
        """pytest on the conformance tests, without waiting."""
        target = self.folder / name
        reports = [f"--report-json={target}.json", f"--report-html={target}.html"]
        return start(self.folder, *reports, *arguments)

    def run(self, name: str, *arguments: str) -> Cost:
        """The same, with what it took; a run that is not green ends the study."""
        return cost_of(lambda: self.start(name, arguments))

    def results(self, name: str) -> dict[str, Any]:
        """The results document of a run."""
        found: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text())
        return found


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """pytest in a folder whose modules it can import, without waiting."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-qq", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def cost_of(begin: Callable[[], subprocess.Popen[str]]) -> Cost:
    """What a run takes with all that it starts; one that is red ends the study."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = begin()
    text, _ = process.communicate()
    if process.returncode not in (0, 5):
        raise SystemExit(text[-3000:])
    _reap()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(time.perf_counter() - started, used, after.ru_maxrss / 1024, text)


def adopt() -> None:
    """Become the parent of what a run leaves behind: time is counted when a process is reaped."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def collected(count: int, check: str, shards: int) -> dict[str, Any]:
    """Collection of the cases of ``count`` models, or of one of their shards."""
    tests = [f"{TESTS[1]}::test_{check}"] if check else [*TESTS]
    part = [f"--shard=1/{shards}"] if shards > 1 else []
    with tempfile.TemporaryDirectory() as folder:
        cost = Project(Path(folder), count).run("r", *tests, *EACH, *part, "--collect-only")
    figures = {"models": count, "cases": count * 40, "shards": shards, "check": check or "all"}
    return figures | {"seconds": cost.seconds, "megabytes": cost.megabytes}


def judged(counts: Sequence[int]) -> list[dict[str, Any]]:
    """Processor seconds of a case, cold, by how many models a run has."""
    found = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            cost = Project(Path(folder), count).run("r", *TESTS, *ONE)
        found.append({"models": count, "seconds": cost.seconds, "of_a_case": cost.seconds / count})
    return found


def together(count: int) -> dict[str, Any]:
    """Two runs at once on one cache: what both computed of the native side, and their verdicts."""
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder), count)
        arguments = [*TESTS, *ONE, "-k", "checker or allclose"]
        both = [project.start(name, arguments) for name in ("first", "second")]
        for process in both:
            text, _ = process.communicate()
            if process.returncode not in (0, 5):
                raise SystemExit(text[-3000:])
        documents = [project.results(name) for name in ("first", "second")]
        kinds = ("models", "artifacts", "outputs")
        cache = Path(folder) / ".conformance" / "cache"
        entries = {kind: len(list((cache / kind).glob("*/manifest.json"))) for kind in kinds}
        verdicts = [{case["id"]: case["verdict"] for case in d["cases"]} for d in documents]
        exports = [document["time"]["engine"]["export"] for document in documents]
    return {"models": count, "entries": entries, "export": exports, "verdicts": verdicts}


def page(cases: int) -> dict[str, Any]:
    """What is written of copies of a real case, 40 a model, and what a browser makes of it."""
    with tempfile.TemporaryDirectory() as name:
        project = Project(Path(name), 1)
        project.run("r", *TESTS, *ONE)
        document = cast("ResultsDocument", project.results("r"))
        document["cases"] = list(itertools.islice(copies(json.dumps(document["cases"][0])), cases))
        document["cases"][0]["verdict"] = "failed"  # for the page's filter
        started = time.process_time()
        write_json(Path(name) / "all.json", document, "")
        written = time.process_time()
        terminal.render(terminal.matrix(document), width=100, color=False)
        shown = time.process_time()
        text = html.render(document)
        found = {
            "cases": cases,
            "results_json_seconds": round(written - started, 1),
            "terminal_seconds": round(shown - written, 1),
            "page_seconds": round(time.process_time() - shown, 1),
            "page_bytes": len(text),
            "megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }
        return found | (in_browser(Path(name), text) if BROWSER else {})


def copies(case: str) -> Iterator[CaseEntry]:
    """The same case, as of more and more models with 40 cases each."""
    exporters, opsets, providers = (
        [word.partition("=")[2] for word in EACH if word.startswith(f"--{name}=")]
        for name in ("exporter", "opset", "provider")
    )
    for number in itertools.count():
        for exporter, opset, provider in itertools.product(exporters, opsets, providers):
            copy: CaseEntry = json.loads(case)
            copy["model"], copy["exporter"], copy["provider"] = f"m{number}", exporter, provider
            copy["opset"] = copy["opset_requested"] = int(opset)
            copy["id"] = f"m{number}-{exporter}-opset{opset}-{provider}"
            yield copy


def draw(rows: Sequence[dict[str, Any]], target: Path) -> None:
    """The cost of a case by the number of cases."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 2.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([row["models"] for row in rows], [row["of_a_case"] for row in rows], marker="o")
    axes.set(xlabel="cases", ylabel="processor seconds a case", xscale="log", ylim=(0, None))
    axes.set_xticks([row["models"] for row in rows], [str(row["models"]) for row in rows])
    axes.minorticks_off()
    figure.savefig(target, metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; ``--json`` keeps the figures."""
    parser = argparse.ArgumentParser(prog="studies.growth", description=__doc__)
    parser.add_argument("--models", type=int, default=500, help="to collect; 0 for none")
    parser.add_argument("--check", default="allclose", help="to collect tests of; empty for all")
    parser.add_argument("--shards", type=int, default=1, help="collect one of so many")
    parser.add_argument("--judge", type=int, nargs="*", default=[], metavar="N")
    parser.add_argument("--together", type=int, default=0, metavar="N")
    parser.add_argument("--page", type=int, default=0, metavar="N", help="cases of a page")
    parser.add_argument("--plot", type=Path, help="of --judge")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    found: dict[str, Any] = {}
    adopt()
    if chosen.models:
        cost = found["collected"] = collected(chosen.models, chosen.check, chosen.shards)
        print(
            f"{cost['models']} models, {cost['cases']:,} cases, a shard of {cost['shards']}, "
            f"tests of {cost['check']}: "
            f"{cost['seconds']:.1f} processor seconds, {cost['megabytes']:.0f} MB"
        )
    if chosen.judge:
        found["judged"] = judged(chosen.judge)
        for row in found["judged"]:
            print(f"{row['models']:4} models: {row['of_a_case']:.2f} processor seconds a case")
        if chosen.plot:
            draw(found["judged"], chosen.plot)
    if chosen.together:
        both = found["together"] = together(chosen.together)
        print(f"two runs of {both['models']} models at once left {both['entries']} in one cache")
    if chosen.page:
        shown = found["page"] = page(chosen.page)
        print(f"page of {chosen.page:,} cases: {shown}")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
