"""The audit of files in half precision: each weight rounded, and none harmed beyond that."""

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from onnx_conformance.checks.audit.audit import audit_initializers
from onnx_conformance.checks.audit.formats import Rounding
from tests.meta.checks import test_audit as plain
from tests.meta.checks.test_audit import BATCH_NORM, FOLD_ULP, Arrays, audit, failing, statuses

weights, folded = plain.weights, plain.folded  # pytest's fixtures
HALF = Rounding(narrow="float16", copy_ulp=1.0, tiny_ulp=4.0)  # the unit tests' own, as FOLD_ULP
CHANNEL = 3
KERNEL = "onnx::Conv_1"


def half(arrays: Arrays) -> Arrays:
    """What a converter makes of a file's weights."""
    return {name: array.astype(np.float16) for name, array in arrays.items()}


def audited(weights: Arrays, initializers: Arrays):
    return audit(weights, initializers, rounding=HALF)


def test_copies_may_be_rounded(weights: Arrays) -> None:
    report = audited(weights, half(weights))
    assert set(statuses(report).values()) == {"identical"}
    assert report.elements == sum(array.size for array in weights.values())


def test_folds_may_be_rounded(weights: Arrays, folded: Arrays) -> None:
    report = audited(weights, half(folded))
    assert not report.failures
    assert {s for n, s in statuses(report).items() if n.startswith(("conv", "bn"))} == {"folded"}


@pytest.mark.parametrize("made", ["copies", "folded"])
def test_in_a_float32_file_nothing_may(weights, folded, made) -> None:
    found = half(weights if made == "copies" else folded)
    assert "fc.weight" in failing(audit(weights, found))
    assert "conv.weight" in failing(audit(weights, found))


def test_what_such_a_file_keeps_in_float32_must_be_exact(weights: Arrays) -> None:
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
    weights: Arrays,
    folded: Arrays,
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


def test_a_channel_that_is_off_as_a_whole_is_named(weights: Arrays, folded: Arrays) -> None:
    found = half(folded)
    found[KERNEL][CHANNEL] *= np.float16(1.02)
    text = str(audited(weights, found).failures[0])
    assert f"all of channel {CHANNEL} is about 1.02 times what it should be" in text


@pytest.mark.parametrize("factor", [1.01, 1.00001, -1.0])
def test_a_channel_with_one_wrong_element_is_not_called_off_as_a_whole(
    weights: Arrays, folded: Arrays, factor: float
) -> None:
    folded[KERNEL][CHANNEL].reshape(-1)[1] *= np.float32(factor)
    text = str(audit(weights, folded).failures[0])
    assert "1 of " in text
    assert "all of channel" not in text


def test_a_channel_off_by_less_than_the_message_shows_is_not_named(
    weights: Arrays, folded: Arrays
) -> None:
    folded[KERNEL][CHANNEL] *= np.float32(1.00002)
    assert "times what it should be" not in str(audit(weights, folded).failures[0])


def test_what_float16_would_lose_may_be_lifted(weights: Arrays) -> None:
    """ONNX Runtime's converter makes 1e-7 of what is smaller, zeros excepted."""
    faint = weights["fc.weight"].copy()
    faint[0, :2] = 3e-9, -4e-8
    native = {**weights, "fc.weight": faint}
    found = half(native)
    found["fc.weight"][0, :2] = 1e-7, -1e-7
    assert not audited(native, found).failures


def test_what_float16_cannot_hold_is_reported(weights: Arrays) -> None:
    """Such a converter makes 1e4 of what is larger."""
    large = weights["fc.weight"].copy()
    large[0, 0] = 2e5
    found = half({**weights, "fc.weight": np.minimum(large, 1e4)})
    report = audited({**weights, "fc.weight": large}, found)
    assert failing(report) == {"fc.weight"}
    assert "found 10000" in str(report.failures[0])


def test_joined_tensors_may_be_rounded(weights: Arrays) -> None:
    """As an LSTM's gates are, in another order."""
    rng = np.random.default_rng(0)
    gates = {f"gate{i}": rng.normal(size=(6, 5)).astype(np.float32) for i in range(4)}
    joined = np.concatenate([gates[f"gate{i}"] for i in (2, 0, 3, 1)])
    native = {**weights, **gates}
    found = {**half(weights), "W": joined.astype(np.float16)}
    assert not audited(native, found).failures
    found["W"][7, 2] *= np.float16(1.01)
    assert audited(native, found).failures


# -- what inputs cannot judge at this precision ----------------------------------------------


def strictly(weights: Arrays, initializers: Arrays):
    norms = [BATCH_NORM] if "bn.weight" in weights else []
    options = {"fold_ulp": FOLD_ULP, "rounding": HALF, "strict": True}
    return audit_initializers(weights, norms, initializers, **options)


def gates(hidden: int = 64) -> Arrays:
    """An LSTM's weights (4H, H) and biases (4H,), gates in torch's order: i, f, g, o."""
    rng = np.random.default_rng(0)
    shapes = {"w": (4 * hidden, 5), "r": (4 * hidden, hidden), "wb": 4 * hidden, "rb": 4 * hidden}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def joined(native: Arrays) -> Arrays:
    """The same as ONNX wants them: i, o, f, g, and one B."""
    hidden = native["r"].shape[1]
    order = [slice(i * hidden, (i + 1) * hidden) for i in (0, 3, 1, 2)]
    turned = {name: np.concatenate([array[s] for s in order]) for name, array in native.items()}
    both = np.concatenate([turned["wb"], turned["rb"]])
    return half({"W": turned["w"][None], "R": turned["r"][None], "B": both[None]})


def test_gates_in_another_order_are_found() -> None:
    native = gates()
    native["r"][3, 5] = 1e-9  # which ONNX Runtime's converter lifts
    found = joined(native)
    found["R"][found["R"] == 0] = 1e-7
    assert set(statuses(strictly(native, found)).values()) == {"rearranged"}


def test_parts_that_were_split_and_transposed_are_found() -> None:
    """As an attention's query, key and value are."""
    native = {"in_proj": np.random.default_rng(0).normal(size=(24, 8)).astype(np.float32)}
    found = half({str(i): native["in_proj"][8 * i : 8 * i + 8].T.copy() for i in (2, 0, 1)})
    assert set(statuses(strictly(native, found)).values()) == {"rearranged"}


@pytest.mark.parametrize(
    "harm",
    [
        lambda r: r.__setitem__((0, 9, 9), -r[0, 9, 9]),
        lambda r: r.__setitem__((0, 9, 9), np.float16(1.2) * r[0, 9, 9]),
        lambda r: r.__setitem__((0, 9, slice(2)), r[0, 9, 1::-1].copy()),
    ],
    ids=["sign", "fifth", "swapped"],
)
def test_one_weight_among_many_alike_is_found(harm: Callable[[np.ndarray], None]) -> None:
    native = gates()
    found = joined(native)
    harm(found["R"])
    assert "r" in failing(strictly(native, found))


@pytest.mark.parametrize(
    ("name", "harm", "native"),
    [
        ("fc.bias", lambda a: a * np.float16(1.3), "fc.bias"),
        ("fc.bias", lambda a: a[::-1].copy(), "fc.bias"),
        (KERNEL, lambda a: a * np.float16(1.02), "conv.weight"),
        (KERNEL, lambda a: a[::-1].copy(), "conv.weight"),
    ],
    ids=["a bias scaled", "a bias reversed", "a kernel scaled", "a kernel reversed"],
)
def test_what_resembles_no_longer_is_no_excuse(weights, folded, name, harm, native) -> None:
    found = half(folded)
    assert not strictly(weights, found).failures
    assert native in failing(strictly(weights, {**found, name: harm(found[name])}))


def test_folds_rounded_to_fewer_bits_are_named(weights: Arrays, folded: Arrays) -> None:
    """Each of their values lies within what a fold is granted."""
    coarse = folded[KERNEL].astype(ml_dtypes.bfloat16).astype(np.float16)
    report = strictly(weights, {**half(folded), KERNEL: coarse})
    assert "conv.weight" in failing(report)
    assert "rounded to bfloat16" in report.summary()


def test_a_weight_beyond_float16_is_no_copy_of_infinity(weights: Arrays) -> None:
    large = weights["fc.weight"].copy()
    large[0, 0] = 1e6
    native = {**weights, "fc.weight": large}
    with np.errstate(over="ignore"):
        assert failing(strictly(native, half(native))) == {"fc.weight"}
