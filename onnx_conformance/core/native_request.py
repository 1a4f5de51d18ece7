"""Requests to a native worker, and its description of a model: records of both processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NotRequired, TypedDict

from onnx_conformance.core.native_constants import ConstantRecord
from onnx_conformance.core.spec import ModelSpec


@dataclass(frozen=True)
class NativeRequest:
    """The native model of a question to its worker, which may not hold it yet.

    Args:
        model: what is built.
        weights: the file (npz) that ``prepare`` writes, and from which all others take them.
        pretrained: whether its builder is asked for trained weights.
        seed: of what is drawn while it is built and calibrated.
        approximation: the bounds of a replica's approximations by function, in float32 epsilons;
            without, a replica's weights alone differ.
    """

    model: ModelSpec
    weights: str
    pretrained: bool = False
    seed: int = 0
    approximation: dict[str, float] | None = None

    @property
    def calibrated(self) -> bool:
        """Whether the model has no weights of its own worth keeping, and is given others."""
        return not (self.pretrained or self.model.trained)


class BatchNormRecord(TypedDict):
    """Names of one BatchNorm's tensors in the weights, and its epsilon."""

    gamma: str
    beta: str
    mean: str
    variance: str
    epsilon: float


class Description(TypedDict):
    """What ``prepare`` says of a model beside the weights that it writes.

    ``constants``: what it computes of them alone; their values stand beside the weights.
    ``batch_statistics``: how many of its normalisations take their statistics from the batch.
    ``constant_outputs``: those that no number of an input reaches.
    ``declared``: of an ONNX file, the shapes that it declares for its outputs, by name.
    ``complaint``: of an ONNX file, what ``onnx.checker`` says of it.
    """

    digest: str
    batch_norms: list[BatchNormRecord]
    unused: list[str]
    names: list[str]
    constants: NotRequired[list[ConstantRecord]]
    batch_statistics: NotRequired[int]
    constant_outputs: NotRequired[list[str]]
    declared: NotRequired[dict[str, list[int | str] | None]]
    complaint: NotRequired[str]


class NativeChanged(RuntimeError):
    """An export changed the native model."""
