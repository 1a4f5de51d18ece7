"""Equivalent rewrites move weights about: no value may be lost, and the order is not accused."""

import numpy as np
import pytest

from onnx_conformance.checks.audit.audit import audit_initializers
from tests.meta.checks.test_audit import (
    FOLD_ULP,
    audit,
    failing,
    fold,
    harmed,
    statuses,
    weights,  # noqa: F401
)


@pytest.fixture
def folded(weights):  # noqa: F811
    factor, offset = fold(weights)
    return {
        "kernel": weights["conv.weight"] * factor[:, None, None, None],
        "bias": weights["conv.bias"] * factor + offset,
        "fc.weight": weights["fc.weight"],
        "fc.bias": weights["fc.bias"],
    }


def split(folded):
    """The convolution as two, by output channels."""
    halves = {
        f"{name}_{half}": folded[name][4 * half : 4 * half + 4]
        for name in ("kernel", "bias")
        for half in (0, 1)
    }
    return {**halves, "fc.weight": folded["fc.weight"], "fc.bias": folded["fc.bias"]}


def permuted(folded):
    """Output channels in another order."""
    order = [3, 1, 2, 0, 7, 5, 6, 4]
    return {**folded, "kernel": folded["kernel"][order], "bias": folded["bias"][order]}


def swapped(folded):
    """Two output channels exchanged."""
    order = [1, 0, 2, 3, 4, 5, 6, 7]
    return {**folded, "kernel": folded["kernel"][order], "bias": folded["bias"][order]}


def padded(folded):
    """The kernel in the middle of a larger one."""
    return {**folded, "kernel": np.pad(folded["kernel"], [(0, 0), (0, 0), (1, 1), (1, 1)])}


def joined(folded):
    """Two vectors in one."""
    rest = {name: array for name, array in folded.items() if "bias" not in name}
    return {**rest, "biases": np.concatenate([folded["bias"], folded["fc.bias"]])}


REWRITES = (split, permuted, swapped, padded, joined)


@pytest.mark.parametrize("rewrite", REWRITES, ids=lambda rewrite: rewrite.__name__)
def test_a_rewrite_is_not_accused(weights, folded, rewrite):  # noqa: F811
    report = audit(weights, rewrite(folded))
    assert not report.failures, report.summary()
    assert "rearranged" in statuses(report).values()


@pytest.mark.parametrize("rewrite", REWRITES, ids=lambda rewrite: rewrite.__name__)
def test_a_sign_in_a_rewrite_is_found(weights, folded, rewrite):  # noqa: F811
    changed = rewrite(folded)
    name = next(name for name in changed if "kernel" in name or name == "biases")
    index = tuple(np.unravel_index(np.abs(changed[name]).argmax(), changed[name].shape))
    report = audit(weights, harmed(changed, name, index, -changed[name][index]))
    assert failing(report)


def test_a_factor_moved_from_the_kernel_to_a_node_of_its_own_is_not_accused(weights, folded):  # noqa: F811
    scale = np.linspace(1.1, 1.9, 8).astype(np.float32)
    kernel = folded["kernel"] / scale[:, None, None, None]
    report = audit(weights, {**folded, "kernel": kernel, "scale": scale})
    assert not report.failures, report.summary()
    assert statuses(report)["bn.weight"] == "absorbed"


def test_a_vector_that_went_nowhere_is_missing(weights, folded):  # noqa: F811
    report = audit(weights, {name: folded[name] for name in folded if name != "bias"})
    assert {"bn.bias", "bn.running_mean"} <= set(failing(report))


TABLE = np.random.default_rng(3).normal(size=(8, 6)).astype(np.float32)


@pytest.mark.parametrize("kept", [{"rows": TABLE[::-1]}, {"first": TABLE[:4], "rest": TABLE[4:]}])
def test_what_holds_another_tensor_has_not_absorbed_one_of_its_size(kept):
    natives = {"table": TABLE} | {
        f"lost_{name}": np.linspace(1, 2, array.size, dtype=np.float32)
        for name, array in kept.items()
    }
    report = audit_initializers(natives, [], kept, fold_ulp=FOLD_ULP)
    assert statuses(report) == dict.fromkeys(natives, "missing") | {"table": "rearranged"}
