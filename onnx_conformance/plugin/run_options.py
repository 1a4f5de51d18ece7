"""A run: its settings, cases, tolerances and known failures, validated before anything starts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.models import read_pointer
from onnx_conformance.catalog.providers import DEFAULT_PROVIDERS, PROVIDERS, Provider
from onnx_conformance.checks.registry import CHECKS
from onnx_conformance.core.case import Case, ExternalCase
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.project import project
from onnx_conformance.core.settings import Settings, shipped_limits
from onnx_conformance.core.store import Store, file_digest
from onnx_conformance.core.tolerances import Tolerances, load_tolerances
from onnx_conformance.inputs.photographs import read_photograph
from onnx_conformance.perf.gate.rules import RULES, load_rules
from onnx_conformance.perf.options import GateOptions, PerfRun, read_gate, read_timing
from onnx_conformance.run.evaluation_data import adopt_evaluation, refuse_idle
from onnx_conformance.run.external_artifacts import labelled
from onnx_conformance.run.file_folder import POOLS, FileFolder, folder_of
from onnx_conformance.run.known_failures import KnownFailure, load_known_failures
from onnx_conformance.run.provider_sources import (
    adopt_answers,
    adopt_engines,
    adopt_libraries,
)
from onnx_conformance.run.selection import Selection, possible_cases, select_cases
from onnx_conformance.run.shards import read_shard, refuse_whole
from onnx_conformance.run.user_models import adopt, adopt_data, adopted_data

SHARED = "conformance_records"  # in what a worker of pytest-xdist is given
MOST_SEEDS = 2**31  # recipes add small numbers to a seed, and TensorFlow accepts 32 bits


@dataclass(frozen=True)
class RegisteredNames:
    """Names of the records that the options of a run add.

    Args:
        plugins: providers of plugins and of other environments.
        models: the models that were asked for, those of files and functions included.
        refused: models that could not be loaded, with the reason.
        answers: the recorded answers of other machines, as providers.
        artifacts: the files to judge, those of --artifact and what is made of a folder of them.
        chains: files in which those of the folder --against are called in a row.
        unchained: why they are not, where their names tell roles.
    """

    plugins: tuple[str, ...]
    models: tuple[str, ...]
    refused: dict[str, str]
    answers: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    chains: tuple[str, ...] = ()
    unchained: str = ""


def shared_records(records: RegisteredNames) -> dict[str, Any]:
    """What a worker of pytest-xdist need not look at again: models are built to be looked at."""
    return {
        **asdict(records),
        "records_of_plugins": [
            asdict(PROVIDERS[name]) for name in (*records.plugins, *records.answers)
        ],
        "records_of_models": adopted_data(),
    }


def _adopt_shared(shared: dict[str, Any]) -> RegisteredNames:
    for record in shared["records_of_plugins"]:
        if record["name"] in PROVIDERS:
            PROVIDERS.forget(record["name"])
        PROVIDERS.register(record["name"], Provider(**record))
    adopt_data(shared["records_of_models"])
    fields = ("plugins", "models", "refused", "answers", "artifacts", "chains", "unchained")
    return RegisteredNames(*(shared[name] for name in fields))


def adopt_records(config: Any) -> RegisteredNames:
    """Register what pytest's options name from elsewhere.

    Raises:
        UsageError: the first thing that is wrong, in one line.
    """
    shared = getattr(config, "workerinput", {}).get(SHARED)
    if shared is not None:
        return _adopt_shared(shared)
    option = config.getoption
    _refuse_numbers(option("seed"), option("threads"), option("call_limit"))
    plugins = (
        *adopt_libraries(option("provider_library"), option("call_limit")),
        *adopt_engines(option("engine"), option("call_limit")),
    )
    answers = adopt_answers(option("answers"))
    refused: dict[str, str] = {}
    artifact, reference = _folders(config)
    models = _models(config, refused, artifact, reference)
    if option("evaluation_data"):
        adopt_evaluation(option("evaluation_data"), option("calibration_data") or "", models)
    artifacts = tuple(option("artifact"))
    if artifact and not option("against"):
        judged = artifact.judged if len(artifacts) == 1 else artifacts
        return RegisteredNames(plugins, models, refused, answers, judged)
    rows = [tuple(map(str, one.chains)) if one else () for one in (artifact, reference)]
    problem = artifact.problem if artifact else ""
    return RegisteredNames(plugins, models, refused, answers, artifacts + rows[0], rows[1], problem)


def make_run(config: Any, records: RegisteredNames) -> PerfRun:
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
        notes += _alone_notes(references, cases, records.unchained)
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
            f"model '{name}' was refused: {why}" for name, why in records.refused.items()
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


def _selection(option: Any, records: RegisteredNames) -> Selection:
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


def _required(option: Any) -> tuple[str, ...]:
    """``--require``; an unknown provider is an error."""
    for name in option("require"):
        if name != "gpu":
            PROVIDERS[name]
    return tuple(option("require"))


def _images(option: Any) -> tuple[Path, ...]:
    """``--image``: photographs that can be read."""
    images = tuple(Path(name) for name in option("image"))
    for image in images:
        if not image.is_file():
            raise UsageError(f"--image {image}: no such file")
        read_photograph(image)
    return images


def _refuse_no_cache(config: Any) -> None:
    """A cache that cannot be written, or that verdicts are to come from and is not to be used."""
    option = config.getoption
    if option("resume") and option("no_cache"):
        raise UsageError("--resume takes verdicts from the cache: leave out --no-cache")
    if not (option("no_cache") or config.option.collectonly or config.option.help):
        Store(Path(option("cache_dir")).absolute())  # raises at once if it cannot be written


def _settings(option: Any, tolerances: Tolerances, gate: GateOptions | None) -> Settings:
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


def _models(
    config: Any,
    refused: dict[str, str],
    artifact: FileFolder | None,
    reference: FileFolder | None,
) -> tuple[str, ...]:
    """The chosen models. Those of files, functions and zoos are built now to find their inputs.

    Args:
        refused: receives the reason for each model that is refused while others remain.
    """
    option = config.getoption
    files, asked = tuple(option("models_from")), tuple(option("model"))
    if config.option.help:
        return asked
    against = option("against") or ""
    if against and (asked or files or not option("artifact")):
        raise UsageError(
            "--against FILE takes the native model's place: it needs --artifact=FILE, and no "
            "--model or --models-from"
        )
    return adopt(
        files,
        asked,
        against=against,
        weights=option("weights"),
        seed=option("seed"),
        limit=option("call_limit"),
        refused=refused,
        artifact=artifact,
        reference=reference,
    )


def _folders(config: Any) -> tuple[FileFolder | None, FileFolder | None]:
    """The folders of files that belong together, of --artifact and of --against.

    Run through as one where something is there to judge that by: a reference folder, or a model
    whose parts are known.
    """
    option = config.getoption
    limits = shipped_limits().changed(tuple(option("artifact_limit")))
    cache = None if option("no_cache") else Path(option("cache_dir")).absolute()
    against = tuple(one for one in (option("against"),) if one)
    models = option("model")
    pointer = read_pointer(models[0]) if len(models) == 1 else None
    parted = pointer is not None and pointer.pool in POOLS
    if config.option.help or not (parted or any(Path(one).is_dir() for one in against)):
        return None, None
    places = tuple(option("artifact"))
    if parted and all(Path(one).is_file() for one in places):
        places = places[:1]  # several files of one part: what the first takes, the others do
    found = folder_of(places, "--artifact", limits, cache)
    if against:
        reference = folder_of(against, "--against", limits, cache)
        if not (found and reference):
            return None, None
        problem = found.problem or reference.problem
        if problem:
            return found.without_chains(problem), reference.without_chains(problem)
        return found, reference
    return (found, None) if found and found.pointers(models[0]) else (None, None)


def _known_failures(file: str) -> list[KnownFailure]:
    """The known failures; none where neither an option nor the project names a file of them."""
    return load_known_failures(Path(file), CHECKS) if file else []


def _providers(named: tuple[str, ...], records: RegisteredNames) -> tuple[str, ...]:
    """The providers that were named, and recorded answers; else the default ones and plugins."""
    if named or records.answers:
        return tuple(dict.fromkeys((*named, *records.answers)))
    return (*DEFAULT_PROVIDERS, *records.plugins) if records.plugins else ()


def _refuse_elsewhere(cases: tuple[Case, ...]) -> None:
    """Times of two machines cannot be compared."""
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


def without_itself(
    references: tuple[str, ...], cases: tuple[Case, ...], settings: Settings
) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """The cases that differ from the reference's own run, and notes on what is compared.

    Args:
        references: what --against names, and the files of such a folder as one.

    The reference runs on the CPU without graph optimisation. The same file under the same
    conditions gives the same bits, which proves nothing. Under other conditions the comparison
    shows what ONNX Runtime's optimisation or the provider does to the file.

    Raises:
        UsageError: no other case is left.
    """
    external = [case for case in cases if isinstance(case, ExternalCase)]
    against = Path(references[0])
    known = labelled(references, "--against") if against.is_dir() else {}
    same = {case.path for case in external if _is(known.get(case.label, against), Path(case.path))}
    reference_runs = [
        case for case in external if case.path in same and _is_reference(case, settings)
    ]
    kept = tuple(case for case in cases if case not in reference_runs)
    if reference_runs and not kept:
        raise UsageError(
            f"--artifact {reference_runs[0].path} and --against {against} are the same file or "
            "have the same bytes. With graph optimisation off on the cpu provider both sides are "
            "the same run, which proves nothing; name another file, or compare with --graph-level "
            "all"
        )
    compared = [case for case in external if case.path in same and case in kept]
    notes = [*_own_references(compared, settings)]
    notes += [
        f"{case.id}: not judged, because it is the reference's own run" for case in reference_runs
    ]
    return kept, tuple(dict.fromkeys(notes))


def _alone_notes(
    references: tuple[str, ...], cases: tuple[Case, ...], problem: str
) -> tuple[str, ...]:
    """What is not judged of a folder of files that are not called in a row."""
    labels = {case.label for case in cases if isinstance(case, ExternalCase)}
    if len(references) > 1 or len(labels) < 2:
        return ()
    why = problem or (
        "call them encoder_model.onnx, decoder_model.onnx and decoder_with_past_model.onnx where "
        "they are such"
    )
    alone = f"the {len(labels)} files are judged one by one, and what one hands to another is not"
    return (f"{alone}: {why}",)


def _own_references(cases: list[ExternalCase], settings: Settings) -> Iterator[str]:
    """What is judged where files are their own references, in one line a graph level."""
    files: dict[str, dict[str, None]] = {}
    for case in cases:
        level = case.graph_level or settings.graph_level
        files.setdefault(level, {})[Path(case.path).name] = None
    for level, names in files.items():
        first, more = next(iter(names)), len(names) - 1
        them = f"{first} and {more} more files are their own references" if more else ""
        yield (
            f"{them or f'{first} is its own reference'}: this judges what ONNX Runtime does to "
            f"{'them' if more else 'it'} at graph level {level} on each provider"
        )


def _is(against: Path, path: Path) -> bool:
    """Whether two paths name one file, or two files of the same bytes.

    Files with external data may be the same graph with other weights.
    """
    if not path.is_file():
        return False
    whole = b"location" not in against.read_bytes()
    return path.samefile(against) or (whole and file_digest(path) == file_digest(against))


def _is_reference(case: Case, settings: Settings) -> bool:
    return (case.graph_level or settings.graph_level) == "disabled" and case.provider == "cpu"


def _refuse_numbers(seed: int, threads: int, call_limit: float) -> None:
    """Refuse numbers that no worker can use."""
    if not 0 <= seed < MOST_SEEDS:
        raise UsageError(f"--seed {seed}: must be a whole number from 0 to {MOST_SEEDS - 1}")
    if threads < 1:
        raise UsageError(f"--threads {threads}: a worker needs at least 1")
    if not 0 < call_limit < math.inf:
        raise UsageError(f"--call-limit {call_limit:g}: must be a number of seconds above 0")


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
