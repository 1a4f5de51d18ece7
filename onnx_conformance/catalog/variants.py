"""Variants of an exported file (optimised, half precision, int8): one record each.

A variant is made from the plain artifact, in a worker, by the function that its record names,
called as ``function(source, target)``, with ``calibration=`` (a list of inputs) where it calibrates
and ``libraries=`` (of custom operators) where it loads them. Its case runs every check that its
class of precision requires, under that class's budget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.registry import Registry
from onnx_conformance.core.tolerances import FLOAT32, INT8, OF_FILES


@dataclass(frozen=True)
class Variant:
    """One way to make a file faster or smaller.

    Args:
        function: ``module:function``, run in the worker.
        story: what it does, in one line.
        packages: distributions whose versions affect the file.
        needs: an optional module that it requires; empty for none.
        precision: the class of precision that the file computes in: it selects checks and budget.
        calibrated: it is made with inputs on which activations are measured
            (:mod:`onnx_conformance.inputs.samples`).
    """

    name: str
    function: str
    story: str
    packages: tuple[str, ...] = ("onnx", "onnxruntime", "onnxruntime-gpu")
    needs: str = ""
    precision: str = "float32"
    calibrated: bool = False


Make = Callable[..., None]
VARIANTS: Registry[Variant] = Registry("variant")


def register_variant(
    name: str, *, story: str, packages: tuple[str, ...] = (), **traits: Any
) -> Callable[[Make], Make]:
    """Register the decorated function as the maker of variant ``name``.

    Args:
        traits: ``needs``, ``precision`` and ``calibrated`` of :class:`Variant`.

    Raises:
        UsageError: ``tolerances.yaml`` has no budget for files of that precision.
    """

    def decorate(make: Make) -> Make:
        _add(name, f"{make.__module__}:{make.__qualname__}", story, packages, **traits)
        return make

    return decorate


def _add(
    name: str, function: str, story: str, packages: tuple[str, ...] = (), **traits: Any
) -> None:
    precision = traits.get("precision", FLOAT32)
    if precision not in OF_FILES:
        raise UsageError(
            f"variant '{name}' has precision {precision!r}, for which there is no budget; "
            f"known: {', '.join(OF_FILES)}"
        )
    record = Variant(name, function, story, (*Variant.packages, *packages), **traits)
    VARIANTS.register(name, record)


_WORKERS = "onnx_conformance.workers.variants"
_add(
    "fp16",
    f"{_WORKERS}:fp16",
    story="float16 by ONNX Runtime's converter, interface and sums in float32",
    precision="float16",
)
_add(
    "fp16_all",
    f"{_WORKERS}:fp16_all",
    story="float16 wherever the converter can",
    precision="float16",
)
_add(
    "int8_dynamic",
    f"{_WORKERS}:int8_dynamic",
    story="dense layers in int8, scales of activations from each batch",
    precision=INT8,
)
_add(
    "int8_static",
    f"{_WORKERS}:int8_static",
    story="QDQ per channel, calibrated by the smallest and largest value",
    precision=INT8,
    calibrated=True,
)
_add(
    "int8_entropy",
    f"{_WORKERS}:int8_entropy",
    story="QDQ per channel, calibrated by the divergence of histograms",
    precision=INT8,
    calibrated=True,
)
_add(
    "int8_percentile",
    f"{_WORKERS}:int8_percentile",
    story="QDQ per channel, calibrated by the 99.999th percentile",
    precision=INT8,
    calibrated=True,
)
_add(
    "ort_basic",
    f"{_WORKERS}:ort_basic",
    story="ONNX Runtime's basic optimisations: folding, fusing BatchNorm",
)
_add(
    "ort_extended",
    f"{_WORKERS}:ort_extended",
    story="and its fusions for the CPU: activations into convolutions",
)
_add(
    "ort_all",
    f"{_WORKERS}:ort_all",
    story="and its layouts for this processor: for this machine alone",
)
_add(
    "ort_transformers",
    f"{_WORKERS}:ort_transformers",
    story="ONNX Runtime's transformer optimiser: fused attention and norms",
)
_add(
    "onnxslim",
    f"{_WORKERS}:onnxslim",
    story="onnxslim: constants folded, shapes propagated, dead nodes removed",
    packages=("onnxslim",),
    needs="onnxslim",
)
