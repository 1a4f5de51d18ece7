"""This machine: processor, memory, disk, GPUs, and whether the frameworks can be imported."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from onnx_conformance.catalog.frameworks import exported_frameworks
from onnx_conformance.core.errors import ConformanceError
from onnx_conformance.session.worker_client import ProcessWorkerClient

WORKERS = {  # their modules
    **{framework.name: framework.module for framework in exported_frameworks()},
    "onnxruntime": "onnxruntime",
}
GIBIBYTE = 2**30


@dataclass(frozen=True)
class Imported:
    """Whether a worker starts: seconds, or the words that say why not."""

    installed: bool
    seconds: float
    error: str = ""

    @property
    def usable(self) -> bool:
        """Whether it is there and can be imported."""
        return self.installed and not self.error


def imports(limit: float) -> dict[str, Imported]:
    """Start each worker in a process of its own."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(WORKERS, pool.map(lambda kind: _import(kind, limit), WORKERS), strict=True))


def _import(kind: str, limit: float) -> Imported:
    if importlib.util.find_spec(WORKERS[kind]) is None:
        return Imported(False, 0.0, "not installed")
    worker, started = ProcessWorkerClient(kind), time.perf_counter()
    try:
        worker.start(limit)
    except ConformanceError as error:
        return Imported(True, 0.0, " ".join(str(error).split()))
    finally:
        worker.close()
    return Imported(True, time.perf_counter() - started)


def hardware() -> str:
    """Processors and memory."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory()
    return (
        f"{os.cpu_count()} processors, {allowed} for this process; "
        f"{memory.total / GIBIBYTE:.1f} GiB of memory, {memory.available / GIBIBYTE:.1f} available"
    )


def gpus() -> list[str]:
    """NVIDIA's devices as their driver tells, one line each; empty without a driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"nvidia-smi does not respond: {' '.join(str(error).split())}"]
    if told.returncode:
        return [f"nvidia-smi fails: {' '.join((told.stderr or told.stdout).split())}"]
    return [line.strip() for line in told.stdout.splitlines() if line.strip()]


def disk(folder: Path) -> tuple[int, int]:
    """Bytes that files under a folder take, and that are free where it is or would be."""
    used = 0
    for place, _, names in os.walk(folder):
        for name in names:
            used += (Path(place) / name).lstat().st_size
    there = next(each for each in (folder, *folder.parents) if each.is_dir())
    return used, shutil.disk_usage(there).free
