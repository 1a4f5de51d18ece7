"""The errors of the suite. Each message names the cause and the remedy in one line."""

from __future__ import annotations


class ConformanceError(Exception):
    """Base of every error that the suite raises on purpose."""


class UsageError(ConformanceError):
    """Bad input from the user: an unknown name, an opset no route serves, a malformed file."""


class StageFailure(ConformanceError):
    """A stage (build, export, load, run) failed inside a worker.

    Args:
        stage: the stage's name, as in the table of time by stage.
        subject: what it worked on, such as ``resnet18-torch_dynamo-opset18``.
        reason: one line: the framework's own error.
        details: the worker's traceback or last words; may be empty.
    """

    def __init__(self, stage: str, subject: str, reason: str, details: str = "") -> None:
        super().__init__(f"{stage} of {subject} failed: {reason}")
        self.stage = stage
        self.subject = subject
        self.reason = reason
        self.details = details


class CapabilityMissing(ConformanceError):
    """Something this machine lacks (a framework, a device, cached weights): a named skip."""


class WorkerError(ConformanceError):
    """A worker answered with an exception; ``details`` has the remote traceback."""

    def __init__(self, kind: str, message: str, details: str = "") -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind
        self.message = message
        self.details = details


class WorkerDied(WorkerError):
    """A worker's process ended, or was killed at its time limit, during a call."""


class Refused(UsageError):
    """A file is not judged: the cause and the remedy, without the file's name."""
