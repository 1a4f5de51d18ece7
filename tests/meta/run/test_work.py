"""Who does the work of a session that several providers run: measured apart, and told."""

from dataclasses import replace

import numpy as np
import pytest

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.checks.controls import AlteredSubject
from onnx_conformance.checks.registry import CHECKS, PLAIN_CASE
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.session_profile import read_profile
from onnx_conformance.run.probe import probe_request, write_probe_model
from onnx_conformance.run.runtime_failures import RUNS, WARM, measure_workload, weighed_on
from onnx_conformance.run.subject import SessionInfo, WorkDivision
from onnx_conformance.run.worker_client import ProcessWorkerClient
from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

CPU, GPU = "CPUExecutionProvider", "GpuExecutionProvider"
LIMIT = 60.0
SHARED = (
    "tests/test_structure.py::test_placement",
    "--model=simple_net",
    "--exporter=torch_torchscript",
    "--opset=14",
    "--provider=partial",
    "--provider=unmeasured",
)


def event(name, start, seconds, provider=None):
    args = {"provider": provider, "op_name": name} if provider else {}
    return {"cat": "Node" if provider else "Session", "name": name} | {
        "ts": start, "dur": seconds, "tid": 1, "args": args,
    }  # fmt: skip


def run_at(start, others=10):
    """A run of 100: 40 in an If, 30 of them in its branch, and ``others`` on the CPU."""
    return [
        event("Gather_0", start + 1, others, CPU),
        event("MatMul_0", start + 55, 30, GPU),
        event("If_1", start + 50, 40, GPU),
        event("SequentialExecutor::Execute", start + 1, 98),
        event("model_run", start, 100),
    ]


# -- reading -----------------------------------------------------------------------------------


def test_a_node_that_runs_others_is_counted_without_them():
    found = read_profile(run_at(0), warm=0)
    assert found["run"] == pytest.approx(100e-6)
    assert found["nodes"] == pytest.approx({CPU: 10e-6, GPU: 40e-6})


def test_a_branch_on_another_provider_is_that_ones():
    events = [each for each in run_at(0) if each["name"] != "If_1"]
    found = read_profile([*events, event("If_1", 50, 40, CPU)], warm=0)
    assert found["nodes"] == pytest.approx({CPU: 20e-6, GPU: 30e-6})


def test_the_first_runs_warm_up_and_an_odd_one_decides_nothing():
    slow, usual, odd = run_at(0, 49), run_at(200), run_at(400, 40)
    found = read_profile([*odd, *slow, *usual, *run_at(600)], warm=1)
    assert found["nodes"][CPU] == pytest.approx(10e-6)


def test_a_profile_without_a_run_is_none():
    with pytest.raises(ValueError, match="no run with a node"):
        read_profile(run_at(0), warm=1)


def test_a_run_is_the_providers_but_for_the_nodes_of_others():
    """A device that works by itself, and the waiting for it, shows in the run alone."""
    work = WorkDivision(100e-6, {CPU: 10e-6, GPU: 5e-6})
    assert work.share(GPU) == pytest.approx(0.9)
    assert WorkDivision(1.0, {CPU: 2.0}).share(GPU) == 0.0
    assert WorkDivision(unknown="it fell over").share(GPU) is None


@pytest.mark.parametrize(("there", "left", "share"), [(3, 0, 1.0), (0, 3, 0.0), (3, 1, None)])
def test_only_what_is_shared_must_be_measured(there, left, share):
    placement = {GPU: {"Gemm": there}, CPU: {"Shape": left}}
    assert SessionInfo(GPU, (), placement, (), (), 0.0).share_of_work == share


# -- measuring ---------------------------------------------------------------------------------


@pytest.fixture
def worker():
    worker = ProcessWorkerClient("onnxruntime")
    yield worker
    worker.close()


def test_a_session_of_its_own_is_profiled_and_nothing_is_left(worker, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    write_probe_model(tmp_path / "probe.onnx")
    session = probe_request(PROVIDERS["cpu"], tmp_path / "probe.onnx")
    inputs = {"x": np.array([[1.0, 2.0]], dtype=np.float32)}
    found = worker.call("profile", LIMIT, session=session, inputs=inputs, warm=WARM, runs=RUNS)
    assert set(found["nodes"]) == {CPU}
    assert found["placement"] == {CPU: {"Gemm": 1}}
    assert 0.0 < found["nodes"][CPU] <= found["run"]
    assert list((tmp_path / "tmp").rglob("*.json")) == []


class WorkerQueue:
    """A worker queue whose worker answers what it is told to, or raises it."""

    def __init__(self, answer):
        self.answer, self.worker, self.ended = answer, self, 0

    def call(self, stage, what, method, **arguments):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def reset(self):
        self.ended += 1


def test_a_profile_that_fails_leaves_the_work_unknown():
    queue = WorkerQueue(StageFailure("runtime", "x (profile)", "worker hung"))
    assert "worker hung" in measure_workload(queue, "x", {}, {}).unknown  # type: ignore[typeddict-item]
    assert queue.ended == 1
    placed = {CPU: {"Gemm": 1}}
    queue = WorkerQueue({"run": 2.0, "nodes": {CPU: 1.0}, "placement": placed})
    assert measure_workload(queue, "x", {}, {}) == WorkDivision(2.0, {CPU: 1.0}, placed)  # type: ignore[typeddict-item]
    assert queue.ended == 1


# -- telling -----------------------------------------------------------------------------------


def test_it_is_measured_on_one_typical_sample(right):
    assert {len(array) for array in weighed_on(right.model, 0).values()} == {1}


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (
            WorkDivision(1.0, {"OtherExecutionProvider": 0.0079}),
            "3 nodes (75 %, 99.2 % of the time), Oth",
        ),
        (
            WorkDivision(unknown="worker hung"),
            "3 nodes (75 %, time not measured: worker hung), Other",
        ),
        (None, "3 nodes (75 %), OtherExecutionProvider 1 nodes (Shape 1)"),
    ],
)
def test_the_sentence_says_what_fell_back_and_what_it_costs(right, work, message):
    placement = {CPU: {"Gemm": 3}, "OtherExecutionProvider": {"Shape": 1}}
    session = replace(right.session, placement=placement, work=work)
    result = CHECKS["placement"].function(AlteredSubject(right, session=session))
    assert result.passed
    assert message in result.reason


def test_a_session_on_one_provider_costs_no_profile(right):
    assert right.session.work is None
    facts = right.workers.known_facts(PLAIN_CASE)
    assert facts["placed"] == {"nodes": 1.0, "work": 1.0, "work_unknown": ""}


# -- in a run ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tmp_path_factory, cache):
    """A run of both providers that leave a node of three to the CPU."""
    return run_suite(tmp_path_factory.mktemp("shared"), *SHARED, cache, plugin="partial_provider")


def test_the_share_of_the_work_is_in_the_sentence_and_in_the_results(shared):
    case = next(case for case in shared.document["cases"] if case["provider"] == "partial")
    assert case["verdict"] == "passed", shared.text
    assert case["placed"] == {"nodes": pytest.approx(2 / 3), "work": 0.875, "work_unknown": ""}
    text = "PartialExecutionProvider 2 nodes (66.6 %, 87.5 % of the time), "
    assert case["checks"][0]["reason"] == f"{text}CPUExecutionProvider 1 nodes (Relu 1)"


def test_a_share_that_cannot_be_measured_is_no_failure_and_no_share(shared):
    case = next(case for case in shared.document["cases"] if case["provider"] == "unmeasured")
    assert case["verdict"] == "passed", shared.text
    assert case["placed"]["work"] is None
    assert "no profiler here" in case["placed"]["work_unknown"]
    assert "(66.6 %, time not measured: " in case["checks"][0]["reason"]


def test_a_part_that_is_too_small_is_red_and_says_what_fell_back(tmp_path, cache):
    run = run_suite(tmp_path, *SHARED, cache, "--min-placement=0.95", plugin="partial_provider")
    assert run.status == 1
    assert {case["verdict"] for case in run.document["cases"]} == {"failed"}
    (case,) = [case for case in run.document["cases"] if case["provider"] == "partial"]
    (row,) = [row for row in case["checks"] if row["outcome"] == "failed"]
    assert (row["name"], case["placed"]["nodes"]) == ("placement", pytest.approx(2 / 3))
    assert case["placement"]["CPUExecutionProvider"] == {"Relu": 1}
