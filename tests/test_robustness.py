"""Beyond the ordinary inputs: NaN, infinity, denormals, the empty batch, and inputs to refuse."""

import pytest

from onnx_conformance.checks.function import check_denormals
from onnx_conformance.checks.precision import check_overflow
from onnx_conformance.checks.robustness import (
    FLAWS,
    check_empty_batch,
    check_nonfinite,
    check_refusal,
)
from onnx_conformance.inputs.families import denormal


@pytest.mark.check("nonfinite")
def test_nonfinite(subject, evidence):
    evidence(subject, check_nonfinite(subject))


@pytest.mark.check("denormals")
def test_denormals(subject, evidence):
    evidence(subject, check_denormals(subject, denormal(subject.seed)))


@pytest.mark.check("empty_batch")
def test_empty_batch(subject, evidence):
    evidence(subject, check_empty_batch(subject))


@pytest.mark.check("refusal")
@pytest.mark.parametrize("flaw", FLAWS)
def test_refusal(subject, evidence, flaw):
    evidence(subject, check_refusal(subject, flaw))


@pytest.mark.check("overflow")
def test_overflow(subject, evidence):
    evidence(subject, check_overflow(subject))
