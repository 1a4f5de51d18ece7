"""Weights that reach a file through arithmetic: found as what native computes, or untraced."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper

from onnx_conformance.checks.audit.audit import audit_initializers
from onnx_conformance.checks.audit.unexplained import agreeing
from onnx_conformance.core.graph_weights import collect_uses
from onnx_conformance.core.native_constants import Constant
from tests.meta.checks.test_audit import FOLD_ULP, audit, failing, fold, harmed, statuses, weights  # noqa: F401

RNG = np.random.default_rng(11)
KERNEL = RNG.normal(size=(8, 3, 3, 3)).astype(np.float32)
EPSILON = 1e-5


def standardised(kernel, epsilon=EPSILON):
    """The kernel less its mean, over its deviation, each output channel by itself."""
    axes = (1, 2, 3)
    centred = kernel - kernel.mean(axes, keepdims=True)
    return centred / np.sqrt(kernel.var(axes, keepdims=True) + kernel.dtype.type(epsilon))


def constants():
    mean = KERNEL.astype(np.float64).mean((1, 2, 3), keepdims=True)
    exact = standardised(KERNEL.astype(np.float64)).astype(np.float32)
    return [
        Constant("mean", ("conv.weight",), (), False, mean.astype(np.float32)),
        Constant("standard", ("conv.weight", "mean"), (), True, exact, standardised(KERNEL)),
    ]


def judged(found, known=None, native=None, **options):
    return audit_initializers(
        {"conv.weight": KERNEL} if native is None else native,
        [],
        found,
        fold_ulp=FOLD_ULP,
        constants=constants() if known is None else known,
        **options,
    )


def test_what_native_computes_of_a_kernel_accounts_for_it():
    report = judged({"val_3": standardised(KERNEL)})
    assert statuses(report) == {"conv.weight": "computed"}
    assert report.elements == KERNEL.size
    assert "computed into standard" in report.findings[0].note


@pytest.mark.parametrize("transposed", [False, True])
def test_in_another_layout_too(transposed):
    found = standardised(KERNEL).transpose(2, 3, 1, 0) if transposed else standardised(KERNEL)
    assert not judged({"x": np.ascontiguousarray(found)}).failures


def test_one_sign_in_it_is_found():
    found = harmed(
        {"x": standardised(KERNEL)}, "x", (3, 1, 2, 0), -float(standardised(KERNEL)[3, 1, 2, 0])
    )
    finding = judged(found).failures[0]
    assert (finding.status, finding.mismatched, finding.initializer) == ("differs", 1, "x")
    assert finding.worst.index == (3, 1, 2, 0)


def test_another_epsilon_is_found():
    assert failing(judged({"x": standardised(KERNEL, 1e-3)})) == {"conv.weight"}


def test_one_channel_of_another_scale_is_found_though_it_is_proportional_to_a_parameter():
    """Of the direction of weight_norm any scale of a channel would be a rescaling."""
    size = np.sqrt((KERNEL**2).sum((1, 2, 3), keepdims=True))
    gain = RNG.uniform(0.5, 2, (8, 1, 1, 1)).astype(np.float32)
    whole = KERNEL * (gain / size)
    known = [Constant("normal", ("v", "g"), (), True, whole)]
    native = {"v": KERNEL, "g": gain}
    assert set(statuses(judged({"x": whole}, known, native)).values()) == {"computed"}
    wrong = whole.copy()
    wrong[5] *= np.float32(1.01)
    assert failing(judged({"x": wrong}, known, native)) == {"v", "g"}


def test_a_harmed_result_beside_a_good_parameter_fails():
    found = {"conv.weight": KERNEL, **harmed({"x": standardised(KERNEL)}, "x", (0, 0, 0, 0), 9.0)}
    assert failing(judged(found)) == {"conv.weight"}


def test_a_step_on_the_way_accounts_for_nothing():
    """The means alone do not tell the kernel."""
    assert failing(judged({"x": constants()[0].array})) == {"conv.weight"}


def test_what_meets_an_input_itself_must_be_there():
    known = [*constants(), Constant("conv.weight", used=True)]
    assert failing(judged({"x": standardised(KERNEL)}, known)) == {"conv.weight"}


def test_parts_of_the_arithmetic_may_be_left_to_the_file():
    """A file that holds one factor and the computed other one needs neither's origin."""
    left, right = (RNG.normal(size=(6, 6)).astype(np.float32) for _ in range(2))
    known = [
        Constant("exp", ("b",), (), False, np.exp(right)),
        Constant("product", ("a", "exp"), (), True, left * np.exp(right)),
    ]
    native = {"a": left, "b": right}
    report = judged({"a": left, "x": np.exp(right)}, known, native)
    assert statuses(report) == {"a": "identical", "b": "computed"}
    assert failing(judged({"x": np.exp(right)}, known, native)) == {"a", "b"}


def test_small_elements_are_not_judged_by_the_noise_of_large_ones():
    exact = np.geomspace(1e-6, 1e6, 4096).astype(np.float32).reshape(64, 64)
    known = [Constant("c", ("a",), (), True, exact, exact * np.float32(1 + 2**-20))]
    native = {"a": np.log(exact)}
    assert not judged({"x": exact}, known, native).failures
    wrong = harmed({"x": exact}, "x", (0, 3), float(exact[0, 3]) * 2)
    assert failing(judged(wrong, known, native)) == {"a"}


# -- what cannot be traced -----------------------------------------------------------------------


def merged():
    """Two products in one, which nobody here recomputes."""
    first, second = (RNG.normal(size=(12, 12)).astype(np.float32) for _ in range(2))
    return {"a": first, "b": second}, {"x": second @ first}


def test_the_rows_of_a_longer_table_are_left_to_inputs_and_a_damaged_row_is_not():
    table = RNG.normal(size=(20, 8)).astype(np.float32)
    native = {"places": table[:12].copy()}
    assert statuses(judged({"table": table}, [], native)) == {"places": "untraced"}
    wrong = harmed({"table": table}, "table", (3, 1), 0.5)
    assert statuses(judged(wrong, [], native)) == {"places": "differs"}


def test_a_weight_that_nothing_resembles_beside_something_unexplained_is_untraced():
    native, found = merged()
    report = judged(found, [], native)
    assert set(statuses(report).values()) == {"untraced"}
    assert failing(report) == {"a", "b"}
    assert "'x' have no explanation" in report.findings[0].note


def test_where_everything_has_an_explanation_a_weight_is_missing():
    native, _ = merged()
    assert statuses(judged({"a": native["a"]}, [], native))["b"] == "missing"


def test_a_mask_could_hold_no_weight():
    native, _ = merged()
    mask = {"m": np.triu(np.full((12, 12), -np.inf, np.float32), 1)}
    assert set(statuses(judged(mask, [], native)).values()) == {"missing"}


def test_what_bears_its_name_and_resembles_it_in_nothing_is_no_merger():
    native, found = merged()
    report = judged({"b": found["x"]}, [], native)
    assert statuses(report)["b"] == "missing"
    finding = next(f for f in report.findings if f.native == "b")
    text = "'b': same name and shape, other values (another training or seed?)"
    assert (finding.fails, str(finding)) == (True, text)


def test_a_moved_copy_with_one_wrong_element_is_harmed():
    native, found = merged()
    moved = np.pad(native["a"], [(0, 4), (0, 0)])
    good = judged({"x": moved, "y": native["b"]}, [], native)
    assert statuses(good)["a"] == "rearranged"
    moved[3, 3] *= -1
    finding = judged({"x": moved, "y": native["b"]}, [], native).failures[0]
    assert (finding.native, finding.status) == ("a", "differs")
    assert "not all" in finding.note


def test_half_of_a_fold_with_one_wrong_element_is_harmed(weights):  # noqa: F811
    factor, offset = fold(weights)
    kernel = weights["conv.weight"] * factor[:, None, None, None]
    bias = weights["conv.bias"] * factor + offset
    halves = {"k0": kernel[:4].copy(), "k1": kernel[4:].copy(), "b0": bias[:4], "b1": bias[4:]}
    rest = {name: weights[name] for name in ("fc.weight", "fc.bias")}
    assert not audit(weights, halves | rest).failures
    halves["k1"][2, 1, 0, 0] *= -1
    found = statuses(audit(weights, halves | rest))
    assert found["conv.weight"] == "differs"


# -- tables --------------------------------------------------------------------------------------

TABLE = RNG.normal(size=(30, 8)).astype(np.float32)


def uses_of(*nodes):
    return collect_uses(onnx.ModelProto(graph=onnx.GraphProto(node=nodes)))


GATHERED = uses_of(helper.make_node("Gather", ["x", "ids"], ["y"]))
CAST_AND_GATHERED = uses_of(
    helper.make_node("Cast", ["x"], ["z"], to=1), helper.make_node("Gather", ["z", "ids"], ["y"])
)
MULTIPLIED = uses_of(helper.make_node("MatMul", ["ids", "x"], ["y"]))


def swapped():
    order = np.arange(30)
    order[[4, 9]] = 9, 4
    return TABLE[order]


def reversed_rows():
    return TABLE[::-1].copy()


@pytest.mark.parametrize("change", [swapped, reversed_rows])
@pytest.mark.parametrize("uses", [GATHERED, CAST_AND_GATHERED])
def test_rows_that_a_gather_indexes_stand_in_order(change, uses):
    native = {"emb.weight": TABLE}
    report = judged({"x": change()}, [], native, uses=uses)
    assert statuses(report) == {"emb.weight": "differs"}
    assert not judged({"x": TABLE}, [], native, uses=uses).failures


def test_rows_that_are_multiplied_may_be_permuted():
    report = judged({"x": swapped()}, [], {"emb.weight": TABLE}, uses=MULTIPLIED)
    assert statuses(report) == {"emb.weight": "rearranged"}


def test_columns_of_a_table_may_be_permuted():
    found = np.ascontiguousarray(TABLE[:, [1, 0, *range(2, 8)]])
    assert not judged({"x": found}, [], {"emb.weight": TABLE}, uses=GATHERED).failures


def test_a_vector_that_is_indexed_stands_in_order():
    vector = RNG.normal(size=20).astype(np.float32)
    found = {"x": vector[[1, 0, *range(2, 20)]]}
    assert failing(judged(found, [], {"v": vector}, uses=GATHERED)) == {"v"}
    assert not judged(found, [], {"v": vector}, uses=MULTIPLIED).failures


# -- dead originals ------------------------------------------------------------------------------


def test_a_dead_whole_counts_if_all_live_pieces_agree_with_it():
    whole = np.arange(1, 6, dtype=np.float32)
    live = {"p": whole[:3].copy(), "q": whole[3:].copy(), "other": np.full(4, 9.5, np.float32)}
    dead = {"w": whole, "unrelated": np.full(3, 7.5, np.float32)}
    assert set(agreeing(dead, live, live)) == {"w"}
    for piece in ("p", "q"):
        wrong = {**live, piece: live[piece].copy()}
        wrong[piece][1] *= -1
        assert not agreeing(dead, wrong, wrong)
    assert not agreeing(dead, {"p": live["p"]}, ["p"])


def test_constants_compare_equal_to_themselves_only():
    assert replace(Constant("a"), used=True) != Constant("a")


# -- BatchNorms behind what is computed, and in groups -------------------------------------------

NORM = {
    "bn.weight": RNG.uniform(0.7, 1.3, 8),
    "bn.bias": RNG.normal(size=8),
    "bn.running_mean": RNG.normal(size=8),
    "bn.running_var": RNG.uniform(0.3, 2.0, 8),
}
NORM = {name: array.astype(np.float32) for name, array in NORM.items()}


def test_a_norm_folded_into_a_computed_kernel_is_recomputed():
    factor, offset = fold(NORM)
    kernel = standardised(KERNEL) * factor[:, None, None, None]
    native = {"conv.weight": KERNEL, **NORM}
    found = {"k": kernel, "b": offset}
    report = audit(native, found, constants=constants())
    assert not report.failures, report.summary()
    assert statuses(report)["conv.weight"] == "computed"
    wrong = harmed(found, "k", (1, 1, 1, 1), -float(kernel[1, 1, 1, 1]))
    assert "conv.weight" in failing(audit(native, wrong, constants=constants()))


def test_a_norm_folded_into_a_transposed_convolution_in_groups_is_recomputed():
    factor, offset = fold(NORM)
    kernel = RNG.normal(size=(6, 4, 3, 3)).astype(np.float32)
    scale = np.repeat(factor.reshape(2, 1, 4), 3, axis=1).reshape(6, 4, 1, 1)
    found = {"k": kernel * scale, "b": offset}
    native = {"conv.weight": kernel, **NORM}
    report = audit(native, found)
    assert not report.failures, report.summary()
    assert statuses(report)["conv.weight"] == statuses(report)["bn.weight"] == "folded"
    wrong = harmed(found, "k", (4, 2, 1, 0), -float(found["k"][4, 2, 1, 0]))
    finding = next(f for f in audit(native, wrong).failures if f.native == "conv.weight")
    assert (finding.mismatched, finding.worst.index) == (1, (4, 2, 1, 0))


def test_a_twin_that_is_made_of_nothing_stands_for_nothing():
    whole = np.exp(KERNEL)
    known = [
        Constant("exp", ("conv.weight",), ("empty",), True, whole),
        Constant("empty"),
    ]
    assert failing(judged({"y": np.ones(3, np.float32)}, known)) == {"conv.weight"}
    assert not judged({"x": whole}, known).failures
