"""The options of timing and of the gate, validated, and the run that they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import execnet

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.project import project
from onnx_conformance.core.settings import LEVELS
from onnx_conformance.perf.latency.suspended_worker import chosen_cpus
from onnx_conformance.run.run_record import SEVERAL, SWITCH, Option, OptionValues, Run

BATCH_SIZES = (1, 4, 8, 16)
# Options of pytest-benchmark that ask for timings.
OPTIONS_THAT_ASK_FOR_TIMINGS = (
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
class TimingOptions:
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


def timing_options() -> tuple[Option, ...]:
    """The options of ``make bench``."""
    return (
        Option("--batch-size", "N",
               "time at this batch size (repeatable; default: 1, 4, 8 and 16)",
               {"type": int, **SEVERAL}),
        Option("--native-form", "NAME",
               "time native in this form beside eager (repeatable; default: all but compile)",
               SEVERAL),
        Option("--bench-seconds", "SECONDS",
               "time for the rounds of one model and batch size "
               f"(default: {TimingOptions.seconds:g})",
               {"type": float, "default": TimingOptions.seconds}),
        Option("--affinity", "CPUS",
               "keep timed workers on these processors, such as 0,1 (default: the last "
               "--threads)", {"default": ""}),
        Option("--graph-level", None,
               "ONNX Runtime's graph optimization level (default: all; repeatable)",
               {"choices": tuple(LEVELS), **SEVERAL}),
        Option("--require-speedup", "FILE",
               "fail where ONNX Runtime is shown to be slower than FILE requires (default file: "
               "onnx_conformance/perf/latency/minimum_speedups.yaml)",
               {"nargs": "?", "const": "shipped", "default": ""}),
        Option("--latency-json", "FILE",
               "write timings as data (default: .conformance/latency.json)",
               {"default": str(project().outputs / TimingOptions.json)}),
        Option("--latency-html", "FILE",
               "write timings as a page (default: .conformance/latency.html)",
               {"default": str(project().outputs / TimingOptions.html)}),
    )  # fmt: skip


def read_timing(option: OptionValues, named: list[str]) -> TimingOptions:
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
    asked = any(option(name, None) for name in OPTIONS_THAT_ASK_FOR_TIMINGS) or bool(
        option("require_speedup")
    )
    by_name = any(Path(name.partition("::")[0]).stem == TIMED_FILE for name in named)
    return TimingOptions(
        wanted=(asked or by_name) and not (option("gate") or _names_baseline(option("engine"))),
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


def _names_baseline(workers: list[str]) -> bool:
    """Whether one of them is the gate's, which times by itself."""
    return any(word.partition("=")[0] == "baseline" for word in workers)


BASELINE = "baseline"
TESTS = "test_gate.py"
# Options of pytest-benchmark that keep tests from being timed, or from running at all.
OPTIONS_AGAINST_THE_GATE = {
    "benchmark_disable": "turns timings off",
    "benchmark_skip": "leaves timings out",
    "benchmark_only": "leaves out every test that pytest-benchmark does not time",
}


@dataclass(frozen=True)
class GateOptions:
    """What is gated against what.

    Args:
        folder: the baseline's artifacts, or None where the candidate's own are used.
        spec: execnet's name of the baseline's process, or None for this environment.
        threshold, seconds: instead of the rules file's; None keeps those.
        strict: an undecided case is red.
        rules: the rules file, or None for the one that is shipped.
        batch_sizes: samples a call.
    """

    folder: Path | None
    spec: str | None
    threshold: float | None
    seconds: float | None
    strict: bool
    rules: Path | None
    batch_sizes: tuple[int, ...]


def gate_options() -> tuple[Option, ...]:
    """The options of ``make gate``."""
    return (
        Option("--gate", "BASELINE",
               "compare with the artifacts in this folder, kept by --save-onnx, and fail where "
               "the candidate is worse; runs only the gate"),
        Option("--engine", "LABEL=SPEC",
               "run on the provider of another environment or host too, such as "
               "openvino=popen//python=PATH (docs/providers.md) or "
               "edge:cuda=ssh=HOST//python=PATH (docs/other-machines.md); baseline=SPEC is the "
               "gate's baseline (repeatable)", SEVERAL),
        Option("--gate-threshold", "SHARE",
               "the smallest slowdown that must be caught (default: 0.1, from the rules)",
               {"type": float}),
        Option("--gate-seconds", "SECONDS",
               "measure each case for no longer than this (default: from the rules)",
               {"type": float}),
        Option("--gate-rules", "FILE",
               "file of the gate's rules (default: onnx_conformance/perf/gate/rules.yaml)"),
        Option("--gate-strict", None, "fail where a case stays undecided", SWITCH),
        Option("--gate-json", "FILE",
               "the gate's verdicts as data (default: .conformance/gate.json)",
               {"default": str(project().outputs / "gate.json")}),
        Option("--gate-html", "FILE",
               "the gate's verdicts as a page (default: .conformance/gate.html)",
               {"default": str(project().outputs / "gate.html")}),
    )  # fmt: skip


def read_gate(option: OptionValues, named: list[str]) -> GateOptions | None:
    """Validate the options; None where no gate was asked for.

    Args:
        option: gives an option's value by its name.
        named: the paths on the command line; naming the gate's tests asks for a gate.

    Raises:
        UsageError: an option without a gate, a bad worker, or timings beside each other.
    """
    workers = _read_engines(option("engine"))
    folder, spec = option("gate"), workers.get(BASELINE)
    if folder is None and spec is None:
        for name in ("threshold", "seconds", "strict", "rules"):
            if option(f"gate_{name}"):
                raise UsageError(f"--gate-{name} needs --gate BASELINE, or --engine baseline=SPEC")
        if any(Path(name.partition("::")[0]).name == TESTS for name in named):
            raise UsageError(
                f"{TESTS} compares with a baseline: give --gate=BASELINE, the folder "
                "that --save-onnx kept, or --engine baseline=SPEC"
            )
        return None
    if option("numprocesses", None) or option("dist", "no") != "no":
        raise UsageError("the gate times one case after the other: leave out -n and --dist")
    for name, harm in OPTIONS_AGAINST_THE_GATE.items():
        if option(name, None):
            raise UsageError(f"--{name.replace('_', '-')} {harm}: the gate would compare nothing")
    if option("in_process"):
        raise UsageError("the gate needs workers in separate processes: leave out --in-process")
    seconds = option("gate_seconds")
    if seconds is not None and not 0 < seconds < 86400:
        raise UsageError(f"--gate-seconds {seconds:g}: must be above 0 and below a day")
    rules = option("gate_rules")
    return GateOptions(
        folder=Path(folder) if folder is not None else None,
        spec=spec,
        threshold=option("gate_threshold"),
        seconds=seconds,
        strict=option("gate_strict"),
        rules=Path(rules) if rules else None,
        batch_sizes=tuple(dict.fromkeys(option("batch_size"))) or (1,),
    )


def _read_engines(words: list[str]) -> dict[str, str]:
    """The ``--engine`` options: label -> spec.

    Raises:
        UsageError: no LABEL=SPEC, an unknown or repeated label, or a spec that names no process.
    """
    found: dict[str, str] = {}
    for word in words:
        label, equals, spec = word.partition("=")
        if not equals or not spec:
            raise UsageError(f"--engine {word}: give LABEL=SPEC, such as baseline=popen//python=…")
        if label in found:
            raise UsageError(f"--engine {word}: '{label}' was given already")
        found[label] = _checked_spec(word, label, spec)
    return found


def _checked_spec(word: str, label: str, spec: str) -> str:
    try:
        parsed = execnet.XSpec(spec)
    except (AttributeError, ValueError) as error:
        raise UsageError(f"--engine {word}: execnet cannot read the spec: {error}") from error
    if not parsed.popen and label == BASELINE:
        raise UsageError(
            f"--engine {word}: give popen//python=PATH: both sides must be timed on this machine, "
            "because times of two machines cannot be compared"
        )
    python = parsed.python if parsed.popen else None
    if python and "/" in python and not Path(python).expanduser().is_file():
        raise UsageError(f"--engine {word}: there is no {python}")
    return spec


@dataclass(frozen=True)
class PerfRun(Run):
    """What the conformance checks need to know, and what timings and the gate need on top.

    Args:
        gate: None where no baseline was named.
        gate_json, gate_html: where the gate's results go.
    """

    timing: TimingOptions
    gate: GateOptions | None
    gate_json: Path
    gate_html: Path
