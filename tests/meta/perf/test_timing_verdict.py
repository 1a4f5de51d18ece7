"""A fast wrong answer is no result."""

import numpy as np
import pytest

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.case import Case
from onnx_conformance.core.files import TOLERANCES
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.perf.latency.timed_inputs import timed_inputs, timed_reference
from onnx_conformance.perf.latency.timed_sessions import CallSpec, NoResult, judge_timed

MODEL = resolve_model("simple_net")
CASE = Case("simple_net", "torch_dynamo", 18, "cpu")
TOLERATED = load_tolerances(TOLERANCES)
EXACT = np.random.default_rng(0).standard_normal((4, 5))


def rounded(seed):
    error = np.random.default_rng(seed).uniform(-1, 1, EXACT.shape) * 2.0**-23
    return {"output": (EXACT * (1 + error)).astype(np.float32)}


@pytest.fixture
def reference():
    return Reference({"output": EXACT}, rounded(1), tuple(rounded(seed) for seed in (2, 3, 4)))


def judge(reference, outputs):
    call = CallSpec(MODEL, "cpu", "simple_net-cpu", "plain", Inputs(), reference, CASE)
    return judge_timed(call, outputs, TOLERATED)


def test_a_right_answer_counts(reference):
    right = judge(reference, rounded(5))
    assert right.elements == EXACT.size
    assert 0 < right.score.value <= right.limits.rule["factor"]


def spoiled(change):
    outputs = rounded(5)
    change(outputs["output"])
    return outputs


@pytest.mark.parametrize(
    "outputs",
    [
        spoiled(lambda array: np.negative(array[2], out=array[2])),
        spoiled(lambda array: np.multiply(array, 1.001, out=array)),
        spoiled(lambda array: array[1].fill(0)),
        spoiled(lambda array: array[3].fill(np.nan)),
        spoiled(lambda array: array[3].fill(np.inf)),
        {"output": rounded(5)["output"][:1]},
        {"output": np.zeros((0, 5), np.float32)},
        {"other": rounded(5)["output"]},
        {},
    ],
)
def test_a_wrong_answer_is_no_result(reference, outputs):
    with pytest.raises(NoResult, match="simple_net-cpu: the timed call gave a wrong answer"):
        judge(reference, outputs)


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_the_reference_is_that_of_the_very_inputs(batch):
    asked = []

    def answers(model, inputs, noise_floor):
        asked.append(inputs)
        sums = {"output": next(iter(inputs.values())).sum(axis=1, keepdims=True)}
        return Reference(sums, sums, (sums,))

    inputs = timed_inputs(MODEL, 0, batch)
    known = timed_reference(MODEL, 0, batch, answers)
    (values,) = inputs.values()
    assert len(values) == batch
    assert np.array_equal(known.native["output"], values.sum(axis=1, keepdims=True))
    assert all(len(next(iter(fed.values()))) < 16 for fed in asked)  # no oracle at batch 16


def test_inputs_are_the_same_in_every_run():
    one, other = timed_inputs(MODEL, 0, 8), timed_inputs(MODEL, 0, 8)
    assert one.digest == other.digest != timed_inputs(MODEL, 1, 8).digest
