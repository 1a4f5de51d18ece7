"""A fast wrong answer is no result."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import CapabilityMissing
from onnx_conformance.core.files import TOLERANCES
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.inputs.batch_layout import native_layout
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.perf.latency.timed_call import (
    CallSpec,
    InvalidTiming,
    judge_timed,
    timed_inputs,
    timed_reference,
)
from onnx_conformance.perf.latency.timed_sessions import OpeningFacts, TimedSession

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
    with pytest.raises(InvalidTiming, match="simple_net-cpu: the timed call gave a wrong answer"):
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


def test_an_output_of_the_whole_call_is_asked_of_the_very_inputs():
    (spec,) = MODEL.outputs
    mean = replace(spec, name="mean", shape=())
    model = replace(MODEL, outputs=(spec, mean))

    def answers(model, inputs, noise_floor):
        values = next(iter(inputs.values()))
        found = {"output": values[:, :5], "mean": values.mean()}
        return Reference(found, found, (found,))

    (values,) = timed_inputs(model, 0, 1).values()
    assert timed_reference(model, 0, 1, answers).native["mean"] == values.mean()


@pytest.mark.parametrize("group", [0, 1, 4])
def test_a_file_of_another_batch_is_no_wrong_answer(reference, group):
    inputs = Inputs({"input": np.zeros((4, 10), np.float32)})
    layout = replace(native_layout(MODEL), group=group)
    found = {"outputs": rounded(5), "prepare_seconds": 0.0, "first_seconds": 0.0}
    worker = SimpleNamespace(call=lambda *_, **__: found)
    session = TimedSession(worker, {}, layout, OpeningFacts(0.0, {}))
    call = CallSpec(MODEL, "cpu", "simple_net-cpu", "plain", inputs, reference, CASE)
    if group == 1:
        with pytest.raises(CapabilityMissing, match="takes 1 sample.* with --batch-size 1"):
            session.rehearse(call, TOLERATED)
    else:
        assert session.rehearse(call, TOLERATED).compared == EXACT.size
