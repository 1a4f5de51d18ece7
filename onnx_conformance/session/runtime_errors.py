"""ONNX Runtime's errors on an external artifact, in one sentence with a remedy."""

from __future__ import annotations

import re

from onnx_conformance.core.custom_operators import PAGE
from onnx_conformance.core.errors import StageFailure, WorkerDied
from onnx_conformance.core.text import one_line

LIBRARY = "LibraryProblem: "  # begins what the worker says of one that cannot be had
UNKNOWN = re.compile(r"Fatal error: (?P<domain>[^\s:]+):(?P<op>\w+)\(-?\d+\) is not a registered")
MEMORY = re.compile("allocate memory|bad_alloc|MemoryError|exceeds the supported maximum")


def sentence(failure: StageFailure) -> str:
    """Why ONNX Runtime could not work with the file, and what to do."""
    error = failure.__cause__
    if isinstance(error, WorkerDied):
        return (
            f"ONNX Runtime's process ended on this file ({one_line(error.message)}); do not use "
            "it, or raise --call-limit or --artifact-limit memory_mb=N"
        )
    if failure.reason.startswith(LIBRARY):
        return one_line(failure.reason.removeprefix(LIBRARY))
    return answered(failure.reason, "ONNX Runtime cannot load it: ")


def lacking(failure: StageFailure, model: str) -> str | None:
    """What an export's session lacks of custom operators, and where to name it; None if nothing."""
    if failure.reason.startswith(LIBRARY):
        return f"model '{model}': {one_line(failure.reason.removeprefix(LIBRARY))}"
    unknown = UNKNOWN.search(failure.reason)
    if unknown is None:
        return None
    return (
        f"model '{model}': none of its libraries has the operator {unknown['domain']}::"
        f"{unknown['op']}; name one that does, @custom_operators(library=...) or "
        f"--custom-op-library=PATH ({PAGE})"
    )


def answered(message: str, prefix: str = "") -> str:
    """ONNX Runtime's own words for a refusal, with the remedy where memory is the cause."""
    text = one_line(message)
    if MEMORY.search(message):
        return (
            f"{prefix}it takes more memory than is allowed ({text}); do not use it, or raise "
            "--artifact-limit memory_mb=N"
        )
    return f"{prefix}{text}; export it again" if prefix else text
