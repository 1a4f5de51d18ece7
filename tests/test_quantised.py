"""Conversions to int8: judged by what they decide, with confidence."""

import pytest

from onnx_conformance.checks.precision import check_composition, check_sqnr
from onnx_conformance.checks.task import check_task


@pytest.mark.check("sqnr", families=("typical",))
def test_sqnr(subject, evidence):
    evidence(subject, check_sqnr(subject))


@pytest.mark.check("task", families=("typical",))
def test_task(subject, evidence):
    evidence(subject, check_task(subject))


@pytest.mark.check("composition", families=("typical",))
def test_composition(subject, evidence):
    evidence(subject, check_composition(subject))
