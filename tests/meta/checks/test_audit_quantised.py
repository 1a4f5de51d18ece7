"""The audit of files in eight bits: each weight within half a step of native's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx_conformance.checks.audit.audit import audit_initializers
from onnx_conformance.checks.audit.findings import AuditReport
from onnx_conformance.checks.audit.formats import Rounding
from onnx_conformance.checks.audit.stored_forms import dequantised
from tests.meta.checks import test_audit as plain
from tests.meta.checks.test_audit import BATCH_NORM, FOLD_ULP, Arrays, failing, fold, statuses

weights, folded = plain.weights, plain.folded  # pytest's fixtures
CONV, BIAS = "conv_quantized", "bias_quantized"
BOTTOM, TOP = -127, 127
STEP_SHARE = 0.51  # the unit tests' own, as FOLD_ULP


def quantised(array: np.ndarray, axis: int | None, *, unsigned: bool = False) -> Arrays:
    """``q``, ``scale`` and ``zero`` of a tensor, per channel along ``axis`` or as a whole."""
    rest = None if axis is None else tuple(a for a in range(array.ndim) if a != axis)
    scale = np.asarray(np.abs(array).max(axis=rest) / TOP, np.float32)
    shape = [1] * array.ndim
    if axis is not None:
        shape[axis] = -1
    whole = np.clip(np.rint(array / scale.reshape(shape)), BOTTOM, TOP)
    if unsigned:
        return {"q": (whole + 128).astype(np.uint8), "scale": scale, "zero": np.uint8(128)}
    zero = np.zeros_like(scale, np.int8)
    return {"q": whole.astype(np.int8), "scale": scale, "zero": zero}


def read_by(operator: str, inputs: list[str], **attributes: Any) -> onnx.ModelProto:
    node = helper.make_node(operator, inputs, ["y"], **attributes)
    return helper.make_model(helper.make_graph([node], "g", [], []))


def qdq(folded: Arrays, axis: int | None = 0) -> tuple[onnx.ModelProto, Arrays]:
    """The convolution in eight bits, its bias in 32, as ONNX Runtime's quantiser writes them."""
    kernel = quantised(folded["onnx::Conv_1"], axis)
    step = np.float32(1e-5) * kernel["scale"]
    stored = {
        CONV: kernel["q"],
        "conv_scale": kernel["scale"],
        "conv_zero": kernel["zero"],
        BIAS: np.rint(folded["onnx::Conv_2"] / step).astype(np.int32),
        "bias_scale": np.broadcast_to(step, 8 if axis == 0 else ()).copy(),
        "fc.weight": folded["fc.weight"],
        "fc.bias": folded["fc.bias"],
    }
    nodes = [
        helper.make_node("DequantizeLinear", [CONV, "conv_scale", "conv_zero"], ["w"], axis=0),
        helper.make_node("DequantizeLinear", [BIAS, "bias_scale"], ["b"], axis=0),
    ]
    return helper.make_model(helper.make_graph(nodes, "g", [], [])), stored


def audited(weights: Arrays, model: onnx.ModelProto, stored: Arrays) -> AuditReport:
    found = dequantised(model, stored)
    assert not found.unread
    rounding = Rounding(steps=found.steps, step_share=STEP_SHARE)
    options = {"fold_ulp": FOLD_ULP, "rounding": rounding, "strict": True}
    return audit_initializers(weights, [BATCH_NORM], found.arrays, **options)


@pytest.mark.parametrize("axis", [0, None], ids=["per channel", "per tensor"])
def test_folds_may_be_rounded_to_steps(weights, folded, axis) -> None:
    report = audited(weights, *qdq(folded, axis))
    assert not report.failures
    assert {s for n, s in statuses(report).items() if n.startswith(("conv", "bn"))} == {"folded"}


def test_vectors_may_be_in_eight_bits_too_in_any_layout(weights, folded) -> None:
    """As those are that a Mul or an Add after a convolution reads."""
    model, stored = qdq(folded)
    bias = quantised(folded["onnx::Conv_2"].reshape(1, 8, 1, 1), None)
    stored |= {BIAS: bias["q"], "bias_scale": bias["scale"]}
    assert not audited(weights, model, stored).failures
    stored[BIAS][0, 2] += 3
    assert "conv.bias" in failing(audited(weights, model, stored))


def flipped(stored: Arrays) -> None:
    stored[CONV][3, 1, 1, 1] *= -1


def two_steps(stored: Arrays) -> None:
    stored[CONV][3, 1, 1, 1] += 2


def another_scale(stored: Arrays) -> None:
    stored["conv_scale"][3] *= 1.05


def another_zero_point(stored: Arrays) -> None:
    stored["conv_zero"] += 1


def another_bias(stored: Arrays) -> None:
    stored[BIAS][2] += 1000


def bias_scaled(stored: Arrays) -> None:
    stored[BIAS] = (1.3 * stored[BIAS]).astype(np.int32)


def kernel_scaled(stored: Arrays) -> None:
    stored["conv_scale"] *= 1.3


def swapped(stored: Arrays) -> None:
    stored[CONV][[1, 2]] = stored[CONV][[2, 1]]


@pytest.mark.parametrize(
    ("harm", "native"),
    [
        (flipped, "conv.weight"),
        (two_steps, "conv.weight"),
        (another_scale, "conv.weight"),
        (another_zero_point, "conv.weight"),
        (swapped, "conv.weight"),
        (another_bias, "conv.bias"),
        (bias_scaled, "conv.bias"),
        (kernel_scaled, "conv.weight"),
    ],
)
def test_a_weight_that_is_off_by_more_is_found(
    weights, folded, harm: Callable[[Arrays], None], native: str
) -> None:
    model, stored = qdq(folded)
    harm(stored)
    assert native in failing(audited(weights, model, stored))


def test_yesterdays_weights_are_found(weights, folded) -> None:
    """Which decide nearly as native does."""
    rng = np.random.default_rng(3)
    stale = {
        name: (array * (1 + 0.03 * rng.normal(size=array.shape))).astype(np.float32)
        for name, array in folded.items()
    }
    model, stored = qdq({**folded, "onnx::Conv_1": stale["onnx::Conv_1"]})
    assert "conv.weight" in failing(audited(weights, model, stored))


@pytest.mark.parametrize(
    ("operator", "inputs", "axis", "unsigned"),
    [
        ("QLinearConv", ["x", "xs", "xz", "w_quantized", "w_scale", "w_zero_point"], 0, False),
        ("QLinearMatMul", ["x", "xs", "xz", "w_quantized", "w_scale", "w_zero_point"], 1, False),
        ("MatMulInteger", ["x", "w_quantized", "xz", "w_zero_point"], None, True),
        ("MatMulInteger", ["x", "w_quantized", "xz", "w_zero_point"], 1, False),
        ("ConvInteger", ["x", "w_quantized", "xz", "w_zero_point"], 0, False),
    ],
)
def test_weights_are_read_with_the_scale_of_their_operator(operator, inputs, axis, unsigned):
    shape = (6, 4, 3, 3) if "Conv" in operator else (12, 6)
    native = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    parts = quantised(native, axis, unsigned=unsigned)
    stored = {"w_quantized": parts["q"], "w_scale": parts["scale"], "w_zero_point": parts["zero"]}
    stored = {name: np.asarray(array) for name, array in stored.items()}
    found = dequantised(read_by(operator, inputs), stored)
    assert not found.unread
    assert set(found.arrays) == {"w_quantized"}
    assert np.all(
        np.abs(found.arrays["w_quantized"] - native) <= STEP_SHARE * found.steps["w_quantized"]
    )


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes"),
    [
        ("DynamicQuantizeLSTM", ["x", "w_quantized"], {}),
        ("MatMulInteger", ["x", "w_quantized"], {}),
        ("DequantizeLinear", ["w_quantized", "blocks"], {"block_size": 2}),
        ("DequantizeLinear", ["w_quantized", "wrong"], {"axis": 0}),
    ],
)
def test_weights_without_a_known_scale_are_reported_as_unread(operator, inputs, attributes):
    stored = {
        "w_quantized": np.ones((4, 6), np.int8),
        "blocks": np.ones((2, 6), np.float32),
        "wrong": np.ones(5, np.float32),
    }
    assert dequantised(read_by(operator, inputs, **attributes), stored).unread == (operator,)


def test_other_weights_stay_as_they_are():
    tensor = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    stored = {tensor.name: numpy_helper.to_array(tensor)}
    found = dequantised(read_by("MatMul", ["x", "w"]), stored)
    assert found.arrays == stored
    assert not found.steps


def test_a_fold_is_recomputed_before_it_is_rounded(weights) -> None:
    """Of a BatchNorm with another epsilon the rounded fold is off by steps."""
    factor, offset = fold(weights, epsilon=0.1)
    other = {
        "onnx::Conv_1": weights["conv.weight"] * factor[:, None, None, None],
        "onnx::Conv_2": weights["conv.bias"] * factor + offset,
        "fc.weight": weights["fc.weight"],
        "fc.bias": weights["fc.bias"],
    }
    assert "conv.weight" in failing(audited(weights, *qdq(other)))
