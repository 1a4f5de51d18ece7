"""Isolation of inputs that end a worker's process or device, so that others keep their answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from onnx_conformance.core.errors import ConformanceError, StageFailure, WorkerDied
from onnx_conformance.core.session_request import RunResult, SessionRequest
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.inputs.families import alone
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.inputs.typical import typical_inputs
from onnx_conformance.session.subject import Work
from onnx_conformance.session.worker_queue import WorkerQueue

Run = Callable[[list[Inputs]], list[RunResult]]
MOST_DEATHS = 2  # a file that ends its process on more inputs is reported once, as a failed stage
# After these a process can do nothing more on its GPU, in ONNX Runtime's words for NVIDIA's errors:
# an illegal address or instruction, a launch that failed or took too long, an assert, an ECC error.
_LOST = re.compile(r"CUDA (?:failure|error) (?:214|70[029]|71[0-9]|999)\b")


def run_isolated(
    run: Run, input_sets: Sequence[Inputs], renew: Callable[[], None]
) -> list[RunResult]:
    """The results of the inputs; one that ends the process has ``error`` and ``died``.

    Args:
        renew: ends the process, where inputs cost it its GPU: the next have a fresh
        process.

    Raises:
        StageFailure: the process hung, or ended on more than a few inputs.
    """
    try:
        results = run(list(input_sets))
        if not _lost(results, renew) or len(input_sets) < 2:
            return results
    except StageFailure as failure:
        if len(input_sets) < 2 or not _ended(failure):
            raise
    return _one_by_one(run, input_sets, renew)


def _one_by_one(
    run: Run, input_sets: Sequence[Inputs], renew: Callable[[], None]
) -> list[RunResult]:
    results: list[RunResult] = []
    deaths = 0
    for inputs in input_sets:
        try:
            found = run([inputs])
            _lost(found, renew)
            results += found
        except StageFailure as failure:
            deaths += 1
            if deaths > MOST_DEATHS or not _ended(failure):
                raise
            results.append({"error": _last_line(failure), "died": True})
    return results


def _lost(results: list[RunResult], renew: Callable[[], None]) -> bool:
    """Whether the process lost its GPU; it is renewed then."""
    lost = any(_LOST.search(result.get("error", "")) for result in results)
    if lost:
        renew()
    return lost


def hung(failure: StageFailure) -> bool:
    """Whether the process was killed at its time limit, which each further try would cost again."""
    return isinstance(failure.__cause__, WorkerDied) and not _ended(failure)


def _ended(failure: StageFailure) -> bool:
    """Whether the process ended by itself."""
    cause = failure.__cause__
    return isinstance(cause, WorkerDied) and "exit status" in cause.message


def _last_line(failure: StageFailure) -> str:
    last = failure.details.strip().splitlines()
    return f"{failure.reason}; its last output: {last[-1]}" if last else failure.reason


WARM, RUNS = 2, 5


def weighed_on(model: ModelSpec, seed: int) -> Inputs:
    """What the work is measured on: one typical sample."""
    return alone(typical_inputs(model, seed)[0])[0]


def measure_workload(
    queue: WorkerQueue, case: str, session: SessionRequest, inputs: Inputs
) -> Work:
    """Profile a session in ``queue``, whose worker judges nothing and ends afterwards.

    What its runs fail of is for the checks to tell; here it only leaves the work unknown.

    Args:
        inputs: under the file's own names.
    """
    arguments = {"session": session, "inputs": inputs, "warm": WARM, "runs": RUNS}
    try:
        profile = queue.call("runtime", f"{case} (profile)", "profile", **arguments)
    except ConformanceError as error:
        return Work(unknown=" ".join(str(error).split()))
    finally:
        queue.worker.reset()
    return Work(profile["run"], profile["nodes"])
