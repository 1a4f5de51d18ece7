"""Photographs: a trained classifier still sees what it saw."""

import pytest

from onnx_conformance.checks.photographs import check_photographs
from onnx_conformance.inputs.photographs import takes_photographs


@pytest.mark.check("photographs", where=takes_photographs)
def test_photograph(subject, evidence, photograph):
    evidence(subject, check_photographs(subject, photograph))
