"""What a run's options name from elsewhere, registered: models, files, providers, answers, data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnx_conformance.catalog.models import read_pointer
from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.settings import shipped_limits
from onnx_conformance.core.worker_messages import pack, unpack
from onnx_conformance.run.evaluation_data import adopt_evaluation
from onnx_conformance.run.file_folder import POOLS, FileFolder, folder_of
from onnx_conformance.run.provider_sources import adopt_answers, adopt_engines, adopt_libraries
from onnx_conformance.run.run_record import Configuration
from onnx_conformance.run.user_models import adopt, adopt_data, adopted_data

SHARED_RECORDS = "conformance_records"  # in what a worker of pytest-xdist is given
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


def shared_records(records: RegisteredNames) -> Any:
    """What a worker of pytest-xdist need not look at again: models are built to be looked at."""
    return pack(
        {
            "names": asdict(records),
            "providers": [PROVIDERS[name] for name in (*records.plugins, *records.answers)],
            "models": adopted_data(),
        }
    )


def _adopt_shared(message: Any) -> RegisteredNames:
    shared = unpack(message)
    for provider in shared["providers"]:
        PROVIDERS.put(provider.name, provider)
    adopt_data(shared["models"])
    return RegisteredNames(**shared["names"])


def adopt_records(config: Configuration) -> RegisteredNames:
    """Register what pytest's options name from elsewhere.

    Raises:
        UsageError: the first thing that is wrong, in one line.
    """
    shared = getattr(config, "workerinput", {}).get(SHARED_RECORDS)
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


def _models(
    config: Configuration,
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


def _folders(config: Configuration) -> tuple[FileFolder | None, FileFolder | None]:
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


def _refuse_numbers(seed: int, threads: int, call_limit: float) -> None:
    """Refuse numbers that no worker can use."""
    if not 0 <= seed < MOST_SEEDS:
        raise UsageError(f"--seed {seed}: must be a whole number from 0 to {MOST_SEEDS - 1}")
    if threads < 1:
        raise UsageError(f"--threads {threads}: a worker needs at least 1")
    if not 0 < call_limit < math.inf:
        raise UsageError(f"--call-limit {call_limit:g}: must be a number of seconds above 0")
