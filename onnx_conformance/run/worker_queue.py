"""A worker queue: one worker and the single thread that talks to it; the queues of a run.

A pool keeps workers for a caller that starts one run after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from onnx_conformance.core.errors import Stage, StageFailure, WorkerError
from onnx_conformance.core.native_request import NativeChanged
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.text import cause_of
from onnx_conformance.run.answers_client import ANSWERS, AnswersClient
from onnx_conformance.run.clock import Clock
from onnx_conformance.run.kit import RECORDED_IN, RecordingWorkerClient
from onnx_conformance.run.remote_host import RemoteWorkerClient, is_remote
from onnx_conformance.run.worker_client import (
    InProcessWorkerClient,
    ProcessWorkerClient,
    WorkerClient,
)

# A framework's worker is not among them: it has run the user's code, which the next model's
# verdict must not rest on. ONNX Runtime's and the reader's serve all cases of a run as well.
KINDS = ("onnxruntime", "reader")
Key = tuple[str, str, int]
_LENT: ContextVar[WorkerPool | None] = ContextVar("_LENT", default=None)


class WorkerPool:
    """Keeps workers that a run no longer needs, for the next one of the same kind."""

    def __init__(self) -> None:
        self._idle: dict[Key, list[ProcessWorkerClient]] = {}

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Runs that are started in this block take their workers from here, and return them."""
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


RELEASE = 0.5  # seconds to wait for a worker that has nothing left to do
T = TypeVar("T")
D = TypeVar("D")


def _error_of(done: Future[Any]) -> BaseException | None:
    """Why a done future has no result, or None."""
    return CancelledError("the run ended") if done.cancelled() else done.exception()


class WorkerQueue:
    """Work for one worker, done in the order in which it was submitted."""

    def __init__(self, name: str, worker: WorkerClient, clock: Clock, limit: float) -> None:
        self.name = name
        self.worker = worker
        self._clock = clock
        self._limit = limit
        self._broken: WorkerError | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do ``work`` in this worker queue's thread."""
        return self._executor.submit(work)

    def after(self, dependency: Future[D], work: Callable[[D], T]) -> Future[T]:
        """Do ``work`` once ``dependency`` is done; until then the queue serves other work."""
        outer: Future[T] = Future()

        def forward(inner: Future[T]) -> None:
            error = _error_of(inner)
            if error is not None:
                outer.set_exception(error)
            else:
                outer.set_result(inner.result())

        def go_on(done: Future[D]) -> None:
            error = _error_of(done)
            if error is not None:
                outer.set_exception(error)
                return
            try:
                self.submit(lambda: work(done.result())).add_done_callback(forward)
            except RuntimeError as closed:  # the run ended meanwhile
                outer.set_exception(closed)

        dependency.add_done_callback(go_on)
        return outer

    def call(self, stage: Stage, what: str, method: str, **arguments: Any) -> Any:
        """Call the worker from this worker queue's thread, timed as ``stage``.

        Raises:
            StageFailure: the worker raised, hung or died.
        """
        try:
            self._start()
            with self._clock.busy(self.name, stage, what):
                return self.worker.call(method, self._limit, **arguments)
        except WorkerError as error:
            if error.kind == NativeChanged.__name__:
                self.worker.reset()  # what an export changed must not judge
            raise StageFailure(stage, what, cause_of(str(error)), error.details) from error

    def _start(self) -> None:
        """Start the worker; one that could not import its framework is not tried again."""
        if self._broken is not None:
            raise self._broken
        with self._clock.busy(self.name, "import", self.name):
            try:
                self.worker.start(self._limit)
            except WorkerError as error:
                self._broken = error
                raise

    def release(self) -> bool:
        """End the queue but not its worker; False, with nothing ended, while the worker is busy."""
        try:
            self.submit(lambda: None).result(timeout=RELEASE)
        except TimeoutError:
            return False
        self._executor.shutdown(wait=True)
        return self._broken is None

    def close(self) -> None:
        """Drop what was not begun, and kill the worker: a call under way fails at once."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self.worker.close()
        self._executor.shutdown(wait=True)


class WorkerQueues:
    """The worker queues of a run, by name; made on first use, their workers started on need."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._queues: dict[str, WorkerQueue] = {}
        self._pool = lent_pool()
        self._borrowed: dict[str, tuple[str, str, ProcessWorkerClient]] = {}  # by queue

    def get(
        self, name: str, kind: str, *, limit: float | None = None, spec: str | None = None
    ) -> WorkerQueue:
        """The worker queue ``name``, whose worker is of ``kind``.

        Args:
            limit: seconds that a call may last, where not those of the settings.
            spec: execnet's name of its process, where not this Python's.
        """
        if name not in self._queues:
            seconds = self.settings.limit if limit is None else limit
            worker = self._lent(name, kind, spec) or self._worker(kind, spec)
            self._queues[name] = WorkerQueue(name, worker, self._clock, seconds)
        return self._queues[name]

    def _lent(self, name: str, kind: str, spec: str | None) -> WorkerClient | None:
        """A worker of the pool, where there is one and it serves this kind."""
        private = self._pool is None or kind not in KINDS or self.settings.in_process
        if private or (spec and not is_process_here(spec)):
            return None
        assert self._pool is not None
        worker = self._pool.take(kind, spec or "", self.settings.threads)
        self._borrowed[name] = (kind, spec or "", worker)
        return worker

    def _worker(self, kind: str, spec: str | None) -> WorkerClient:
        threads, seed = self.settings.threads, self.settings.seed
        if spec and not is_process_here(spec):
            return worker_at(kind, spec, threads=threads, seed=seed)
        if kind == "reader":  # what it guards the judge from stays outside, whatever was asked
            return ProcessWorkerClient(kind, threads=threads)
        here = self.settings.native_in_process and kind != "onnxruntime"
        if self.settings.in_process or here:
            return InProcessWorkerClient(kind, threads=threads)
        return ProcessWorkerClient(kind, spec=spec, threads=threads)

    def quiesce(self) -> None:
        """Wait until every worker queue has done what was submitted to it."""
        for queue in list(self._queues.values()):
            queue.submit(lambda: None).result()

    def close(self) -> None:
        """End every worker."""
        for name, queue in self._queues.items():
            if name in self._borrowed and self._pool is not None and queue.release():
                kind, spec, worker = self._borrowed[name]
                self._pool.keep(kind, spec, self.settings.threads, worker)
            else:
                queue.close()


def is_process_here(spec: str) -> bool:
    """Whether its worker is a process of this machine."""
    return not (is_remote(spec) or spec.startswith((ANSWERS, RECORDED_IN)))


def worker_at(kind: str, spec: str, *, threads: int = 1, seed: int = 0) -> WorkerClient:
    """The client of a worker of a kind.

    Args:
        spec: execnet's, ``answers:FOLDER`` or ``kit:FOLDER``; ``//env:NAME=VALUE`` may follow.
        seed: the run's, which recorded answers must be of.
    """
    host = spec.partition("//env:")[0]
    if host.startswith(ANSWERS):
        return AnswersClient(Path(host.removeprefix(ANSWERS)), seed=seed)
    if host.startswith(RECORDED_IN):
        folder = Path(host.removeprefix(RECORDED_IN))
        return RecordingWorkerClient(kind, folder, threads=threads, seed=seed)
    if is_remote(host):
        return RemoteWorkerClient(kind, spec, threads=threads)
    return ProcessWorkerClient(kind, spec=spec, threads=threads)
