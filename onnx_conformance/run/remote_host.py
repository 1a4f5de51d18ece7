"""Another host whose ONNX Runtime answers: its connection, its files, and clients of its workers.

``ssh=user@host//python=PATH`` and ``socket=HOST:PORT`` are execnet's. One connection serves all
workers of a host, each a process of its own there. What is lost is not tried again.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import io
import threading
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import execnet

from onnx_conformance.core.errors import CapabilityMissing, ConformanceError, HostLost, WorkerDied
from onnx_conformance.core.files import PACKAGE, file_digest
from onnx_conformance.core.worker_messages import SessionRequest
from onnx_conformance.run.cache_keys import source_digest
from onnx_conformance.run.worker_client import ProcessWorkerClient

STORE = (PACKAGE / "workers" / "file_store.py").read_text(encoding="utf-8")
CHUNK = 2**23  # bytes of a file that travel at once
PING = 10.0  # seconds in which a host that lives answers
GRACE = 1.0  # seconds beyond that, in which a call tells itself that it failed
T = TypeVar("T")


def is_remote(spec: str) -> bool:
    """Whether execnet reaches it by a network."""
    return spec.startswith(("ssh=", "socket=", "vagrant_ssh="))


def within(limit: float, what: str, work: Callable[[], T]) -> T:
    """The result of work that may block for ever on a network.

    Raises:
        TimeoutError: it takes longer; its thread is left alone.
    """
    found: list[T] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit)
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError(f"{what} gave no answer within {limit:g} s")
    return found[0]


class RemoteHost:
    """The connection to a host, and what it keeps of files. Thread-safe."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self._group = execnet.Group()
        atexit.unregister(self._group._cleanup_atexit)  # it waits for hosts that are lost, too
        atexit.register(self._end)
        self._gateway: Any = None
        self._channel: Any = None
        self._lost = ""
        self._sent: set[str] = set()
        self._count = 0
        self._lock = threading.RLock()

    def worker_gateway(self, variables: str, limit: float) -> Any:
        """The gateway of a new process there.

        Args:
            variables: execnet's ``//env:NAME=VALUE``.
        """
        with self._lock:
            self._connect(limit)
            python = execnet.XSpec(self.spec).python
            own = f"//python={python}" if python else ""
            via = f"popen//via={self._gateway.id}{own}{variables}"
            return self._guarded(limit, "a new process", lambda: self._group.makegateway(via))

    def boot(self, log: str, limit: float) -> dict[str, str]:
        """Where the package and a log are there; the package is sent if it is not there."""
        digest = source_digest()
        package = self.ask(limit, "package", digest, b"")
        package = package or self.ask(limit, "package", digest, packed())
        return {
            "package": package,
            "folder": str(Path(package).parent),
            "log": self.ask(limit, "new_log", log),
        }

    def placed(self, session: SessionRequest, limit: float) -> SessionRequest:
        """The same session with the paths of its files there; what is not there is sent.

        Raises:
            CapabilityMissing: it needs libraries, which are of this machine.
        """
        if session.get("custom_op_libraries"):
            raise CapabilityMissing("libraries of custom operators do not travel to other hosts")
        digests = session["sha256"] or [file_digest(Path(path)) for path in session["files"]]
        for path, digest in zip(session["files"], digests, strict=True):
            self._send(Path(path), digest, limit)
        names = [Path(path).name for path in session["files"]]
        files = list(zip(names, digests, strict=True))
        folder = hashlib.sha256(repr(files).encode()).hexdigest()
        return {**session, "files": self.ask(limit, "place", folder, files)}

    def _send(self, path: Path, digest: str, limit: float) -> None:
        with self._lock:
            if digest in self._sent or self.ask(limit, "has", digest):
                self._sent.add(digest)
                return
            size = path.stat().st_size
            with path.open("rb") as file:
                while True:
                    data = file.read(CHUNK)
                    last = file.tell() >= size
                    arrived = self.ask(limit, "put", digest, data, last)
                    if last:
                        break
            if not arrived:
                raise WorkerDied(self._name, f"{path.name} did not arrive whole")
            self._sent.add(digest)

    def ask(self, limit: float, method: str, *arguments: Any) -> Any:
        """Call the store there.

        Raises:
            WorkerDied: the host is lost, or what was asked cannot be done there.
        """
        with self._lock:
            self._connect(limit)
            status, found = self._guarded(
                limit, f"'{method}'", lambda: self._call(method, arguments)
            )
        if status != "ok":
            raise WorkerDied(self._name, f"'{method}' failed there: {found}")
        return found

    def _call(self, method: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
        self._channel.send((method, arguments))
        reply: tuple[str, Any] = self._channel.receive()
        return reply

    def _connect(self, limit: float) -> None:
        if self._lost:
            raise HostLost(self._name, self._lost)
        if self._channel is None:
            self._gateway = self._guarded(limit, "it", lambda: self._group.makegateway(self.spec))
            self._channel = self._gateway.remote_exec(STORE)

    def _guarded(self, limit: float, what: str, work: Callable[[], T]) -> T:
        try:
            return within(limit, what, work)
        except (OSError, EOFError, execnet.HostNotFound, TimeoutError) as error:
            reason = str(error) or "the connection ended"
            raise self.lose(f"cannot be reached: {reason}") from error

    @property
    def _name(self) -> str:
        return f"host {self.spec.partition('//')[0].partition('=')[2]}"

    def lives(self) -> bool:
        """Whether the host answers; one that does not is given up."""
        try:
            return bool(self.ask(PING, "ping"))
        except WorkerDied:
            return False

    def lose(self, reason: str) -> HostLost:
        """Give the host up: every later call fails at once, for this reason."""
        self._lost = self._lost or reason
        self._end()
        return HostLost(self._name, self._lost)

    def _end(self) -> None:
        """End the connection, and with it the processes there; wait for nobody."""
        if self._gateway is not None:
            end = threading.Thread(target=_cut, args=(self._gateway,), daemon=True)
            end.start()
            end.join(1.0)

    def lost(self) -> HostLost | None:
        """Why it is lost, if it is."""
        return HostLost(self._name, self._lost) if self._lost else None


def _cut(gateway: Any) -> None:
    """Close both directions; of ssh, end its process."""
    with contextlib.suppress(Exception):
        gateway._io.kill()
        gateway._io.close_read()
        gateway._io.close_write()


@lru_cache
def packed() -> bytes:
    """The package as a zip."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(PACKAGE.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, Path(PACKAGE.name) / path.relative_to(PACKAGE))
    return target.getvalue()


@lru_cache
def remote_host(spec: str) -> RemoteHost:
    """The one connection of this process to a host."""
    return RemoteHost(spec)


class RemoteWorkerClient(ProcessWorkerClient):
    """A worker on another host: sends it files, and tells a lost host from a dead worker."""

    def __init__(self, kind: str, spec: str, *, threads: int = 1) -> None:
        super().__init__(kind, spec=spec, threads=threads)
        host, _, variables = spec.partition("//env:")
        self._host = remote_host(host)
        self._variables = f"//env:{variables}" if variables else ""
        self._pid = 0

    def _make_gateway(self, limit: float) -> Any:
        return self._host.worker_gateway(self._variables, limit)

    def _boot_request(self, limit: float) -> dict[str, Any]:
        return {**super()._boot_request(limit), **self._host.boot(self._log.name, limit)}

    def _started(self, pid: int) -> None:
        self._pid = pid

    def call(self, method: str, limit: float, **arguments: Any) -> Any:
        """Call the backend there, its session's files first."""
        if "session" in arguments:
            arguments["session"] = self._host.placed(arguments["session"], limit)
        self.start(limit)
        answer = super().call
        try:
            most = limit + PING + GRACE  # a worker that hangs is killed and told of by then
            return within(most, f"'{method}'", lambda: answer(method, limit, **arguments))
        except TimeoutError as error:
            raise self._host.lose(str(error)) from error
        except WorkerDied:
            if self._host.lives():
                raise
            raise self._host.lose("") from None

    def standard_error(self) -> str:
        """The end of what the worker wrote there; empty where the host is lost."""
        with contextlib.suppress(ConformanceError):
            return str(self._host.ask(PING, "log", self._log.name))
        return ""

    def _discard(self) -> None:
        """Have the process there killed; the gateway ends with it."""
        if self._pid and self._host.lost() is None:
            with contextlib.suppress(ConformanceError):
                self._host.ask(PING, "kill", self._pid)
        self._pid, self._channel = 0, None
