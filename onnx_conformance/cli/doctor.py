"""``onnx-conformance doctor``: what works here, what is missing, and what clashes.

Exit status: 0 the default run can succeed, 1 something prevents it, 2 bad input.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from onnx_conformance.catalog.frameworks import exported_frameworks
from onnx_conformance.catalog.providers import DEFAULT_PROVIDERS, PROVIDERS
from onnx_conformance.cli.clashes import load_incompatibilities, unmet
from onnx_conformance.cli.console import OK, RED, Arguments, progress, say
from onnx_conformance.core.errors import ConformanceError, UsageError, WorkerError
from onnx_conformance.core.extras import remedy
from onnx_conformance.core.project import project
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.store import Store
from onnx_conformance.run.cache_keys import environment, version
from onnx_conformance.run.probe import ProbeResult
from onnx_conformance.run.provider_sources import survey
from onnx_conformance.run.worker_client import ProcessWorkerClient

WORKERS = {  # their modules
    **{framework.name: framework.module for framework in exported_frameworks()},
    "onnxruntime": "onnxruntime",
}
GIBIBYTE = 2**30
OLDEST, NEWEST = (3, 11), (3, 13)
ROOMY = 2 * GIBIBYTE  # free bytes that a cold run needs for its cache
FRAMEWORKS = tuple(framework.name for framework in exported_frameworks())


@dataclass(frozen=True)
class Diagnosis:
    """Something that is wrong; ``stops`` if the default run cannot succeed."""

    words: str
    stops: bool


def main(arguments: Sequence[str]) -> int:
    """Run the tool; returns its exit status."""
    console = Console()
    parser = Arguments(prog="doctor", description="What works here, what is missing or clashes.")
    parser.add_argument("--cache-dir", default=str(project().outputs / "cache"))
    parser.add_argument(
        "--limit", type=float, default=Settings.limit, help="seconds an import may take"
    )
    chosen = parser.parse_args(arguments)
    around, cache = environment(), Path(chosen.cache_dir).absolute()
    say(console, f"Python {around['python']} on {around['platform']}", "bold")
    say(console, f"{around['processor']}: {hardware()}; workers use 1 thread (--threads)")
    for line in gpus() or ["no NVIDIA driver here (nvidia-smi)"]:
        say(console, f"GPU: {line}")
    versions = ", ".join(f"{name} {number}" for name, number in around["versions"].items())
    say(console, f"versions: {versions}")
    used, free = disk(cache)
    say(console, f"cache: {cache}, {used / GIBIBYTE:.2f} GiB; {free / GIBIBYTE:.1f} GiB free")
    with progress(console, "starting the workers"):
        workers = imports(chosen.limit)
    _print_workers(console, workers)
    with progress(console, "trying the providers"):
        providers = _providers(workers, chosen.limit)
    _print_providers(console, providers)
    found = [
        *of_python(sys.version_info[:2]),
        *of_cache(cache, free),
        *of_workers(workers),
        *of_providers(providers),
        *of_packages(around["versions"]),
    ]
    return _conclude(console, found)


def of_python(running: tuple[int, int]) -> Iterator[Diagnosis]:
    """Whether this Python version is supported."""
    if not OLDEST <= running <= NEWEST:
        span = " to ".join(".".join(map(str, each)) for each in (OLDEST, NEWEST))
        yield Diagnosis(f"Python {'.'.join(map(str, running))}: {span} is needed", True)


def of_cache(cache: Path, free: int) -> Iterator[Diagnosis]:
    """Whether the cache can be written, and has room."""
    try:
        Store(cache)
    except UsageError as error:
        yield Diagnosis(str(error), True)
    if free < ROOMY:
        room = f"{free / GIBIBYTE:.1f} GiB"
        yield Diagnosis(f"{room} free for the cache; a first run needs {ROOMY // GIBIBYTE}", False)


def of_workers(workers: dict[str, WorkerStart]) -> Iterator[Diagnosis]:
    """One framework and ONNX Runtime must start; a framework that is broken stops the run."""
    for kind, worker in workers.items():
        if not worker.installed:
            needed = kind not in FRAMEWORKS
            yield Diagnosis(f"{kind} is not installed; {remedy(kind)}", needed)
        elif worker.error:
            yield Diagnosis(f"{kind} cannot be imported: {worker.error}", True)
    if not any(workers[kind].usable for kind in FRAMEWORKS):
        yield Diagnosis(f"no framework can be used: {' or '.join(FRAMEWORKS)} is needed", True)


def of_providers(providers: dict[str, ProbeResult]) -> Iterator[Diagnosis]:
    """The CPU provider must work; another is a case that is skipped."""
    cpu = providers.get("cpu")
    if cpu is not None and not cpu.usable:
        yield Diagnosis(f"ONNX Runtime's CPU provider does not work: {cpu.reason}", True)


def of_packages(packages: dict[str, str]) -> Iterator[Diagnosis]:
    """Known clashes, and requirements that are not met."""
    for incompatibility in load_incompatibilities():
        if incompatibility.applies():
            yield Diagnosis(str(incompatibility), incompatibility.stops)
    for problem in unmet(packages):
        yield Diagnosis(f"{problem}; pip install --upgrade both", False)


def _providers(workers: dict[str, WorkerStart], limit: float) -> dict[str, ProbeResult]:
    if not workers["onnxruntime"].usable:
        return {}
    try:
        return survey(PROVIDERS, limit)
    except WorkerError as error:
        return {"cpu": ProbeResult(False, " ".join(str(error).split()))}


def _print_workers(console: Console, workers: dict[str, WorkerStart]) -> None:
    for kind, worker in workers.items():
        if worker.usable:
            say(console, f"✓ {kind}: starts in {worker.seconds:.1f} s", "green")
        else:
            say(console, f"✗ {kind}: {worker.error}", "bold red")


def _print_providers(console: Console, providers: dict[str, ProbeResult]) -> None:
    missing: dict[tuple[str, str], list[str]] = {}  # modes of a provider lack the same
    for name, found in providers.items():
        if found.usable:
            say(console, f"✓ provider {name}: {found.reason}", "green")
        else:
            missing.setdefault((found.reason, found.remedy), []).append(name)
    for (reason, todo), names in missing.items():
        asked = "" if {*names} & {*DEFAULT_PROVIDERS} else " (runs only with --provider)"
        say(console, f"– provider {', '.join(names)}: {reason}{asked}", "dim")
        if todo:
            say(console, f"    to use it: {todo}", "dim")


def _conclude(console: Console, found: list[Diagnosis]) -> int:
    for finding in found:
        mark, style = ("✗", "bold red") if finding.stops else ("warning:", "yellow")
        say(console, f"{mark} {finding.words}", style)
    if any(finding.stops for finding in found):
        say(console, "the default run cannot succeed here", "bold red")
        return RED
    half = [kind for kind in FRAMEWORKS if version(kind) is None]
    tail = f"; without {', '.join(half)} its cases are skipped" if half else ""
    say(console, f"✓ the default run can succeed here{tail}", "bold green")
    return OK


@dataclass(frozen=True)
class WorkerStart:
    """Whether a worker starts: seconds, or the words that say why not."""

    installed: bool
    seconds: float
    error: str = ""

    @property
    def usable(self) -> bool:
        """Whether it is there and can be imported."""
        return self.installed and not self.error


def imports(limit: float) -> dict[str, WorkerStart]:
    """Start each worker in a process of its own."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(WORKERS, pool.map(lambda kind: _import(kind, limit), WORKERS), strict=True))


def _import(kind: str, limit: float) -> WorkerStart:
    if importlib.util.find_spec(WORKERS[kind]) is None:
        return WorkerStart(False, 0.0, "not installed")
    worker, started = ProcessWorkerClient(kind), time.perf_counter()
    try:
        worker.start(limit)
    except ConformanceError as error:
        return WorkerStart(True, 0.0, " ".join(str(error).split()))
    finally:
        worker.close()
    return WorkerStart(True, time.perf_counter() - started)


def hardware() -> str:
    """Processors and memory."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory()
    return (
        f"{os.cpu_count()} processors, {allowed} for this process; "
        f"{memory.total / GIBIBYTE:.1f} GiB of memory, {memory.available / GIBIBYTE:.1f} available"
    )


def gpus() -> list[str]:
    """NVIDIA's devices as their driver tells, one line each; empty without a driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        ran = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"nvidia-smi does not respond: {' '.join(str(error).split())}"]
    if ran.returncode:
        return [f"nvidia-smi fails: {' '.join((ran.stderr or ran.stdout).split())}"]
    return [line.strip() for line in ran.stdout.splitlines() if line.strip()]


def disk(folder: Path) -> tuple[int, int]:
    """Bytes that files under a folder take, and that are free where it is or would be."""
    used = 0
    for place, _, names in os.walk(folder):
        for name in names:
            used += (Path(place) / name).lstat().st_size
    there = next(each for each in (folder, *folder.parents) if each.is_dir())
    return used, shutil.disk_usage(there).free
