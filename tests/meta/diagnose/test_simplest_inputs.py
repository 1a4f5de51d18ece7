"""Shrinking: the simplest recipe that fails, within so many examples, and told."""

from itertools import pairwise

import pytest

from onnx_conformance.catalog.models import MODELS
from onnx_conformance.checks.registry import PLAIN_CASE
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.results import CheckResult
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.diagnose.simplest_inputs import (
    MOST_EXAMPLES,
    explained,
    search,
    shrunk,
    simpler,
    simplicity,
)
from onnx_conformance.inputs.recipes import SCALES, Recipe
from studies.corpus import FAULTS
from studies.corpus.mutant_files import load_corpus
from studies.shrinking import shrink
from tests.meta.value_faults import ANSWERS, RARE, answering, mutants

pytestmark = pytest.mark.slow

INPUTS = (TensorSpec("x", ("batch", 3, 16, 16)),)
ENDS = [
    Recipe("image", -10.0, 3, 255),
    Recipe("image", -10.0, 1, 255),
    Recipe("image", 7.5, 8, 2**31),
    Recipe("normal", 1e6, 1, 3),
    Recipe("zeros", batch=5),
    Recipe("zeros"),
]


# -- the order -------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ENDS, ids=str)
def test_tried_in_order_and_all_simpler_with_no_more_samples(end):
    tried = list(simpler(end))
    assert all(simplicity(one) < simplicity(other) for one, other in pairwise([*tried, end]))
    assert all(recipe.batch <= end.batch for recipe in tried)


@pytest.mark.parametrize("end", ENDS, ids=str)
def test_no_inputs_are_tried_twice(end):
    digests = [recipe.inputs(INPUTS).digest for recipe in simpler(end)]
    assert len(set(digests)) == len(digests)


def test_one_and_two_samples_are_tried_whole_within_the_limit():
    tried = list(simpler(ENDS[0]))[: MOST_EXAMPLES - 1]
    assert Recipe("image", SCALES[-1], 2, 0) in tried
    assert Recipe("zeros", batch=3) in tried


@pytest.mark.parametrize(
    ("fails", "simplest"),
    [
        (lambda recipe: True, Recipe("zeros")),
        (lambda recipe: recipe.batch > 1, Recipe("zeros", batch=2)),
        (lambda recipe: recipe.batch > 2, Recipe("zeros", batch=3)),
        (lambda recipe: abs(recipe.scale) > 1e4, Recipe("ones", 1e6)),
        (lambda recipe: recipe.scale < -5, Recipe("ones", -10.0)),
        (lambda recipe: recipe.distribution in ("normal", "image"), Recipe("normal")),
        (lambda recipe: recipe.seed == 255, Recipe("onehot", seed=255)),
        (lambda recipe: recipe == ENDS[0], ENDS[0]),
    ],
)
def test_search(fails, simplest):
    found = search(fails, ENDS[0])
    assert found.recipe == simplest
    assert found.tried <= MOST_EXAMPLES


# -- what is told ----------------------------------------------------------------------------


class FakeSubject:
    case, model, seed, fail_fast = PLAIN_CASE, MODELS[PLAIN_CASE.model], 0, False


class Judge:
    """A check that fails where it is told to, and counts its calls."""

    def __init__(self, fails):
        self.fails, self.calls = fails, 0

    def __call__(self, subject, recipe):
        self.calls += 1
        outcome = "failed" if self.fails(recipe) else "passed"
        return CheckResult("error_budget", outcome, "why", 1, inputs=str(recipe))


def large(recipe):
    return abs(recipe.scale) > 500 and recipe.distribution != "zeros"


@pytest.mark.parametrize("judge", [explained, shrunk])
def test_a_pass_is_left_as_it_is(judge):
    check = Judge(lambda recipe: False)
    result = judge(check, FakeSubject(), Recipe("normal"))
    assert (result.outcome, result.details, check.calls) == ("passed", (), 1)


def test_a_pinned_failure_tells_the_simplest_and_how_to_pin_it():
    result = explained(Judge(large), FakeSubject(), Recipe("normal", 1e6, seed=3))
    assert result.inputs == "normal(scale=1e+06, batch=1, seed=3)"
    simplest, _, line = result.details
    assert simplest == "simplest recipe that fails: ones(scale=1000, batch=1, seed=0), of 7 tried"
    assert line.strip().startswith("- {recipe: {distribution: ones, scale: 1000.0, batch: 1")


def test_a_drawn_failure_is_the_simplest_one():
    result = shrunk(Judge(large), FakeSubject(), Recipe("image", 1e3, 3, 200))
    assert result.inputs == "ones(scale=1000, batch=1, seed=0)"
    assert result.details[0] == "found by: image(scale=1000, batch=3, seed=200)"


def test_what_is_pinned_already_is_not_to_be_pinned_again():
    result = explained(Judge(lambda recipe: True), FakeSubject(), Recipe("zeros", seed=9))
    assert result.details == (
        "simplest recipe that fails: zeros(scale=1, batch=1, seed=0), of 1 tried",
    )


def test_a_subject_is_searched_once():
    check, subject = Judge(lambda recipe: recipe.batch > 1), FakeSubject()
    first = shrunk(check, subject, Recipe("image", batch=3, seed=9))
    searched = check.calls
    assert shrunk(check, subject, Recipe("normal", batch=2)).inputs == first.inputs
    assert check.calls == searched + 2


def test_a_later_and_simpler_failure_is_not_hidden_by_the_first():
    subject = FakeSubject()
    explained(Judge(lambda recipe: recipe.seed == 9), subject, Recipe("image", seed=9))
    fails = Judge(lambda recipe: recipe == Recipe("onehot", seed=5))
    assert shrunk(fails, subject, Recipe("onehot", seed=5)).inputs == str(Recipe("onehot", seed=5))


def test_an_engine_that_dies_on_another_recipe_does_not_take_the_verdict():
    def check(subject, recipe):
        if recipe.distribution == "ones":
            raise StageFailure("native", "simple_net", "died")
        return Judge(large)(subject, recipe)

    result = shrunk(check, FakeSubject(), Recipe("normal", 1e6))
    assert result.inputs == "normal(scale=1e+06, batch=1, seed=0)"
    assert "of 3 tried" in result.details[1]


# -- real faults -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "simplest"),
    [
        ("infinite_above_65504", Recipe("ones", 1e6)),
        ("one_channel_slightly_off", Recipe("ones")),
        ("clipped_at_30", Recipe("ones", 1e3)),
    ],
)
def test_a_value_dependent_fault_shrinks_to_the_simplest_recipe(right, tmp_path, name, simplest):
    load_corpus()
    fault = next(fault for fault in (*RARE, *FAULTS.values()) if fault.name == name)
    ((_, wrong),) = mutants(right, tmp_path, [fault])
    is_shrunk(wrong, simplest)


def test_a_fault_of_batches_shrinks_to_two_samples(right):
    wrong = answering(right, ANSWERS["x 1.01 in batches of 2 or more"])
    is_shrunk(wrong, Recipe("zeros", batch=2))


def is_shrunk(wrong, simplest):
    outcome = shrink("fault", wrong)
    assert outcome.good
    assert outcome.simplest.recipe == simplest
    assert outcome.simplest.tried <= 20
