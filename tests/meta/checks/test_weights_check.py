"""The check of weights on small files: what no output depends on proves nothing."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_conformance.checks.initializers import check_initializers
from onnx_conformance.core.case import Case
from onnx_conformance.run.subject import NativeWeights
from tests.meta.plain_subject import TOLERANCES

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(8, 5)).astype(np.float32)
BIAS = RNG.normal(size=5).astype(np.float32)
NATIVE = {"fc.weight": KERNEL, "fc.bias": BIAS}
FLIPPED = KERNEL * np.where(np.arange(40).reshape(8, 5) == 7, -1, 1).astype(np.float32)


@pytest.fixture
def judge(tmp_path):
    """The verdict on a file of these nodes and constants."""

    def verdict(nodes, stored, precision="float32", native=NATIVE):
        graph_input = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])
        taken = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5])
        tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
        graph = helper.make_graph(nodes, "g", [graph_input], [taken], tensors)
        onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
        case = Case("m", "given", 18, "cpu", precision=precision, file_precision=precision)
        return check_initializers(
            SimpleNamespace(
                case=case,
                artifact=SimpleNamespace(path=tmp_path / "m.onnx"),
                tolerances=TOLERANCES,
                weights=NativeWeights(native, ()),
            )
        )

    return verdict


def gemm(kernel="w", bias="b", out="y"):
    return helper.make_node("Gemm", ["x", kernel, bias], [out])


def as_class(precision, array):
    return array.astype(np.float16) if precision == "float16" else array


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_good_copy_that_nobody_reads_excuses_no_bad_one(judge, precision):
    stored = {"w": FLIPPED, "b": BIAS, "decoy": KERNEL}
    stored = {name: as_class(precision, array) for name, array in stored.items()}
    assert judge([gemm()], {**stored, "w": stored["decoy"]}, precision).passed
    result = judge([gemm()], stored, precision)
    assert result.outcome == "failed"
    assert "'fc.weight' differs in 'w'" in str(result.details)


def test_the_scales_of_a_resize_are_no_damaged_bias(judge):
    """Two of four agree with a bias of twos; a bias that did become this is found."""
    native = {"fc.weight": KERNEL[:, :4], "fc.bias": np.full(4, 2, np.float32)}
    scales = np.float32([1, 1, 2, 2])
    resize = helper.make_node("Resize", ["z", "", "scales"], ["y"])
    stored = {"w": native["fc.weight"], "b": native["fc.bias"], "scales": scales}
    assert judge([gemm(out="z"), resize], stored, native=native).passed
    damaged = judge([gemm(out="z"), resize], {**stored, "b": scales}, native=native)
    assert "'fc.bias' differs in 'b'" in str(damaged.details)


def split():
    """Two products of three and of two outputs, joined; the tensors that they are cut from."""
    nodes = [
        gemm("w0", "b0", "y0"),
        gemm("w1", "b1", "y1"),
        helper.make_node("Concat", ["y0", "y1"], ["y"], axis=1),
    ]
    parts = {"w0": KERNEL[:, :3], "w1": KERNEL[:, 3:], "b0": BIAS[:3], "b1": BIAS[3:]}
    return nodes, {name: array.copy() for name, array in parts.items()}


def test_what_a_rewrite_split_into_bits_too_small_to_know_is_left_to_inputs(judge):
    nodes, parts = split()
    whole = {"w": KERNEL, "b": BIAS}  # which the rewrite left behind
    assert judge(nodes, {**parts, **whole}).passed


def test_at_coarse_precision_it_is_not(judge):
    nodes, parts = split()
    stored = {name: as_class("float16", a) for name, a in {**parts, "b": BIAS}.items()}
    assert judge(nodes, stored, "float16").outcome == "failed"


def test_weights_that_an_unknown_operator_reads_in_eight_bits_are_said_to_be_unread(judge):
    node = helper.make_node("DynamicQuantizeMatMul", ["x", "q"], ["y"], domain="com.microsoft")
    result = judge([node], {"q": np.ones((8, 5), np.int8)}, "int8")
    assert result.outcome == "skipped"
    assert "DynamicQuantizeMatMul, whose scales this check" in result.reason
