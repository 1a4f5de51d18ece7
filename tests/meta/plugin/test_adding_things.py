"""What CONTRIBUTING.md says of adding things, done outside of the library and seen in a run."""

import pytest

from tests.meta.running import run_suite

pytestmark = pytest.mark.slow
TOYS = "tests/meta/plugins/toy_suite.py"
CONTROLS = "tests/meta/checks/test_controls.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    providers = ("--provider=cpu", "--provider=toy", "--provider=lost")
    names = ("structure", "function", "robustness")  # the tests that a case requires
    suite = [f"tests/test_{name}.py" for name in names]
    where = (*suite, TOYS, CONTROLS, "-k", "toy", "-rp")
    summary = f"--report-md={folder / 'report.md'}"
    return run_suite(
        folder, *where, "--model=toy_net", *providers, summary, plugin="toys", page=True
    )


@pytest.fixture(scope="module")
def reports(run):
    written = [run.results.with_name(name) for name in ("report.html", "report.md")]
    return [run.text, *(page.read_text() for page in written)]


def cases(run, provider):
    return [case for case in run.document["cases"] if case["provider"] == provider]


def test_a_framework_is_one_record_and_one_module(run):
    assert run.status == 0, run.text
    assert {case["opset"] for case in cases(run, "cpu")} == {13, 21}
    assert all(case["complete"] and case["worst_score"] for case in cases(run, "cpu"))


def test_a_check_is_one_function_and_its_control(run):
    assert run.outcomes()["toy_producer"] == {"passed", "skipped"}
    assert "its_cause_is_named[toy_of_nobody-toy_producer]" in run.text  # among those that passed
    assert all(
        "toy_producer" in [row["name"] for row in case["checks"]] for case in run.document["cases"]
    )


def test_a_provider_on_a_new_device_is_two_records(run):
    assert {case["verdict"] for case in cases(run, "toy")} == {"passed"}
    assert {case["verdict"] for case in cases(run, "lost")} == {"skipped"}
    assert "no lost chip is here (/no/such/*)" in run.text


def test_a_column_is_one_entry_and_stands_in_every_report(reports):
    for text in reports:
        assert "toy size" in text
        assert "3 toy nodes" in text
