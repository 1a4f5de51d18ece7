"""Batch invariance: where native itself couples the samples of a batch, its answer is right."""

from types import SimpleNamespace

import numpy as np
import pytest

from onnx_conformance.checks.function import check_batch_invariance
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.case import Case
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.run.subject import Answer
from tests.meta.running import ROOT

MODEL = ModelSpec(
    "m", "torch", (TensorSpec("x", ("batch", 6)),), (TensorSpec("y", ("batch", 6)),), ""
)


def subject(native, runtime):
    """A case whose two sides are functions of an array."""

    def reference(inputs):
        exact = native(inputs["x"].astype(np.float64))
        return Reference({"y": exact}, {"y": exact.astype(np.float32)}, ())

    return SimpleNamespace(
        case=Case("m", "torch_dynamo", 18, "cpu"),
        model=MODEL,
        artifact=SimpleNamespace(facts={"inputs": []}),
        seed=0,
        tolerances=load_tolerances(ROOT / "tolerances.yaml"),
        reference=reference,
        run=lambda inputs, repeat=0: Answer({"y": runtime(inputs["x"]).astype(np.float32)}),
        session=SimpleNamespace(placement={}, provider="CPUExecutionProvider"),
    )


def apart(x):
    return x / 3.0


def coupled(x):
    return x / 3.0 - x.mean(axis=0)


def apart_from_four_on(x):
    return coupled(x) if len(x) < 4 else apart(x)


@pytest.mark.parametrize(
    ("native", "runtime", "message"),
    [
        (apart, apart, "the same answer at batch"),
        (coupled, coupled, "as native answers the same batch at batch"),
    ],
)
def test_what_native_does_to_a_batch_is_right(native, runtime, message):
    result = check_batch_invariance(subject(native, runtime))
    assert result.passed, result
    assert result.reason.startswith(message)


@pytest.mark.parametrize(
    ("native", "runtime"), [(apart, coupled), (coupled, apart), (coupled, apart_from_four_on)]
)
def test_what_native_does_not_do_is_wrong(native, runtime):
    assert check_batch_invariance(subject(native, runtime)).outcome == "failed"
