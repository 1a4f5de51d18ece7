"""The options of timing, validated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.project import project
from onnx_conformance.core.settings import LEVELS
from onnx_conformance.perf.latency.suspended_worker import chosen_cpus

BATCH_SIZES = (1, 4, 8, 16)
# Options of pytest-benchmark that ask for timings.
ASKING = (
    "benchmark_only",
    "benchmark_autosave",
    "benchmark_save",
    "benchmark_compare",
    "benchmark_compare_fail",
    "benchmark_json",
    "benchmark_histogram",
    "benchmark_enable",
)
TIMED_FILE = "test_latency"


@dataclass(frozen=True)
class Timing:
    """How timings are taken.

    Args:
        wanted: whether latency cases are collected at all.
        batch_sizes: samples a call.
        forms: of the native side, beside eager; empty for those that are timed by default.
        seconds: that the rounds of one model and batch size may take.
        cpus: the processors that every worker is kept on; empty where the system has no affinity.
        minimum_speedups: the file of the speed-ups that are required, or "".
        json: where the timings go as data.
        html: where they go as a page.
    """

    wanted: bool = False
    batch_sizes: tuple[int, ...] = BATCH_SIZES
    forms: tuple[str, ...] = ()
    seconds: float = 6.0
    cpus: tuple[int, ...] = ()
    minimum_speedups: str = ""
    json: Path = Path("latency.json")
    html: Path = Path("latency.html")


def add_timing_options(group: Any) -> None:
    """Add the options of ``make bench`` to pytest's option group."""
    several = {"action": "append", "default": []}
    group.addoption(
        "--batch-size",
        metavar="N",
        type=int,
        help="time at this batch size (repeatable; default: 1, 4, 8 and 16)",
        **several,
    )
    group.addoption(
        "--native-form",
        metavar="NAME",
        help="time native in this form beside eager (repeatable; default: all but compile)",
        **several,
    )
    group.addoption(
        "--bench-seconds",
        metavar="SECONDS",
        type=float,
        default=Timing.seconds,
        help=f"time for the rounds of one model and batch size (default: {Timing.seconds:g})",
    )
    group.addoption(
        "--affinity",
        metavar="CPUS",
        default="",
        help="keep timed workers on these processors, such as 0,1 (default: the last --threads)",
    )
    group.addoption(
        "--graph-level",
        choices=tuple(LEVELS),
        help="ONNX Runtime's graph optimization level (default: all; repeatable)",
        **several,
    )
    group.addoption(
        "--require-speedup",
        metavar="FILE",
        nargs="?",
        const="shipped",
        default="",
        help="fail where ONNX Runtime is shown to be slower than FILE requires "
        "(default file: onnx_conformance/perf/latency/minimum_speedups.yaml)",
    )
    group.addoption(
        "--latency-json",
        metavar="FILE",
        default=str(project().outputs / Timing.json),
        help="write timings as data (default: .conformance/latency.json)",
    )
    group.addoption(
        "--latency-html",
        metavar="FILE",
        default=str(project().outputs / Timing.html),
        help="write timings as a page (default: .conformance/latency.html)",
    )


def read_timing(option: Any, named: list[str]) -> Timing:
    """Validate the options.

    Args:
        option: gives an option's value by its name.
        named: the paths on the command line; naming the latency tests asks for timings.

    Raises:
        UsageError: a number that cannot be, or a processor that this process may not use.
    """
    sizes = tuple(dict.fromkeys(option("batch_size"))) or BATCH_SIZES
    for size in sizes:
        if size < 1:
            raise UsageError(f"--batch-size {size}: must be at least 1")
    seconds = option("bench_seconds")
    if not 0 < seconds < 3600:
        raise UsageError(f"--bench-seconds {seconds:g}: must be above 0 and under 3600")
    asked = any(option(name, None) for name in ASKING) or bool(option("require_speedup"))
    by_name = any(Path(name.partition("::")[0]).stem == TIMED_FILE for name in named)
    return Timing(
        wanted=(asked or by_name) and not (option("gate") or _baseline(option("engine"))),
        batch_sizes=sizes,
        forms=tuple(dict.fromkeys(option("native_form"))),
        seconds=seconds,
        cpus=tuple(chosen_cpus(_processors(option("affinity")), option("threads"))),
        minimum_speedups=option("require_speedup"),
        json=Path(option("latency_json")),
        html=Path(option("latency_html")),
    )


def _processors(text: str) -> list[int]:
    """The processors of ``--affinity``.

    Raises:
        UsageError: no list of numbers, or one that this process may not run on.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"--affinity {text}: give processors by number, such as 0,1")
    asked = sorted({int(part) for part in parts})
    allowed = chosen_cpus((), 0)
    missing = [cpu for cpu in asked if allowed and cpu not in allowed]
    if missing:
        listed = ", ".join(map(str, allowed))
        raise UsageError(
            f"--affinity {text}: processor {missing[0]} is not available; there are {listed}"
        )
    return asked


def _baseline(workers: list[str]) -> bool:
    """Whether one of them is the gate's, which times by itself."""
    return any(word.partition("=")[0] == "baseline" for word in workers)
