"""What counts as agreement between an interleaved ratio and one of workers that ran alone."""

import numpy as np
import pytest

from onnx_conformance.perf.latency.ratios import Ratio
from studies.timing_alone import Agreement, ratio_alone

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("interleaved", "alone", "agrees"),
    [
        ((2.00, 1.99, 2.01), (2.08, 2.07, 2.09), True),  # within 5 %
        ((2.00, 1.99, 2.01), (2.20, 2.19, 2.21), False),
        ((2.00, 1.95, 2.12), (2.20, 2.10, 2.30), True),  # overlap
        ((2.00, 1.50, 2.50), (2.00, 1.99, 2.01), False),  # so wide that it shows nothing
        ((2.00, 1.99, 2.01), (2.00, 1.00, 4.00), False),
    ],
)
def test_agreement(interleaved, alone, agrees):
    found = Agreement("model", Ratio(*interleaved), Ratio(*alone), (), ())
    assert found.agrees is agrees
    assert ("agrees" in found.sentence) is agrees


def test_the_ratio_of_engines_alone():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        native, runtime = 1.7 * rng.lognormal(0, 0.03, 6), rng.lognormal(0, 0.03, 6)
        found = ratio_alone(native, runtime)
        held += found.low <= 1.7 <= found.high
    assert 180 <= held <= 199  # of 200 at 95 %


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's and SciPy's, of one sample
def test_a_single_repetition_has_no_interval():
    found = ratio_alone(np.array([2.0]), np.array([1.0]))
    assert not Agreement("model", Ratio(2.0, 1.9, 2.1), found, (2.0,), (1.0,)).agrees
