"""Probes of several providers, each in a process of its own, and providers of plugins."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from onnx_conformance.catalog.providers import CPU, PROVIDERS, Provider
from onnx_conformance.core.errors import ConformanceError, UsageError
from onnx_conformance.core.worker_messages import PluginDevice, RuntimeVersions
from onnx_conformance.run.answers_client import ANSWERS
from onnx_conformance.run.kit import RECORDED_IN
from onnx_conformance.run.probe import BACKEND, ProbeResult, absent, probe, write_probe_model
from onnx_conformance.run.recorded_answers import FILES, AnswersRefusedError, RecordedAnswers
from onnx_conformance.run.worker_client import ProcessWorkerClient
from onnx_conformance.run.worker_queue import worker_at

KIND = "onnxruntime"
SHARED_STAGES = ("libraries", "device")  # stages at which a provider's modes fail alike


def survey(names: Iterable[str], limit: float) -> dict[str, ProbeResult]:
    """Whether each provider runs a node here, in the order of ``names``.

    A provider that was not compiled in costs nothing beyond one question to ONNX Runtime.

    Raises:
        WorkerError: ONNX Runtime cannot be imported.
    """
    records = [PROVIDERS[name] for name in names]
    compiled = _compiled_in(limit)
    wanted = [each for each in records if each.library or each.host or each.ort_name in compiled]
    modes: dict[tuple[str, ...], list[Provider]] = {}
    for each in wanted:
        key = (each.ort_name, each.library, each.host, each.device)
        modes.setdefault(key, []).append(each)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "probe.onnx"
        write_probe_model(model)
        with ThreadPoolExecutor(max_workers=2) as pool:
            tried = pool.map(lambda group: _modes(group, model, limit), modes.values())
            found = {name: result for results in tried for name, result in results.items()}
    return {each.name: found.get(each.name) or absent(each) for each in records}


def _modes(group: list[Provider], model: Path, limit: float) -> dict[str, ProbeResult]:
    """The results of a provider's modes; a library or device that one lacks, all lack."""
    found: dict[str, ProbeResult] = {}
    for each in group:
        lack = next((result for result in found.values() if result.stage in SHARED_STAGES), None)
        found[each.name] = replace(lack, seconds=0.0) if lack else _probed(each, model, limit)
    return found


def _compiled_in(limit: float) -> list[str]:
    worker = ProcessWorkerClient(KIND)
    try:
        compiled: list[str] = worker.call("versions", limit)["compiled_in"]
        return compiled
    finally:
        worker.close()


def _probed(provider: Provider, model: Path, limit: float) -> ProbeResult:
    worker = worker_at(KIND, provider.process())
    try:
        return probe(provider, worker, model, limit)
    finally:
        worker.close()


LIBRARY_OPTION = "--provider-library"
KNOWN_PACKAGES = (  # whose module has get_library_path()
    "onnxruntime_ep_openvino",
    "onnxruntime_ep_webgpu",
    "onnxruntime_ep_nv_tensorrt_rtx",
    "onnxruntime_ep_mlx",
    "nxrt_ep_cpu",
    "nxrt_ep_cuda",
)


def adopt_libraries(arguments: Iterable[str], limit: float) -> tuple[str, ...]:
    """Register the provider of each ``NAME=PATH`` and return the names.

    PATH may be the module of an installed plugin package, such as ``onnxruntime_ep_openvino``.
    The library is loaded in a process of its own, which says what its provider is called. One
    that cannot be loaded, or offers no device, is a record too: its cases say why they are skipped.

    Raises:
        UsageError: no name or no library is named, or the name is taken by another.
    """
    names = []
    for each in arguments:
        name, library = _parsed(each)
        record = _described(name, library, limit)
        if name in PROVIDERS:
            known = PROVIDERS[name]
            if known.library != library:
                record = _as_plugin(each, known, record)
            PROVIDERS.forget(name)  # named again, as by a second run in this process
        PROVIDERS.register(name, record)
        names.append(name)
    return tuple(names)


def _parsed(argument: str) -> tuple[str, str]:
    name, _, library = argument.partition("=")
    if not (name.isidentifier() and library):
        raise UsageError(
            f"{LIBRARY_OPTION} {argument}: give NAME=PATH, where PATH is a plugin's library "
            f"or the module of an installed plugin package ({', '.join(KNOWN_PACKAGES)}, …)"
        )
    path = Path(library)
    if path.is_file():
        return name, str(path.absolute())
    if not all(part.isidentifier() for part in library.split(".")):
        raise UsageError(f"{LIBRARY_OPTION} {argument}: there is no such file or module")
    return name, library


def _described(name: str, library: str, limit: float) -> Provider:
    """The record of a plugin's provider, as its library describes it."""
    offered = _offered(library, limit)
    kinds = {each["device"] for each in offered}
    return Provider(
        name,
        offered[0]["provider"] if offered else name,
        gpu="GPU" in kinds and "CPU" not in kinds,
        library=library,
        packages=tuple(dict.fromkeys(f"{library} {each['version']}" for each in offered)),
        remedy=f"a machine and an ONNX Runtime that {library} is built for",
    )


def _as_plugin(argument: str, known: Provider, plugin: Provider) -> Provider:
    """A provider of ours whose library is a plugin's: its options and precision stay.

    Raises:
        UsageError: the plugin is of another provider.
    """
    of_it = plugin.ort_name == known.ort_name or (known.plugin and plugin.library == known.plugin)
    if known.library or known.host or not of_it:
        raise UsageError(
            f"{LIBRARY_OPTION} {argument}: a provider '{known.name}' exists; choose another name"
        )
    return replace(known, library=plugin.library, packages=plugin.packages)


def _offered(library: str, limit: float) -> list[PluginDevice]:
    """The devices of a plugin; none where it cannot be loaded: the probe says why."""
    worker = ProcessWorkerClient(BACKEND)
    try:
        devices: list[PluginDevice] = worker.call("plugin", limit, library=library)
    except ConformanceError:
        return []
    finally:
        worker.close()
    return devices


ENGINE_OPTION = "--engine"
BASELINE = "baseline"  # the gate's label, which names no provider
_LABEL = re.compile(r"[A-Za-z][\w.-]*")


def adopt_engines(arguments: Iterable[str], limit: float) -> tuple[str, ...]:
    """Register a provider for each ``LABEL=SPEC`` or ``LABEL:PROVIDER=SPEC``; the labels.

    SPEC is execnet's, such as ``popen//python=PATH``. LABEL alone is that provider in the other
    environment if there is one of the name (``openvino``), else the CPU provider there
    (``ort-1.24.4``), so that each environment is a column beside the others.

    Raises:
        UsageError: it is not LABEL=SPEC, or ONNX Runtime cannot be used in that environment.
    """
    names = []
    for each in arguments:
        label, _, spec = each.partition("=")
        if label == BASELINE:
            continue
        name, _, base = label.partition(":")
        if not (_LABEL.fullmatch(name) and spec):
            raise UsageError(
                f"{ENGINE_OPTION} {each}: give LABEL=SPEC, such as ort-1.24=popen//python=…"
            )
        record = _based(name, base)
        there = _versions(each, spec, limit)
        if name in PROVIDERS:
            PROVIDERS.forget(name)
        hosted = replace(record, name=name, host=spec, base=record.base or record.name)
        runtime, packages = str(there["onnxruntime"]), tuple(there["packages"])
        if overrides := hosted.overridden(there["environment"]):
            raise UsageError(f"{ENGINE_OPTION} {each}: there, {'; '.join(overrides)}")
        facts = "" if hosted.here else there["machine"]
        found = replace(hosted, runtime=runtime, packages=packages, machine=facts)
        if spec.startswith(RECORDED_IN):
            found = replace(found, device="", library="", machine="")
        PROVIDERS.register(name, found)
        names.append(name)
    return tuple(names)


def _based(name: str, base: str) -> Provider:
    if not base and name not in PROVIDERS:
        return CPU
    return PROVIDERS[base or name]


def _versions(argument: str, spec: str, limit: float) -> RuntimeVersions:
    """ONNX Runtime's version in another environment, and the packages that determine its build.

    Raises:
        UsageError: the environment lacks what a worker needs.
    """
    worker = worker_at(KIND, spec)
    try:
        found: RuntimeVersions = worker.call("versions", limit)
        return found
    except ConformanceError as error:
        message = " ".join(str(error).split())[:300]
        raise UsageError(
            f"{ENGINE_OPTION} {argument}: {message}; that environment needs onnxruntime, numpy, "
            "execnet and psutil ('onnx-conformance environments' builds one)"
        ) from error
    finally:
        worker.close()


ANSWERS_OPTION = "--answers"


def label_of(answers: str) -> str:
    """What ``LABEL=DIR`` is called; the folder's name where only ``DIR`` is given."""
    label, _, place = answers.rpartition("=")
    return label or Path(place).absolute().name


def adopt_answers(folders: Iterable[str]) -> tuple[str, ...]:
    """Make each ``DIR``, or ``LABEL=DIR``, that run.py of a kit wrote a provider; the labels.

    Raises:
        UsageError: there are no answers in it, or the label is another provider's name.
    """
    names: list[str] = []
    for each in folders:
        name, place = label_of(each), each.rpartition("=")[2]
        folder = Path(place).absolute()
        if name in names:
            raise UsageError(
                f"{ANSWERS_OPTION} {each}: other answers are called '{name}', too; give each a "
                f"name: {ANSWERS_OPTION} phone={place}"
            )
        if not _LABEL.fullmatch(name) or (name in PROVIDERS and PROVIDERS[name].host == ""):
            raise UsageError(
                f"{ANSWERS_OPTION} {each}: '{name}' cannot be its name in the table; give one: "
                f"{ANSWERS_OPTION} phone={place}"
            )
        record = _answered(each, folder)
        if name in PROVIDERS:
            PROVIDERS.forget(name)
        PROVIDERS.register(name, replace(record, name=name, host=f"{ANSWERS}{folder}"))
        names.append(name)
    return tuple(names)


def _answered(argument: str, folder: Path) -> Provider:
    """The record of the provider that answered there, with what it was."""
    absent = [name for name in FILES if not (folder / name).is_file()]
    if absent:
        raise UsageError(
            f"{ANSWERS_OPTION} {argument}: no {absent[0]} is there; name the folder that run.py of "
            "a kit wrote"
        )
    answers = RecordedAnswers(folder)
    try:
        header = answers.header
    except AnswersRefusedError as error:
        raise UsageError(f"{ANSWERS_OPTION} {argument}: {error.message}") from error
    base = header["provider"]
    if base not in PROVIDERS:
        raise UsageError(f"{ANSWERS_OPTION} {argument}: there is no provider '{base}'")
    facts = [str(header.get(name) or "") for name in ("device", "driver", "system")]
    return replace(
        PROVIDERS[base],
        base=base,
        library="",
        device="",
        runtime=str(header["versions"]["onnxruntime"]),
        machine=", ".join(part for part in facts if part),
        packages=(f"answers {answers.digest[:12]}",),
    )
