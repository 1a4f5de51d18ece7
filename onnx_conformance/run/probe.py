"""The probe of a provider: the stage that it reached, and the remedy where it failed."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from onnx_conformance.catalog.devices import DEVICES
from onnx_conformance.catalog.providers import Provider
from onnx_conformance.core.documents import ProbeFacts
from onnx_conformance.core.errors import CapabilityMissing, ConformanceError, WorkerDied
from onnx_conformance.core.worker_messages import SessionRequest
from onnx_conformance.run.worker_client import WorkerClient
from onnx_conformance.run.worker_queue import worker_at

# In the order in which a provider passes them; `ready` is behind the last.
STAGES = ("engine", "compiled_in", "libraries", "device", "session", "placement", "numbers")
READY = "ready"
BROKEN = ("engine", "placement", "numbers")


@dataclass(frozen=True)
class ProbeResult:
    """Whether a provider runs a model here, or the reason why not.

    Args:
        reason: what happened, in one line.
        stage: the stage that failed, one of STAGES, or ``ready``.
        remedy: what to install or do; empty where nothing is to be done.
        seconds: what the probe took.
    """

    usable: bool
    reason: str
    stage: str = ""
    remedy: str = ""
    seconds: float = 0.0

    def as_facts(self) -> ProbeFacts:
        """As plain data, for rows that cross processes."""
        return cast("ProbeFacts", asdict(self))

    @property
    def broken(self) -> bool:
        """Whether it is installed but wrong: then its cases fail, and are not skipped."""
        return not self.usable and self.stage in BROKEN

    @property
    def sentence(self) -> str:
        """The reason and what to do, for a skip."""
        remedy = f"; to use it: {self.remedy}" if self.remedy and not self.usable else ""
        return f"{self.reason}{remedy}"


# ONNX Runtime logs what its bridge could not load, and raises something else.
_BRIDGE = re.compile(r"Failed to load library \S*?([^/\\\s]+) with error: (.+)")
_GLIBC = re.compile(r"([^\s:/]+): cannot open shared object file")
_WINDOWS = re.compile(r'(?:depends on|Could not find module) "?\'?([^"\'\s]+\.dll)', re.IGNORECASE)
_MACOS = re.compile(r"Library not loaded: (?:\S*/)?([^/\s]+\.dylib)")

_TENSORRT = (
    "pip install tensorrt-cu13 (or -cu12) of the version in the library's name: "
    '"tensorrt-cu13<11" for a name that ends with .10'
)
# The start of a library's name -> what brings it. NVIDIA's packages for CUDA 13 have no suffix.
_BRING = {
    "libcurand": "pip install nvidia-curand (CUDA 13; nvidia-curand-cu12 for CUDA 12)",
    "libcublas": "pip install nvidia-cublas (CUDA 13; nvidia-cublas-cu12 for CUDA 12)",
    "libcufft": "pip install nvidia-cufft (CUDA 13; nvidia-cufft-cu12 for CUDA 12)",
    "libcudart": "pip install nvidia-cuda-runtime (CUDA 13; nvidia-cuda-runtime-cu12 for CUDA 12)",
    "libcudnn": "pip install nvidia-cudnn-cu13 (nvidia-cudnn-cu12 for CUDA 12)",
    "libnvrtc": "pip install nvidia-cuda-nvrtc (CUDA 13; nvidia-cuda-nvrtc-cu12 for CUDA 12)",
    "libnvinfer": _TENSORRT,
    "libnvonnxparser": _TENSORRT,
    "libopenvino": "pip install openvino in the version that the package of the provider names",
    "libmigraphx": "AMD's ROCm with MIGraphX",
    "libamdhip64": "AMD's ROCm",
}


def missing_library(message: str) -> str:
    """The library that a loader did not find; empty if its message names none.

    >>> missing_library("libfoo.so: cannot open shared object file: No such file or directory")
    'libfoo.so'
    """
    for pattern in (_GLIBC, _WINDOWS, _MACOS):
        found = pattern.search(message)
        if found:
            return found.group(1)
    return ""


def refused_library(log: str) -> tuple[str, str] | None:
    """The provider's own library that ONNX Runtime last failed to load, and why; else None."""
    found = _BRIDGE.findall(log)
    return (found[-1][0], found[-1][1].strip()) if found else None


def bringer(library: str) -> str:
    """What to install for a library; empty if that is not known."""
    return next((how for start, how in _BRING.items() if library.startswith(start)), "")


INPUT = [[1.0, 2.0]]
ANSWER = 20.0  # 1·3 + 2·5 + 7: small whole numbers are exact in half precision too


def write_probe_model(path: Path) -> None:
    """A model of one Gemm, ``y = x·w + b``, whose right answer is known."""
    from onnx import TensorProto, helper, save

    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        [
            helper.make_tensor("w", TensorProto.FLOAT, [2, 1], [3.0, 5.0]),
            helper.make_tensor("b", TensorProto.FLOAT, [1], [7.0]),
        ],
    )
    opset = [helper.make_opsetid("", 13)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


FELL_BACK = "fallback to CPU EP has been explicitly disabled"  # ONNX Runtime's words
BACKEND = "onnx_conformance.workers.onnxruntime.probe_backend:ProbeBackend"


def probe(provider: Provider, worker: WorkerClient, model: Path, limit: float) -> ProbeResult:
    """Open a tiny session without CPU fallback, run it, and check its number and placement.

    Args:
        worker: the provider's own, of kind ``onnxruntime``; what ends it is reported.
        model: a file of :func:`onnx_conformance.run.probe.write_probe_model`.
        limit: seconds that each of its calls may last.
    """
    started = time.perf_counter()
    try:
        result = _staged(provider, worker, model, limit)
    except ConformanceError as error:
        result = _explain(provider, error, worker.standard_error(), limit)
    return replace(result, seconds=time.perf_counter() - started)


def absent(provider: Provider) -> ProbeResult:
    """The result for a provider that this ONNX Runtime does not have."""
    which = f"ONNX Runtime {provider.runtime} there" if provider.host else "this ONNX Runtime"
    reason = f"{which} was built without {provider.ort_name}"
    return ProbeResult(False, reason, "compiled_in", provider.remedy)


def probe_request(provider: Provider, model: Path) -> SessionRequest:
    """The request for the probe's session."""
    request: SessionRequest = {
        "files": [str(model)],
        "sha256": [],
        "provider": provider.ort_name,
        "provider_options": provider.options,
        "graph_level": "enable_all",
        "allow_cpu_fallback": provider.ort_name == "CPUExecutionProvider",
    }
    return {**request, "library": provider.library} if provider.library else request


def _staged(provider: Provider, worker: WorkerClient, model: Path, limit: float) -> ProbeResult:
    import numpy as np

    name = provider.ort_name
    if not provider.library and name not in worker.call("versions", limit)["compiled_in"]:
        return absent(provider)
    silent = provider.device and DEVICES[provider.device].silent
    missing = _no_device(provider, limit) if silent else ""
    if missing:
        return ProbeResult(False, missing, "device", provider.remedy)
    session = probe_request(provider, model)
    placement = worker.call("open", limit, session=session)["placement"]
    input_sets = [{"x": np.array(INPUT, dtype=np.float32)}]
    answer = worker.call("run", limit, session=session, input_sets=input_sets)[0]
    if "error" in answer:
        reason = f"{name} opened but cannot run: {answer['error']}"
        return ProbeResult(False, reason, "numbers", provider.remedy)
    if not (placement or _ran(worker, limit, session, input_sets[0])).get(name):
        return ProbeResult(False, f"{name} opened but ran no node", "placement")
    if answer["outputs"]["y"].item() != ANSWER:
        return ProbeResult(False, f"{name} computes 1·3 + 2·5 + 7 wrongly", "numbers")
    of = f" of ONNX Runtime {provider.runtime}" if provider.host else ""
    of += f" on {provider.machine}" if provider.machine else ""
    return ProbeResult(True, f"{name}{of} ran a node correctly", READY)


def _ran(
    worker: WorkerClient, limit: float, session: SessionRequest, inputs: Any
) -> dict[str, dict[str, int]]:
    """The placement by the profile: the session itself reports nothing of WebGPU's nodes."""
    try:
        profile = worker.call("profile", limit, session=session, inputs=inputs, warm=0, runs=1)
    except ConformanceError:
        return {}
    return dict(profile["placement"])


def _explain(provider: Provider, error: ConformanceError, log: str, limit: float) -> ProbeResult:
    """The first stage that explains why no session opened, and what to do about it."""
    message = " ".join(str(error).split())
    device = _no_device(provider, limit)
    refused = refused_library(log) or refused_library(message)
    library = missing_library(refused[1] if refused else message)
    if refused or library:
        file, cause = refused or (library, "cannot open shared object file")
        reason = f"{file} cannot be loaded: {cause}" + (f"; and {device}" if device else "")
        # without a device, the library alone is of no use
        remedy = provider.remedy if device else bringer(library) or provider.remedy
        return ProbeResult(False, reason, "libraries", remedy)
    if device or isinstance(error, CapabilityMissing):
        return ProbeResult(False, device or message, "device", provider.remedy)
    if FELL_BACK in message:
        return ProbeResult(
            False, f"{provider.ort_name} ran no node: all fell back to the CPU", "placement"
        )
    stage = "engine" if isinstance(error, WorkerDied) else "session"
    return ProbeResult(False, message[:300], stage, provider.remedy)


def _no_device(provider: Provider, limit: float) -> str:
    """Why there is no device for a provider; empty if there is one, or none is needed."""
    if not provider.device:
        return ""
    worker = worker_at(BACKEND, provider.process())
    try:
        missing: str = worker.call("device", limit, device=asdict(DEVICES[provider.device]))
    except ConformanceError as error:  # a driver that ends the process that asks it
        return f"looking for a device failed: {' '.join(str(error).split())[:200]}"
    finally:
        worker.close()
    return missing
