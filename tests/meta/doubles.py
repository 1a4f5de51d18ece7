"""Backends that need no framework, for the tests of workers, worker queues and stores."""

from __future__ import annotations

import os
import resource
import sys
import time
from typing import Any

import numpy as np

from onnx_conformance.core.errors import CapabilityMissing


class FakeBackend:
    """Answers, fails, hangs and dies on request."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def pid(self) -> int:
        return os.getpid()

    def echo(self, value: Any) -> Any:
        return value

    def describe(self, array: Any) -> tuple[str, tuple[int, ...], bytes]:
        """What arrived, in builtins."""
        return str(array.dtype), array.shape, array.tobytes()

    def settings(self) -> tuple[int, str | None]:
        return self.threads, os.environ.get("OMP_NUM_THREADS")

    def nap(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def fail(self, message: str) -> None:
        raise ZeroDivisionError(message)

    def lack(self, message: str) -> None:
        raise CapabilityMissing(message)

    def leave(self) -> None:
        sys.exit(7)

    def unspeakable(self) -> Any:
        return object()

    def exit(self, status: int, last_line: str) -> None:
        print(last_line, file=sys.stderr, flush=True)
        os._exit(status)

    def kill(self, number: int, last_line: str) -> None:
        print(last_line, file=sys.stderr, flush=True)
        os.kill(os.getpid(), number)
        time.sleep(60)

    def allocate(self, room: int, wanted: int) -> int:
        """Allocate ``wanted`` bytes where the process may have ``room``."""
        resource.setrlimit(resource.RLIMIT_AS, (room, resource.getrlimit(resource.RLIMIT_AS)[1]))
        return int(np.ones(wanted, np.uint8).sum())

    def _secret(self) -> str:
        return "secret"


class BrokenBackend:
    """A framework whose import fails."""

    def __init__(self, threads: int) -> None:
        raise ImportError("libbroken.so.1: cannot open shared object file")


class AbsentBackend:
    """A framework that is not there."""

    def __init__(self, threads: int) -> None:
        raise CapabilityMissing("framework is not installed")
