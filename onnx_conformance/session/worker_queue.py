"""A lane: one engine and the single thread that talks to it."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from onnx_conformance.core.errors import EngineError, StageFailure
from onnx_conformance.core.native_request import NativeChanged
from onnx_conformance.core.settings import Settings
from onnx_conformance.session.worker_client import Engine, InProcessEngine, WorkerEngine

T = TypeVar("T")
D = TypeVar("D")


def _error_of(done: Future[Any]) -> BaseException | None:
    """Why a done future has no result, or None."""
    return CancelledError("the session ended") if done.cancelled() else done.exception()


class Lane:
    """Work for one engine, done in the order in which it was submitted."""

    def __init__(self, name: str, engine: Engine, clock: Clock, limit: float) -> None:
        self.name = name
        self.engine = engine
        self._clock = clock
        self._limit = limit
        self._broken: EngineError | None = None
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do ``work`` in this lane's thread."""
        return self._executor.submit(work)

    def after(self, dependency: Future[D], work: Callable[[D], T]) -> Future[T]:
        """Do ``work`` once ``dependency`` is there; the lane serves others until then."""
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
            except RuntimeError as closed:  # the session ended meanwhile
                outer.set_exception(closed)

        dependency.add_done_callback(go_on)
        return outer

    def call(self, stage: str, what: str, method: str, **arguments: Any) -> Any:
        """Call the engine from this lane's thread, timed as ``stage``.

        Raises:
            StageFailure: the engine raised, hung or died.
        """
        try:
            self._start()
            with self._clock.busy(self.name, stage, what):
                return self.engine.call(method, self._limit, **arguments)
        except EngineError as error:
            if error.kind == NativeChanged.__name__:
                self.engine.reset()  # what an export changed must not judge
            reason = " ".join(str(error).split())
            raise StageFailure(stage, what, reason, error.details) from error

    def _start(self) -> None:
        """Start the engine; one that could not import its framework is not tried again."""
        if self._broken is not None:
            raise self._broken
        with self._clock.busy(self.name, "import", self.name):
            try:
                self.engine.start(self._limit)
            except EngineError as error:
                self._broken = error
                raise

    def close(self) -> None:
        """Drop what was not begun, and kill the engine: a call under way fails at once."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self.engine.close()
        self._executor.shutdown(wait=True)


class Lanes:
    """The lanes of a session, by name; made on first use, their engines started on need."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._lanes: dict[str, Lane] = {}

    def get(
        self, name: str, kind: str, *, limit: float | None = None, spec: str | None = None
    ) -> Lane:
        """The lane ``name``, whose engine is of ``kind``.

        Args:
            limit: seconds that a call may take, where not those of the settings.
            spec: execnet's way to name its process, where not this Python's.
        """
        if name not in self._lanes:
            seconds = self.settings.limit if limit is None else limit
            self._lanes[name] = Lane(name, self._engine(kind, spec), self._clock, seconds)
        return self._lanes[name]

    def _engine(self, kind: str, spec: str | None) -> Engine:
        threads = self.settings.threads
        if kind == "reader":  # what it guards the judge from stays outside, whatever was asked
            return WorkerEngine(kind, threads=threads)
        here = self.settings.native_in_process and kind != "onnxruntime"
        if self.settings.in_process or here:
            return InProcessEngine(kind, threads=threads)
        return WorkerEngine(kind, spec=spec, threads=threads)

    def quiesce(self) -> None:
        """Wait until every lane has done what was submitted to it."""
        for lane in list(self._lanes.values()):
            lane.submit(lambda: None).result()

    def close(self) -> None:
        """End every engine."""
        for lane in self._lanes.values():
            lane.close()


STAGES = ("import", "build", "export", "native", "oracle", "runtime")
TICK = 0.1  # seconds between two looks at what the engines do


class Clock:
    """Thread-safe. ``busy`` is told by the lanes, ``wait`` is called by the judge."""

    def __init__(self, on_tick: Callable[[dict[str, str]], None] | None = None) -> None:
        self.started = time.perf_counter()
        self.engine_seconds: dict[str, float] = defaultdict(float)
        self.waited_seconds: dict[str, float] = defaultdict(float)
        self.on_tick = on_tick
        self._lock = threading.Lock()
        self._active: dict[str, tuple[str, str]] = {}
        self._latest: dict[str, tuple[float, str]] = {}  # lane -> when its last work ended, stage

    @contextmanager
    def busy(self, lane: str, stage: str, what: str) -> Iterator[None]:
        """Count the block as ``stage``; ``what`` is shown as progress."""
        started = time.perf_counter()
        with self._lock:
            self._active[lane] = (stage, what)
            self._latest[lane] = (math.inf, stage)
        try:
            yield
        finally:
            with self._lock:
                ended = time.perf_counter()
                self._active.pop(lane, None)
                self._latest[lane] = (ended, stage)
                self.engine_seconds[stage] += ended - started

    def activities(self) -> dict[str, str]:
        """Lane -> what it does now."""
        with self._lock:
            return {lane: f"{stage} {what}" for lane, (stage, what) in self._active.items()}

    def wait(self, future: Future[T], lane: str) -> T:
        """The future's result; the time waited counts for the stage that the lane is in."""
        while not future.done():
            started = time.perf_counter()
            wait([future], timeout=TICK)
            stage = self._stage_of(lane, started)
            self.waited_seconds[stage] += time.perf_counter() - started
            if self.on_tick is not None:
                self.on_tick(self.activities())
        return future.result()

    def _stage_of(self, lane: str, since: float) -> str:
        """What the lane did since then; if it was idle, what the lane did that it waited for."""
        with self._lock:
            ended, stage = self._latest.get(lane, (0.0, ""))
            if ended < since:
                ended, stage = max([(since, "import"), *self._latest.values()])
        return stage

    def table(self) -> dict[str, Any]:
        """Seconds by stage; ``rest`` is the wall time in which the judge did not wait."""
        wall = time.perf_counter() - self.started
        waited = sum(self.waited_seconds.values())
        return {
            "wall": wall,
            "engine": {stage: self.engine_seconds.get(stage, 0.0) for stage in STAGES},
            "waited": {stage: self.waited_seconds.get(stage, 0.0) for stage in STAGES},
            "rest": wall - waited,
        }
