"""A kit: what a run asks of ONNX Runtime, recorded, so that another machine can be asked the same.

A run whose provider is hosted by ``kit:FOLDER`` answers on the CPU here and leaves the files, the
inputs and their order in FOLDER. No expected answer is among them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from onnx_conformance.catalog.providers import CPU, PROVIDERS, Provider
from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.files import PACKAGE, file_digest
from onnx_conformance.core.plain_outputs import is_keys
from onnx_conformance.core.worker_messages import RunResult, SessionRequest
from onnx_conformance.run.worker_client import ProcessWorkerClient

RECORDED_IN, RUNNER = "kit:", "run.py"
FORMAT = 1
PROFILED_RUNS = 7  # runs of a session whose work is measured
# A session that answers no more, the probe's or an edited copy's, is profiled for placement alone.
FEW_REQUESTS = 2


@dataclass(frozen=True)
class SessionKey:
    """What tells a session from others, wherever it is opened: its files' names and digests."""

    files: tuple[tuple[str, str], ...]
    graph_level: str
    allow_cpu_fallback: bool

    @classmethod
    def of(cls, session: SessionRequest) -> SessionKey:
        """The key of a request; digests that it does not give are taken now."""
        digests = session["sha256"] or [file_digest(Path(path)) for path in session["files"]]
        names = [Path(path).name for path in session["files"]]
        files = tuple(zip(names, digests, strict=True))
        return cls(files, session["graph_level"], session["allow_cpu_fallback"])


def inputs_key(arrays: Outputs) -> str:
    """Names, dtypes and shapes of inputs in the order of their names, and their bytes' SHA-256."""
    state = hashlib.sha256()
    for name in sorted(arrays):
        state.update(arrays[name].tobytes())
    kinds = [(name, arrays[name].dtype.str, arrays[name].shape) for name in sorted(arrays)]
    return f"{kinds} {state.hexdigest()}"


@dataclass
class _Session:
    """A session of the kit: how often each set of inputs was asked for, and all in order."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)


class KitWriter:
    """Writes a kit's folder; one for all clients of a process that record in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._sessions: dict[SessionKey, _Session] = {}
        self._arrays: dict[str, int] = {}  # digest of bytes -> where they stand in arrays.bin
        self._size = 0
        (folder / "files").mkdir(parents=True, exist_ok=True)
        (folder / "arrays.bin").write_bytes(b"")

    def session(self, request: SessionRequest) -> SessionKey:
        """Keep the files of a session.

        Raises:
            CapabilityMissing: it needs libraries, which are of this machine.
        """
        if request.get("custom_op_libraries"):
            raise CapabilityMissing(
                "a kit carries no libraries of custom operators: they are of this machine"
            )
        with self._lock:
            key = SessionKey.of(request)
            if key not in self._sessions:
                for path, (_, digest) in zip(request["files"], key.files, strict=True):
                    _keep(Path(path), self._folder / "files" / digest)
                self._sessions[key] = _Session()
        return key

    def request(self, key: SessionKey, inputs: Outputs, number: int) -> None:
        """Keep inputs of a session; ``number`` counts how often its client asked for them."""
        with self._lock:
            session, digest = self._sessions[key], inputs_key(inputs)
            if session.asked[digest] >= number:
                return  # another client asked for as many
            session.asked[digest] += 1
            placed = [self._placed(name, inputs[name]) for name in sorted(inputs)]
            session.requests.append({"sha256": digest.rpartition(" ")[2], "inputs": placed})

    def _placed(self, name: str, array: NDArray[Any]) -> dict[str, Any]:
        data = array.tobytes()
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._arrays:
            with (self._folder / "arrays.bin").open("ab") as file:
                file.write(data)
            self._arrays[digest] = self._size
            self._size += len(data)
        return {
            "name": name,
            "dtype": array.dtype.str,
            "shape": list(array.shape),
            "at": self._arrays[digest],
            "bytes": len(data),
        }

    def write(self, threads: int, seed: int) -> None:
        """Write kit.json, of all that was asked by now, and run.py beside it."""
        with self._lock:
            document = {
                "kit": FORMAT,
                "seed": seed,
                "threads": threads,
                "providers": {
                    each.name: opened_there(each, threads)
                    for each in PROVIDERS.values()
                    if not each.host
                },
                "sessions": [
                    {
                        "files": [{"name": name, "sha256": sha} for name, sha in key.files],
                        "graph_level": key.graph_level,
                        "allow_cpu_fallback": key.allow_cpu_fallback,
                        "profile": _profiled(len(session.requests)),
                        "requests": session.requests,
                    }
                    for key, session in self._sessions.items()
                ],
            }
            (self._folder / "kit.json").write_text(json.dumps(document, indent=1))
            shutil.copyfile(PACKAGE / "run" / "kit_run.py", self._folder / RUNNER)


def _profiled(requests: int) -> int:
    """Runs that are profiled: 1 where that is done only if nothing else tells the placement."""
    return PROFILED_RUNS if requests > FEW_REQUESTS else min(requests, 1)


def opened_there(provider: Provider, threads: int) -> dict[str, Any]:
    """What run.py must know to open a session on a provider."""
    return {
        "ort_name": provider.ort_name,
        "options": provider.opened_with(threads=threads),
        "environment": provider.environment,
        "banned": [name for name, _ in provider.banned],
    }


def _keep(source: Path, target: Path) -> None:
    """A file that may vanish, under its digest."""
    if not target.exists():
        with suppress(OSError):
            os.link(source.resolve(), target)
            return
        shutil.copyfile(source, target)


_WRITERS: dict[Path, KitWriter] = {}
_LOCK = threading.Lock()


def kit_writer(folder: Path) -> KitWriter:
    """The writer of a kit's folder in this process."""
    with _LOCK:
        if folder not in _WRITERS:
            _WRITERS[folder] = KitWriter(folder)
        return _WRITERS[folder]


class RecordingWorkerClient(ProcessWorkerClient):
    """Answers on the CPU here, whatever provider is asked for, and records what it was asked."""

    def __init__(self, kind: str, folder: Path, *, threads: int, seed: int) -> None:
        super().__init__(kind, threads=threads)
        self._writer = kit_writer(folder)
        self._count = threads, seed
        self._asked: Counter[tuple[SessionKey, str]] = Counter()

    def call(self, method: str, limit: float, **arguments: Any) -> Any:
        """Record what is asked of a session, and answer it."""
        session: SessionRequest | None = arguments.get("session")
        if session is None:
            found = super().call(method, limit, **arguments)
            if method == "versions":  # what is not here may be there
                found["compiled_in"] = [each.ort_name for each in PROVIDERS.values()]
            return found
        key = self._writer.session(session)
        for inputs in arguments.get("input_sets", ()):
            asked = key, inputs_key(inputs)
            self._asked[asked] += 1
            self._writer.request(key, inputs, self._asked[asked])
        found = super().call(method, limit, **{**arguments, "session": on_cpu(session)})
        _refuse_maps(found if method == "run" else [])
        return self._as_of_provider(method, session["provider"], found)

    def _as_of_provider(self, method: str, provider: str, found: Any) -> Any:
        """What the CPU did, as if the provider had done it: this run only rehearses."""
        if method == "open":
            return {**found, "placement": {provider: _all(found["placement"])}}
        if method == "profile":
            nodes, placed = sum(found["nodes"].values()), _all(found["placement"])
            return {**found, "nodes": {provider: nodes}, "placement": {provider: placed}}
        return found

    def close(self) -> None:
        """End the worker; the kit is whole with the last client's end."""
        super().close()
        self._writer.write(*self._count)


def _all(placement: dict[str, dict[str, int]]) -> dict[str, int]:
    return dict(sum((Counter(each) for each in placement.values()), Counter[str]()))


def _refuse_maps(results: list[RunResult]) -> None:
    if any(is_keys(name) for result in results for name in result.get("outputs", {})):
        raise CapabilityMissing(
            "a kit carries tensors, and outputs of this file are maps (ZipMap): export it without"
        )


def on_cpu(session: SessionRequest) -> SessionRequest:
    """The same session on the CPU provider."""
    plain: SessionRequest = {
        **session,
        "provider": CPU.ort_name,
        "provider_options": {},
        "allow_cpu_fallback": True,
        "library": "",
    }
    return plain
