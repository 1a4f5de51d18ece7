"""Failure messages: first what happened, then what to do."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.devices import drivers
from onnx_conformance.catalog.exporters import EXPORTERS, judged_packages
from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.checks.evidence import ConformanceFailure
from onnx_conformance.core.case import Case, DerivedCase
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.files import INSTALLED, WHOLE_RUN, in_checkout, program, pytest_program
from onnx_conformance.core.project import project
from onnx_conformance.core.settings import Settings, shipped_limits
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.text import informative_lines
from onnx_conformance.run.answers_client import ANSWERS
from onnx_conformance.run.cache_keys import environment
from onnx_conformance.run.run_record import Run

NOT_HERE = (
    "not available here; "
    + ("'onnx-conformance providers'" if INSTALLED else "'make providers'")
    + " says what is missing"
)
IN_ONE_LINE = ("budget", "mismatched", "localised", "reproduce")  # labels of a message's lines
LAST_LINES = 8  # lines of a worker's traceback or log


def header(run: Run, judged: Sequence[Case], profile: str) -> list[str]:
    """The settings of this run, for pytest's header.

    Args:
        judged: its cases without those that --framework leaves out.
    """
    settings, count = run.settings, len({case.model for case in run.cases})
    models = [resolve_model(name) for name in dict.fromkeys(case.model for case in judged)]
    as_built = settings.weights == "calibrated" and bool(models) and all(m.trained for m in models)
    weights = "weights as built" if as_built else f"{settings.weights} weights"
    return [
        f"conformance: {len(run.cases)} cases of {count} model(s); seed {settings.seed}, "
        f"{weights}, profile {profile}, {settings.threads} thread(s) a worker",
        f"judged: {_versions(judged, models)}",
        *(f"device {name}: {told}" for name, told in drivers().items()),
        *run.refused,
        *run.notes,
    ]


def _versions(cases: Iterable[Case], models: Iterable[ModelSpec]) -> str:
    """The installed packages that the verdicts on these cases are about, with their versions."""
    used = {"onnx", "onnxruntime", "onnxruntime-gpu"}
    for model in models:
        used.update(FRAMEWORKS[model.framework].packages)
    for route in {case.exporter for case in cases if case.exporter in EXPORTERS}:
        used.update(EXPORTERS[route].packages)
    installed = environment()["versions"]
    return ", ".join(
        f"{n} {installed[n]}" for n in judged_packages() if n in used and n in installed
    )


def reproduce_command(run: Run, nodeid: str, case: Case) -> str:
    """The command that repeats this one test where the run was started, with all it depends on."""
    pytest_typed = in_checkout() and WHOLE_RUN not in os.environ
    command = [pytest_program(), nodeid] if pytest_typed else [*program(), "run", nodeid]
    command += [f"--against={run.against}"] if run.against else ["--model", case.model]
    command += [f"--models-from={path}" for path in run.models_from]
    command += [f"--artifact={path}" for path in run.selection.artifacts]
    command += [f"--precision={run.selection.precision}"] if run.selection.precision else []
    command += _about_files(run)
    command += ["--variant", case.variant] if isinstance(case, DerivedCase) else []
    command += _data(run.settings)
    command += ["--exporter", case.exporter] if case.exporter in EXPORTERS else []
    command += ["--opset", str(case.opset)] if case.opset is not None else []
    command += ["--provider", case.provider]
    level = case.graph_level or run.settings.graph_level
    command += ["--graph-level", level] if level != Settings.graph_level else []
    library = PROVIDERS[case.provider].library
    command += [f"--provider-library={case.provider}={library}"] if library else []
    command += _host(case.provider)
    command += [] if run.settings.cpu_fallback else ["--no-cpu-fallback"]
    command += ["--expect-dynamic"] if run.settings.expect_dynamic else []
    least = run.settings.min_placement
    command += [f"--min-placement={least:g}"] if least else []
    command += ["--edge-cases=fail"] if run.settings.edge_cases == "fail" else []
    if run.settings.seed:
        command += ["--seed", str(run.settings.seed)]
    if run.settings.threads != 1:
        command += ["--threads", str(run.settings.threads)]
    if run.tolerances.path != project().tolerances:
        command += [f"--tolerances={run.tolerances.path}"]
    if run.settings.weights != "calibrated":
        command += ["--weights", run.settings.weights]
    return shlex.join(command)


def _host(provider: str) -> list[str]:
    """Where a provider runs, if not in this environment."""
    host, base = PROVIDERS[provider].host, PROVIDERS[provider].base
    if host.startswith(ANSWERS):
        return [f"--answers={provider}={host.removeprefix(ANSWERS)}"]
    return [f"--engine={provider}:{base}={host}"] if host else []


def _data(settings: Settings) -> list[str]:
    """The options that name the user's own samples."""
    folders = {
        "--calibration-data": settings.calibration_data,
        "--evaluation-data": settings.evaluation_data,
    }
    return [f"{option}={folder}" for option, folder in folders.items() if folder]


def _about_files(run: Run) -> list[str]:
    """How external artifacts are read and loaded, where it is not as usual."""
    options = [f"--custom-op-library={path}" for path in run.settings.custom_op_libraries]
    shipped = shipped_limits().as_dict()
    limits = run.settings.limits.as_dict()
    return options + [f"--artifact-limit={n}={v!r}" for n, v in limits.items() if v != shipped[n]]


def failure_message(
    case: Case,
    error: ConformanceFailure | StageFailure,
    command: str,
    bundle: Path | None,
    upstream: tuple[str, ...] = (),
) -> str:
    """A complete message, which needs no context.

    Args:
        upstream: lines on known faults upstream that explain it.
    """
    lines = [f"{case.id}: {_headline(error)}"]
    if isinstance(error, ConformanceFailure):
        lines += [f"  {line}" for line in error.result.details]
        if error.result.inputs:
            lines.append(f"  inputs: {error.result.inputs}")
        lines.append(f"  check: {error.result.name}, {error.result.compared} elements compared")
    elif error.details:
        tail = informative_lines(error.details, LAST_LINES)
        lines += ["  last output of the worker:", *(f"    {line}" for line in tail)]
    lines += [f"  {line}" for line in upstream]
    lines.append(f"  reproduce: {command}")
    if bundle is not None:
        lines.append(f"  bundle: {bundle}")
    return "\n".join(lines)


def summary_line(message: str) -> str:
    """A failure message in one line: what differs, by how much, where first, how to repeat it."""
    first, *lines = message.splitlines() or [""]
    found: dict[str, str] = {}
    for line in lines:
        label, colon, rest = line.strip().partition(": ")
        if colon and label in IN_ONE_LINE:
            found.setdefault(label, rest)
    parts = [f"{label}: {found[label]}" for label in IN_ONE_LINE if label in found]
    return "; ".join([first.strip(), *parts])


def _headline(error: ConformanceFailure | StageFailure) -> str:
    return error.result.reason if isinstance(error, ConformanceFailure) else str(error)


def place_of(case: Mapping[str, Any]) -> str:
    """The column of a case: its provider, with the graph level where the run has several."""
    level = case.get("graph_level")
    return f"{case['provider']}@{level}" if level else str(case["provider"])
