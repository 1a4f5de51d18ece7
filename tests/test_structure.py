"""The file: valid, and the artifact that was asked for."""

import pytest

from onnx_conformance.checks.canary import check_canary
from onnx_conformance.checks.initializers import check_initializers
from onnx_conformance.checks.placement import check_placement
from onnx_conformance.checks.structure import (
    check_batch_axis,
    check_checker,
    check_inference_mode,
    check_interface,
    check_opset,
)


@pytest.mark.check("checker")
def test_checker(subject, evidence):
    evidence(subject, check_checker(subject))


@pytest.mark.check("interface")
def test_interface(subject, evidence):
    evidence(subject, check_interface(subject))


@pytest.mark.check("batch_axis")
def test_batch_axis(subject, evidence):
    evidence(subject, check_batch_axis(subject))


@pytest.mark.check("opset")
def test_opset(subject, evidence):
    evidence(subject, check_opset(subject))


@pytest.mark.check("inference_mode")
def test_inference_mode(subject, evidence):
    evidence(subject, check_inference_mode(subject))


@pytest.mark.check("placement")
def test_placement(subject, evidence):
    evidence(subject, check_placement(subject))


@pytest.mark.check("initializers")
def test_initializers(subject, evidence):
    evidence(subject, check_initializers(subject))


@pytest.mark.check("canary")
def test_canary(subject, evidence):
    evidence(subject, check_canary(subject))
