"""Variants: what people do to an exported file before they serve it, one record each.

A variant is made from the plain artifact, in a worker, by the function that its record names,
called as ``function(source, target)``, with ``calibration=`` (a list of feeds) where it calibrates
and ``libraries=`` (of custom operators) where it takes them. Its case runs every check that its
class of precision owes, under that class's budget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.registry import Registry
from onnx_conformance.core.tolerances import FLOAT32, OF_FILES

Make = Callable[..., None]


@dataclass(frozen=True)
class Variant:
    """One way to make a file faster or smaller.

    Args:
        function: ``module:function``, run in the worker.
        story: what it does, in one line.
        packages: distributions whose versions shape the file.
        needs: the module without which it cannot be made; empty where ours are enough.
        precision: the class that the file computes in: its checks, and its budget.
        calibrated: it is made with feeds to measure activations on (:mod:`onnx_conformance.inputs.typical`).
    """

    name: str
    function: str
    story: str
    packages: tuple[str, ...] = ("onnx", "onnxruntime", "onnxruntime-gpu")
    needs: str = ""
    precision: str = "float32"
    calibrated: bool = False


VARIANTS: Registry[Variant] = Registry("variant")


def register_variant(
    name: str, *, story: str, packages: tuple[str, ...] = (), **traits: Any
) -> Callable[[Make], Make]:
    """Register the decorated function as the maker of variant ``name``.

    Args:
        traits: ``needs``, ``precision`` and ``calibrated`` of :class:`Variant`.

    Raises:
        UsageError: the precision is no class of files that ``tolerances.yaml`` has a budget for.
    """
    precision = traits.get("precision", FLOAT32)
    if precision not in OF_FILES:
        raise UsageError(
            f"variant '{name}' has precision {precision!r}, for which there is no budget; "
            f"known: {', '.join(OF_FILES)}"
        )

    def decorate(make: Make) -> Make:
        reference = f"{make.__module__}:{make.__qualname__}"
        record = Variant(name, reference, story, (*Variant.packages, *packages), **traits)
        VARIANTS.register(name, record)
        return make

    return decorate
