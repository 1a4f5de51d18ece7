"""Recipes: the same arrays everywhere, and the same draws as were foreseen."""

import runpy
import subprocess
import sys
from collections import Counter

import hypothesis
import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from onnx_conformance.core.domains import Integers, Mask, written
from onnx_conformance.core.spec import Axis, TensorSpec, sizes_of
from onnx_conformance.inputs.families import pinned
from onnx_conformance.inputs.recipes import (
    CONSTANT,
    DISTRIBUTIONS,
    SCALES,
    Inputs,
    Recipe,
    calibration_batch,
)
from onnx_conformance.inputs.strategies import LARGEST_BATCH, foresee, new_recipes, recipes
from onnx_conformance.plugin.configuration import PROFILES
from tests.meta.running import ROOT

pytestmark = pytest.mark.slow

INPUTS = (TensorSpec("image", ("batch", 3, 16, 16)), TensorSpec("flat", ("batch", 10), "float64"))


def inputs(array, name="x"):
    return Inputs({name: array})


# -- inputs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_arrays_have_the_shapes_and_dtypes_of_the_inputs(distribution, batch):
    made = Recipe(distribution, scale=10.0, batch=batch).inputs(INPUTS)
    assert {name: (array.shape, str(array.dtype)) for name, array in made.items()} == {
        "image": ((batch, 3, 16, 16), "float32"),
        "flat": ((batch, 10), "float64"),
    }
    assert all(np.isfinite(array).all() for array in made.values())


@pytest.mark.parametrize(
    "shape", [("batch",), ("batch", 1), ("batch", 7, 9), ("batch", 2, 8, 8, 8)]
)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_every_rank_can_be_fed(distribution, shape):
    spec = TensorSpec("x", shape)
    assert Recipe(distribution, batch=2).inputs((spec,))["x"].shape == spec.concrete(2)


@pytest.mark.parametrize("distribution", [d for d in DISTRIBUTIONS if d not in CONSTANT])
def test_seed_changes_the_inputs_and_samples_differ(distribution):
    first, second = (
        Recipe(distribution, batch=3, seed=seed).inputs(INPUTS)["image"] for seed in (0, 1)
    )
    assert not np.array_equal(first, second)
    assert not np.array_equal(first[0], first[1])


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_scale_multiplies_the_same_draw(distribution):
    plain, scaled = (
        Recipe(distribution, scale=scale).inputs(INPUTS)["flat"] for scale in (1.0, -8.0)
    )
    assert np.array_equal(-8.0 * plain, scaled)


@pytest.mark.parametrize("distribution", CONSTANT)
def test_a_constant_distribution_knows_no_seed(distribution):
    assert len({Recipe(distribution, seed=seed).inputs(INPUTS).digest for seed in range(3)}) == 1


def test_distributions_are_what_their_names_say():
    def draw(distribution):
        return Recipe(distribution, batch=8).inputs(INPUTS)["image"].reshape(8, -1)

    assert not draw("zeros").any()
    assert (draw("ones") == 1).all()
    assert (draw("onehot").sum(axis=1) == 1).all()
    assert set(np.unique(draw("onehot"))) == {0, 1}
    assert 0 <= draw("uniform").min() < 0.01 < 0.99 < draw("uniform").max() < 1
    assert draw("normal").std() == pytest.approx(1, abs=0.05)
    assert (draw("sparse") != 0).mean() == pytest.approx(0.05, abs=0.02)


def test_image_is_smoother_than_noise():
    def step(distribution):
        image = Recipe(distribution, batch=4).inputs((TensorSpec("x", ("batch", 3, 64, 64)),))["x"]
        return np.abs(np.diff(image, axis=-1)).mean() / image.std()

    assert step("image") < 0.4 * step("normal")


def test_inputs_are_the_same_in_every_process():
    code = (
        "from onnx_conformance.inputs.recipes import *\n"
        "spec = (TensorSpec('x', ('batch', 3, 16, 16)),)\n"
        "print(*(Recipe(d, 10.0, 2, 5).inputs(spec).digest for d in DISTRIBUTIONS))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    spec = (TensorSpec("x", ("batch", 3, 16, 16)),)
    assert result.stdout.split() == [
        Recipe(d, 10.0, 2, 5).inputs(spec).digest for d in DISTRIBUTIONS
    ]


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        (Recipe("normal", 10.0, 4, 7), "normal(scale=10, batch=4, seed=7)"),
        (Recipe("zeros"), "zeros(scale=1, batch=1, seed=0)"),
        (Recipe("image", -1e-4, 0, 65536), "image(scale=-0.0001, batch=0, seed=65536)"),
    ],
)
def test_text_form(recipe, text):
    assert str(recipe) == text


def test_unknown_distribution_is_an_error():
    with pytest.raises(ValueError, match="'cauchy' is not in list"):
        Recipe("cauchy").inputs(INPUTS)


# -- digests ---------------------------------------------------------------------------------

ARRAY = np.arange(6, dtype=np.float32)


def test_digest_does_not_depend_on_memory_layout_or_order():
    two = Inputs({"a": ARRAY, "b": ARRAY + 1})
    assert two.digest == Inputs({"b": ARRAY + 1, "a": np.repeat(ARRAY, 2)[::2]}).digest


@pytest.mark.parametrize(
    "other",
    [
        inputs(ARRAY, "y"),
        inputs(ARRAY.astype(np.float64)),
        inputs(ARRAY.view(np.int32)),
        inputs(ARRAY.reshape(2, 3)),
        inputs(ARRAY.reshape(3, 2)),
        inputs(np.nextafter(ARRAY, np.float32(9))),
        inputs(-ARRAY * np.float32(-1.0) * np.where(ARRAY == 0, np.float32(-1), np.float32(1))),
        inputs(ARRAY[:5]),
        Inputs({"x": ARRAY, "y": ARRAY}),
        Inputs({"x": ARRAY, "y": ARRAY[:0]}),
        Inputs(),
    ],
    ids=[
        "name",
        "dtype",
        "same bytes",
        "shape",
        "other shape",
        "ulp",
        "-0",
        "short",
        "two",
        "and empty",
        "none",
    ],
)
def test_digest_tells_inputs_apart(other):
    assert other.digest != inputs(ARRAY).digest


def test_digest_tells_a_scalar_from_a_vector_of_one():
    assert inputs(np.array(1.0)).digest != inputs(np.array([1.0])).digest


# -- draws -----------------------------------------------------------------------------------


def test_recipes_shrink_to_the_simplest():
    assert find(recipes(), lambda _: True) == Recipe("zeros", 1.0, 1, 0)
    assert find(recipes(), lambda recipe: recipe.batch > 1).batch == 2
    assert find(recipes(), lambda recipe: abs(recipe.scale) > 50) == Recipe("zeros", 1e3, 1, 0)


@pytest.mark.parametrize("number", range(5))
def test_no_draw_repeats_pinned_inputs(number):
    digests = {recipe.inputs(INPUTS).digest for recipe in pinned(number).values()}
    assert not digests & {recipe.inputs(INPUTS).digest for recipe in foresee(number)}


@settings(max_examples=100)
@given(recipes())
def test_recipes_stay_in_range(recipe):
    assert recipe.distribution in DISTRIBUTIONS
    assert recipe.scale in SCALES
    assert 1 <= recipe.batch <= LARGEST_BATCH
    assert 0 <= recipe.seed <= 2**16


def test_a_thorough_run_draws_every_distribution_and_scale():
    drawn = many(PROFILES["thorough"], 0)
    assert {recipe.distribution for recipe in drawn} == set(DISTRIBUTIONS) - {"zeros"}
    assert {recipe.scale for recipe in drawn} == set(SCALES)


def many(examples, number):
    """What a plain seeded test of so many examples draws."""
    drawn = []

    @settings(max_examples=examples, database=None, phases=tuple(Phase))
    @hypothesis.seed(number)
    @given(new_recipes())
    def test(recipe):
        drawn.append(recipe)

    test()
    return drawn


@pytest.fixture
def profile(request):
    """Run under a profile of Hypothesis, as with ``--hypothesis-profile``."""
    before = settings.get_current_profile_name()
    settings.load_profile(request.param)
    yield request.param
    settings.load_profile(before)


def drawn_by_the_suite(number):
    """What the suite's own drawn test hands to its check, seeded as conftest.py seeds it."""
    drawn = []
    suite = runpy.run_path(str(ROOT / "tests" / "test_function.py"))  # under the present profile
    test = hypothesis.seed(number)(suite["test_drawn_inputs"])
    test.hypothesis.inner_test = lambda subject, evidence, recipe: drawn.append(recipe)
    test(subject=None, evidence=None)
    return drawn


@pytest.mark.parametrize("profile", PROFILES, indirect=True)
@pytest.mark.parametrize("number", [0, 1, 2**32])
def test_what_is_foreseen_is_what_the_suite_draws(profile, number):
    drawn = drawn_by_the_suite(number)
    assert tuple(dict.fromkeys(drawn)) == foresee(number)
    assert len(drawn) >= PROFILES[profile]


def test_every_test_of_a_seed_draws_the_same():
    """All cases of a model share one oracle: the draws must not depend on what ran before."""
    first = drawn_by_the_suite(5)
    many(10, 6)
    assert drawn_by_the_suite(5) == first


def test_another_seed_draws_others():
    assert Counter(foresee(0)) != Counter(foresee(1))


@pytest.mark.parametrize("profile", ["thorough"], indirect=True)
def test_draws_do_not_depend_on_what_else_is_imported(monkeypatch, tmp_path, profile):
    """Hypothesis draws constants that it reads in the user's modules, of all that are loaded."""
    foreseen = foresee(3)
    numbers = ", ".join(str(number) for number in range(1000, 3000, 7))
    (tmp_path / "imported_meanwhile.py").write_text(f"NUMBERS = [{numbers}]\n")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("imported_meanwhile")
    assert tuple(dict.fromkeys(drawn_by_the_suite(3))) == foreseen


# -- calibration -----------------------------------------------------------------------------


@given(st.integers(0, 2**16))
def test_calibration_batch_is_repeatable_and_mixed(seed):
    batch = calibration_batch((8, 3, 16, 16), seed)
    assert batch.shape == (8, 3, 16, 16)
    assert batch.dtype == np.float32
    assert np.array_equal(batch, calibration_batch((8, 3, 16, 16), seed))
    assert 0.05 < batch[6].std() < 0.15  # the faint one
    assert batch[7].min() >= 0  # the flat one


@pytest.mark.parametrize(("extent", "larger"), [(0.25, "second"), (0.5, "first")])
def test_either_of_two_axes_is_the_larger_one(extent, larger):
    """A model that cuts one to the other's size is wrong on some inputs."""
    sizes = sizes_of((("first", Axis(1, 24)), ("second", Axis(1, 24))), extent)
    assert max(sizes, key=sizes.__getitem__) == larger


def test_bytes_are_pixels_bright_and_dark():
    """Noise of equal brightness in every image moves no classifier."""
    default = TensorSpec("image", ("batch", 8, 8, 3), "uint8")
    assert default == TensorSpec("image", ("batch", 8, 8, 3), "uint8", domain=Integers(0, 256))
    drawn = {name: recipe.inputs((default,))["image"] for name, recipe in pinned(0).items()}
    means = [array.mean() for array in drawn.values()]
    assert max(means) - min(means) > 100
    assert {array.dtype for array in drawn.values()} == {np.dtype(np.uint8)}
    many = Recipe("normal", scale=100.0, batch=512).inputs((default,))["image"]
    assert set(np.unique(many)) == set(range(256))


def test_some_bytes_are_categories():
    ids = TensorSpec("ids", ("batch", 8), "uint8", domain=Integers(0, 200))
    assert ids.domain == Integers(0, 200)
    assert Recipe("normal", batch=512).inputs((ids,))["ids"].max() == 199


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        (Integers(0, 9), "Integers(0, 9)"),
        (Mask(), "Mask()"),
        (Mask(lengths="n"), "Mask('n')"),
        (Mask(side="left"), "Mask(side='left')"),
    ],
)
def test_a_domain_is_written_as_it_is_registered(domain, text):
    assert written(domain) == text
