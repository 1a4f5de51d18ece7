"""A provider in a class of less precision: right float32 answers are within every budget of it."""

import pytest

from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

CLASSES = ("tf32", "float16", "bfloat16")
CHOSEN = ("--model=simple_net", "--exporter=torch_torchscript", "--opset=14")


@pytest.fixture(scope="module")
def cases(tmp_path_factory, cache):
    providers = [f"--provider=cpu_{name}" for name in CLASSES]
    folder = tmp_path_factory.mktemp("coarse")
    parts = [f"tests/test_{part}.py" for part in ("structure", "function", "robustness")]
    arguments = (*parts, *CHOSEN, *providers, cache)
    ran = run_suite(folder, *arguments, plugin="coarse_providers")
    return {case["precision"]: case for case in ran.document["cases"]}


@pytest.mark.parametrize("name", CLASSES)
def test_every_check_that_the_class_requires_is_passed(cases, name):
    assert cases[name]["verdict"] == "passed"
    assert cases[name]["complete"]


@pytest.mark.parametrize("name", CLASSES)
def test_the_score_counts_in_the_noise_floor_of_the_class(cases, name):
    assert cases[name]["worst_score"] < 0.01  # float32's error, in noise floors of 11 bits
    reasons = [row["reason"] for row in cases[name]["checks"] if row["name"] == "error_budget"]
    assert all(f"x the {name} noise floor" in reason for reason in reasons)
