"""The file of found recipes: what it may say, and what is then replayed."""

import pytest
import yaml

from onnx_conformance.catalog.models import MODELS
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.project import project
from onnx_conformance.inputs import recipes
from onnx_conformance.inputs.families import FAMILIES, PINNED_NAMES, materialise, replayed
from onnx_conformance.inputs.recipes import Recipe, entry, load_found_recipes
from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

CASE = Case("simple_net", "torch_torchscript", 14, "cpu")
GOOD = """
- recipe: {distribution: onehot, scale: 1e6, batch: 2, seed: 7}
  model: simple_*
  name: bright
  reason: one bright pixel overflowed
  link: https://example.org/1
  date: 2026-11-23
- recipe: {distribution: ones}
  reason: found by a neighbour
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "found.yaml"
        path.write_text(text)
        return path

    return write


def test_the_shipped_file_is_good():
    path = project().found_recipes
    assert path is not None
    load_found_recipes(path)


@pytest.mark.parametrize("text", ["", "[]", "# nothing yet\n"])
def test_an_empty_file_is_good(written, text):
    assert load_found_recipes(written(text)) == ()


def test_entries_are_read(written):
    bright, ones = load_found_recipes(written(GOOD))
    assert (bright.name, bright.model) == ("found_bright", "simple_*")
    assert bright.recipe == Recipe("onehot", 1e6, 2, 7)
    assert (ones.name, ones.model, ones.recipe) == ("found_2", "*", Recipe("ones"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", "line 1: the file must be a list"),
        ("- {reason: a b c}", "line 1: 'recipe' is missing"),
        ("- {recipe: {distribution: ones}}", "line 1: 'reason' is missing"),
        ("- recipe: {distribution: ones}\n  reason: too short", "line 2: an entry needs a"),
        (
            "- recipe: {distribution: cauchy}\n  reason: a b c",
            "unknown distribution 'cauchy'; known: z",
        ),
        ("- recipe: {scale: 1}\n  reason: a b c", "'distribution' is missing in 'recipe'"),
        ("- {recipe: {distribution: ones, scale: .inf}, reason: a b c}", "not inf"),
        ("- {recipe: {distribution: ones, scale: 1e31}, reason: a b c}", "to 1e+30, not '1e31'"),
        ("- {recipe: {distribution: ones, batch: 0}, reason: a b c}", "from 1 to 64, not 0"),
        ("- {recipe: {distribution: ones, batch: 65}, reason: a b c}", "from 1 to 64, not 65"),
        ("- {recipe: {distribution: ones, seed: -1}, reason: a b c}", "'seed' must be a whole"),
        (
            "- {recipe: {distribution: ones, sed: 1}, reason: a b c}",
            "unknown key 'sed' in 'recipe'",
        ),
        ("- {recipe: {distribution: ones}, reason: a b c, modle: x}", "unknown key 'modle'"),
        ("- {recipe: {distribution: ones}, reason: a b c, model: none_*}", "no model matches"),
        ("- {recipe: {distribution: ones}, reason: a b c, name: a-b}", "'name' must be letters"),
        ("- {recipe: {distribution: ones}, reason: a b c, link: here}", "'link' must be"),
        (2 * "- {recipe: {distribution: ones}, reason: a b c}\n", "line 2: ones(scale=1, batch=1"),
        (GOOD + GOOD.replace("batch: 2", "batch: 3"), "two entries have the name 'found_bright'"),
    ],
)
def test_what_is_wrong_is_reported_with_its_line(written, text, message):
    path = written(text)
    with pytest.raises(UsageError) as error:
        load_found_recipes(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "recipe", [Recipe("onehot", 1e6, 2, 7), Recipe("image", -1e-4), Recipe("ones", 1e30)]
)
def test_the_printed_entry_can_be_pasted(written, recipe):
    text = entry(recipe, CASE)
    assert len(yaml.safe_load(text)) == 1
    (read,) = load_found_recipes(written(text))
    assert (read.recipe, read.model) == (recipe, "simple_net")


def test_replayed_on_the_models_that_match_and_planned_ahead(written, monkeypatch):
    monkeypatch.setattr(recipes, "FOUND", written(GOOD))
    assert list(replayed("simple_net", 0)) == [*PINNED_NAMES, "found_bright", "found_2"]
    assert list(replayed("resnet18", 0)) == [*PINNED_NAMES, "found_2"]
    model = MODELS["simple_net"]
    planned = {inputs.digest for inputs in FAMILIES["pinned"](model, 0).reference}
    assert materialise(Recipe("onehot", 1e6, 2, 7), model).digest in planned


def test_every_profile_replays_them(written, monkeypatch, tmp_path, pytestconfig):
    monkeypatch.setenv("FOUND_RECIPES", str(written(GOOD)))
    run = run_suite(
        tmp_path,
        "tests/test_function.py",
        "--model=simple_net",
        "--opset=14",
        "--exporter=torch_torchscript",
        "--provider=cpu",
        f"--cache-dir={pytestconfig.getoption('cache_dir')}",
        "-kfound",
        plugin="other_found_recipes",
    )
    assert run.status == 5, run.text  # the other checks were not asked for
    (case,) = run.document["cases"]
    assert [row["inputs"] for row in case["checks"]] == [
        "onehot(scale=1e+06, batch=2, seed=7)",
        "ones(scale=1, batch=1, seed=0)",
    ]


def test_a_malformed_file_ends_the_run_in_one_line(written, monkeypatch, tmp_path):
    monkeypatch.setenv("FOUND_RECIPES", str(written("- 3")))
    run = run_suite(tmp_path, "--collect-only", plugin="other_found_recipes")
    assert run.status == 4
    assert "line 1: an entry must be a mapping" in run.text
    assert "Traceback" not in run.text
