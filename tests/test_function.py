"""The function: the artifact computes what the native model computes."""

import pytest
from hypothesis import given

from fixtures.checks.function import (
    check_allclose,
    check_batch_invariance,
    check_determinism,
    check_error_budget,
    check_liveness,
    check_top5,
)
from fixtures.feeds import pinned
from fixtures.strategies import recipes


@pytest.mark.check("liveness")
def test_liveness(subject, evidence):
    evidence(subject, check_liveness(subject))


@pytest.mark.check("error_budget", feeds=("pinned",))
def test_pinned_feed(subject, evidence, pinned_name):
    evidence(subject, check_error_budget(subject, pinned(subject.seed)[pinned_name]))


@pytest.mark.check("error_budget", feeds=("drawn",))
@given(recipe=recipes())
def test_drawn_feed(subject, evidence, recipe):
    evidence(subject, check_error_budget(subject, recipe))


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
