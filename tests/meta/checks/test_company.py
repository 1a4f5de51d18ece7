"""Batch invariance: where native itself couples the samples of a batch, its answer is right."""

from types import SimpleNamespace

import numpy as np
import pytest

from onnx_conformance.checks.function import check_batch_invariance
from onnx_conformance.core.budget import Reference
from tests.meta.plain_subject import plain_subject, wide_model


def subject(native, runtime):
    """A case whose two sides are functions of an array."""

    def reference(inputs):
        exact = native(inputs["x"].astype(np.float64))
        return Reference({"y": exact}, {"y": exact.astype(np.float32)}, ())

    return plain_subject(
        wide_model(6),
        reference,
        lambda inputs: runtime(inputs["x"]).astype(np.float32),
        artifact=SimpleNamespace(facts={"inputs": []}),
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
