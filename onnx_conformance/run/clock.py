"""The clock of a run: how long workers computed and the judge waited for them, by stage."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TypeVar

from onnx_conformance.core.documents import TimeTable
from onnx_conformance.core.errors import Stage

STAGES: tuple[Stage, ...] = ("import", "build", "export", "native", "oracle", "runtime")
CHECKS = "checks"  # what the judge does of a case itself
Jobs = dict[str, dict[str, float]]  # framework, model, artifact or case -> stage -> seconds
TICK = 0.1  # seconds between two looks at what the workers do
T = TypeVar("T")


def add_jobs(total: Jobs, jobs: Jobs) -> None:
    """Add the seconds of jobs to others'; of imports, which each process makes, the longest."""
    for what, stages in jobs.items():
        known = total.setdefault(what, {})
        for stage, seconds in stages.items():
            before = known.get(stage, 0.0)
            known[stage] = max(before, seconds) if stage == "import" else before + seconds


class Clock:
    """Thread-safe. ``busy`` is called by the worker queues, ``wait`` is called by the judge."""

    def __init__(self, on_tick: Callable[[dict[str, str]], None] | None = None) -> None:
        self.started = time.perf_counter()
        self.worker_seconds: dict[str, float] = defaultdict(float)
        self.waited_seconds: dict[str, float] = defaultdict(float)
        self.on_tick = on_tick
        self._jobs: Jobs = {}
        self._others: list[float] = []  # the rest of each other process
        self._lock = threading.Lock()
        self._active: dict[str, tuple[str, str]] = {}
        self._latest: dict[
            str, tuple[float, str]
        ] = {}  # worker queue -> when its last work ended, stage

    @contextmanager
    def busy(self, queue: str, stage: Stage, what: str) -> Iterator[None]:
        """Count the block as ``stage``; ``what`` is shown as progress."""
        started = time.perf_counter()
        with self._lock:
            self._active[queue] = (stage, what)
            self._latest[queue] = (math.inf, stage)
        try:
            yield
        finally:
            with self._lock:
                ended = time.perf_counter()
                self._active.pop(queue, None)
                self._latest[queue] = (ended, stage)
                self.worker_seconds[stage] += ended - started
                add_jobs(self._jobs, {what.partition(" (")[0]: {stage: ended - started}})

    @contextmanager
    def judging(self, case: str) -> Iterator[None]:
        """Count the block, less what it waits for workers, as checks of a case."""
        started, waited = time.perf_counter(), sum(self.waited_seconds.values())
        try:
            yield
        finally:
            waits = sum(self.waited_seconds.values()) - waited
            with self._lock:
                seconds = time.perf_counter() - started - waits
                add_jobs(self._jobs, {case: {CHECKS: seconds}})

    def activities(self) -> dict[str, str]:
        """Worker queue -> what it does now."""
        with self._lock:
            return {queue: f"{stage} {what}" for queue, (stage, what) in self._active.items()}

    def wait(self, future: Future[T], queue: str) -> T:
        """The future's result; the time waited counts for the stage that the worker queue is in."""
        while not future.done():
            started = time.perf_counter()
            wait([future], timeout=TICK)
            stage = self._stage_of(queue, started)
            self.waited_seconds[stage] += time.perf_counter() - started
            if self.on_tick is not None:
                self.on_tick(self.activities())
        return future.result()

    def _stage_of(self, queue: str, since: float) -> str:
        """The queue's stage since then; if it was idle, that of the queue it waited for."""
        with self._lock:
            ended, stage = self._latest.get(queue, (0.0, ""))
            if ended < since:
                ended, stage = max([(since, "import"), *self._latest.values()])
        return stage

    def add(self, other: TimeTable) -> None:
        """Count what the clock of another process measured: its :meth:`table`."""
        with self._lock:
            for stage in STAGES:
                self.worker_seconds[stage] += other["engine"][stage]
                self.waited_seconds[stage] += other["waited"][stage]
            add_jobs(self._jobs, other["jobs"])
            self._others.append(other["rest"])

    def table(self) -> TimeTable:
        """Seconds by stage; ``rest`` is the wall time in which the judge did not wait.

        Where other processes judged, ``processes`` of them, this one only waited for them: all but
        ``wall`` are sums over theirs.
        """
        wall = time.perf_counter() - self.started
        waited = sum(self.waited_seconds.values())
        return {
            "wall": wall,
            "processes": len(self._others) or 1,
            "engine": {stage: self.worker_seconds.get(stage, 0.0) for stage in STAGES},
            "waited": {stage: self.waited_seconds.get(stage, 0.0) for stage in STAGES},
            "rest": sum(self._others) if self._others else wall - waited,
            "jobs": self._jobs,
        }
