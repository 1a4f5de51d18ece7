"""The function: the artifact computes what the native model computes."""

import pytest
from hypothesis import assume, given, settings

from onnx_conformance.checks.closeness import check_allclose, check_top5
from onnx_conformance.checks.determinism import check_determinism
from onnx_conformance.checks.equivalent_calls import check_chunks, check_mask, check_one_pass
from onnx_conformance.checks.function import check_batch_invariance, check_error_budget
from onnx_conformance.checks.generation import check_generation
from onnx_conformance.checks.liveness import check_liveness
from onnx_conformance.checks.steps import check_reset, check_steps
from onnx_conformance.checks.sweep import check_rows, check_sizes
from onnx_conformance.checks.unoptimised import check_unoptimised
from onnx_conformance.checks.whole_numbers import check_deciding_values
from onnx_conformance.diagnose.simplest_inputs import explained, shrunk
from onnx_conformance.inputs.families import replayed
from onnx_conformance.inputs.strategies import PHASES, new_recipes


@pytest.mark.check("liveness")
def test_liveness(subject, evidence):
    evidence(subject, check_liveness(subject))


@pytest.mark.check("error_budget", families=("pinned",))
def test_pinned_inputs(subject, evidence, pinned_name):
    recipe = replayed(subject.model.name, subject.seed)[pinned_name]
    evidence(subject, explained(check_error_budget, subject, recipe))


@pytest.mark.check("error_budget", families=("drawn",))
@settings(phases=PHASES)
@given(recipe=new_recipes())
def test_drawn_inputs(subject, evidence, recipe):
    result = shrunk(check_error_budget, subject, recipe)
    assume(result.outcome != "not_applicable")  # nothing can be asked of these: others are drawn
    evidence(subject, result)


@pytest.mark.check("steps")
def test_steps(subject, evidence):
    evidence(subject, check_steps(subject))


@pytest.mark.check("one_pass")
def test_one_pass(subject, evidence):
    evidence(subject, check_one_pass(subject))


@pytest.mark.check("chunks")
def test_chunks(subject, evidence):
    evidence(subject, check_chunks(subject))


@pytest.mark.check("mask")
def test_mask(subject, evidence):
    evidence(subject, check_mask(subject))


@pytest.mark.check("reset")
def test_reset(subject, evidence):
    evidence(subject, check_reset(subject))


@pytest.mark.check("generation")
def test_generation(subject, evidence):
    evidence(subject, check_generation(subject))


@pytest.mark.check("sizes")
def test_sizes(subject, evidence):
    evidence(subject, check_sizes(subject))


@pytest.mark.check("rows")
def test_rows(subject, evidence):
    evidence(subject, check_rows(subject))


@pytest.mark.check("deciding_values")
def test_deciding_values(subject, evidence):
    evidence(subject, check_deciding_values(subject))


@pytest.mark.check("unoptimised")
def test_unoptimised(subject, evidence):
    evidence(subject, check_unoptimised(subject))


@pytest.mark.check("allclose")
def test_allclose(subject, evidence):
    evidence(subject, check_allclose(subject))


@pytest.mark.check("batch_invariance")
def test_batch_invariance(subject, evidence):
    evidence(subject, check_batch_invariance(subject))


@pytest.mark.check("determinism")
def test_determinism(subject, evidence):
    evidence(subject, check_determinism(subject))


@pytest.mark.check("top5")
def test_top5(subject, evidence):
    evidence(subject, check_top5(subject))
