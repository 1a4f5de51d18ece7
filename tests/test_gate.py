"""The gate: today's conversions beside a baseline's, timed and measured in one run.

Runs with ``make gate BASELINE=…`` or ``--gate BASELINE`` only.
"""

import pytest


@pytest.mark.gate
def test_speed(gate, gated):
    gate.check_speed(*gated)


@pytest.mark.gate
def test_figure(gate, gated, metric):
    gate.check_figure(*gated, metric)


@pytest.mark.gate
def test_baseline_is_covered(gate):
    gate.check_covered()
