"""Whole runs: a red case says which node introduces the error, and its bundle fails alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

WRONG = ("--model=simple_net", "--exporter=lying", "--provider=cpu", "-k", "large")


@pytest.fixture(scope="module")
def red(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("red")
    return run_suite(folder, "tests/test_function.py", *WRONG, cache, plugin="bad_exporters")


def test_the_message_names_the_node(red):
    assert red.status == 1
    assert "localised: first wrong at Gemm '/0/Gemm' (node 0)" in red.text


def test_the_report_names_it_too(red):
    (case,) = red.document["cases"]
    assert case["divergence"]["node"] == "/0/Gemm"
    assert case["divergence"]["kind"] == "conversion"


def test_the_subgraph_in_the_bundle_fails_alone(red):
    bundle = Path(red.text.split("bundle: ")[1].splitlines()[0])
    alone = subprocess.run(
        [sys.executable, "subgraph.py"], cwd=bundle, capture_output=True, text=True, check=False
    )
    assert alone.returncode == 1, alone.stdout + alone.stderr


def test_it_can_be_left_out(tmp_path, cache):
    tests = ("tests/test_function.py", *WRONG, "--no-localize", cache)
    assert "localised" not in run_suite(tmp_path, *tests, plugin="bad_exporters").text


def test_on_demand_a_right_case_says_what_adds_the_most_error(tmp_path, cache):
    case = ("--model=simple_net", "--exporter=torch_torchscript", "--opset=14", "--provider=cpu")
    run = run_suite(tmp_path, "tests/test_function.py", *case, "--localize", cache)
    assert run.status == 5  # the other checks were not asked for
    assert "no node leaves the budget; Gemm" in run.text
