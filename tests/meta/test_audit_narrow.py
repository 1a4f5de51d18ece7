"""The audit of files in half precision: each weight rounded, and none harmed beyond that."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.meta.test_audit import Arrays, audit, failing, fold, folded, statuses, weights  # noqa: F401

CHANNEL = 3
KERNEL = "onnx::Conv_1"


def half(arrays: Arrays) -> Arrays:
    """What a converter makes of a file's weights."""
    return {name: array.astype(np.float16) for name, array in arrays.items()}


def audited(weights: Arrays, initializers: Arrays):  # noqa: F811
    return audit(weights, initializers, narrow="float16")


def test_copies_may_be_rounded(weights: Arrays) -> None:  # noqa: F811
    report = audited(weights, half(weights))
    assert set(statuses(report).values()) == {"identical"}
    assert report.elements == sum(array.size for array in weights.values())


def test_folds_may_be_rounded(weights: Arrays, folded: Arrays) -> None:  # noqa: F811
    report = audited(weights, half(folded))
    assert not report.failures
    assert {s for n, s in statuses(report).items() if n.startswith(("conv", "bn"))} == {"folded"}


@pytest.mark.parametrize("made", ["copies", "folded"])
def test_in_a_float32_file_nothing_may(weights, folded, made) -> None:  # noqa: F811
    found = half(weights if made == "copies" else folded)
    assert "fc.weight" in failing(audit(weights, found))
    assert "conv.weight" in failing(audit(weights, found))


def test_what_such_a_file_keeps_in_float32_must_be_exact(weights: Arrays) -> None:  # noqa: F811
    kept = weights["fc.weight"].astype(np.float16).astype(np.float32)
    report = audited(weights, {**half(weights), "fc.weight": kept})
    assert failing(report) == {"fc.weight"}
    assert report.failures[0].status == "rounded"


@pytest.mark.parametrize(
    ("name", "harm", "native"),
    [
        ("fc.weight", lambda a: 1.01 * a, "fc.weight"),
        ("fc.weight", lambda a: a.view(np.uint16) & 0xFFF8, "fc.weight"),
        (KERNEL, lambda a: 1.01 * a, "conv.weight"),
        (KERNEL, lambda a: -a, "conv.weight"),
        (KERNEL, lambda a: 0 * a, "conv.weight"),
        ("onnx::Conv_2", lambda a: a + 0.01 * np.abs(a).max(), "conv.bias"),
    ],
    ids=["copy scaled", "copy in bfloat16", "fold scaled", "sign", "zeroed", "bias shifted"],
)
def test_a_channel_harmed_by_more_than_rounding_is_found(
    weights: Arrays,  # noqa: F811
    folded: Arrays,  # noqa: F811
    name: str,
    harm: Callable[[np.ndarray], np.ndarray],
    native: str,
) -> None:
    """By one hundredth, which stays below the error budget of float16 in a small network."""
    found = half(folded)
    changed = found[name].copy()
    part = harm(changed[CHANNEL])
    changed[CHANNEL] = part.view(np.float16) if part.dtype == np.uint16 else part
    assert native in failing(audited(weights, {**found, name: changed}))


def test_what_float16_would_lose_may_be_lifted(weights: Arrays) -> None:  # noqa: F811
    """ONNX Runtime's converter makes 1e-7 of what is smaller, zeros excepted."""
    faint = weights["fc.weight"].copy()
    faint[0, :2] = 3e-9, -4e-8
    native = {**weights, "fc.weight": faint}
    found = half(native)
    found["fc.weight"][0, :2] = 1e-7, -1e-7
    assert not audited(native, found).failures


def test_what_float16_cannot_hold_is_told(weights: Arrays) -> None:  # noqa: F811
    """Such a converter makes 1e4 of what is larger."""
    large = weights["fc.weight"].copy()
    large[0, 0] = 2e5
    found = half({**weights, "fc.weight": np.minimum(large, 1e4)})
    report = audited({**weights, "fc.weight": large}, found)
    assert failing(report) == {"fc.weight"}
    assert "found 10000" in str(report.failures[0])


def test_joined_tensors_may_be_rounded(weights: Arrays) -> None:  # noqa: F811
    """As an LSTM's gates are, in another order."""
    rng = np.random.default_rng(0)
    gates = {f"gate{i}": rng.normal(size=(6, 5)).astype(np.float32) for i in range(4)}
    joined = np.concatenate([gates[f"gate{i}"] for i in (2, 0, 3, 1)])
    native = {**weights, **gates}
    found = {**half(weights), "W": joined.astype(np.float16)}
    assert not audited(native, found).failures
    found["W"][7, 2] *= np.float16(1.01)
    assert audited(native, found).failures
