"""Requests to a native worker, and its description of a model: records of both processes."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from onnx_conformance.core.domains import from_data
from onnx_conformance.core.native_constants import ConstantRecord
from onnx_conformance.core.spec import Axes, Axis, TensorSpec


class ModelRequest(TypedDict):
    """What a native worker needs to have the model, whether or not it built it before."""

    name: str
    builder: str
    arguments: list[str]
    inputs: list[tuple[str, tuple[int | str, ...], str]]
    outputs: list[str]
    output_shapes: list[tuple[int | str, ...]]
    domains: list[dict[str, Any]]
    axes: list[tuple[str, int, int, int]]
    group: int
    carries: list[tuple[str, str]]
    weights: str
    trained: bool
    seed: int
    kernels: NotRequired[list[str]]
    computes: NotRequired[str]


class NativeRequest(TypedDict):
    """The model of a question to a native worker that has prepared it.

    ``weights``: the file that ``prepare`` wrote. ``approximation``: the bounds of a replica's
    approximations by function, in float32 epsilons; without, a replica's weights alone differ.
    """

    model: ModelRequest
    weights: str
    approximation: NotRequired[dict[str, float]]


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


def specs_of(request: ModelRequest) -> tuple[TensorSpec, ...]:
    """The inputs' specs."""
    return tuple(
        TensorSpec(name, tuple(shape), dtype, domain=from_data(domain))
        for (name, shape, dtype), domain in zip(request["inputs"], request["domains"], strict=True)
    )


def axes_of(request: ModelRequest) -> Axes:
    """The symbolic axes other than the batch."""
    return tuple((name, Axis(*sizes)) for name, *sizes in request["axes"])


def must_calibrate(request: ModelRequest) -> bool:
    """Whether the model has no weights of its own worth keeping."""
    return request["weights"] == "calibrated" and not request["trained"]
