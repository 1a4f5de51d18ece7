"""Inputs on which a model answers 0 and rounding: judged, where float32's error is small at all."""

from types import SimpleNamespace

import numpy as np
import pytest

from onnx_conformance.checks.verdict import judge
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.spec import Case, ModelSpec, TensorSpec
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.inputs.families import pinned
from onnx_conformance.session.subject import Answer
from tests.meta.running import ROOT

MODEL = ModelSpec(
    "m", "torch", (TensorSpec("x", ("batch", 64)),), (TensorSpec("y", ("batch", 64)),), ""
)
NOISE = 1e-4


def centred(x, off=0.0):
    """What a norm of ``x`` gives, with an error of its mean."""
    return x - x.mean(axis=1, keepdims=True) + off


def verdict(error, *, noise=NOISE):
    """On ones, of a runtime that errs by ``error`` where float32's own ways err by ``noise``."""

    def reference(inputs):
        exact = centred(inputs["x"].astype(np.float64))
        return Reference({"y": exact}, {"y": exact + noise}, ({"y": exact - noise},))

    subject = SimpleNamespace(
        case=Case("m", "torch_dynamo", 18, "cpu"),
        model=MODEL,
        seed=0,
        tolerances=load_tolerances(ROOT / "tolerances.yaml"),
        reference=reference,
        run=lambda inputs, repeat=0: Answer({"y": centred(inputs["x"].astype(np.float64), error)}),
        session=SimpleNamespace(placement={}, provider="CPUExecutionProvider"),
    )
    return judge(subject, "error_budget", pinned(0)["ones"].inputs(MODEL.inputs), "ones").outcome


@pytest.mark.parametrize(
    ("error", "noise", "outcome"),
    [
        (NOISE, NOISE, "passed"),  # 0 to within a ten-thousandth of an ordinary output
        (9 * NOISE, NOISE, "skipped"),  # more than float32 errs: nothing is said, as ever
        (0.5, 0.5, "skipped"),  # float32 errs by half of an ordinary output
    ],
)
def test_an_answer_of_nothing_but_rounding(error, noise, outcome):
    assert verdict(error, noise=noise) == outcome
