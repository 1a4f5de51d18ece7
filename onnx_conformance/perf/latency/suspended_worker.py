"""Workers that are timed: each in a process of its own, suspended while another is measured.

A framework's or runtime's idle threads spin for a while after a call and use processor time of the
worker that is measured next. So the system suspends every worker but the one in its block; each may
spin in its own block, as it does where it is deployed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from onnx_conformance.run.worker_client import ProcessWorkerClient


class SuspendedWorker:
    """A timed worker. Outside of a call it is suspended, where it runs on this machine."""

    def __init__(
        self,
        kind: str,
        *,
        threads: int,
        cpus: Sequence[int],
        limit: float,
        spec: str | None = None,
    ) -> None:
        self.threads = threads
        self._worker = ProcessWorkerClient(kind, threads=threads, spec=spec)
        self._cpus = list(cpus)
        self._limit = limit
        self.affinity: list[int] | None = None

    def start(self) -> None:
        """Start the worker and settle it on its processors; harmless when it runs."""
        if self.affinity is None:
            self.affinity = self._call("settle_on", cpus=self._cpus)

    def call(self, method: str, **arguments: Any) -> Any:
        """Wake the worker, let it do one thing, and suspend it."""
        self.start()
        return self._call(method, **arguments)

    def time(self, label: str, discard: int, calls: int) -> NDArray[np.float64]:
        """Seconds of each call of a rehearsed timed call, by the worker's clock."""
        seconds: NDArray[np.float64] = self.call("time", label=label, discard=discard, calls=calls)
        return seconds

    def close(self) -> None:
        """End the worker; killing works on a suspended one too."""
        self._worker.close()

    def _call(self, method: str, **arguments: Any) -> Any:
        process = self._worker.process
        if process is not None:
            process.resume()
        try:
            return self._worker.call(method, self._limit, **arguments)
        finally:
            process = self._worker.process  # started by that call, where none was there
            if process is not None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()


def chosen_cpus(asked: Sequence[int], threads: int) -> list[int]:
    """The processors that workers are kept on: those asked for, else the last ``threads``.

    The first processors serve most interrupts. Empty where the system has no affinity.
    """
    process = psutil.Process()
    if not hasattr(process, "cpu_affinity"):
        return []
    if asked:
        return list(asked)
    allowed = sorted(process.cpu_affinity() or [])
    return allowed[-threads:]
