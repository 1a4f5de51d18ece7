"""pytest-benchmark's comparison with a stored run: where it compares nothing, it is red."""

import json
from dataclasses import replace

import pytest

from onnx_conformance.perf.latency.pytest_benchmark import (
    StoredBenchmarks,
    compared_badly,
    read_stored,
)
from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

STORED = StoredBenchmarks("2026-01-01T00:00:00", frozenset({"t[a]", "t[b]"}), {}, {})
OPTIONS = (
    "tests/test_latency.py", "--model=simple_net", "--exporter=torch_torchscript",
    "--provider=cpu", "--batch-size=1", "--bench-seconds=0.2", "--native-form=eager",
)  # fmt: skip
SKIPPED = "--benchmark-skip"
FAIL = "--benchmark-compare-fail=mean:100000%"


def badly(timed, selected, selection):
    return " ".join(compared_badly(STORED, timed, selected, selection))


def test_the_same_benchmarks_are_compared():
    assert not badly({"t[a]", "t[b]"}, {"t[a]", "t[b]"}, {})


def test_a_benchmark_that_was_not_timed_is_red():
    assert "1 benchmark(s) of the stored run of 2026-01-01T00:00:00 have no time now" in badly(
        {"t[a]"}, {"t[a]"}, {}
    )


def test_a_renamed_benchmark_is_red_twice():
    found = badly({"t[a]", "t[c]"}, {"t[a]", "t[c]"}, {})
    assert "left out: t[b]" in found
    assert "nothing judges them: t[c]" in found


def test_a_narrowed_run_misses_only_what_it_selected():
    narrowed = {"keyword": ["a"]}
    assert not badly({"t[a]"}, {"t[a]"}, narrowed)
    assert "t[b]" in badly({"t[a]"}, {"t[a]", "t[b]"}, narrowed)


def test_nothing_in_common_is_red_even_when_narrowed():
    assert "compared nothing" in badly({"t[c]"}, {"t[c]"}, {"keyword": ["c"]})


def test_nothing_timed_is_red():
    assert "compared nothing" in badly(set(), {"t[a]"}, {"keyword": ["a"]})


def test_another_setting_is_reported_figure_by_figure():
    here = {"threads": 1, "affinity": [0]}
    other = replace(STORED, setting={"threads": 2, "affinity": [0]})
    assert other.differences(here) == "threads 2, now 1"
    assert STORED.differences(here) == "threads not told, now 1; affinity not told, now [0]"


def test_a_stored_run_without_anything_is_of_another_setting():
    assert read_stored({}).differences({"threads": 1})


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A stored run of two rows, and the options that name it."""
    folder = tmp_path_factory.mktemp("compare")
    file = folder / "stored.json"
    run = run_suite(folder, *OPTIONS, *page(folder), f"--benchmark-json={file}")
    assert run.status == 0, run.text
    return folder, file


def page(folder):
    return (f"--latency-json={folder / 'l.json'}", f"--latency-html={folder / 'l.html'}")


def compare(stored, *arguments, file=None):
    folder, own = stored
    return run_suite(
        folder, *OPTIONS, *page(folder), f"--benchmark-compare={file or own}", *arguments
    )


def changed(stored, tmp_path, change):
    data = json.loads(stored[1].read_text())
    change(data)
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(data))
    return file


def rename(data):
    data["benchmarks"][0]["fullname"] += "-renamed"


def more_threads(data):
    data["machine_info"]["node"] = "elsewhere"
    for bench in data["benchmarks"]:
        bench["extra_info"]["threads"] = 64


def other_processor(data):
    data["machine_info"]["node"] = "elsewhere"
    for bench in data["benchmarks"]:
        bench["extra_info"]["processor"] = "a processor of elsewhere"


def test_a_true_comparison_passes_and_says_what_it_is_worth(stored):
    run = compare(stored, FAIL)
    assert run.status == 0, run.text
    assert "absolute times of two runs" in run.text


def test_a_renamed_benchmark_turns_the_run_red(stored, tmp_path):
    run = compare(stored, FAIL, file=changed(stored, tmp_path, rename))
    assert run.status == 1, run.text
    assert "have no time now" in run.text
    assert "nothing judges them" in run.text


@pytest.mark.parametrize(
    ("change", "message"),
    [(more_threads, "threads 64, now 1"), (other_processor, "a processor of elsewhere")],
)
def test_a_stored_run_of_another_setting_gets_no_verdict(stored, tmp_path, change, message):
    run = compare(stored, FAIL, file=changed(stored, tmp_path, change))
    assert run.status == pytest.ExitCode.USAGE_ERROR, run.text
    assert message in run.text
    assert "there is no verdict" in run.text


def test_plain_compare_works_and_says_that_it_gates_nothing(stored, tmp_path):
    run = compare(stored, file=changed(stored, tmp_path, more_threads))
    assert run.status == 0, run.text
    assert "gates nothing" in run.text
    assert "warning: the stored run of" in run.text


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--benchmark-disable", "--benchmark-disable times nothing"),
        ("--benchmark-skip", "--benchmark-skip times nothing"),
        ("-n1", "pytest-xdist disables benchmarks"),
    ],
)
def test_disabled_benchmarks_are_refused(stored, argument, message):
    run = compare(stored, FAIL, argument)
    assert run.status == pytest.ExitCode.USAGE_ERROR, run.text
    assert message in run.text


def test_plain_compare_without_a_stored_run_says_that_nothing_was_compared(tmp_path):
    storage = f"--benchmark-storage={tmp_path}"
    run = run_suite(tmp_path, "--benchmark-compare", storage, *OPTIONS, *page(tmp_path), SKIPPED)
    assert run.status == 5, run.text
    assert "no stored run was found, so nothing was compared" in run.text


def test_no_stored_run_is_refused(tmp_path):
    run = run_suite(tmp_path, *OPTIONS, f"--benchmark-storage={tmp_path}", FAIL)
    assert run.status == pytest.ExitCode.USAGE_ERROR, run.text
    assert "without --benchmark-compare it compares nothing" in run.text
    run = run_suite(
        tmp_path, *OPTIONS, f"--benchmark-storage={tmp_path}", FAIL, "--benchmark-compare"
    )
    assert run.status == pytest.ExitCode.USAGE_ERROR, run.text
    assert "no stored run was found" in run.text
