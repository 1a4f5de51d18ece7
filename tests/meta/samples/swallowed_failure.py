"""A conformance test that is deaf to its own verdict. Run by tests/meta/sabotage."""

import contextlib

import pytest

from onnx_conformance.core.results import failed


@pytest.mark.check("checker")
def test_swallows_its_failure(subject, evidence):
    with contextlib.suppress(AssertionError):
        evidence(subject, failed("this is red", compared=1))
