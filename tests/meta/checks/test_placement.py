"""The provider of a case runs its nodes; of an answer that is folded away there is none to run."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx_conformance.checks.placement import check_placement
from onnx_conformance.run.subject import SessionInfo
from tests.meta.plain_subject import plain_subject, wide_model

FLOAT = onnx.TensorProto.FLOAT


def judged(path, operator, read, placement):
    """A file whose answer is made of ``read``, and where its nodes were placed."""
    node = helper.make_node(operator, [read], ["y"])
    ends = [helper.make_tensor_value_info(name, FLOAT, [4]) for name in "xy"]
    stored = numpy_helper.from_array(np.ones(4, np.float32), "w")
    onnx.save(helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], [stored])), path)
    session = SessionInfo("CPUExecutionProvider", ("0",), placement, (), (), 0.0)
    artifact = SimpleNamespace(path=path, sha256=("0",))
    return check_placement(
        plain_subject(wide_model(4), session=session, artifact=artifact, min_placement=0.0)
    )


@pytest.mark.parametrize(
    ("operator", "read", "placement", "outcome"),
    [
        ("Neg", "x", {"CPUExecutionProvider": {"Neg": 1}}, "passed"),
        ("Neg", "w", {}, "not_applicable"),
        ("Shape", "x", {}, "not_applicable"),  # which is no number of the input's
        ("Neg", "x", {}, "failed"),  # it hangs on the input, so something must have run
        ("Neg", "w", {"OtherExecutionProvider": {"Neg": 1}}, "failed"),
    ],
)
def test_no_node_is_right_of_a_constant_alone(tmp_path, operator, read, placement, outcome):
    assert judged(tmp_path / "m.onnx", operator, read, placement).outcome == outcome
