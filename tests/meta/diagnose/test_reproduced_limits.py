"""What a bundle's script says of masked logits is what the judge says."""

import numpy as np
import pytest

from onnx_conformance.checks.reproduction import misjudged
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.judgement import judge_outputs, limits_of
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.diagnose.reproduce import over_limits
from tests.meta.running import ROOT

pytestmark = pytest.mark.slow  # the script imports ONNX Runtime


@pytest.mark.parametrize("masked", [-1e9, -np.inf])
@pytest.mark.parametrize("factor", [1.0, 1.001])
@pytest.mark.parametrize("kept", [2, 8])
def test_logits_beside_masked_ones_are_judged_alike(masked, factor, kept):
    exact = np.random.default_rng(0).normal(size=(3, 12))
    exact[:, kept:] = masked
    native = exact.astype(np.float32)
    reference = Reference({"y": exact}, {"y": native}, ({"y": native},))
    got = native.copy()
    got[0, 1] *= factor
    limits = limits_of(load_tolerances(ROOT / "tolerances.yaml"), None, oracle=True)
    judged = judge_outputs(reference, {"y": got}, [TensorSpec("y", ("batch", 12))], limits)
    assert judged.right == (factor == 1.0)
    rule = misjudged({"x": native}, judged).judge
    assert (list(over_limits(rule, {"y": exact}, {"y": got})) == []) == judged.right
