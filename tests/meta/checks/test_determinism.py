"""Two runs of the same inputs: the same bits where they are promised, told elsewhere."""

from dataclasses import replace

import numpy as np
import pytest

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.checks.controls import AlteredSubject, changed
from onnx_conformance.checks.determinism import spread_of
from onnx_conformance.checks.registry import CHECKS
from onnx_conformance.run.subject import Answer
from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

NAN = np.float32(np.nan)
UNPROMISED = "cuda"


def f32(*values):
    return {"y": np.array(values, dtype=np.float32)}


# -- bits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "differing", "largest"),
    [
        (f32(1, 2), f32(1, 2), 0, 0.0),
        (f32(1, 2), f32(1, 2.5), 1, 0.5),
        (f32(0.0), f32(-0.0), 1, 0.0),
        (f32(NAN), f32(NAN), 0, 0.0),
        (f32(NAN), f32(-NAN), 1, 0.0),
        (f32(NAN), f32(1), 1, np.inf),
        (f32(np.inf, 1), f32(1, 1), 1, np.inf),
        ({"y": np.array([[3, 4]])}, {"y": np.array([[3, 6]])}, 1, 2.0),
        ({"y": np.zeros((0, 5), np.float32)}, {"y": np.zeros((0, 5), np.float32)}, 0, 0.0),
    ],
)
def test_bits_are_compared_and_not_values(first, second, differing, largest):
    found = spread_of(first, second)
    assert (found.differing, found.largest) == (differing, largest)
    assert found.elements == first["y"].size


# -- promised and not ----------------------------------------------------------------------


def judged(right, change, provider="cpu"):
    """Judge a subject of which the second run of a set of inputs goes through ``change``."""
    wrong = changed(
        right,
        lambda outputs, inputs, repeat: (
            {name: change(array) for name, array in outputs.items()} if repeat else outputs
        ),
    )
    wrong.case = replace(right.case, provider=provider)
    return CHECKS["determinism"].function(wrong)


def last_bit(array):
    return np.nextafter(array, np.float32(np.inf))


def test_only_the_processor_promises_it_by_itself():
    assert [name for name in PROVIDERS if PROVIDERS[name].deterministic] == ["cpu"]
    assert not PROVIDERS[UNPROMISED].deterministic


def test_the_same_bits_are_reported_with_their_figures(right):
    result = CHECKS["determinism"].function(right)
    assert result.passed
    assert result.statistics == {"differing": 0, "elements": result.compared, "largest": 0.0}


def test_a_last_bit_is_red_where_the_same_are_promised(right):
    result = judged(right, last_bit)
    assert result.outcome == "failed"
    assert "two runs differ in 10 of 10 elements, largest difference" in result.reason
    assert "cpu promises the same bits" in result.reason


def test_elsewhere_it_is_reported_and_never_looks_like_none(right):
    result = judged(right, last_bit, UNPROMISED)
    assert result.passed
    assert "two runs differ in 10 of 10 elements" in result.reason
    assert "cuda promises no determinism" in result.reason
    assert result.statistics["differing"] == 10
    assert 0.0 < result.statistics["largest"] < 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda array: array * np.float32(1.1), "the second of two runs is wrong: output"),
        (lambda array: array[:1], "in the second of two runs, output 'output' has shape (1, 5)"),
        (lambda array: np.full_like(array, np.nan), "the second of two runs is wrong: output"),
    ],
)
def test_a_second_answer_that_is_wrong_is_red_everywhere(right, change, message):
    result = judged(right, change, UNPROMISED)
    assert result.outcome == "failed"
    assert message in result.reason


def test_a_second_run_that_is_refused_is_red_in_its_words(right):
    def run(inputs, repeat):
        return Answer(None, "busy") if repeat else right.run(inputs)

    result = CHECKS["determinism"].function(AlteredSubject(right, run=run))
    assert "the session failed on the inputs: busy" in result.reason


# -- in a run ----------------------------------------------------------------------------------


def test_in_one_run(tmp_path, cache):
    run = run_suite(
        tmp_path,
        "tests/test_function.py::test_determinism",
        "--model=simple_net",
        "--exporter=torch_torchscript",
        "--opset=14",
        cache,
        *(f"--provider={name}" for name in ("cpu", "promising", "honest")),
        plugin="unsteady",
    )
    cases = {case["provider"]: case for case in run.document["cases"]}
    assert {name: case["verdict"] for name, case in cases.items()} == {
        "cpu": "passed",
        "promising": "failed",
        "honest": "passed",
    }, run.text
    assert {name: case["same_bits"] for name, case in cases.items()} == {
        "cpu": True,
        "promising": False,
        "honest": False,
    }
    assert "~ honest: two runs of the same inputs differ in 1 case(s), by" in run.text
    assert run.status == 1
