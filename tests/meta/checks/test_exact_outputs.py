"""Outputs in float32 of a model that computes others in half precision."""

from dataclasses import replace

import numpy as np
import pytest

from onnx_conformance.checks.sweep import check_rows, check_sizes
from onnx_conformance.checks.verdict import judge
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.case import Case
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.inputs.families import pinned
from tests.meta.plain_subject import plain_subject

X = TensorSpec("x", ("batch", 16))
OUTPUTS = (TensorSpec("plain", ("batch", 16)), TensorSpec("half", ("batch", 16)))
MODEL = ModelSpec("m", "torch", (X,), OUTPUTS, "", computes="float16", exact=("plain",))
CASE = Case("m", "torch_dynamo", 18, "cpu", precision="float16", by_model=True)
OFF = 1e-3  # relative: as much as half precision errs


def subject_of(case, wrong):
    """A runtime whose output of one name is off."""

    def reference_of(error):
        def reference(inputs):
            exact = {spec.name: inputs["x"].astype(np.float64) for spec in OUTPUTS}
            erring = {name: array * (1 + error) for name, array in exact.items()}
            return Reference(exact, erring, (erring,))

        return reference

    def answer(inputs):
        x = inputs["x"].astype(np.float64)
        return {spec.name: x * (1 + OFF * (spec.name == wrong)) for spec in OUTPUTS}

    reference, exactly = reference_of(OFF), reference_of(1e-7)
    found = plain_subject(
        MODEL,
        reference,
        answer,
        case=case,
        plain_reference=exactly,
        references=lambda input_sets: [reference(inputs) for inputs in input_sets],
        exporter=None,
        fail_fast=True,
        min_placement=0.0,
        expect_dynamic=False,
        graph_level="all",
    )
    found.runs = lambda input_sets: [found.run(inputs) for inputs in input_sets]
    return found


CASES = pytest.mark.parametrize(
    ("case", "wrong", "outcome"),
    [
        (CASE, "", "passed"),
        (CASE, "half", "passed"),
        (CASE, "plain", "failed"),
        (replace(CASE, by_model=False), "plain", "passed"),  # a half-precision file, as asked
    ],
)


@CASES
def test_an_output_that_is_computed_in_float32_alone_has_float32s_budget(case, wrong, outcome):
    inputs = pinned(0)["image"].inputs(MODEL.inputs)
    result = judge(subject_of(case, wrong), inputs, "image")
    assert result.outcome == outcome
    assert outcome == "passed" or "'plain'" in result.reason


@CASES
@pytest.mark.parametrize("check", [check_sizes, check_rows])
def test_it_has_so_in_sweeps_too(check, case, wrong, outcome):
    result = check(subject_of(case, wrong))
    assert result.outcome == outcome
    assert outcome == "passed" or any("'plain'" in line for line in result.details)
