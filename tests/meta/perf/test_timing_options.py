"""The options of timing, and the file of minimum speed-ups: every slip is one clear line."""

import pytest

from onnx_conformance.core.errors import UsageError
from onnx_conformance.perf.latency.contenders import native_contenders
from onnx_conformance.perf.latency.ratios import Ratio
from onnx_conformance.perf.latency.row_requests import (
    SHIPPED_FILE,
    MinimumSpeedup,
    load_minimum_speedups,
    minimum_speedup_of,
)
from onnx_conformance.perf.latency.suspended_worker import chosen_cpus
from onnx_conformance.perf.options import BATCH_SIZES, read_timing

EXTERNAL = {
    "batch_size": [], "native_form": [], "bench_seconds": 6.0, "affinity": "", "threads": 1,
    "require_speedup": "", "gate": None, "engine": [], "latency_json": "latency.json",
    "latency_html": "latency.html",
}  # fmt: skip


def asked(*named, **changes):
    return read_timing(
        lambda name, default=None: {**EXTERNAL, **changes}.get(name, default), list(named)
    )


def test_by_default_nothing_is_timed():
    found = asked("tests")
    assert not found.wanted
    assert found.batch_sizes == BATCH_SIZES
    assert not asked("tests/test_gate.py").wanted


@pytest.mark.parametrize(
    "changes",
    [
        {"benchmark_only": True},
        {"benchmark_autosave": True},
        {"benchmark_compare": "0001"},
        {"benchmark_json": "file"},
        {"require_speedup": "shipped"},
    ],
)
def test_asking_for_timings(changes):
    assert asked("tests", **changes).wanted
    assert not asked("tests", **changes, gate="folder").wanted


def test_naming_the_tests_asks_for_timings():
    assert asked("tests/test_latency.py").wanted
    assert asked("tests/test_latency.py::test_latency").wanted


def test_repeated_sizes_are_timed_once():
    assert asked(batch_size=[4, 1, 4]).batch_sizes == (4, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": [0]}, "--batch-size 0: must be at least 1"),
        ({"batch_size": [4, -1]}, "--batch-size -1"),
        ({"bench_seconds": 0.0}, "--bench-seconds 0: must be above 0"),
        ({"bench_seconds": float("nan")}, "--bench-seconds nan"),
        ({"bench_seconds": float("inf")}, "--bench-seconds inf"),
        ({"affinity": "first"}, "--affinity first: give processors by number"),
        ({"affinity": "0-1"}, "--affinity 0-1"),
        ({"affinity": "-1"}, "--affinity -1"),
    ],
)
def test_a_slip_is_reported(changes, message):
    with pytest.raises(UsageError, match=message) as caught:
        asked(**changes)
    assert "\n" not in str(caught.value)


def test_a_processor_that_is_not_there():
    if not chosen_cpus((), 1):
        pytest.skip("this system has no affinity")
    with pytest.raises(UsageError, match="--affinity 9999: processor 9999 is not available"):
        asked(affinity="9999")


def test_processors_are_those_asked_for_or_the_last():
    if not (last := chosen_cpus((), 1)):
        pytest.skip("this system has no affinity")
    assert asked().cpus == tuple(last)
    assert asked(affinity=f"{last[0]}, {last[0]}").cpus == tuple(last)


def test_an_unknown_native_form_is_reported():
    with pytest.raises(UsageError, match="--native-form jit: no such form; known: .*eager"):
        native_contenders("resnet18", "torch", ("jit",))


# -- minimum speed-ups -----------------------------------------------------------------------

GOOD = """- cases: "resnet*"
  batch_sizes: [1, 4]
  minimum_speedup: 1.2
  reason: it was measured so
- cases: "*"
  batch_sizes: [1]
  minimum_speedup: 1
  reason: faster at all
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "minimum_speedups.yaml"
        path.write_text(text)
        return path

    return write


def test_the_shipped_entries_fit_every_case_at_the_default_sizes():
    entries = load_minimum_speedups(SHIPPED_FILE)
    for size in BATCH_SIZES:
        assert (
            minimum_speedup_of(entries, "resnet18-torch_dynamo-opset25-cpu", size).minimum_speedup
            == 1.0
        )


def test_the_first_entry_that_fits_decides(written):
    entries = load_minimum_speedups(written(GOOD))
    assert minimum_speedup_of(entries, "resnet18-a-cpu", 4).minimum_speedup == 1.2
    assert minimum_speedup_of(entries, "mobilenet_v2-a-cpu", 1).minimum_speedup == 1.0


@pytest.mark.parametrize(("case", "batch"), [("mobilenet_v2-a-cpu", 4), ("resnet18-a-cpu", 8)])
def test_a_case_that_no_entry_fits_is_an_error(written, case, batch):
    with pytest.raises(UsageError, match=f"no entry matches {case} at batch {batch}"):
        minimum_speedup_of(load_minimum_speedups(written(GOOD)), case, batch)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (GOOD, "", "must be a list of minimum speed-ups"),
        (GOOD, "[]", "must be a list of minimum speed-ups"),
        (GOOD, "cases: '*'", "line 1: the file must be a list of entries"),
        ("  minimum_speedup: 1.2\n", "", "line 1: 'minimum_speedup' is missing"),
        ("minimum_speedup: 1.2", "minimum_spedup: 1.2", "line 3: unknown key 'minimum_spedup'"),
        (
            "minimum_speedup: 1\n",
            "minimum_speedup: 0\n",
            "line 7: 'minimum_speedup' must be a number above 0, not 0",
        ),
        ("[1, 4]", "4", "'batch_sizes' must be a list"),
        ("[1, 4]", "[0]", "'batch_sizes' must be a list"),
        ("[1, 4]", "[true]", "'batch_sizes' must be a list"),
        ("reason: it was measured so", "reason: ''", "needs a 'reason'"),
    ],
)
def test_malformed_entries(written, old, new, message):
    text = new if old == GOOD else GOOD.replace(old, new, 1)
    assert text != GOOD
    with pytest.raises(UsageError, match=message) as caught:
        load_minimum_speedups(written(text))
    assert "\n" not in str(caught.value)
    assert "minimum_speedups.yaml" in str(caught.value)


@pytest.mark.parametrize(("high", "red"), [(1.19, True), (1.2, False), (3.0, False)])
def test_only_an_interval_below_the_minimum_is_red(high, red):
    problem = MinimumSpeedup("*", (1,), 1.2, "it was so").problem(Ratio(1.0, 0.9, high))
    assert bool(problem) is red
    assert not red or "at least 1.2 is required (it was so)" in problem
