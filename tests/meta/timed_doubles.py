"""A backend that is timed and needs no framework."""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

import numpy as np

from onnx_conformance.workers.stopwatch import Stopwatch, TimedCall


class TimedBackend(Stopwatch):
    """Doubles what it is fed; its calls take what ``seconds`` says, over and over."""

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self.calls = 0

    def timed_call(
        self, form: str, inputs: dict[str, Any], seconds: list[float] | None = None
    ) -> TimedCall:
        if form != "plain":
            raise ValueError(f"not timed as '{form}'")

        def call() -> Any:
            self.calls += 1
            return inputs["input"] * 2

        clock = itertools.cycle(seconds) if seconds else None
        measured = (lambda: call() is None or next(clock)) if clock else None
        return TimedCall(call, lambda result: {"output": result}, measured)

    def pid(self) -> int:
        return os.getpid()

    def nap(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def fail(self) -> None:
        raise ZeroDivisionError("no")

    def allocate(self, mebibytes: int) -> int:
        """Touch so much memory, and give it back."""
        return len(np.ones(mebibytes * 2**20, np.uint8))
