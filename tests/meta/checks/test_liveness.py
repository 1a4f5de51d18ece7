"""How much the outputs of the native model must move before comparing them shows anything."""

from types import SimpleNamespace

import numpy as np
import pytest

from onnx_conformance.checks.function import check_liveness
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.case import Case
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.core.tolerances import load_tolerances
from tests.meta.running import ROOT


def subject_of(computes, moved):
    """A model whose outputs move by ``moved`` errors of the class that its own code computes in."""
    outputs = (TensorSpec("y", ("batch", 8)),)
    model = ModelSpec(
        "m", "torch", (TensorSpec("x", ("batch", 8)),), outputs, "", computes=computes
    )
    error = 2.0**-11 if computes == "float16" else 2.0**-20

    def reference(inputs):
        exact = 1.0 + moved * error * np.tanh(inputs["x"].astype(np.float64))
        return Reference({"y": exact}, {"y": exact + error}, ({"y": exact - error},))

    return SimpleNamespace(
        case=Case("m", "torch_dynamo", 18, "cpu", precision=computes),
        model=model,
        seed=0,
        tolerances=load_tolerances(ROOT / "tolerances.yaml"),
        plain_reference=reference,
        weights=SimpleNamespace(constant_outputs=()),
    )


@pytest.mark.parametrize(
    ("computes", "moved", "outcome"),
    [
        ("float32", 20_000, "passed"),
        ("float32", 600, "failed"),
        ("float16", 600, "passed"),  # a half of the output's size: it cannot move by 1000
        ("float16", 20, "failed"),
    ],
)
def test_a_model_in_half_precision_moves_by_fewer_of_its_errors(computes, moved, outcome):
    assert check_liveness(subject_of(computes, moved)).outcome == outcome
