"""Worker clients: start a worker, call it within a time limit, replace it when it dies."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, Protocol

import execnet
import psutil

from onnx_conformance.catalog.frameworks import FRAMEWORKS
from onnx_conformance.core.errors import (
    CapabilityMissing,
    ConformanceError,
    WorkerDied,
    WorkerEnded,
    WorkerError,
)
from onnx_conformance.core.files import PACKAGE
from onnx_conformance.core.project import project
from onnx_conformance.core.worker_messages import pack, unpack

_BOOT = (PACKAGE / "workers" / "boot.py").read_text(encoding="utf-8")


class WorkerClient(Protocol):
    """The interface of a worker's client, wherever the worker runs."""

    def start(self, limit: float) -> None:
        """Import the framework within ``limit`` seconds; does nothing when already started."""

    def call(self, method: str, limit: float, **arguments: Any) -> Any:
        """Call the backend's ``method``; arrays travel both ways.

        Raises:
            CapabilityMissing: the worker says that this machine lacks something.
            WorkerDied: the process ended, or exceeded ``limit`` seconds and was killed.
            WorkerError: the backend raised; the worker lives on.
        """

    def reset(self) -> None:
        """End the process; the next call starts a fresh one."""

    def standard_error(self) -> str:
        """The end of what the worker wrote to its standard error; may be empty."""

    def close(self) -> None:
        """End the worker at once."""


def _result(reply: tuple[str, Any]) -> Any:
    status, payload = unpack(reply)
    if status == "ok":
        return payload
    kind, message, details = payload
    if kind == CapabilityMissing.__name__:
        raise CapabilityMissing(message)
    raise WorkerError(kind, message, details)


class ProcessWorkerClient:
    """A worker in a process of its own, reached through execnet.

    Args:
        kind: a framework, ``onnxruntime``, ``reader``, or ``module:class`` of a backend.
        spec: execnet's name of a process, such as ``popen//python=/path/to/python``.
        threads: how many threads the framework may use.
    """

    def __init__(self, kind: str, *, spec: str | None = None, threads: int = 1) -> None:
        self.kind = kind
        self._spec = spec or f"popen//python={sys.executable}"
        self._threads = threads
        self._group = execnet.Group()
        self._channel: Any = None
        self._closed = False
        self._process: psutil.Process | None = None
        prefix = f"conformance-{kind.replace(':', '.')}-"
        self._folder = Path(tempfile.mkdtemp(prefix=prefix))  # what a killed worker leaves
        self._log = self._folder / self._folder.name
        self._log.touch()

    @property
    def process(self) -> psutil.Process | None:
        """The worker's process, while it runs on this host."""
        return self._process

    @property
    def alive(self) -> bool:
        """Whether its process runs, as far as that can be seen from this host."""
        with contextlib.suppress(psutil.Error):
            return self._process is None or self._process.status() != psutil.STATUS_ZOMBIE
        return False

    def start(self, limit: float) -> None:
        if self._channel is not None:
            return
        if self._closed:
            raise self._is_closed()
        try:
            self._channel = self._make_gateway(limit).remote_exec(_BOOT)
            self._channel.send(self._boot_request(limit))
        except (OSError, EOFError, execnet.HostNotFound) as error:
            message = f"cannot start {self._spec}: {error}"
            raise WorkerDied(f"{self.kind} worker", message) from error
        try:
            self._started(self._receive("start", limit))
            self._receive("import", limit)
        except ConformanceError:
            self._discard()
            raise
        if self._closed:  # by another thread, which may have come too early to kill it
            self._discard()
            raise self._is_closed()

    def _make_gateway(self, limit: float) -> Any:
        return self._group.makegateway(self._spec)

    def _boot_request(self, limit: float) -> dict[str, Any]:
        return {
            "package": str(PACKAGE),
            "folder": str(project().folder),
            # the worker knows of no framework that was registered here
            "kind": FRAMEWORKS[self.kind].backend if self.kind in FRAMEWORKS else self.kind,
            "threads": self._threads,
            "log": str(self._log),
        }

    def _started(self, pid: int) -> None:
        if self._spec.startswith("popen"):  # else the number means nothing on this host
            self._process = psutil.Process(pid)

    def call(self, method: str, limit: float, **arguments: Any) -> Any:
        self.start(limit)
        message = (method, pack(arguments))
        try:
            self._open_channel().send(message)
        except OSError as error:
            raise self._died(method) from error
        return self._receive(method, limit)

    def reset(self) -> None:
        self._discard()

    def close(self) -> None:
        self._closed = True
        self._discard()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _receive(self, method: str, limit: float) -> Any:
        channel = self._open_channel()
        try:
            return _result(channel.receive(timeout=limit))
        except EOFError as error:
            raise self._died(method) from error
        except channel.RemoteError as error:  # the worker's own loop failed, not the backend
            self._discard()
            last = error.formatted.strip().splitlines()[-1]
            message = f"in '{method}': {last}"
            raise WorkerDied(f"{self.kind} worker died", message, error.formatted) from error
        except channel.TimeoutError as error:
            stderr = self.standard_error()
            self._discard()
            message = f"'{method}' did not answer within {limit:g} s and was killed"
            raise WorkerDied(f"{self.kind} worker hung", message, stderr) from error

    def _died(self, method: str) -> WorkerDied:
        status = self._exit_status()
        stderr = self.standard_error()
        self._discard()
        hint = " (SIGKILL: often the system being out of memory)" if status == -9 else ""
        return WorkerEnded(
            f"{self.kind} worker died", f"in '{method}', exit status {status}{hint}", stderr
        )

    def _open_channel(self) -> Any:
        channel = self._channel
        if channel is None:  # another thread closed the worker
            raise self._is_closed()
        return channel

    def _is_closed(self) -> WorkerDied:
        return WorkerDied(f"{self.kind} worker", "is closed")

    def _exit_status(self) -> int | None:
        if self._process is None:
            return None
        with contextlib.suppress(psutil.Error):
            status: int | None = self._process.wait(timeout=5)
            return status
        return None

    def standard_error(self) -> str:
        with contextlib.suppress(FileNotFoundError):  # the worker is closed
            return self._log.read_text(errors="replace")[-4000:]
        return ""

    def _discard(self) -> None:
        """Kill rather than ask: a graceful stop costs over a second and has nothing to save."""
        if self._process is not None:
            with contextlib.suppress(psutil.Error):
                self._process.kill()
        self._group.terminate(timeout=0.1)
        self._group = execnet.Group()
        self._channel = None
        self._process = None


class InProcessWorkerClient:
    """The same interface in the judge's own process, for a debugger, without limits."""

    def __init__(self, kind: str, *, threads: int = 1) -> None:
        self.kind = kind
        self._threads = threads
        self._backend: Any = None
        # asked for by name: nothing else of this side imports what runs in workers
        self._server: Any = importlib.import_module("onnx_conformance.workers.server")

    def start(self, limit: float) -> None:
        if self._backend is None:
            self._backend = self._server.make_backend(self.kind, self._threads)

    def call(self, method: str, limit: float, **arguments: Any) -> Any:
        self.start(limit)
        with warnings.catch_warnings():  # a framework's are errors in no worker, and so not here
            warnings.simplefilter("ignore")
            return _result(
                pack(self._server.answer(self._backend, method, unpack(pack(arguments))))
            )

    def reset(self) -> None:
        self._backend = None

    def standard_error(self) -> str:
        return ""

    def close(self) -> None:
        self._backend = None
