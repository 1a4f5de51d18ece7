"""What a file without weights must ask for, on a subject without workers."""

from types import SimpleNamespace

import numpy as np
import pytest

from onnx_conformance.checks.export_options import check_weight_inputs
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.run.subject import Answer

SIDES = [(TensorSpec(name, ("batch", 2)),) for name in ("x", "y")]
MODEL = ModelSpec("net", "python", *SIDES, builder="")
INPUTS = [{"name": "x", "shape": ["batch", 2]}, {"name": "w", "shape": [2, 2]}]


@pytest.fixture
def subject():
    facts = {"initializers": {"elements": 0}, "inputs": INPUTS}
    return SimpleNamespace(
        artifact=SimpleNamespace(facts=facts),
        model=MODEL,
        weights=SimpleNamespace(arrays={"w": np.ones((2, 2), np.float32)}),
        seed=0,
        run=lambda inputs: Answer({"y": inputs["x"]}),
    )


def test_an_answer_without_the_weights_is_red_and_reproduced(subject):
    result = check_weight_inputs(subject)
    assert result.outcome == "failed"
    assert result.reason == "the session answers without being fed the weights"
    assert result.inputs.startswith("normal(")
    assert result.reproduction is not None
