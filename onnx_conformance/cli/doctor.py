"""``onnx-conformance doctor``: what works here, what is missing, and what clashes.

Exit status: 0 the default run can succeed, 1 something prevents it, 2 bad input.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from onnx_conformance.catalog.frameworks import exported_frameworks
from onnx_conformance.catalog.providers import DEFAULT_PROVIDERS
from onnx_conformance.cli.clashes import load_incompatibilities, unmet
from onnx_conformance.cli.machine import GIBIBYTE, Imported, disk, gpus, hardware, imports
from onnx_conformance.cli.node_placement import probe_all
from onnx_conformance.cli.terminal import OK, RED, Arguments, guarded, progress, say
from onnx_conformance.core.errors import UsageError, WorkerError
from onnx_conformance.core.extras import remedy
from onnx_conformance.core.project import project
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.store import Store
from onnx_conformance.session.cache_keys import environment, version
from onnx_conformance.session.probe import ProbeResult

OLDEST, NEWEST = (3, 11), (3, 13)
ROOMY = 2 * GIBIBYTE  # free bytes that a cold run needs for its cache
FRAMEWORKS = tuple(framework.name for framework in exported_frameworks())


@dataclass(frozen=True)
class Finding:
    """Something that is wrong; ``stops`` if the default run cannot succeed."""

    words: str
    stops: bool


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    return guarded("doctor", lambda: _main(sys.argv[1:] if arguments is None else arguments))


def _main(arguments: list[str]) -> int:
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
    _tell_workers(console, workers)
    with progress(console, "trying the providers"):
        providers = _providers(workers, chosen.limit)
    _tell_providers(console, providers)
    found = [
        *of_python(sys.version_info[:2]),
        *of_cache(cache, free),
        *of_workers(workers),
        *of_providers(providers),
        *of_packages(around["versions"]),
    ]
    return _conclude(console, found)


def of_python(running: tuple[int, int]) -> Iterator[Finding]:
    """Whether this Python version is supported."""
    if not OLDEST <= running <= NEWEST:
        span = " to ".join(".".join(map(str, each)) for each in (OLDEST, NEWEST))
        yield Finding(f"Python {'.'.join(map(str, running))}: {span} is needed", True)


def of_cache(cache: Path, free: int) -> Iterator[Finding]:
    """Whether the cache can be written, and has room."""
    try:
        Store(cache)
    except UsageError as error:
        yield Finding(str(error), True)
    if free < ROOMY:
        room = f"{free / GIBIBYTE:.1f} GiB"
        yield Finding(f"{room} free for the cache; a first run needs {ROOMY // GIBIBYTE}", False)


def of_workers(workers: dict[str, Imported]) -> Iterator[Finding]:
    """One framework and ONNX Runtime must start; a framework that is broken stops the run."""
    for kind, worker in workers.items():
        if not worker.installed:
            needed = kind not in FRAMEWORKS
            yield Finding(f"{kind} is not installed; {remedy(kind)}", needed)
        elif worker.error:
            yield Finding(f"{kind} cannot be imported: {worker.error}", True)
    if not any(workers[kind].usable for kind in FRAMEWORKS):
        yield Finding(f"no framework can be used: {' or '.join(FRAMEWORKS)} is needed", True)


def of_providers(providers: dict[str, ProbeResult]) -> Iterator[Finding]:
    """The CPU provider must work; another is a case that is skipped."""
    cpu = providers.get("cpu")
    if cpu is not None and not cpu.usable:
        yield Finding(f"ONNX Runtime's CPU provider does not work: {cpu.reason}", True)


def of_packages(packages: dict[str, str]) -> Iterator[Finding]:
    """Known clashes, and requirements that are not met."""
    for incompatibility in load_incompatibilities():
        if incompatibility.applies():
            yield Finding(str(incompatibility), incompatibility.stops)
    for problem in unmet(packages):
        yield Finding(f"{problem}; pip install --upgrade both", False)


def _providers(workers: dict[str, Imported], limit: float) -> dict[str, ProbeResult]:
    if not workers["onnxruntime"].usable:
        return {}
    try:
        return probe_all(limit)
    except WorkerError as error:
        return {"cpu": ProbeResult(False, " ".join(str(error).split()))}


def _tell_workers(console: Console, workers: dict[str, Imported]) -> None:
    for kind, worker in workers.items():
        if worker.usable:
            say(console, f"✓ {kind}: starts in {worker.seconds:.1f} s", "green")
        else:
            say(console, f"✗ {kind}: {worker.error}", "bold red")


def _tell_providers(console: Console, providers: dict[str, ProbeResult]) -> None:
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


def _conclude(console: Console, found: list[Finding]) -> int:
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


if __name__ == "__main__":
    sys.exit(main())
