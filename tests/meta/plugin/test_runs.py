"""Whole runs: a pass rests on evidence, and everything else ends red or says what it lacks."""

import subprocess
import sys

import pytest

from tests.meta.running import ORDINARY, run_suite

pytestmark = pytest.mark.slow

SMALL = (*ORDINARY, "--model=simple_net", "--exporter=torch_torchscript")
ONE = (*SMALL, "--opset=14", "--provider=cpu")


@pytest.fixture(scope="module")
def green(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("green")
    return run_suite(folder, *ONE, cache, f"--save-onnx={folder / 'kept'}")


def test_a_right_export_is_proved(green):
    assert green.status == 0, green.text
    assert green.document["run"]["verdict"] == "passed"


def test_every_verdict_compared_something(green):
    rows = [row for case in green.document["cases"] for row in case["checks"]]
    assert len(rows) >= 30
    assert all(row["outcome"] == "passed" and row["compared"] > 0 for row in rows)


def test_every_verdict_carries_its_placement_and_digest(green):
    for case in green.document["cases"]:
        assert sum(case["placement"]["CPUExecutionProvider"].values()) > 0
        assert len(case["artifact_sha256"]) == 64


def test_known_answer(green):
    (case,) = green.document["cases"]
    assert case["nodes"] == {"Gemm": 2, "Relu": 1}
    assert case["dynamic_axes"] == {"input": {"0": "batch_size"}, "output": {"0": "batch_size"}}
    assert case["initializers"] == {"count": 4, "elements": 10 * 20 + 20 + 20 * 5 + 5}


def test_some_checks_are_no_proof(tmp_path, cache):
    run = run_suite(tmp_path, *ONE, cache, "-k", "checker")
    assert run.status == 5
    assert run.document["run"]["verdict"] == "incomplete"
    (case,) = run.document["cases"]
    assert {"interface", "batch_axis", "error_budget"} <= set(case["missing"])


def test_some_tests_by_name_are_no_proof(tmp_path, cache):
    case = "simple_net-torch_torchscript-opset14-cpu"
    names = ("tests/test_structure.py", f"tests/test_function.py::test_pinned_inputs[{case}-zeros]")
    run = run_suite(tmp_path, *names, *ONE[len(ORDINARY) :], cache)
    assert run.status == 5, run.text
    assert run.document["run"]["verdict"] == "incomplete"


@pytest.fixture(scope="module")
def bad_routes(tmp_path_factory):
    """Routes that go wrong, each in a way of its own, beside one that is right."""
    wrong = ("lying", "dying", "silent", "patching", "mutating")
    routes = [f"--exporter={name}" for name in (*wrong, "torch_torchscript")]
    arguments = (*SMALL[:2], "--model=simple_net", "--opset=14", "--provider=cpu", *routes)
    return run_suite(tmp_path_factory.mktemp("bad_routes"), *arguments, plugin="bad_exporters")


def row_of(run, exporter, test):
    """The one row of a route's case whose test's id holds ``test``."""
    (case,) = [case for case in run.document["cases"] if case["exporter"] == exporter]
    (row,) = [row for row in case["checks"] if test in row["nodeid"]]
    return row


def test_a_route_that_goes_wrong_is_red_and_the_run_goes_on(bad_routes):
    """One that dies, and ones that change the model or the framework, harm no other's oracle."""
    assert bad_routes.status == 1
    verdicts = {case["exporter"]: case["verdict"] for case in bad_routes.document["cases"]}
    assert verdicts.pop("torch_torchscript") == "passed", bad_routes.text
    assert set(verdicts.values()) == {"failed"}


@pytest.mark.parametrize(
    ("exporter", "message"),
    [
        ("dying", "the exporter's last words"),
        ("silent", "the route wrote no file"),
        ("patching", "the export changed the native model"),
    ],
)
def test_a_failed_export_is_reported(bad_routes, exporter, message):
    assert message in row_of(bad_routes, exporter, "test_checker")["message"]


def test_a_wrong_weight_is_red_and_its_bundle_repeats_it(bad_routes):
    text = row_of(bad_routes, "lying", "-large_normal]")["message"]
    for part in ("differs from native torch", "worst at [", "allowed 4x", "placement: CPU"):
        assert part in text
    bundle = text.split("bundle: ")[1].splitlines()[0]
    script = [sys.executable, f"{bundle}/reproduce.py"]
    again = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 1, again.stdout + again.stderr


def test_a_case_that_is_wrong_everywhere_is_explained_once(bad_routes):
    """On the terminal; the results have every message whole."""
    (case,) = [case for case in bad_routes.document["cases"] if case["exporter"] == "lying"]
    red = [row for row in case["checks"] if row["outcome"] == "failed" and row["score"] is not None]
    assert len(red) > 5
    assert all("reproduce: " in row["message"] for row in red)
    shown = [
        row
        for row in red
        if f"reproduce: {row['message'].split('reproduce: ')[1]}" in bad_routes.text
    ]
    assert len(shown) == 1
    (line,) = [line for line in bad_routes.text.splitlines() if f"{case['id']} is red in" in line]
    assert "batch_invariance" in line
    assert "rows" in line


def test_a_drawn_failure_shrinks_to_the_smallest_recipe(bad_routes):
    text = row_of(bad_routes, "lying", "test_drawn_inputs")["message"]
    assert "batch=1, seed=0)" in text.split("inputs: ")[1].splitlines()[0]


def test_reports_of_an_earlier_run_do_not_survive(green, tmp_path, cache):
    assert green.document["run"]["verdict"] == "passed"
    (tmp_path / green.results.name).write_bytes(green.results.read_bytes())
    later = run_suite(tmp_path, *ONE, cache, "--setup-plan")
    assert later.status == 5
    assert later.document["run"]["verdict"] == "proved nothing"


def test_a_test_without_evidence_is_red(tmp_path, cache):
    run = run_suite(tmp_path, "tests/meta/samples/no_evidence.py", *ONE[len(ORDINARY) :], cache)
    assert run.status == 1
    assert run.outcomes() == {"checker": {"failed", "error"}}
    assert "3 failed" in run.text


def test_a_gpu_provider_that_works_gives_verdicts(tmp_path, cache):
    run = run_suite(
        tmp_path,
        *SMALL,
        "--provider=fakegpu",
        "-m",
        "gpu",
        "--require=gpu",
        cache,
        plugin="fake_gpus",
    )
    assert run.status == 0, run.text


def test_a_run_without_verdicts_proved_nothing(tmp_path, cache):
    run = run_suite(
        tmp_path, *SMALL, "--provider=absentgpu", "-m", "gpu", cache, plugin="fake_gpus"
    )
    assert run.status == 5
    assert run.document["run"]["verdict"] == "proved nothing"
    assert not run.document["environment"]["providers"]["absentgpu"]["usable"]


def test_a_required_provider_that_is_absent_is_red(tmp_path, cache):
    run = run_suite(
        tmp_path,
        ORDINARY[0],
        *ONE[len(ORDINARY) :],
        "--provider=absentgpu",
        "--require=absentgpu",
        cache,
        plugin="fake_gpus",
    )
    assert run.status == 1
    shown = "--require absentgpu: no case passed every check on it (absentgpu: this ONNX"
    assert run.text.count(shown) == 1
    assert "skipped       absentgpu" not in run.text  # it stands above the tests


def test_a_known_failure_that_is_fixed_is_red(tmp_path, cache):
    known = tmp_path / "known.yaml"
    known.write_text(
        "- cases: 'simple_net-*'\n  check: checker\n  says: it was once wrong\n"
        "  reason: the checker was once wrong here\n"
        "  link: https://example.org/1\n  versions: {}\n"
    )
    chosen = (ORDINARY[0], *ONE[len(ORDINARY) :], "-k", "checker")
    run = run_suite(tmp_path, *chosen, f"--known-failures={known}", cache)
    assert run.status == 1
    assert "XPASS(strict)" in run.text


def test_two_processes_without_a_cache_give_the_same_verdict(tmp_path):
    run = run_suite(tmp_path, *ONE, "-d", "--tx=2*popen", "--no-cache")
    assert run.status == 0, run.text
    (case,) = run.document["cases"]
    assert (case["verdict"], case["complete"]) == ("passed", True)


def test_artifacts_are_kept_under_readable_names(green):
    names = {path.name for path in (green.results.parent / "kept").iterdir()}
    assert names == {"simple_net-torch_torchscript-opset14.onnx", "manifest.json"}


def test_a_report_that_cannot_be_written_is_reported(tmp_path, cache):
    (tmp_path / "file").touch()
    run = run_suite(tmp_path, *ONE, cache, f"--report-json={tmp_path}/file/results.json")
    assert run.status == 4
    assert "--report-json: cannot write" in run.text


def test_an_absent_framework_skips_its_cases_by_name(tmp_path, cache):
    arguments = ("--model=keras_sequential", "--exporter=keras_export", *ONE[len(ORDINARY) :])
    arguments += ("--exporter=torch_torchscript",)
    run = run_suite(tmp_path, *ORDINARY, *arguments, cache, plugin="without_keras")
    assert run.status == 0, run.text
    verdicts = {case["model"]: case["verdict"] for case in run.document["cases"]}
    assert verdicts == {"simple_net": "passed", "keras_sequential": "skipped"}
    assert "FRAMEWORKS=keras" in run.text
