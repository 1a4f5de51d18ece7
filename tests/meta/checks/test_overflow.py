"""Overflow of half precision: of a file's own tensors, and of what a provider makes of a file."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.checks.precision import check_overflow
from onnx_conformance.core.case import Case


@pytest.fixture
def judged(tmp_path):
    """Judges a file of two nodes, and one beside them, whose tensors span what is given."""
    nodes = [helper.make_node("Relu", ["x"], ["y"], "first"), helper.make_node("Exp", ["y"], ["z"])]
    nodes.append(helper.make_node("Cast", ["x"], ["beside"], to=TensorProto.FLOAT16))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "z")]
    path = tmp_path / "two.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "two", ends[:1], ends[1:])), path)

    def judge(provider, dtype, largest, nonfinite=0, beside=None):
        record = {"dtype": dtype, "low": 0.0, "high": largest, "nonfinite": nonfinite}
        lost = {**(beside or {}), "nonfinite": 0}
        subject = SimpleNamespace(
            case=Case("simple_net", "torch_dynamo", 18, provider, precision="float16"),
            model=resolve_model("simple_net"),
            seed=0,
            artifact=SimpleNamespace(path=path),
            ranges=lambda inputs: {"y": record, **({"beside": lost} if beside else {})},
        )
        return check_overflow(subject)

    return judge


def test_a_tensor_in_range_is_reported(judged):
    result = judged("cpu", "float16", 6.5504e3)
    assert result.passed
    assert "6550 at Relu 'first', 10.00% of float16's" in result.reason


def test_infinity_is_red_and_named(judged):
    result = judged("cpu", "float16", 10.0, nonfinite=3)
    assert result.outcome == "failed"
    assert "Relu 'first' overflows float16: 3 elements" in result.reason


def test_a_file_without_float16_is_not_judged_as_if(judged):
    result = judged("cpu", "float32", 10.0)
    assert result.outcome == "failed"
    assert "no tensor of the file is in float16" in result.reason


def test_a_tensor_that_nobody_reads_makes_no_file_half_precision(judged):
    """A Cast beside the graph: the answer is float32's, and would have float16's budget."""
    result = judged("cpu", "float32", 10.0, beside={"dtype": "float16", "low": 0.0, "high": 1.0})
    assert result.outcome == "failed"
    assert "no tensor of the file is in float16" in result.reason


@pytest.mark.parametrize(
    ("largest", "message"),
    [(10.0, "stay within float16's range"), (1e5, "leave float16's range, the first at Relu")],
)
def test_a_provider_in_half_precision_reports_what_would_overflow(judged, largest, message):
    result = judged("tensorrt_fp16", "float32", largest)
    assert result.passed
    assert message in result.reason


@pytest.mark.parametrize("stored", ["initializer", "Constant"])
def test_an_infinity_that_the_file_stores_is_no_overflow(tmp_path, stored):
    infinite = numpy_helper.from_array(np.float16([-np.inf]), "far")
    nodes = [helper.make_node("Where", ["keep", "x", "far"], ["y"], "masked")]
    if stored == "Constant":
        nodes.insert(0, helper.make_node("Constant", [], ["far"], value=infinite))
    keep = helper.make_tensor_value_info("keep", TensorProto.BOOL, ["n"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT16, ["n"]) for name in "xy")
    kept = [infinite] if stored == "initializer" else []
    path = tmp_path / "masked.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [keep, x], [y], kept)), path)
    record = {"dtype": "float16", "low": -1.0, "high": 1.0, "nonfinite": 2}
    records = {name: record for name in (["y", "far"] if stored == "Constant" else ["y"])}
    subject = SimpleNamespace(
        case=Case("simple_net", "torch_dynamo", 18, "cpu", precision="float16"),
        model=resolve_model("simple_net"),
        seed=0,
        artifact=SimpleNamespace(path=path),
        ranges=lambda inputs: records,
    )
    assert check_overflow(subject).passed
