"""Workers that outlive a session, for a caller that opens one session after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from onnx_conformance.session.worker_client import ProcessWorkerClient

# A framework's worker is not among them: it has run the user's code, which the next model's
# verdict must not rest on. ONNX Runtime's and the reader's serve all cases of a run as well.
KINDS = ("onnxruntime", "reader")
Key = tuple[str, str, int]
_LENT: ContextVar[WorkerPool | None] = ContextVar("_LENT", default=None)


class WorkerPool:
    """Keeps workers that a session no longer needs, for the next session that needs the like."""

    def __init__(self) -> None:
        self._idle: dict[Key, list[ProcessWorkerClient]] = {}

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Sessions that are opened in this block take their workers from here, and return them."""
        token = _LENT.set(self)
        try:
            yield
        finally:
            _LENT.reset(token)

    def take(self, kind: str, spec: str, threads: int) -> ProcessWorkerClient:
        """An idle worker; a new one, not yet started, where there is none."""
        idle = self._idle.get((kind, spec, threads))
        if not idle:
            return ProcessWorkerClient(kind, spec=spec or None, threads=threads)
        worker = idle.pop()
        if not worker.alive:  # it ended meanwhile, which is no fault of the next file's
            worker.reset()
        return worker

    def keep(self, kind: str, spec: str, threads: int, worker: ProcessWorkerClient) -> None:
        """Take back a worker that has answered everything it was asked."""
        self._idle.setdefault((kind, spec, threads), []).append(worker)

    def close(self) -> None:
        """End the idle workers."""
        for workers in self._idle.values():
            for worker in workers:
                worker.close()
        self._idle.clear()


def lent_pool() -> WorkerPool | None:
    """The pool of the block that is running, if any."""
    return _LENT.get()
