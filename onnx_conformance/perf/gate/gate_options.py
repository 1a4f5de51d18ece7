"""The options of the gate, validated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import execnet

from onnx_conformance.core.errors import UsageError

BASELINE = "baseline"
TESTS = "test_gate.py"
# Options of pytest-benchmark that keep tests from being timed, or from running at all.
HARMFUL = {
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


def add_gate_options(group: Any) -> None:
    """Add the options of ``make gate`` to pytest's option group."""
    group.addoption(
        "--gate",
        metavar="BASELINE",
        help="compare with the artifacts in this folder, kept by --save-onnx, and fail where the "
        "candidate is worse; runs only the gate",
    )
    group.addoption(
        "--engine",
        metavar="LABEL=SPEC",
        action="append",
        default=[],
        help="run on the provider of another environment too, such as openvino=popen//python=PATH "
        "(docs/providers.md); baseline=SPEC runs the gate's baseline there (repeatable)",
    )
    group.addoption(
        "--gate-threshold",
        metavar="SHARE",
        type=float,
        help="the smallest slowdown that must be caught (default: 0.1, from the rules)",
    )
    group.addoption(
        "--gate-seconds",
        metavar="SECONDS",
        type=float,
        help="measure each case for no longer than this (default: from the rules)",
    )
    group.addoption("--gate-strict", action="store_true", help="fail where a case stays undecided")
    group.addoption(
        "--gate-rules",
        metavar="FILE",
        help="file of the gate's rules (default: onnx_conformance/perf/gate/rules.yaml)",
    )


def read_gate(option: Any, named: list[str]) -> GateOptions | None:
    """Validate the options; None where no gate was asked for.

    Args:
        option: gives an option's value by its name.
        named: the paths on the command line; naming the gate's tests asks for a gate.

    Raises:
        UsageError: an option without a gate, a bad worker, or timings beside each other.
    """
    workers = _workers(option("engine"))
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
    for name, harm in HARMFUL.items():
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


def _workers(words: list[str]) -> dict[str, str]:
    """Label -> spec.

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
        found[label] = _checked(word, spec)
    return found


def _checked(word: str, spec: str) -> str:
    try:
        parsed = execnet.XSpec(spec)
    except (AttributeError, ValueError) as error:
        raise UsageError(f"--engine {word}: execnet cannot read the spec: {error}") from error
    if not parsed.popen:
        raise UsageError(
            f"--engine {word}: give popen//python=PATH: both sides must be timed on this machine, "
            "because times of two machines cannot be compared"
        )
    python = parsed.python
    if python and "/" in python and not Path(python).expanduser().is_file():
        raise UsageError(f"--engine {word}: there is no {python}")
    return spec
