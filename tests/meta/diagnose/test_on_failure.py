"""Whole runs: a red case says which node introduces the error, and its bundle fails alone."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

WRONG = ("--model=simple_net", "--exporter=lying", "--provider=cpu", "-k", "large")


@pytest.fixture(scope="module")
def red(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("red")
    text = (f"--junitxml={folder / 'junit.xml'}", f"--report-sarif={folder / 'red.sarif'}")
    tests = ("tests/test_function.py", *WRONG, *text, cache)
    return run_suite(folder, *tests, plugin="bad_exporters")


def test_one_line_tells_cause_and_command_everywhere(red):
    """pytest's last lines, JUnit and SARIF, in the same words; no terminal's width cuts them."""
    last = red.text.split("short test summary info")[1].splitlines()
    (line, *_) = [line for line in last if line.startswith("FAILED") and "large_normal" in line]
    text = line.split(" - ", 1)[1]
    assert "differs from native torch; budget: error 322,000x" in text
    assert "localised: first wrong at Gemm '/0/Gemm'" in text
    assert text.endswith("--provider cpu")
    junit = ElementTree.parse(red.results.with_name("junit.xml"))
    messages = [failure.get("message", "") for failure in junit.iter("failure")]
    assert any(message.startswith(text[:200]) for message in messages)
    sarif = json.loads(red.results.with_name("red.sarif").read_text())
    assert text in {result["message"]["text"] for result in sarif["runs"][0]["results"]}


def test_the_last_lines_say_what_to_type_next(red):
    assert "\nRED: 1 of 1 cases failed" in red.text
    command = red.text.split("\nnext: ")[1].splitlines()[0]
    program, test, *_ = shlex.split(command)
    assert test.startswith("tests/test_function.py::")
    assert shutil.which(program), f"{program} is not to be found from the checkout"


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
