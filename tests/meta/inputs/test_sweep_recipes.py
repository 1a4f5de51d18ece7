"""Recipes of named sizes, filled masks and whole ranges; and how their sizes shrink."""

import numpy as np
import pytest

from onnx_conformance.core.case import Case
from onnx_conformance.core.domains import AtMost, Integers, Lengths, Mask
from onnx_conformance.core.spec import Axis, TensorSpec
from onnx_conformance.diagnose.simplest_inputs import plainer_sizes, search, simplicity
from onnx_conformance.inputs.recipes import EVERY, Recipe, entry, load_found_recipes, suited
from onnx_conformance.inputs.strategies import EXTENTS, foresee

AXES = (("seq", Axis(1, 64)), ("wide", Axis(8, 32, 8)))
IDS = TensorSpec("ids", ("batch", "seq"), "int64", domain=Integers(5, 300))
LENGTH = TensorSpec("length", ("batch",), "int64", domain=Lengths("seq"))
MASK = TensorSpec("mask", ("batch", "seq"), "int64", domain=Mask("length"))
CASE = Case("simple_net", "torch_torchscript", 14, "cpu")


def test_a_named_size_is_fed_and_others_keep_their_share():
    recipe = Recipe("normal", sizes=(("seq", 37), ("other", 5)))
    assert recipe.sizes_on(AXES) == {"seq": 37, "wide": Recipe("normal").sizes_on(AXES)["wide"]}
    assert recipe.inputs((IDS,), AXES)["ids"].shape == (1, 37)
    assert str(recipe) == "normal(scale=1, batch=1, seed=0, seq=37, other=5)"


def test_full_masks_are_full_whatever_else_is_drawn():
    inputs = Recipe("normal", batch=3, sizes=(("seq", 64),), full=True).inputs(
        (IDS, LENGTH, MASK), AXES
    )
    assert (inputs["length"] == 64).all()
    assert inputs["mask"].all()
    assert len(np.unique(inputs["ids"])) > 50


def test_every_value_of_a_range_is_fed_once():
    input_sets = [Recipe(EVERY, batch=2, seed=block, sizes=(("seq", 64),)) for block in range(3)]
    ids = np.concatenate([inputs.inputs((IDS,), AXES)["ids"].ravel() for inputs in input_sets])
    assert sorted(ids[:295]) == list(range(5, 300))


def test_a_model_without_axes_knows_no_sizes():
    assert suited(Recipe("normal", sizes=(("seq", 3),)), ()) == Recipe("normal")


def test_draws_reach_sizes_between_the_known_ones():
    sizes = {recipe.sizes_on(AXES)["seq"] for seed in range(40) for recipe in foresee(seed)}
    known = {Recipe("ones", extent=extent).sizes_on(AXES)["seq"] for extent in EXTENTS}
    assert len(sizes - known) > 20
    assert {size % 2 for size in sizes} == {0, 1}


@pytest.mark.parametrize(
    ("fails", "simplest"),
    [
        (lambda recipe: True, Recipe("zeros")),
        (lambda recipe: recipe.sizes_on(AXES)["seq"] > 60, Recipe("zeros", extent=1.0)),
        (lambda recipe: recipe.sizes_on(AXES)["seq"] == 37, Recipe("zeros", sizes=(("seq", 37),))),
    ],
)
def test_sizes_shrink_after_values(fails, simplest):
    assert (
        search(
            fails, Recipe("normal", 10.0, 2, 7, sizes=(("seq", 37 if simplest.sizes else 63),))
        ).recipe
        == simplest
    )


def test_sizes_shrink_in_order():
    start = Recipe("normal", sizes=(("seq", 37),), full=True)
    tried = [simplicity(one) for one in plainer_sizes(start)]
    assert tried == sorted(tried)
    assert max(tried) < simplicity(start)
    assert list(plainer_sizes(Recipe("normal"))) == []


def test_a_found_recipe_keeps_its_sizes(tmp_path):
    recipe = Recipe("normal", sizes=(("seq", 37),), full=True)
    (tmp_path / "found.yaml").write_text(entry(recipe, CASE) + "\n")
    assert load_found_recipes(tmp_path / "found.yaml")[0].recipe == recipe
    assert "sizes" not in entry(Recipe("normal"), CASE)


def test_at_most_follows_the_values_in_turn():
    kinds = TensorSpec("kinds", ("batch", "seq"), "int64", domain=AtMost("ids"))
    inputs = Recipe(EVERY, batch=2).inputs((IDS, kinds), AXES)
    assert (inputs["kinds"] <= inputs["ids"]).all()
