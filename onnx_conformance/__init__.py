"""The library of onnx-conformance: specs, workers, exporters, checks and reports.

Importing it imports no framework: torch, TensorFlow and ONNX Runtime live in worker processes
(:mod:`onnx_conformance.workers.server`). What a file of your own models needs is here by name,
and imported when it is asked for::

    from onnx_conformance import TensorSpec, register_model
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx_conformance.api import certify
    from onnx_conformance.catalog.models import register_model
    from onnx_conformance.core.custom_operators import CustomOperators, custom_operators
    from onnx_conformance.core.domains import (
        AtMost,
        Bounded,
        Choice,
        Integers,
        Lengths,
        Mask,
        Real,
    )
    from onnx_conformance.core.spec import Axis, Preprocessing, TensorSpec
    from onnx_conformance.workers.user_model.observed_calls import observe

__all__ = [
    "AtMost",
    "Axis",
    "Bounded",
    "Choice",
    "CustomOperators",
    "Integers",
    "Lengths",
    "Mask",
    "Preprocessing",
    "Real",
    "TensorSpec",
    "certify",
    "custom_operators",
    "observe",
    "register_model",
]

_HOMES = {
    "onnx_conformance.api": ("certify",),
    "onnx_conformance.core.custom_operators": ("CustomOperators", "custom_operators"),
    "onnx_conformance.core.domains": (
        "AtMost",
        "Bounded",
        "Choice",
        "Integers",
        "Lengths",
        "Mask",
        "Real",
    ),
    "onnx_conformance.catalog.models": ("register_model",),
    "onnx_conformance.workers.user_model.observed_calls": ("observe",),
    "onnx_conformance.core.spec": ("Axis", "Preprocessing", "TensorSpec"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'onnx_conformance' has no attribute '{name}'")
