"""Every check turns its negative control red, and lets a right conversion pass."""

from dataclasses import replace

import numpy as np
import pytest

from conftest import workbench
from fixtures.checks import CHECKS, PLAIN_CASE
from fixtures.checks.controls import CONTROLS, Altered
from fixtures.live import LiveSubject
from fixtures.subject import Answer
from fixtures.tolerances import load_tolerances


@pytest.fixture(scope="session")
def right_of(request, pytestconfig):
    tolerances = load_tolerances(pytestconfig.rootpath / "tolerances.yaml")
    return lambda case: LiveSubject(case, workbench(request.config), tolerances)


@pytest.fixture(scope="session")
def right(right_of):
    return right_of(PLAIN_CASE)


def judge(check, subject):
    return check.function(subject, **check.example(subject.seed))


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.name)
def test_right_conversion_is_green(right_of, check):
    result = judge(check, right_of(check.case))
    assert result.passed, result.reason


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.name)
def test_negative_control_is_red(right_of, check, tmp_path):
    result = judge(check, CONTROLS[check.control](right_of(check.case), tmp_path))
    assert result.outcome == "failed", result.reason
    assert result.reason


@pytest.mark.parametrize(
    "name", ["error_budget", "denormals", "allclose", "batch_invariance", "top5", "nonfinite"]
)
def test_native_judged_by_native_is_green(right, name):
    itself = Altered(right, run=lambda feed, repeat: Answer(right.native(feed)))
    result = judge(CHECKS[name], itself)
    assert result.passed, result.reason


def test_a_feed_on_which_float32_itself_errs_proves_nothing(right):
    def noisy(feed):
        exact = right.reference(feed)
        replica = {name: array * np.float32(1.5) for name, array in exact.native.items()}
        return replace(exact, replicas=(replica,) * 3)

    result = judge(CHECKS["error_budget"], Altered(right, reference=noisy))
    assert result.outcome == "skipped"
    assert "it proves nothing" in result.reason


def test_another_file_loaded_is_red(right, tmp_path):
    result = judge(CHECKS["placement"], CONTROLS["another_file_loaded"](right, tmp_path))
    assert result.outcome == "failed"
    assert "digest" in result.reason
