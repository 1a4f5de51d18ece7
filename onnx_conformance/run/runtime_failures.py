"""Failures of ONNX Runtime: inputs that end a worker are isolated, and errors become a sentence.

Others keep their answers. What external artifacts fail of is said with a remedy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from onnx_conformance.core.custom_operators import PAGE
from onnx_conformance.core.errors import (
    ConformanceError,
    HostLost,
    StageFailure,
    WorkerDied,
    WorkerEnded,
)
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.text import one_line
from onnx_conformance.core.worker_messages import RunResult, SessionRequest
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.inputs.samples import typical_inputs
from onnx_conformance.run.subject import WorkDivision
from onnx_conformance.run.worker_queue import WorkerQueue

MOST_DEATHS = 2  # a file that ends its process on more inputs is reported once, as a failed stage
# After these a process can do nothing more on its GPU, in ONNX Runtime's words for NVIDIA's errors:
# an illegal address or instruction, a launch that failed or took too long, an assert, an ECC error.
_LOST = re.compile(r"CUDA (?:failure|error) (?:214|70[029]|71[0-9]|999)\b")


class Isolation:
    """Inputs that are run together, and each alone where one of them ended the worker's process.

    Iterating gives the inputs to run next; how that went is said by :meth:`ran` or :meth:`failed`.

    Args:
        renew: ends the process, where inputs cost it its GPU: the next have a fresh process.
    """

    def __init__(self, input_sets: Sequence[Inputs], renew: Callable[[], None]) -> None:
        self.results: list[RunResult] = []
        self._input_sets = list(input_sets)
        self._renew = renew
        self._alone = False
        self._deaths = 0

    def __iter__(self) -> Iterator[list[Inputs]]:
        if self._input_sets:
            yield self._input_sets
        if self._alone:
            yield from ([inputs] for inputs in self._input_sets)

    @property
    def _divisible(self) -> bool:
        return not self._alone and len(self._input_sets) > 1

    def ran(self, results: list[RunResult]) -> None:
        """Take the results; none of them where one cost the others their device."""
        lost = any(_LOST.search(result.get("error", "")) for result in results)
        if lost:
            self._renew()
        if lost and self._divisible:
            self._alone = True
        else:
            self.results += results

    def failed(self, failure: StageFailure) -> None:
        """Take a failure: inputs that alone end the process have ``error`` and ``died``.

        Raises:
            StageFailure: the process hung, or ended on more than a few inputs.
        """
        if not _ended(failure):
            raise failure
        if self._divisible:
            self._alone = True
            return
        self._deaths += 1
        if self._deaths > MOST_DEATHS:
            raise failure
        self.results.append({"error": _last_line(failure), "died": True})


def hung(failure: StageFailure) -> bool:
    """Whether the process was killed at its time limit, which each further try would cost again."""
    return failure.worker_died and not _ended(failure)


def _ended(failure: StageFailure) -> bool:
    """Whether the process ended by itself."""
    return isinstance(failure.__cause__, WorkerEnded)


def _last_line(failure: StageFailure) -> str:
    last = failure.details.strip().splitlines()
    return f"{failure.reason}; its last output: {last[-1]}" if last else failure.reason


WARM, RUNS = 2, 5


def weighed_on(model: ModelSpec, seed: int) -> Inputs:
    """The inputs on which the work is measured: one typical sample."""
    return typical_inputs(model, seed)[0].each_alone()[0]


def measure_workload(
    queue: WorkerQueue, case: str, session: SessionRequest, inputs: Inputs
) -> WorkDivision:
    """Profile a session in ``queue``, whose worker judges nothing and ends afterwards.

    What its runs fail of is for the checks to tell; here it only leaves the work unknown.

    Args:
        inputs: under the file's own names.
    """
    arguments = {"session": session, "inputs": inputs, "warm": WARM, "runs": RUNS}
    try:
        profile = queue.call("runtime", f"{case} (profile)", "profile", **arguments)
    except ConformanceError as error:
        return WorkDivision(unknown=" ".join(str(error).split()))
    finally:
        queue.worker.reset()
    return WorkDivision(profile["run"], profile["nodes"], profile["placement"])


# -- a failure in one sentence ---------------------------------------------------------------------

LIBRARY = "LibraryProblem: "  # begins what the worker says of one that cannot be had
UNKNOWN = re.compile(r"Fatal error: (?P<domain>[^\s:]+):(?P<op>\w+)\(-?\d+\) is not a registered")
LOCALE = re.compile(r"Failed to construct locale with name:\s*(?P<name>[\w.@-]+?):")
MEMORY = re.compile("allocate memory|bad_alloc|MemoryError|exceeds the supported maximum")


def sentence(failure: StageFailure) -> str:
    """Why ONNX Runtime could not work with the file, and what to do."""
    error = failure.__cause__
    if isinstance(error, HostLost):
        return one_line(str(error))
    if isinstance(error, WorkerDied):
        return (
            f"ONNX Runtime's process ended on this file ({one_line(error.message)}); do not use "
            "it, or raise --call-limit or --artifact-limit memory_mb=N"
        )
    if failure.reason.startswith(LIBRARY):
        return one_line(failure.reason.removeprefix(LIBRARY))
    return answered(failure.reason, "ONNX Runtime cannot load it: ")


def lacking(failure: StageFailure, model: str) -> str | None:
    """Which custom operators an export's session lacks, and where to name them; None if none."""
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


def lacking_of_machine(failure: StageFailure) -> str | None:
    """What this machine lacks, for which no file is at fault, with the remedy; None if nothing."""
    locale = LOCALE.search(failure.reason)
    if locale is None:
        return None
    return (
        f"this machine lacks the locale {locale['name']}, which the file's texts need (operator "
        f"StringNormalizer); install it: locale-gen {locale['name']}"
    )


def answered(message: str, prefix: str = "") -> str:
    """ONNX Runtime's message of a refusal; with the remedy if memory is lacking."""
    text = one_line(message)
    if MEMORY.search(message):
        return (
            f"{prefix}it needs more memory than is allowed ({text}); do not use it, or raise "
            "--artifact-limit memory_mb=N"
        )
    return f"{prefix}{text}; export it again" if prefix else text
