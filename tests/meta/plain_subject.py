"""A subject made of functions: what checks ask of a case, without a file or a worker."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from onnx_conformance.core.budget import Reference
from onnx_conformance.core.case import Case
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.subject import Answer
from tests.meta.running import ROOT

CASE = Case("m", "torch_dynamo", 18, "cpu")
TOLERANCES = load_tolerances(ROOT / "tolerances.yaml")


def wide_model(width: int) -> ModelSpec:
    """From ``x`` to ``y``, both ``(batch, width)``."""
    x, y = (TensorSpec(name, ("batch", width)) for name in "xy")
    return ModelSpec("m", "torch", (x,), (y,), "")


def plain_subject(
    model: ModelSpec,
    reference: Callable[[Inputs], Reference] | None = None,
    answer: Callable[[Inputs], Any] | None = None,
    **others: Any,
) -> SimpleNamespace:
    """A case of a model on the CPU.

    Args:
        answer: what the session gives for inputs: its outputs by name, or the one output ``y``.
        others: further attributes, or others in place of these.
    """

    def run(inputs: Inputs, repeat: int = 0) -> Answer:
        assert answer is not None
        found = answer(inputs)
        return Answer(found if isinstance(found, dict) else {"y": found})

    return SimpleNamespace(
        **{
            "case": CASE,
            "model": model,
            "seed": 0,
            "tolerances": TOLERANCES,
            "reference": reference,
            "plain_reference": reference,
            "run": run,
            "session": SimpleNamespace(placement={}, provider="CPUExecutionProvider", inputs=()),
            **others,
        }
    )
