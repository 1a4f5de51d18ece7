"""The errors of the suite. Each message names the cause and the remedy in one line.

An error that is none of these and comes out of the suite's own code is red, and the run goes on.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Literal, TypeVar


class ConformanceError(Exception):
    """Base of every error that the suite raises on purpose."""


class UsageError(ConformanceError):
    """Bad input from the user: an unknown name, an opset no route serves, a malformed file."""


# What a worker is busy with, as in the table of time by stage; the last four are in no table.
Stage = Literal[
    "import", "build", "export", "native", "oracle", "runtime", "read", "probe", "timing", "gate"
]


class StageFailure(ConformanceError):
    """A stage failed inside a worker.

    Args:
        subject: what it worked on, such as ``resnet18-torch_dynamo-opset18``.
        reason: one line: the framework's own error.
        details: the worker's traceback or last words; may be empty.
    """

    def __init__(self, stage: Stage, subject: str, reason: str, details: str = "") -> None:
        super().__init__(f"{stage} of {subject} failed: {reason}")
        self.stage: Stage = stage
        self.subject = subject
        self.reason = reason
        self.details = details

    @property
    def worker_died(self) -> bool:
        """Whether no answer came because the worker's process ended or was killed."""
        return isinstance(self.__cause__, WorkerDied)


class CapabilityMissing(ConformanceError):
    """Something this machine lacks (a framework, a device, cached weights): a named skip."""


class WorkerError(ConformanceError):
    """A worker answered with an exception; ``details`` holds the remote traceback."""

    def __init__(self, kind: str, message: str, details: str = "") -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind
        self.message = message
        self.details = details


class WorkerDied(WorkerError):
    """A worker's process ended, or was killed at its time limit, in mid-call."""


class WorkerEnded(WorkerDied):
    """A worker's process ended by itself in mid-call: other inputs may be tried in a new one."""


class HostLost(WorkerDied):
    """The host of a provider answers no more: neither another file nor another try helps."""


def is_lost(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, is that a host is lost."""
    return isinstance(error, HostLost) or (error.__cause__ is not None and is_lost(error.__cause__))


class Refused(UsageError):
    """A file is not judged: the cause and the remedy, without the file's name."""


# -- errors of the suite's own ---------------------------------------------------------------------

T = TypeVar("T")
PACKAGE = __name__.partition(".")[0]
FRAMES = 4  # of the traceback, the last


def internal_error(error: Exception, check: str) -> str | None:
    """An error that came out of the suite's own code, in one line; None for any other.

    What a test's own lines raise, and what Hypothesis says of a test, is told by pytest.

    Args:
        check: the check that was running.
    """
    from hypothesis.errors import HypothesisException  # which no worker needs

    if isinstance(error, ConformanceError):
        return str(error)  # one line, with what to do
    if isinstance(error, HypothesisException) or not _ours(error):
        return None
    description = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
    return (
        f"internal error in check {check}: {description}; this is a fault of the suite: please "
        "report"
    )


def where(error: Exception) -> list[str]:
    """The last places of the traceback, for the report of an internal error."""
    if isinstance(error, ConformanceError):
        return []
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]


def attempted(work: Callable[[], T], what: str) -> T | None:
    """The result of work that no verdict rests on; None where it fails, which is logged."""
    try:
        return work()
    except Exception:  # a verdict must not be lost for it
        logging.getLogger(__name__).info("cannot %s", what, exc_info=True)
        return None


def _ours(error: Exception) -> bool:
    """Whether the package's code is on the way from the test to the error."""
    frames = traceback.walk_tb(error.__traceback__)
    names = (str(frame.f_globals.get("__name__", "")) for frame, _ in frames)
    return any(name.partition(".")[0] == PACKAGE for name in names)
