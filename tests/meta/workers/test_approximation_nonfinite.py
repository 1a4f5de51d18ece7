"""What ONNX leaves open is not held against an export: NaN in MaxPool, Reshape of nothing."""

from types import SimpleNamespace

import numpy as np
import pytest

from onnx_conformance.checks.robustness import check_empty_batch, check_nonfinite
from onnx_conformance.core.case import Case
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.inputs.families import NON_FINITE
from onnx_conformance.run.subject import Answer, SessionInfo
from tests.meta.plain_subject import TOLERANCES

MODEL = ModelSpec(
    name="pool",
    framework="torch",
    inputs=(TensorSpec("input", ("batch_size", 8)),),
    outputs=(TensorSpec("output", ("batch_size", 4)),),
    builder="nowhere:at_all",
)


def pool(x):
    """Pairwise maxima that keep a NaN, as frameworks do."""
    return {"output": np.maximum(x[:, ::2], x[:, 1::2])}


def dropping_pool(x):
    """Pairwise maxima that pass over a NaN beside a number, as ONNX Runtime may."""
    return {"output": np.fmax(x[:, ::2], x[:, 1::2])}


def replacing_pool(x):
    """Another function: it gives a number for every NaN."""
    return pool(np.nan_to_num(x, nan=0.0, posinf=np.inf, neginf=-np.inf))


def one_sample_wrong(x):
    out = dropping_pool(x)["output"]
    out[len(NON_FINITE)] *= np.float32(1.1)
    return {"output": out}


def subject(function, *operators, native=pool, refusal=None):
    return SimpleNamespace(
        model=MODEL,
        seed=0,
        case=Case("pool", "torch_torchscript", 14, "cpu"),
        tolerances=TOLERANCES,
        session=SessionInfo(
            provider="CPUExecutionProvider",
            sha256=(),
            placement={"CPUExecutionProvider": dict.fromkeys(operators, 1)},
            inputs=("input",),
            outputs=("output",),
            seconds=0.0,
        ),
        native=lambda inputs: native(inputs["input"]),
        native_refusal=lambda inputs: None,
        artifact=SimpleNamespace(facts={"inputs": [], "outputs": []}),
        run=lambda inputs: (
            Answer(None, refusal) if refusal else Answer(function(inputs["input"]), None)
        ),
    )


def test_nan_that_max_pool_passes_over_is_no_alarm():
    result = check_nonfinite(subject(dropping_pool, "Conv", "MaxPool"))
    assert result.passed, result.reason
    assert "whole samples" in result.inputs


def test_nan_that_comes_through_is_judged_on_the_lone_value():
    assert "NaN, +inf, -inf" in check_nonfinite(subject(pool, "MaxPool")).inputs


@pytest.mark.parametrize("operators", [("Conv",), ("Conv", "Max")])
def test_nan_lost_without_max_pool_is_red(operators):
    assert check_nonfinite(subject(dropping_pool, *operators)).outcome == "failed"


@pytest.mark.parametrize("function", [replacing_pool, one_sample_wrong])
def test_a_number_for_every_nan_and_a_spoilt_sample_stay_red(function):
    assert check_nonfinite(subject(function, "MaxPool")).outcome == "failed"


def refused(requested, shape="{0,768,14,14}"):
    """ONNX Runtime's words."""
    return (
        "FAIL : Non-zero status code returned while running Reshape node. The input tensor cannot "
        f"be reshaped to the requested shape. Input shape:{shape}, requested shape:{requested}"
    )


def test_reshape_that_cannot_find_a_size_among_nothing_is_no_alarm():
    assert check_empty_batch(subject(pool, refusal=refused("{0,768,-1}"))).passed


@pytest.mark.parametrize(
    "message",
    [
        refused("{2,768,196}"),
        refused("{1,768,-1}"),
        refused("{0,768,196}", shape="{1,768,14,14}"),
        "INVALID_ARGUMENT : Got invalid dimensions for input: input index: 0 Got: 0 Expected: 1",
    ],
)
def test_other_refusals_of_an_empty_batch_stay_red(message):
    assert check_empty_batch(subject(pool, refusal=message)).outcome == "failed"
