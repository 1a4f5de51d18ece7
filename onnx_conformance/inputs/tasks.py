"""Tasks: real data on which a trained classifier decides.

They judge conversions that round too coarsely for an error budget. A task's evaluation and
calibration samples never come from the same photograph or row. A model names its task
(``register_model(task="digits")``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.registry import Registry
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.inputs.recipes import Inputs

BATCH = 10  # samples in one call


@dataclass(frozen=True)
class Samples:
    """Samples in batches of up to BATCH, and their right classes ``(n,)`` if known.

    Args:
        repeated: how many others were left out, because they are the same as one of these.
    """

    input_sets: tuple[Inputs, ...]
    labels: NDArray[Any] | None = None
    repeated: int = 0

    def with_more(self, others: Samples) -> Samples:
        """Both sets of samples as one; with labels where both have them."""
        labels = None
        if self.labels is not None and others.labels is not None:
            labels = np.concatenate([self.labels, others.labels])
        return Samples(self.input_sets + others.input_sets, labels, self.repeated + others.repeated)

    def __len__(self) -> int:
        return sum(inputs.samples for inputs in self.input_sets)


def in_batches(inputs: Mapping[str, NDArray[Any]]) -> list[Inputs]:
    """Arrays ``(n, …)`` by input name as inputs of up to BATCH samples."""
    whole = Inputs(inputs)
    starts = range(0, whole.samples, BATCH)
    return [whole.chosen(slice(start, start + BATCH)) for start in starts]


def samples_of(
    model: ModelSpec, arrays: NDArray[Any], labels: NDArray[Any] | None = None
) -> Samples:
    """Samples ``(n, …)`` of the model's only input."""
    (spec,) = model.inputs
    return Samples(tuple(in_batches({spec.name: arrays})), labels)


Draw = Callable[[ModelSpec, int], Samples]


@dataclass(frozen=True)
class Task:
    """A registered task.

    Args:
        story: what the samples are, in a few words.
        evaluation, calibration: draw samples for a model, given the seed.
        further: draws samples beside those of ``evaluation``, for a verdict that hangs on too few
            of them; None where there are no others.
        digest: of samples that a user gave; of ours the code says everything.
    """

    name: str
    story: str
    evaluation: Draw
    calibration: Draw
    digest: str = ""
    further: Draw | None = None


TASKS: Registry[Task] = Registry("task", ("onnx_conformance.inputs.photographs",))


def register_task(
    name: str, *, story: str, evaluation: Draw, calibration: Draw, further: Draw | None = None
) -> Task:
    """Register a task.

    Raises:
        UsageError: the name is taken.
    """
    return TASKS.register(name, Task(name, story, evaluation, calibration, further=further))
