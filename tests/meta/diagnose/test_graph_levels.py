"""Graph optimization levels as an axis: each is a session of its own, and a wrong one is named."""

from dataclasses import replace

import pytest

from onnx_conformance.core.case import Case, ExportOptions
from onnx_conformance.run.selection import Selection, select_cases
from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

ONE = ("--model=simple_net", "--exporter=torch_torchscript", "--opset=14", "--provider=cpu")
JUDGED = ("tests/test_structure.py", "tests/test_function.py", "tests/test_robustness.py")
LEVELS = ("disabled", "basic", "extended", "all")
ASKED = tuple(f"--graph-level={level}" for level in LEVELS)


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    return run_suite(tmp_path_factory.mktemp("levels"), *JUDGED, *ONE, *ASKED)


def test_each_level_is_proved_by_itself(right):
    found = {case["graph_level"]: case["verdict"] for case in right.document["cases"]}
    assert found == dict.fromkeys(LEVELS, "passed")
    assert all(case["complete"] for case in right.document["cases"])


def test_each_level_is_a_column(right):
    assert all(f"cpu@{level}" in right.text for level in LEVELS)


def test_a_level_that_is_wrong_is_red_and_named(tmp_path, cache):
    judged = ("tests/test_function.py::test_pinned_inputs", *ONE, *ASKED, cache)
    ran = run_suite(tmp_path, *judged, plugin="bad_level")
    verdicts = {case["graph_level"]: case["verdict"] for case in ran.document["cases"]}
    expected = {"disabled": "passed", "basic": "passed", "extended": "failed", "all": "failed"}
    assert verdicts == expected
    assert "the file is right; ONNX Runtime's optimisation at level 'extended' is not" in ran.text
    assert "--graph-level extended" in ran.text


def test_a_plain_case_of_a_test_is_one_of_the_runs():
    chosen = Selection(("simple_net",), graph_levels=("disabled", "all"))
    plain = Case("simple_net", "torch_torchscript", 14, "cpu")
    assert chosen.placed(plain) in select_cases(chosen)
    assert (
        chosen.placed(static := replace(plain, options=ExportOptions(dynamic_batch=False)))
        == static
    )
    assert Selection().placed(plain) == plain


def test_one_level_is_no_axis():
    assert not any(case.graph_level for case in select_cases(Selection(("simple_net",))))


def test_ids_tell_levels_apart():
    levels = ("disabled", "all")
    cases = select_cases(Selection(("simple_net",), graph_levels=levels))
    assert len({case.id for case in cases}) == len(cases)
    assert {case.graph_level for case in cases} == set(levels)
