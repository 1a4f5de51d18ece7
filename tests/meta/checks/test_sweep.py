"""Which sizes and rows are fed, and what the pooled budget lets pass."""

from collections import Counter

import numpy as np
import pytest

from onnx_conformance.catalog.models import MODELS
from onnx_conformance.checks.turned_rows import hangs_on_an_ulp, takes_quantities
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.domains import Integers
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.judgement import AnswerLimits, judge_outputs
from onnx_conformance.core.pooled_budget import PoolRule, pooled_scores
from onnx_conformance.core.spec import Axis, ModelSpec, TensorSpec
from onnx_conformance.inputs.families import batch_mates
from onnx_conformance.inputs.recipes import COARSE, EVERY
from onnx_conformance.inputs.sweep_plan import (
    extra_batches,
    load_figures,
    row_recipes,
    shipped_figures,
    size_recipes,
    work,
)

IDS = TensorSpec("ids", ("batch", "seq"), "int64", domain=Integers(0, 300))
PLAIN = TensorSpec("x", ("batch", 16))
IMAGE = TensorSpec("image", ("batch", 3, "height", "width"))
PIXELS = TensorSpec("image", ("batch", 3, 8, 8), "uint8")
BYTE_IDS = TensorSpec("ids", ("batch", 8), "uint8", domain=Integers(0, 200))
OUT = TensorSpec("y", ("batch", 5))
RULE = PoolRule(4.0, 2.0, 0.1, 0.9, 8.0)


def model(*inputs, axes=(), framework="torch", parameters=0):
    return ModelSpec(
        "m", framework, inputs, (OUT,), "nowhere:nothing", axes=axes, parameters=parameters
    )


def fed(spec, axis, **known):
    return [r.sizes_on(spec.axes)[axis] for r in size_recipes(spec, 0) if r.batch <= 2]


# -- which sizes -------------------------------------------------------------------------------


def test_a_small_model_is_fed_every_size_once():
    spec = model(IDS, axes=(("seq", Axis(1, 64)),), parameters=3_000)
    assert Counter(fed(spec, "seq")) == Counter(range(1, 65))


def test_the_largest_comes_first_with_full_masks():
    first = size_recipes(model(IDS, axes=(("seq", Axis(1, 64)),)), 0)[0]
    assert (dict(first.sizes), first.full) == ({"seq": 64}, True)
    assert [r.full for r in size_recipes(model(IDS, axes=(("seq", Axis(1, 64)),)), 0)].count(1) == 1


@pytest.mark.parametrize("axis", [Axis(1, 65), Axis(16, 4000), Axis(1, 24)])
def test_a_large_model_is_fed_the_ends_and_some_of_either_parity(axis):
    spec = model(IDS, axes=(("seq", axis),), parameters=3_000_000)
    sizes = fed(spec, "seq")
    assert sizes[:4] == [axis.high, axis.low, axis.low + 1, axis.high - 1]
    assert {size % 2 for size in sizes} == {0, 1}
    assert len(sizes) == len(set(sizes))


def test_a_huge_model_is_fed_four_sizes_and_no_rows():
    spec = model(IDS, axes=(("seq", Axis(1, 512)),), parameters=10**9)
    assert fed(spec, "seq") == [512, 1, 2, 511]
    assert row_recipes(spec, 0) == ()


def test_two_axes_are_fed_crosswise():
    axes = (("height", Axis(16, 32, 16)), ("width", Axis(16, 32, 16)))
    pairs = {tuple(dict(r.sizes).values()) for r in size_recipes(model(IMAGE, axes=axes), 0)}
    assert pairs >= {(32, 32), (16, 16), (16, 32), (32, 16)}


def test_two_axes_take_all_their_sizes_and_are_seldom_equal():
    axes = (("source", Axis(1, 20)), ("target", Axis(1, 12)))
    inputs = [TensorSpec(n, ("batch", n, 4)) for n in ("source", "target")]
    recipes = size_recipes(model(*inputs, axes=axes), 0)
    sizes = [dict(r.sizes) for r in recipes if r.batch <= 2]
    assert {s["source"] for s in sizes} == set(range(1, 21))
    assert {s["target"] for s in sizes} == set(range(1, 13))
    assert sum(s["source"] == s["target"] for s in sizes) < len(sizes) / 3
    assert any(s["source"] > 2 * s["target"] for s in sizes)
    assert any(s["target"] > s["source"] for s in sizes)


def test_a_compiled_framework_is_fed_fewer():
    sizes = fed(model(IDS, axes=(("seq", Axis(1, 64)),), framework="keras"), "seq")
    assert len(sizes) == shipped_figures().most_sizes_compiled


def test_sizes_are_drawn_by_the_seed():
    spec = model(IDS, axes=(("seq", Axis(1, 4000)),))
    assert size_recipes(spec, 0) == size_recipes(spec, 0)
    assert {r.sizes for r in size_recipes(spec, 0)} != {r.sizes for r in size_recipes(spec, 1)}


# -- which batches and rows --------------------------------------------------------------------


def test_small_models_take_odd_and_large_batches():
    odd, deployed = {5, 6, 7, 17, 33}, {12, 16, 32, 64}
    assert batch_mates(model(PLAIN), 0)[1] == tuple(sorted({1, 2, 4, 8} | odd | deployed))
    assert set(extra_batches(model(PLAIN))) == odd | deployed
    assert {r.batch for r in size_recipes(model(PLAIN), 0)} == odd | deployed
    assert set(extra_batches(model(PLAIN, parameters=10**7))) == odd


def test_large_batches_are_fed_at_the_largest_and_at_other_sizes():
    spec = model(IDS, axes=(("seq", Axis(1, 64)),), parameters=3_000)
    sizes = {r.batch: r.sizes_on(spec.axes)["seq"] for r in size_recipes(spec, 0) if r.batch > 2}
    assert sizes[5] == sizes[17] == sizes[32] == 64
    assert len(set(sizes.values())) > 3


def test_two_axes_are_fed_equal_and_at_either_parity():
    axes = (("height", Axis(32, 256)), ("width", Axis(32, 256)))
    large = size_recipes(model(IMAGE, axes=axes, parameters=10**9), 0)
    pairs = [tuple(dict(r.sizes).values()) for r in large]
    assert pairs == [(256, 256), (32, 32), (255, 32), (32, 255)]
    spec = model(TensorSpec("a", ("batch", "a")), TensorSpec("b", ("batch", "b")),
                 axes=(("a", Axis(1, 40)), ("b", Axis(3, 20))))  # fmt: skip
    pairs = [tuple(dict(r.sizes).values()) for r in size_recipes(spec, 0) if r.batch <= 2]
    assert len(pairs) == len(set(pairs)) >= shipped_figures().least_pairs
    assert (20, 20) in pairs
    assert any(1 < a == b < 20 for a, b in pairs)


def test_images_take_an_odd_batch_above_8_and_no_sweep():
    assert extra_batches(MODELS["resnet50"]) == ()
    assert batch_mates(MODELS["resnet50"], 0)[1] == (1, 2, 5, 9)
    assert size_recipes(MODELS["resnet50"], 0) == row_recipes(MODELS["resnet50"], 0) == ()


def test_small_inputs_are_fed_thousands_of_rows_at_several_scales():
    recipes = row_recipes(model(PLAIN, parameters=800), 0)
    assert {r.batch for r in recipes} == {4096}
    assert len({r.scale for r in recipes}) >= 5


def test_every_id_is_fed():
    spec = model(IDS, axes=(("seq", Axis(1, 64)),), parameters=3_000)
    every = [r for r in row_recipes(spec, 0) if r.distribution == EVERY]
    ids = [r.inputs(spec.inputs, spec.axes)["ids"] for r in every]
    assert set(np.concatenate([one.ravel() for one in ids])) == set(range(300))


def test_all_fits_what_it_may_cost():
    for parameters in (0, 10**4, 10**6, 10**8):
        spec = model(IDS, axes=(("seq", Axis(1, 64)),), parameters=parameters)
        figures = shipped_figures()
        assert sum(work(spec, r) for r in row_recipes(spec, 0)) <= 2 * figures.row_work
        beyond = size_recipes(spec, 0)[figures.least_sizes :]
        assert sum(work(spec, r) for r in beyond) <= figures.size_work


def test_figures_need_reasons(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("element_work:\n  value: 1\n  reason: no\n")
    with pytest.raises(UsageError, match="is missing"):
        load_figures(path)


# -- the pooled budget -------------------------------------------------------------------------


def made(rng, rows, outputs=5, noise=1e-7):
    oracle = rng.normal(size=(rows, outputs))
    answers = [oracle * (1 + noise * rng.normal(size=oracle.shape)) for _ in range(5)]
    return Reference(
        {"y": oracle},
        {"y": answers[0]},
        tuple({"y": answer} for answer in answers[1:4]),
    ), answers[4]


def largest(reference, got, rule=RULE):
    return max(s.ratios(0).max() for s in pooled_scores([(reference, {"y": got})], [OUT], rule))


@pytest.mark.parametrize("outputs", [1, 2, 5, 100])
@pytest.mark.parametrize("noise", [1e-8, 1e-7, 1e-5])
def test_rounding_is_within_budget_on_thousands_of_rows(outputs, noise):
    rng = np.random.default_rng(outputs)
    assert max(largest(*made(rng, 4096, outputs, noise)) for _ in range(10)) < 1


def test_one_row_that_is_off_by_a_hundred_thousandth_is_not():
    reference, got = made(np.random.default_rng(0), 4096)
    got[1234] *= 1 + 1e-5
    assert largest(reference, got) > 1


def test_rows_in_which_float32_fails_hide_no_other():
    rng = np.random.default_rng(0)
    reference, got = made(rng, 4096)
    for answer in reference.natives:
        answer["y"][:300] *= 1 + 1e-2 * rng.normal(size=(300, 5))
    got[3000] *= 1 + 1e-5
    assert largest(reference, got) > 1


def test_rows_of_large_values_hide_no_small_ones():
    reference, got = made(np.random.default_rng(0), 4096)
    for side in (reference.oracle, reference.native, *reference.replicas):
        side["y"][:2000] *= 1e4
    got[:2000] *= 1e4
    assert largest(reference, got) < 1
    got[3000] *= 1 + 1e-5
    assert largest(reference, got) > 1


def test_nan_where_native_has_a_number_is_wrong():
    reference, got = made(np.random.default_rng(0), 64)
    got[3, 2] = np.nan
    assert largest(reference, got) == np.inf


def test_an_output_of_unit_scale_may_be_near_zero():
    rng = np.random.default_rng(0)
    oracle = 1e-9 * rng.normal(size=(64, 5))
    answers = tuple({"y": oracle + 1e-10 * rng.normal(size=(64, 5))} for _ in range(3))
    reference, got = Reference({"y": oracle}, answers[0], answers), {"y": oracle + 1e-7}
    unit = [TensorSpec("y", ("batch", 5), scale="unit")]
    assert max(s.ratios(0).max() for s in pooled_scores([(reference, got)], unit, RULE)) < 1
    got = {"y": oracle + 1e-5}
    assert max(s.ratios(0).max() for s in pooled_scores([(reference, got)], unit, RULE)) > 1


def test_samples_in_which_float32_fails_are_counted():
    reference, got = made(np.random.default_rng(0), 64)
    reference.native["y"][:48] = np.nan
    scores = pooled_scores([(reference, {"y": got})], [OUT], RULE)
    assert {score.judged_rows for score in scores} == {(16, 64)}
    reference.native["y"][:] = np.nan
    scores = pooled_scores([(reference, {"y": got})], [OUT], RULE)
    assert {score.judged_rows for score in scores} == {(0, 64)}


@pytest.mark.parametrize(("rounded", "error", "right"), [(2.0, 3.0, True), (1e-5, 0.1, False)])
def test_a_logarithm_is_judged_where_float32_knows_its_number(rounded, error, right):
    """1 - sigmoid(20) is what rounding left; a softmax knows its small numbers well."""
    small = np.full((512, 1), 2e-9)
    sides = [small * (1 + rounded * way) for way in (0.0, 0.3, 0.5, 1.0)] + [small * (1 + error)]
    oracle, *ways, got = [np.concatenate([1 - side, side], axis=1) for side in (small, *sides)]
    replicas = tuple({"y": way} for way in ways[1:])
    spec = [TensorSpec("y", ("batch", 2), scale="probabilities")]
    reference = Reference({"y": oracle}, {"y": ways[0]}, replicas)
    scores = pooled_scores([(reference, {"y": got})], spec, RULE)
    assert {score.view for score in scores} == {"values", "logarithms"}
    assert bool(max(score.ratios(0).max() for score in scores) < 1) is right


def test_one_stray_of_thousands_is_excused_and_no_more():
    reference, got = made(np.random.default_rng(0), 4096, outputs=1)
    for answer in reference.natives:
        answer["y"][0] *= 1 + 1e-2  # a row of much error
    got[1] *= 1 + 1e-4
    lenient = PoolRule(4.0, 2.0, 0.1, 0.9, 8.0, strays=1.0)
    assert largest(reference, got, lenient) < 1 < largest(reference, got)
    got[2] *= 1 + 1e-4
    assert largest(reference, got, lenient) > 1
    got[2] /= 1 + 1e-4
    got[1] *= 2
    assert largest(reference, got, lenient) > 1


def test_numbers_in_steps_meet_limits_and_empty_inputs():
    state = TensorSpec("state", ("batch", 8))
    recipe = next(r for r in row_recipes(model(PLAIN, state), 0) if r.distribution == COARSE)
    fed = recipe.inputs((PLAIN, state))
    assert np.array_equal(fed["x"] * 2, np.round(fed["x"] * 2))
    assert (fed["x"] == 0.5).any()
    empty = {name: (array == 0).all(axis=1) for name, array in fed.items()}
    assert (empty["state"] & ~empty["x"]).any()
    alone = next(r for r in row_recipes(model(PLAIN), 0) if r.distribution == COARSE)
    assert not (alone.inputs((PLAIN,))["x"] == 0).all(axis=1).any()


def test_a_model_without_a_batch_is_called_some_hundred_times():
    spec = model(TensorSpec("x", (16,)), parameters=800)
    recipes = row_recipes(spec, 0)
    assert min(r.batch for r in recipes) >= 64
    assert sum(r.batch for r in recipes) <= shipped_figures().most_calls
    ids = model(TensorSpec("id", (1,), "int64", domain=Integers(0, 50_000)))
    assert EVERY not in {r.distribution for r in row_recipes(ids, 0)}


def test_rows_of_decisions_hold_no_ties():
    label = TensorSpec("label", ("batch",), "int64")
    spec = ModelSpec("m", "torch", (PLAIN,), (label,), "nowhere:nothing")
    assert "sparse" not in {r.distribution for r in row_recipes(spec, 0)}


@pytest.mark.parametrize(
    ("spec", "quantity"), [(PLAIN, True), (PIXELS, True), (IDS, False), (BYTE_IDS, False)]
)
def test_a_few_decisions_may_round_where_an_input_is_a_quantity(spec, quantity):
    assert takes_quantities(model(spec)) is quantity


CLOSE = AnswerLimits("allclose", {"rtol": 1e-5, "atol_rms": 1e-5}, 4.0)
SWEEP = {"flips": 3.0, "open_share": 0.01}


def callables_rows(*, otherwise, left_open, rows=4000):
    """What a plain callable's reference says of rows of which some were answered otherwise."""
    native = np.tile([0.25, 0.75], (rows, 1))
    other, got = native.copy(), native.copy()
    other[:left_open] = other[:left_open, ::-1]
    got[rows - otherwise :] = got[rows - otherwise :, ::-1]
    y = TensorSpec("y", ("batch", 2))
    reference = Reference({"y": native}, {"y": native}, (), alternatives=lambda: ({"y": other},))
    return reference, judge_outputs(reference, {"y": got}, [y], CLOSE)


@pytest.mark.parametrize(
    ("otherwise", "left_open", "right"),
    [(1, 1, True), (5, 1, True), (6, 1, False), (1, 0, False), (1, 41, False)],
)
def test_rows_of_a_callable_may_hang_on_an_ulp_as_often_as_its_own(otherwise, left_open, right):
    reference, found = callables_rows(otherwise=otherwise, left_open=left_open)
    assert not found.right
    assert hangs_on_an_ulp([(reference, found)], SWEEP) == right


def test_what_a_callable_answers_an_ulp_away_is_right_and_nothing_else():
    reference, _ = callables_rows(otherwise=0, left_open=1)
    y = [TensorSpec("y", ("batch", 2))]
    got = reference.native["y"].copy()
    got[0] = got[0, ::-1]
    assert judge_outputs(reference, {"y": got}, y, CLOSE).right
    got[0] = 0.5
    assert not judge_outputs(reference, {"y": got}, y, CLOSE).right
