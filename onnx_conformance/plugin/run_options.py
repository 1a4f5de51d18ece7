"""A run: its settings, cases, tolerances and known failures, validated before anything starts."""

from __future__ import annotations

import re
from pathlib import Path

from onnx_conformance.catalog.providers import DEFAULT_PROVIDERS, PROVIDERS
from onnx_conformance.checks.registry import CHECKS
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.project import project
from onnx_conformance.core.settings import Settings, shipped_limits
from onnx_conformance.core.store import Store
from onnx_conformance.core.tolerances import Tolerances, load_tolerances
from onnx_conformance.inputs.photographs import read_photograph
from onnx_conformance.perf.gate.rules import RULES, load_rules
from onnx_conformance.perf.options import GateOptions, PerfRun, read_gate, read_timing
from onnx_conformance.plugin.registration import RegisteredNames
from onnx_conformance.run.evaluation_data import refuse_idle
from onnx_conformance.run.known_failures import KnownFailure, load_known_failures
from onnx_conformance.run.own_references import notes_on_single_files, without_itself
from onnx_conformance.run.run_record import Configuration, OptionValues
from onnx_conformance.run.selection import Selection, possible_cases, select_cases
from onnx_conformance.run.shards import read_shard, refuse_whole


def make_run(config: Configuration, records: RegisteredNames) -> PerfRun:
    """Read and validate pytest's options; it registers nothing.

    Raises:
        UsageError: the first thing that is wrong, in one line.
    """
    option, arguments = config.getoption, [str(name) for name in config.args]
    selection = _selection(option, records)
    required, images = _required(option), _images(option)
    cases = tuple(select_cases(selection))
    refuse_idle(option("calibration_data") or "", option("evaluation_data") or "", cases)
    tolerances = load_tolerances(Path(option("tolerances")))
    known = _known_failures(option("known_failures"))
    if selection.full:
        _refuse_unused(tolerances, known, cases)
    gate = read_gate(option, arguments)
    _refuse_no_cache(config)
    settings = _settings(option, tolerances, gate)
    timing = read_timing(option, arguments)
    measured = timing.wanted or gate is not None
    if measured:
        _refuse_elsewhere(cases)
    notes: tuple[str, ...] = ()
    if option("against"):
        references = (option("against"), *records.chains)
        cases, notes = without_itself(references, cases, settings)
        notes += notes_on_single_files(references, cases, records.unchained)
    refuse_whole(
        option("shard"),
        timed=measured,
        history=bool(option("history")),
    )
    return PerfRun(
        settings=settings,
        selection=selection,
        cases=cases,
        tolerances=tolerances,
        known_failures=tuple(known),
        required=required,
        models_from=tuple(option("models_from")),
        against=option("against") or "",
        notes=notes,
        refused=tuple(
            f"model '{name}' was refused: " + why.removeprefix(f"model '{name}': ")
            for name, why in records.refused.items()
        ),
        frameworks=tuple(option("framework")),
        images=images,
        temporary_cache=option("no_cache"),
        resume=option("resume"),
        cache_limit=_size(option("cache_limit")),
        report_json=Path(option("report_json")),
        report_html=_path(option("report_html")),
        report_md=_path(option("report_md")),
        report_sarif=_path(option("report_sarif")),
        report_codequality=_path(option("report_codequality")),
        history=_path(option("history")),
        save_onnx=_path(option("save_onnx")),
        repro_dir=project().outputs / "repro",
        shard=read_shard(option("shard"), option("shard_durations"), cases),
        bundles=option("bundles"),
        localize=option("localize"),
        gate=gate,
        gate_json=Path(option("gate_json")),
        gate_html=Path(option("gate_html")),
        timing=timing,
    )


def _path(name: str | None) -> Path | None:
    return Path(name) if name else None


def _selection(option: OptionValues, records: RegisteredNames) -> Selection:
    levels = tuple(dict.fromkeys(option("graph_level")))
    return Selection(
        records.models,
        tuple(option("exporter")),
        tuple(option("opset")),
        _providers(tuple(option("provider")), records),
        records.artifacts,
        tuple(option("variant")),
        option("precision") or "",
        levels if len(levels) > 1 else (),
        option("against") or "",
        records.chains,
    )


def _required(option: OptionValues) -> tuple[str, ...]:
    """``--require``; an unknown provider is an error."""
    for name in option("require"):
        if name != "gpu":
            PROVIDERS[name]
    return tuple(option("require"))


def _images(option: OptionValues) -> tuple[Path, ...]:
    """``--image``: photographs that can be read."""
    images = tuple(Path(name) for name in option("image"))
    for image in images:
        if not image.is_file():
            raise UsageError(f"--image {image}: no such file")
        read_photograph(image)
    return images


def _refuse_no_cache(config: Configuration) -> None:
    """A cache that cannot be written, or that verdicts are to come from and is not to be used."""
    option = config.getoption
    if option("resume") and option("no_cache"):
        raise UsageError("--resume takes verdicts from the cache: leave out --no-cache")
    if not (option("no_cache") or config.option.collectonly or config.option.help):
        Store(Path(option("cache_dir")).absolute())  # raises at once if it cannot be written


def _settings(option: OptionValues, tolerances: Tolerances, gate: GateOptions | None) -> Settings:
    levels = tuple(dict.fromkeys(option("graph_level")))
    return Settings(
        seed=option("seed"),
        weights=option("weights"),
        cache_dir=Path(option("cache_dir")).absolute(),
        limit=option("call_limit"),
        threads=option("threads"),
        graph_level=levels[0] if len(levels) == 1 else Settings.graph_level,
        in_process=option("in_process"),
        ahead=not option("in_process"),
        approximation=tolerances.defaults["approximation"],
        padding=tolerances.defaults["padding"],
        first_finding=option("first_finding"),
        expect_dynamic=bool(option("expect_dynamic")),
        min_placement=_least_placement(option("min_placement"), gate),
        cpu_fallback=not option("no_cpu_fallback"),
        calibration_data=option("calibration_data") or "",
        evaluation_data=option("evaluation_data") or "",
        limits=shipped_limits().changed(tuple(option("artifact_limit"))),
        custom_op_libraries=_libraries(tuple(option("custom_op_library"))),
        edge_cases=option("edge_cases"),
    )


def _known_failures(file: str) -> list[KnownFailure]:
    """The known failures; none where neither an option nor the project names a file of them."""
    return load_known_failures(Path(file), CHECKS) if file else []


def _providers(named: tuple[str, ...], records: RegisteredNames) -> tuple[str, ...]:
    """The providers that were named, and recorded answers; else the default ones and plugins."""
    if named or records.answers:
        return tuple(dict.fromkeys((*named, *records.answers)))
    return (*DEFAULT_PROVIDERS, *records.plugins) if records.plugins else ()


def _refuse_elsewhere(cases: tuple[Case, ...]) -> None:
    """Refuse to time a provider that answers on another machine."""
    for name in dict.fromkeys(case.provider for case in cases):
        if not PROVIDERS[name].here:
            raise UsageError(
                f"'{name}' answers on another machine, whose times cannot be compared with this "
                "one's: leave it out, or time on that machine"
            )


def _size(asked: str) -> int | None:
    """Bytes of ``20G``; None where nothing was asked for."""
    if not asked:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", asked.strip().upper())
    if not found:
        raise UsageError(f"--cache-limit {asked}: a size is wanted, such as 500M or 20G")
    return int(float(found[1]) * 1000 ** " KMGT".index(found[2] or " "))


def _least_placement(asked: float | None, gate: GateOptions | None) -> float:
    """The share that was asked for; else that of a gate's rules, or 0: one node suffices."""
    if asked is None:
        return load_rules(gate.rules or RULES).least_placement if gate else 0.0
    if not 0.0 <= asked <= 1.0:
        raise UsageError(f"--min-placement {asked:g}: must be a share from 0 to 1, such as 0.95")
    return asked


def _libraries(named: tuple[str, ...]) -> tuple[str, ...]:
    """The libraries' absolute paths, because a worker may have another working directory."""
    for name in named:
        if not Path(name).is_file():
            raise UsageError(f"--custom-op-library {name}: no such file")
    return tuple(str(Path(name).absolute()) for name in named)


def _refuse_unused(
    tolerances: Tolerances, known: list[KnownFailure], cases: tuple[Case, ...]
) -> None:
    """Refuse, in a full run, overrides that match no case: they are stale or misspelt.

    The same holds for a known failure that matches no possible case.
    """
    for override in tolerances.unused(cases):
        raise UsageError(
            f"{tolerances.path}, line {override.line}: this override matches no case "
            f"({override.match}); fix its patterns or remove it"
        )
    possible = [*cases, *possible_cases()]
    for failure in known:
        if not any(failure.names(case) for case in possible):
            raise UsageError(
                f"known failure '{failure.cases}' ({failure.check}) matches no case; "
                "fix its pattern or remove it"
            )
