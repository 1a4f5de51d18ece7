"""The gate: today's conversions beside a baseline's, timed and measured in one run.

Runs with ``make gate BASELINE=…`` or ``--gate BASELINE`` only.
"""

import pytest


@pytest.mark.gate
def test_speed(gated):
    gated.check_speed()


@pytest.mark.gate
def test_figure(gated, metric):
    gated.check_figure(metric)


@pytest.mark.gate
def test_baseline_is_covered(gate):
    gate.check_covered()
