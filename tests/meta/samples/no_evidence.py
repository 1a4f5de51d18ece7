"""Conformance tests that prove nothing; each must be red. Run by tests/meta/plugin/test_runs.py."""

import pytest

from onnx_conformance.core.results import CheckResult


@pytest.mark.check("checker")
def test_forgets_its_check(subject, evidence):
    pass


@pytest.mark.check("checker")
def test_compares_nothing(subject, evidence):
    evidence(subject, CheckResult("checker", "passed", "nothing to compare", compared=0))


@pytest.mark.check("checker")
def test_loops_over_nothing(subject, evidence):
    for result in ():
        evidence(subject, result)
