"""Errors of the suite itself: reported as such, as a failure, and the run goes on."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import TypeVar

from hypothesis.errors import HypothesisException

from onnx_conformance.core.errors import ConformanceError

T = TypeVar("T")
PACKAGE = __name__.partition(".")[0]
FRAMES = 4  # of the traceback, the last


def internal_error(error: Exception, check: str) -> str | None:
    """An error that came out of the suite's own code, in one line; None for any other.

    What a test's own lines raise, and what Hypothesis says of a test, is told by pytest.

    Args:
        check: the check that was running.
    """
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
