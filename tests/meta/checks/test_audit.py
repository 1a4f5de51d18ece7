"""The audit on tiny hand-made weights: nothing clean is accused, no harm goes unseen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnx_conformance.checks.audit.audit import audit_initializers
from onnx_conformance.checks.audit.findings import AuditReport
from onnx_conformance.core.graph_weights import collect_uses
from onnx_conformance.core.native_request import BatchNormRecord

FOLD_ULP = 4.0  # the unit tests' own; the suite's stands in tolerances.yaml
EPSILON = 1e-3
BATCH_NORM: BatchNormRecord = {
    "gamma": "bn.weight",
    "beta": "bn.bias",
    "mean": "bn.running_mean",
    "variance": "bn.running_var",
    "epsilon": EPSILON,
}
Array = NDArray[Any]
Arrays = dict[str, Array]
Change = Callable[[Any], Any]


@pytest.fixture
def weights() -> Arrays:
    """A convolution (8, 4, 3, 3), its BatchNorm, a Dense layer (5, 12)."""
    rng = np.random.default_rng(5)
    arrays = {
        "conv.weight": rng.normal(size=(8, 4, 3, 3)),
        "conv.bias": rng.normal(size=8),
        "bn.weight": rng.uniform(0.7, 1.3, 8),
        "bn.bias": rng.normal(0.5, 0.2, 8),
        "bn.running_mean": rng.normal(size=8),
        "bn.running_var": rng.uniform(0.3, 2.0, 8),
        "fc.weight": rng.normal(size=(5, 12)),
        "fc.bias": rng.normal(size=5),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def fold(weights: Arrays, epsilon: float = EPSILON) -> tuple[Array, Array]:
    """The BatchNorm's factor and offset, in float32 throughout as an exporter computes them."""
    factor = weights["bn.weight"] / np.sqrt(weights["bn.running_var"] + np.float32(epsilon))
    return factor, weights["bn.bias"] - weights["bn.running_mean"] * factor


@pytest.fixture
def folded(weights: Arrays) -> Arrays:
    """What TorchScript leaves: the convolution with its BatchNorm folded, the Dense layer."""
    factor, offset = fold(weights)
    return {
        "onnx::Conv_1": weights["conv.weight"] * factor[:, None, None, None],
        "onnx::Conv_2": weights["conv.bias"] * factor + offset,
        "fc.weight": weights["fc.weight"],
        "fc.bias": weights["fc.bias"],
    }


def audit(weights: Arrays, initializers: Arrays, **options: Any) -> AuditReport:
    return audit_initializers(weights, [BATCH_NORM], initializers, fold_ulp=FOLD_ULP, **options)


def harmed(initializers: Arrays, name: str, index: tuple[int, ...], value: float) -> Arrays:
    array = initializers[name].copy()
    array[index] = value
    return {**initializers, name: array}


def statuses(report: AuditReport) -> dict[str, str]:
    return {finding.native: finding.status for finding in report.findings}


def failing(report: AuditReport) -> set[str]:
    return {finding.native for finding in report.failures}


def test_copies_are_identical(weights: Arrays) -> None:
    report = audit(weights, dict(weights))
    assert set(statuses(report).values()) == {"identical"}
    assert report.elements == sum(array.size for array in weights.values())
    assert report.summary().startswith("8 tensors, 393 elements: 8 identical")


@pytest.mark.parametrize(
    ("native", "relayout"),
    [
        ((3, 3, 4, 8), lambda a: a.transpose(3, 2, 0, 1)),  # HWIO -> OIHW
        ((3, 3, 6, 2), lambda a: a.transpose(2, 3, 0, 1).reshape(12, 1, 3, 3)),  # depthwise
        ((3, 3, 6, 1), lambda a: a.transpose(2, 3, 0, 1)),
        ((5, 7), lambda a: a.T),
        ((6,), lambda a: a.reshape(1, 6, 1, 1)),
        ((), lambda a: a.reshape(1)),
    ],
)
def test_layouts_are_seen_through(native: tuple[int, ...], relayout: Change) -> None:
    kernel = np.asarray(np.random.default_rng(1).normal(size=native), np.float32)
    found = np.ascontiguousarray(relayout(kernel))
    report = audit_initializers({"k": kernel}, [], {"x": found}, fold_ulp=FOLD_ULP)
    assert statuses(report) == {"k": "identical"}
    if kernel.size == 1:
        return
    found = found.copy()
    found.flat[found.size // 2] *= -1
    finding = audit_initializers({"k": kernel}, [], {"x": found}, fold_ulp=FOLD_ULP).findings[0]
    assert (finding.status, finding.mismatched, finding.initializer) == ("differs", 1, "x")
    assert finding.worst is not None
    assert kernel[finding.worst.index] == finding.worst.native == -finding.worst.found


def test_a_fold_is_recomputed(weights: Arrays, folded: Arrays) -> None:
    report = audit(weights, folded)
    assert not report.failures
    assert statuses(report)["fc.weight"] == "identical"
    assert {s for n, s in statuses(report).items() if n.startswith(("conv", "bn"))} == {"folded"}
    assert 0 < report.worst_ulp <= FOLD_ULP
    assert "folds within" in report.summary()


def test_what_a_batch_norm_multiplies_by_zero_may_be_absent(weights: Arrays) -> None:
    """Folded into 0 * kernel and beta, a bias leaves nothing; another one of its size does."""
    weights["bn.weight"] = np.zeros_like(weights["bn.weight"])
    found = {
        "k": weights["conv.weight"] * 0,
        "b": weights["bn.bias"],
        "fc.weight": weights["fc.weight"],
        "fc.bias": weights["fc.bias"],
    }
    assert statuses(audit(weights, found))["conv.bias"] == "dropped"
    another = {**weights, "other.bias": weights["conv.bias"] + 1}
    assert failing(audit(another, found)) == {"other.bias"}
    assert failing(audit(another, weights)) == {"other.bias"}  # where nothing is folded, either


def test_layers_that_batch_norms_multiply_by_zero_share_a_kernel(weights: Arrays) -> None:
    """TorchScript stores equal constants once; no more layers share it than have such a norm."""
    zeros = np.zeros_like(weights["bn.weight"])
    weights["bn.weight"] = zeros
    second = {f"second.{name}": array + 1 for name, array in weights.items()}
    second["second.bn.weight"] = zeros
    parts = {key: f"second.{one}" for key, one in BATCH_NORM.items() if key != "epsilon"}
    norms: Any = [BATCH_NORM, {**parts, "epsilon": EPSILON}]
    found = {
        "k": weights["conv.weight"] * 0,
        "b": weights["bn.bias"],
        "b2": second["second.bn.bias"],
        **{name: array for name, array in (weights | second).items() if "fc" in name},
    }
    both = {**weights, **second}
    assert not audit_initializers(both, norms, found, fold_ulp=FOLD_ULP).failures
    third = {**both, "third.weight": weights["conv.weight"] + 2}
    report = audit_initializers(third, norms, found, fold_ulp=FOLD_ULP)
    assert failing(report) == {"third.weight"}


def test_a_separate_factor_and_offset_are_a_fold(weights: Arrays) -> None:
    """tf2onnx: Conv with its own bias, then Mul and Add with constants (1, C, 1, 1)."""
    factor, offset = fold(weights)
    found = {name: array for name, array in weights.items() if not name.startswith("bn")}
    found |= {"mul": factor.reshape(1, 8, 1, 1), "add": offset.reshape(1, 8, 1, 1)}
    report = audit(weights, found)
    assert not report.failures
    assert statuses(report)["conv.weight"] == "identical"
    assert failing(audit(weights, {n: a for n, a in found.items() if n != "mul"})) == {
        "bn.weight",
        "bn.running_var",
    }
    assert failing(audit(weights, {n: a for n, a in found.items() if n != "add"})) == {
        "bn.bias",
        "bn.running_mean",
    }


def test_a_batch_norm_without_gamma_or_beta(weights: Arrays) -> None:
    for name in ("bn.weight", "bn.bias", "conv.bias"):
        del weights[name]
    factor = 1 / np.sqrt(weights["bn.running_var"] + np.float32(EPSILON))
    found = {
        "k": weights["conv.weight"] * factor[:, None, None, None],
        "b": -weights["bn.running_mean"] * factor,
        "fc.weight": weights["fc.weight"],
        "fc.bias": weights["fc.bias"],
    }
    assert not audit(weights, found).failures


def test_a_dense_kernel_folds_along_its_last_axis(weights: Arrays) -> None:
    dense = np.random.default_rng(2).normal(size=(6, 8)).astype(np.float32)
    factor, offset = fold(weights)
    norm = {name: array for name, array in weights.items() if name.startswith("bn")}
    report = audit(norm | {"dense": dense}, {"k": dense * factor, "b": offset})
    assert set(statuses(report).values()) == {"folded"}


@pytest.mark.parametrize("name", ["onnx::Conv_1", "onnx::Conv_2", "fc.weight", "fc.bias"])
@pytest.mark.parametrize(
    "harm",
    [
        lambda value: -value,
        lambda value: 0.0,
        lambda value: value * 1.001,
        lambda value: np.nan,
        lambda value: np.inf,
    ],
    ids=["sign", "zero", "scaled", "nan", "inf"],
)
def test_one_harmed_element_is_found(
    weights: Arrays, folded: Arrays, name: str, harm: Change
) -> None:
    index = tuple(size // 2 for size in folded[name].shape)
    value = harm(folded[name][index])
    report = audit(weights, harmed(folded, name, index, value))
    assert report.failures
    finding = report.failures[0]
    assert (finding.status, finding.initializer, finding.mismatched) == ("differs", name, 1)
    assert finding.worst is not None
    assert finding.worst.index == index
    assert finding.worst.found == pytest.approx(value, nan_ok=True)
    assert "1 of" in str(finding)
    assert str(finding) in report.summary()


@pytest.mark.parametrize("name", ["onnx::Conv_1", "fc.weight"])
@pytest.mark.parametrize("scale", [0.0, -1.0, 1.001])
def test_one_harmed_channel_is_found(
    weights: Arrays, folded: Arrays, name: str, scale: float
) -> None:
    array = folded[name].copy()
    array[3] *= np.float32(scale)
    finding = audit(weights, {**folded, name: array}).failures[0]
    assert (finding.status, finding.mismatched) == ("differs", array[3].size)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("stored", [True, False])
def test_a_rounded_copy_is_named(
    weights: Arrays, folded: Arrays, precision: str, stored: bool
) -> None:
    narrow = helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(precision.upper()))
    found = {name: array.astype(narrow) for name, array in folded.items()}
    if not stored:
        found = {name: array.astype(np.float32) for name, array in found.items()}
    report = audit(weights, found)
    rounded = [finding for finding in report.failures if finding.status == "rounded"]
    assert {f.native for f in rounded} >= {"conv.weight", "fc.weight", "fc.bias", "bn.bias"}
    assert all(precision in finding.note for finding in rounded)


def test_a_stale_tensor_is_missing(weights: Arrays, folded: Arrays) -> None:
    stale = np.random.default_rng(9).normal(size=(5, 12)).astype(np.float32)
    report = audit(weights, {**folded, "fc.weight": stale})
    assert [(f.native, f.status) for f in report.failures] == [("fc.weight", "missing")]


def test_one_number_may_have_become_an_attribute_where_inputs_judge_weights(
    weights: Arrays, folded: Arrays
) -> None:
    native = {**weights, "epsilon": np.float32([1e-5])}
    assert statuses(audit(native, folded))["epsilon"] == "dropped"
    assert failing(audit(native, dict(weights), strict=True)) == {"epsilon"}


@pytest.mark.parametrize("name", ["conv.weight", "bn.weight", "bn.bias", "bn.running_mean"])
def test_a_fold_of_stale_values_is_found(weights: Arrays, folded: Arrays, name: str) -> None:
    newer = weights[name].copy()
    newer.flat[2] += 0.01
    assert audit({**weights, name: newer}, folded).failures


def test_a_fold_with_another_epsilon_is_found(weights: Arrays, folded: Arrays) -> None:
    factor, _ = fold(weights, epsilon=1e-5)
    kernel = weights["conv.weight"] * factor[:, None, None, None]
    finding = audit(weights, {**folded, "onnx::Conv_1": kernel}).findings[0]
    assert (finding.status, finding.mismatched) == ("differs", kernel.size)


def test_an_unknown_rescaling_is_harmless_unless_one_element_leaves_it(weights: Arrays) -> None:
    kernel = weights["conv.weight"]
    scale = np.random.default_rng(3).uniform(0.2, 5.0, 8).astype(np.float32)[:, None, None, None]
    found = {"k": kernel * scale}
    report = audit_initializers({"conv.weight": kernel}, [], found, fold_ulp=FOLD_ULP)
    assert statuses(report) == {"conv.weight": "rescaled"}
    found = harmed(found, "k", (1, 2, 0, 1), 0.5)
    report = audit_initializers({"conv.weight": kernel}, [], found, fold_ulp=FOLD_ULP)
    assert [(f.status, f.mismatched) for f in report.failures] == [("differs", 1)]
    zeroed = {"k": np.zeros_like(kernel)}
    assert audit_initializers({"conv.weight": kernel}, [], zeroed, fold_ulp=FOLD_ULP).failures


def test_a_rescaled_sparse_kernel_is_no_failure() -> None:
    kernel = np.zeros((4, 2, 9, 9), np.float32)
    kernel[:, 0, 0, 1] = [1.5, -2.5, 3.25, 4.125]
    kernel[0] = np.random.default_rng(0).normal(size=(2, 9, 9))
    scale = np.array([2, 3, 5, 7], np.float32)[:, None, None, None]
    report = audit_initializers({"k": kernel}, [], {"x": kernel * scale}, fold_ulp=FOLD_ULP)
    assert statuses(report) == {"k": "rescaled"}


def test_zeros_are_damaged_only_where_they_are_named() -> None:
    """A constant of the model with many zeros is no damaged bias, whose zeros need no place."""
    zeros, table = {"head.bias": np.zeros(6, np.float32)}, np.array([1, 0, 0, 0, 1, 0], np.float32)
    report = audit_initializers(zeros, [], {"grid": table}, fold_ulp=FOLD_ULP)
    assert statuses(report) == {"head.bias": "absorbed"}
    assert not report.failures
    report = audit_initializers(zeros, [], {"head.bias": table}, fold_ulp=FOLD_ULP)
    assert [(f.status, f.mismatched) for f in report.failures] == [("differs", 2)]


def test_what_cannot_matter_may_be_dropped() -> None:
    weights = {
        "bn.num_batches_tracked": np.array(7),
        "bias": np.zeros(4, np.float32),
        "gamma": np.ones(4, np.float32),
        "slope": np.full(3, 0.25, np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }
    found = {"scalar": np.array(0.25, np.float32)}
    report = audit_initializers(weights, [], found, fold_ulp=FOLD_ULP)
    assert set(statuses(report).values()) == {"dropped"}
    assert report.elements == 0
    report = audit_initializers(weights, [], {}, fold_ulp=FOLD_ULP)
    assert failing(report) == {"slope"}
    leftover = {**found, "other": np.array([3, 1, 4, 1.5], np.float32)}
    report = audit_initializers(weights, [], leftover, fold_ulp=FOLD_ULP)
    assert not failing(report)
    assert {statuses(report)[name] for name in ("bias", "gamma")} == {"absorbed"}


def test_absent_tensors_fail_unless_declared_unused(weights: Arrays) -> None:
    found = {name: array for name, array in weights.items() if not name.startswith("fc")}
    assert failing(audit(weights, found)) == {"fc.weight", "fc.bias"}
    assert not audit(weights, found, unused={"fc.weight", "fc.bias"}).failures


def test_nothing_found_fails_everything(weights: Arrays) -> None:
    assert failing(audit(weights, {})) == set(weights)


def test_a_gathered_table_must_keep_its_values() -> None:
    table = np.random.default_rng(4).normal(size=(9, 2)).astype(np.float32)
    index = np.random.default_rng(4).permutation(np.arange(16) % 9)
    weights = {"table": table, "index": index}
    gathered = table[index].T.reshape(1, 2, 4, 4).copy()
    report = audit_initializers(weights, [], {"x": gathered}, fold_ulp=FOLD_ULP)
    assert statuses(report) == {"table": "gathered", "index": "dropped"}
    gathered[0, 1, 2, 3] *= -1
    report = audit_initializers(weights, [], {"x": gathered}, fold_ulp=FOLD_ULP)
    assert failing(report) == {"table", "index"}
    shuffled = table[::-1].copy()
    report = audit_initializers({"table": table}, [], {"x": shuffled}, fold_ulp=FOLD_ULP)
    assert statuses(report) == {"table": "rearranged"}  # its order is for the inputs to judge


def test_a_harmed_duplicate_beside_a_good_one_fails() -> None:
    ones = np.ones(16, np.float32)
    bad = ones.copy()
    bad[3] = -1
    found = {"x": ones, "y": bad}
    assert audit_initializers({"a": ones, "b": ones}, [], found, fold_ulp=FOLD_ULP).failures


@pytest.mark.parametrize(
    ("natives", "labels"),
    [
        (("block.0.a.weight", "block.0.b.weight"), ("block.0.a.weight", "block.0.b.weight")),
        (
            ("block.0.a.weight", "block.0.b.weight"),
            ("/block/block.0/a/Conv_output_0", "/block/block.0/b/Conv_output_0"),
        ),
        (
            ("conv/kernel", "conv_1/kernel"),
            ("net_1/conv_1/convolution:0", "net_1/conv_1_2/convolution__17:0"),
        ),
    ],
    ids=["dynamo", "torchscript", "tf2onnx"],
)
def test_swapped_tensors_are_noticed_by_their_names(
    natives: tuple[str, str], labels: tuple[str, str]
) -> None:
    rng = np.random.default_rng(8)
    arrays = [rng.normal(size=(4, 4, 3, 3)).astype(np.float32) for _ in natives]
    names = labels if "/" not in labels[0] else ("onnx::Conv_1", "onnx::Conv_2")
    nodes = [
        helper.make_node("Conv", [source, name], [label])
        for source, name, label in zip(("input", labels[0]), names, labels, strict=True)
    ]
    uses = collect_uses(onnx.ModelProto(graph=onnx.GraphProto(node=nodes)))
    weights = dict(zip(natives, arrays, strict=True))
    clean = dict(zip(names, arrays, strict=True))
    swapped = dict(zip(names, reversed(arrays), strict=True))
    assert not audit_initializers(weights, [], clean, fold_ulp=FOLD_ULP, uses=uses).failures
    report = audit_initializers(weights, [], swapped, fold_ulp=FOLD_ULP, uses=uses)
    assert failing(report)  # one of the two is enough
    assert all("misplaced" in finding.note for finding in report.failures)


def test_swapped_factor_and_offset_are_noticed_by_their_operators(weights: Arrays) -> None:
    factor, offset = fold(weights)
    nodes = [helper.make_node("Mul", ["x", "f"], ["y"]), helper.make_node("Add", ["y", "o"], ["z"])]
    uses = collect_uses(onnx.ModelProto(graph=onnx.GraphProto(node=nodes)))
    norm = {name: array for name, array in weights.items() if name.startswith("bn")}
    assert not audit(norm, {"f": factor, "o": offset}, uses=uses).failures
    assert failing(audit(norm, {"f": offset, "o": factor}, uses=uses)) == set(norm)
