"""What the native workers share: requests, replicas and weights on disk."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_conformance.core.compute_modes import EPSILONS, REPLICAS, compute_mode
from onnx_conformance.core.native_request import (
    Arrays,
    ModelRequest,
    NativeChanged,
    axes_of,
    specs_of,
)
from onnx_conformance.core.spec import STATIC_BATCH
from onnx_conformance.core.text_codes import coded
from onnx_conformance.inputs.recipes import Recipe
from onnx_conformance.inputs.sample_arrays import layout_of
from onnx_conformance.workers.server import load_object

Approximation = dict[str, float]  # function -> how far a runtime may be off, in float32 epsilons


def refuse_change(before: list[Arrays], after: list[Arrays]) -> None:
    """Compare native's answers to the same inputs before and after an export, bit by bit.

    A route that changed the model in place, or patched the framework, would change the oracle
    with it, and so agree with itself.

    Raises:
        NativeChanged: they differ.
    """
    for old, new in zip(before, after, strict=True):
        for name, array in old.items():
            if array.tobytes() != new[name].tobytes():
                raise NativeChanged(
                    f"the route changed the native side: '{name}' differs after the export"
                )


def build(request: ModelRequest) -> Any:
    """Call the model's builder; what it gives beside the model, such as examples, is dropped."""
    builder = load_object(request["builder"])
    model = call_builder(builder, request["arguments"], request["weights"] == "pretrained")
    return model[0] if isinstance(model, tuple) else model


def call_builder(builder: Any, arguments: list[str], pretrained: bool) -> Any:
    """Call a builder; one that knows no ``pretrained`` has the weights that it has."""
    if "pretrained" in inspect.signature(builder).parameters:
        return builder(*arguments, pretrained=pretrained)
    return builder(*arguments)


def example(request: ModelRequest) -> Arrays:
    """Uniform inputs within their domains, by name, in the layout of the model.

    Two samples, or as many as it takes, and symbolic axes of middling size: a size of 1 invites
    exporters to specialise.
    """
    specs, batch = specs_of(request), request["group"] or STATIC_BATCH
    inputs = Recipe("uniform", batch=batch).inputs(specs, axes_of(request))
    return layout_of(specs, (), request["group"]).calls(inputs)[0]


def perturbed(name: str, array: NDArray[Any], replica: str) -> NDArray[Any]:
    """``array`` with every element multiplied by 1 + 2⁻²³·U(-1, 1), at most about one ulp.

    This is the rounding that constant folding is entitled to; of a replica in another class of
    precision, one of its ulps. Native itself and whole numbers stay as they are.
    """
    known = compute_mode(replica)
    if array.dtype != np.float32 or not known.replica:
        return array
    rng = np.random.default_rng([REPLICAS.index(known.replica), zlib.crc32(name.encode())])
    noise = 2.0 * np.asarray(rng.random(array.shape, dtype=np.float32)) - 1.0
    factor = 1.0 + EPSILONS[known.precision] * np.asarray(noise, np.float64)
    product: NDArray[Any] = np.asarray(array * factor, np.float32)
    return product


def named_outputs(request: ModelRequest, results: Iterable[NDArray[Any]]) -> Arrays:
    """A model's outputs by name, in the order of its spec, texts as codes.

    Raises:
        ValueError: as many as the spec names are wanted.
    """
    found = list(results)
    if len(found) != len(request["outputs"]):
        raise ValueError(
            f"model '{request['name']}' returned {len(found)} outputs, "
            f"its spec names {len(request['outputs'])}: {request['outputs']}"
        )
    return dict(zip(request["outputs"], map(coded, found), strict=True))
