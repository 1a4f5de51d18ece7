"""Runs over time: what changed is marked, and a folder of other files is refused."""

import pytest

from onnx_conformance.core.errors import UsageError
from onnx_conformance.report import history
from tests.meta.sample_document import fail, make_case, make_document

EXTRA = {"complete": True, "decibels": None, "missing": {}, "edge": [], "precision": "float32"}


def run_of(day, *cases, runtime="1.30.0", verdict="passed"):
    document = make_document([case | EXTRA | {"option": False} for case in cases], verdict)
    document["run"]["started"] = f"2026-11-{day:02}T10:00:00+00:00"
    document["environment"]["versions"]["onnxruntime-gpu"] = runtime
    return document


def case_of(base=1.0):
    return make_case("m", "torch_dynamo", 18, base=base)


def test_runs_are_read_in_their_order_with_what_changed(tmp_path):
    history.keep(run_of(3, case_of(3.0), runtime="1.31.1"), tmp_path)
    history.keep(run_of(1, case_of(1.0)), tmp_path)
    history.keep(run_of(2, case_of(1.2)), tmp_path)
    runs = history.read(tmp_path)
    assert [run.started[8:10] for run in runs] == ["01", "02", "03"]
    assert history.changes(runs[1], runs[2]) == ["onnxruntime-gpu 1.30.0 → 1.31.1"]
    (name,) = runs[0].cases
    assert [cell.changed for cell in history.cells(runs, name)] == [False, False, True]
    page = (tmp_path / "index.html").read_text()
    assert "1.30.0 → 1.31.1" in page
    assert page.count('class="changed"') == 1


def test_another_verdict_is_a_change(tmp_path):
    history.keep(run_of(1, case_of()), tmp_path)
    history.keep(run_of(2, fail(case_of(), "error_budget", 41.0), verdict="red"), tmp_path)
    old, new = (next(iter(run.cases.values())) for run in history.read(tmp_path))
    assert (old.kind, new.kind) == ("passed", "failed")
    assert history.differs(old, new)


@pytest.mark.parametrize(
    ("low", "high", "marked"), [(0.99, 1.02, False), (1.05, 1.2, True), (0.7, 0.9, True)]
)
def test_a_speed_is_marked_where_its_interval_leaves_one(tmp_path, low, high, marked):
    case = case_of()
    history.keep(run_of(1, case), tmp_path)
    gated = history.Point("passed", "not slower", None, (1.0, low, high))
    gate = history.KeptRun(history.now(), "passed", {"onnxruntime": "1"}, {case["id"]: gated})
    history.add(gate, tmp_path)
    runs = history.read(tmp_path)
    assert [cell.changed for cell in history.cells(runs, case["id"])] == [False, marked]


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "package.json").write_text("{}")
    with pytest.raises(UsageError, match="--history: .*package.json is not a run that"):
        history.keep(run_of(1, case_of()), tmp_path)


def test_infinity_is_no_error(tmp_path):
    history.keep(run_of(1, fail(case_of(), "error_budget", float("inf"))), tmp_path)
    (run,) = history.read(tmp_path)
    assert next(iter(run.cases.values())).score is None


def test_the_page_draws_what_changed_from_run_to_run(tmp_path):
    """A line for each case; those that changed or failed are named, versions stand below runs."""
    calm = make_case("calm", "torch_dynamo", 18, base=0.5)
    failed = fail(case_of(), "error_budget", 41.0)
    history.keep(run_of(1, case_of(1.0), calm), tmp_path)
    assert "<svg" not in (tmp_path / "index.html").read_text()
    history.keep(run_of(2, failed, calm, runtime="1.31.1", verdict="red"), tmp_path)
    gated = history.Point("failed", "slower", None, (1.2, 1.1, 1.3))
    history.add(history.KeptRun(history.now(), "red", {}, {failed["id"]: gated}), tmp_path)
    page = (tmp_path / "index.html").read_text()
    drawing = page[page.index("<svg") : page.index("</svg>")]
    assert failed["id"] in drawing
    assert calm["id"] not in drawing
    assert "1.30.0 → 1.31.1" in drawing
    assert "time over the gate" in drawing
