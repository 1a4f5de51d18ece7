"""The runtime worker: ONNX Runtime sessions on one execution provider. Runs in its own process."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from onnx_conformance.catalog.devices import machine
from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.core.arrays import Arrays, Outputs
from onnx_conformance.core.carries import in_a_row
from onnx_conformance.core.extras import installed
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.plain_outputs import coded, named
from onnx_conformance.core.session_profile import Profile, read_profile
from onnx_conformance.core.traces import TensorRecord
from onnx_conformance.core.worker_messages import (
    OpenedSession,
    RunResult,
    RuntimeVersions,
    SessionRequest,
    SessionTensor,
)
from onnx_conformance.workers.onnxruntime.open_session import open_session, register_libraries
from onnx_conformance.workers.onnxruntime.session_calls import call_of, make_timed_call
from onnx_conformance.workers.server import limited_memory
from onnx_conformance.workers.stopwatch import Stopwatch, TimedCall

KEPT_SESSIONS = 2
_BANNED = {name for provider in PROVIDERS.values() for name, _ in provider.banned}
BUILDS = ("onnxruntime", "openvino", "tensorrt", "nvidia")  # what packages of builds begin with


def _packages() -> list[str]:
    """``onnxruntime-openvino 1.24.1``: two builds of one version are not the same runtime."""
    builds = (each for each in installed() if each.name.lower().startswith(BUILDS))
    found = map(metadata.PathDistribution, builds)
    return sorted({f"{each.name} {each.version}" for each in found})


class OnnxRuntimeBackend(Stopwatch):
    """Opens sessions on demand and keeps the last few."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._sessions: dict[str, tuple[ort.InferenceSession, OpenedSession]] = {}
        ort.set_default_logger_severity(3)
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()

    def versions(self) -> RuntimeVersions:
        """ONNX Runtime's version, the providers that were compiled in, and what made it so."""
        return {
            "onnxruntime": ort.__version__,
            "compiled_in": ort.get_available_providers(),
            "packages": _packages(),
            "environment": {name: os.environ[name] for name in _BANNED if name in os.environ},
            "machine": machine(),
        }

    def open(self, session: SessionRequest) -> OpenedSession:
        """Open the session and return its facts: digest, inputs, outputs, placement, seconds."""
        return self._opened(session)[1]

    def _opened(self, session: SessionRequest) -> tuple[ort.InferenceSession, OpenedSession]:
        key = repr(sorted(session.items()))
        if key not in self._sessions:
            while len(self._sessions) >= KEPT_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            with limited_memory(session.get("memory", 0)):
                self._sessions[key] = self._create(session)
        return self._sessions[key]

    def run(self, session: SessionRequest, input_sets: list[Arrays]) -> list[RunResult]:
        """Run each of the inputs: ``{"outputs": arrays, "seconds": s}``, or ``{"error": text}``."""
        opened, _ = self._opened(session)
        names = [output.name for output in opened.get_outputs()]
        results: list[RunResult] = []
        with limited_memory(session.get("memory", 0)):
            for inputs in input_sets:
                started = time.perf_counter()
                try:
                    fed = {name: np.array(array) for name, array in inputs.items()}
                    arrays = call_of(opened)(names, fed)
                except Exception as error:  # noqa: BLE001 - of many kinds; the text is the answer
                    results.append({"error": f"{type(error).__name__}: {error}"})
                    continue
                outputs = {name: coded(array) for name, array in named(names, arrays).items()}
                results.append({"outputs": outputs, "seconds": time.perf_counter() - started})
        return results

    def loop(
        self, session: SessionRequest, calls: list[Arrays], carries: list[tuple[str, str]]
    ) -> list[RunResult]:
        """Run calls in a row, up to the first that is refused.

        Args:
            carries: outputs, each with the input that gets it at the next call.
        """
        found: list[RunResult] = []

        def answer(inputs: Outputs) -> Outputs | None:
            found.extend(self.run(session, [dict(inputs)]))
            return found[-1].get("outputs")

        for _ in in_a_row(calls, carries, answer):
            pass
        return found

    def timed_call(self, form: str, inputs: Arrays, *, session: SessionRequest) -> TimedCall:
        """A session's inference to be timed: see :mod:`.session_calls`."""
        opened, _ = self._opened(session)
        return make_timed_call(form, opened, session["provider"], inputs)

    def reopen(self, session: SessionRequest) -> float:
        """Seconds that another creation of the session takes; it is dropped."""
        _, info = self._create(session)
        return float(info["seconds"])

    def profile(self, session: SessionRequest, inputs: Arrays, warm: int, runs: int) -> Profile:
        """The time of each provider's nodes, in a session that is opened only for this."""
        with limited_memory(session.get("memory", 0)), tempfile.TemporaryDirectory() as folder:
            opened, _ = self._create(session, profile=str(Path(folder) / "run"))
            try:
                names = [output.name for output in opened.get_outputs()]
                for _ in range(warm + runs):
                    call_of(opened)(names, inputs)
            finally:
                written = opened.end_profiling()
            return read_profile(json.loads(Path(written).read_text()), warm)

    def trace(
        self,
        path: str,
        inputs: Arrays,
        names: list[str],
        folder: str,
        memory: int = 0,
        libraries: list[str] | None = None,
    ) -> dict[str, TensorRecord]:
        """Intermediate tensors: see :mod:`onnx_conformance.workers.onnxruntime.trace`."""
        from onnx_conformance.workers.onnxruntime.trace import trace

        with limited_memory(memory):
            return trace(Path(path), inputs, names, Path(folder), self._options(libraries))

    def optimise(
        self,
        path: str,
        level: str,
        target: str,
        memory: int = 0,
        libraries: list[str] | None = None,
    ) -> None:
        """Write the file as ONNX Runtime rewrites it at an optimisation level."""
        from onnx_conformance.workers.onnxruntime.trace import optimise

        with limited_memory(memory):
            optimise(Path(path), level, Path(target), self._options(libraries))

    def _options(self, libraries: list[str] | None) -> ort.SessionOptions:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        register_libraries(options, libraries or [])
        return options

    def _create(
        self, session: SessionRequest, profile: str = ""
    ) -> tuple[ort.InferenceSession, OpenedSession]:
        digests = [file_digest(Path(path)) for path in session["files"]]
        if session["sha256"] and digests != session["sha256"]:
            raise ValueError(f"{session['files'][0]} changed since it was exported")
        options = self._options_of(session)
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        started = time.perf_counter()
        opened = open_session(
            session["files"][0],
            options,
            session["provider"],
            session["provider_options"],
            session.get("library", ""),
        )
        seconds = time.perf_counter() - started
        return opened, {
            "sha256": digests,
            "placement": _placement(opened),
            "inputs": _describe(opened.get_inputs()),
            "outputs": _describe(opened.get_outputs()),
            "seconds": seconds,
        }

    def _options_of(self, session: SessionRequest) -> ort.SessionOptions:
        """The options of a session: it tells its placement, and its threads do not spin."""
        options = self._options(session.get("custom_op_libraries"))
        options.inter_op_num_threads = 1
        options.graph_optimization_level = getattr(
            ort.GraphOptimizationLevel, f"ORT_{session['graph_level'].upper()}"
        )
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        if not session["allow_cpu_fallback"]:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        return options


def _placement(session: ort.InferenceSession) -> dict[str, dict[str, int]]:
    """Provider -> operator -> how many nodes of it, after the graph was optimised."""
    placed: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        operators = placed.setdefault(part.ep_name, Counter())
        operators.update(node.op_type for node in part.get_nodes())
    return {provider: dict(operators) for provider, operators in placed.items()}


def _describe(arguments: list[Any]) -> list[SessionTensor]:
    return [{"name": a.name, "type": a.type, "shape": list(a.shape)} for a in arguments]
