"""Ways to make a gate compare nothing: each is red, in a sentence of its own."""

import hashlib
import json
import shutil
import sys
import venv
from types import SimpleNamespace

import onnx
import pytest
from onnx import numpy_helper

from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import CapabilityMissing, UsageError
from onnx_conformance.perf.gate.gate import Gate, check_covered, check_placed
from onnx_conformance.perf.gate.rules import RULES, GateFailure, load_rules
from onnx_conformance.perf.gate.sequential_test import UnusableTimings, draw
from onnx_conformance.perf.options import read_gate
from onnx_conformance.report.saved_artifacts import MANIFEST, Baseline, BaselineCase
from onnx_conformance.run.selection import Selection
from tests.meta.running import ORDINARY, run_suite

pytestmark = pytest.mark.slow

CASE = Case("simple_net", "torch_torchscript", 14, "cpu")
MODEL = ("--model=simple_net", "--exporter=torch_torchscript", "--opset=14")
ONE = (*MODEL, "--provider=cpu")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A baseline as ``--save-onnx`` keeps it, and the cache that its run filled."""
    home = tmp_path_factory.mktemp("kept")
    cache = f"--cache-dir={home / 'cache'}"
    run = run_suite(home, *ORDINARY, *ONE, cache, f"--save-onnx={home / 'base'}")
    assert run.status == 0, run.text
    return home


@pytest.fixture
def baseline(kept, tmp_path):
    """A copy of the baseline, to be spoiled."""
    return shutil.copytree(kept / "base", tmp_path / "base")


@pytest.fixture
def gate(kept, tmp_path):
    """Runs ``pytest --gate`` on the case of the baseline."""

    def run(baseline, *arguments, plugin=None, chosen=ONE):
        options = (f"--cache-dir={kept / 'cache'}", f"--gate-json={tmp_path / 'gate.json'}")
        named = ("tests/test_gate.py", f"--gate={baseline}", *chosen, *options, *arguments)
        return run_suite(tmp_path, *named, plugin=plugin)

    return run


def red(run, message):
    assert run.status != 0, run.text
    assert message in " ".join(run.text.split()), run.text


def edit(baseline, change):
    """Change the manifest, by ``change(manifest, entry of the case)``."""
    path = baseline / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest, manifest["cases"][CASE.id])
    path.write_text(json.dumps(manifest))


# -- controls --------------------------------------------------------------------------------


def test_an_equal_conversion_is_green(gate, kept, tmp_path):
    run = gate(kept / "base")
    assert run.status == 0, run.text
    assert "0 slower, 1 not slower, 0 undecided; 0 other figures failed" in run.text
    (case,) = json.loads((tmp_path / "gate.json").read_text())["cases"]
    assert case["pairs"] == len(case["baseline_seconds"]) == len(case["candidate_seconds"]) >= 10


def test_a_gate_asks_for_most_of_the_nodes_unless_told_otherwise(gate, kept, tmp_path):
    """Three of four nodes: less than the rules want, and enough where so much was asked for."""
    # a verdict of another test's session would be read from the cache: its runtime was whole
    fresh = f"--cache-dir={tmp_path / 'cache'}"
    partial = gate(kept / "base", fresh, plugin="partial_placement")
    red(partial, "75 % of the nodes, and at least 95 % are")
    assert gate(kept / "base", "--min-placement=0.75", plugin="partial_placement").status == 0
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES.read_text().replace("least_placement: 0.95", "least_placement: 0.7"))
    assert gate(kept / "base", f"--gate-rules={rules}", plugin="partial_placement").status == 0


def test_a_slowed_candidate_is_red(gate, kept):
    red(gate(kept / "base", plugin="slowed_gate"), "slower than its baseline: ")


def test_a_slowed_candidate_is_red_though_its_test_is_left_out(gate, kept):
    red(gate(kept / "base", "-k", "node_count", plugin="slowed_gate"), "1 slower, 0 not slower")


# -- the baseline ----------------------------------------------------------------------------

# Other ways in which a baseline cannot be read: test_gate_baseline.py.


def test_a_renamed_case(gate, baseline):
    def rename(manifest, entry):
        manifest["cases"] = {"renamed-cpu": entry}

    edit(baseline, rename)
    run = gate(baseline)
    red(run, "no case of this run is in the baseline")
    red(run, f"has no case '{CASE.id}', which is new or was renamed")


def test_a_changed_artifact(gate, baseline):
    with (baseline / f"{CASE.artifact_id}.onnx").open("ab") as file:
        file.write(b"\0")
    red(gate(baseline), "changed since it was kept (other sha256)")


def test_a_baseline_that_was_not_proved(gate, baseline):
    edit(baseline, lambda _, entry: entry.update(verdict="failed", proved=False))
    red(gate(baseline), f"the baseline of {CASE.id} was judged as failed")


def test_a_baseline_that_is_another_function(gate, baseline):
    path = baseline / f"{CASE.artifact_id}.onnx"
    model = onnx.load(path)
    weight = model.graph.initializer[0]
    values = numpy_helper.to_array(weight).copy()
    values.flat[3] *= -1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit(baseline, lambda _, entry: entry.update(sha256=[digest]))
    red(gate(baseline), "baseline: the timed call gave a wrong answer")


def test_a_case_of_the_baseline_without_a_candidate():
    def covered(selection, *cases, option=False):
        entries = [
            BaselineCase(CASE.id, (), (), 14, 14, "passed", True, False, {}),
            BaselineCase("gone-cpu", (), (), 14, 14, "passed", True, option, {}),
        ]
        baseline = Baseline(None, {entry.id: entry for entry in entries})
        check_covered(SimpleNamespace(cases=cases, selection=selection), baseline)

    with pytest.raises(GateFailure, match="1 cases of the baseline have no candidate: gone-cpu"):
        covered(Selection(), CASE)
    with pytest.raises(GateFailure, match="no case of this run is in the baseline"):
        covered(Selection(models=("resnet18",)))
    covered(Selection(models=("simple_net",)), CASE)
    covered(Selection(), CASE, option=True)


# -- the workers -----------------------------------------------------------------------------


def test_an_absent_provider(gate, baseline):
    run = gate(baseline, "--provider=absentgpu", chosen=MODEL, plugin="fake_gpus")
    red(run, "built without AbsentExecutionProvider")
    red(run, "the gate compared nothing")


def test_a_provider_that_the_baseline_had(gate, baseline):
    def promise(manifest, entry):
        manifest["cases"][CASE.id.replace("-cpu", "-absentgpu")] = entry

    edit(baseline, promise)
    run = gate(baseline, "--provider=absentgpu", plugin="fake_gpus")
    red(run, "the baseline has this case, but it cannot run here: absentgpu")


def test_what_a_narrowed_run_leaves_out_is_reported(gate, baseline, tmp_path):
    edit(baseline, lambda manifest, entry: manifest["cases"].update({"gone-cpu": entry}))
    run = gate(baseline)
    assert "not compared: 1 cases of the baseline that this run leaves out: gone-cpu" in run.text
    assert json.loads((tmp_path / "gate.json").read_text())["left_out"] == ["gone-cpu"]


def test_nodes_that_are_placed_elsewhere():
    here, there = {"CPUExecutionProvider": {"Gemm": 2}}, {"CUDAExecutionProvider": {"Gemm": 2}}
    gpu = Case("simple_net", "torch_torchscript", 14, "cuda")
    with pytest.raises(
        GateFailure, match="2 Gemm on CPUExecutionProvider.*in the baseline it was 0"
    ):
        check_placed(gpu, there, {**there, **here})
    check_placed(gpu, {**there, **here}, {**there, **here})
    check_placed(gpu, {**there, **here}, there)


def test_an_environment_that_is_not_there(gate, baseline):
    red(gate(baseline, "--engine=baseline=popen//python=/no/such"), "there is no /no/such")


def test_an_environment_without_packages(gate, baseline, tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / "bin" / "python"
    run = gate(baseline, f"--engine=baseline=popen//python={python}")
    red(run, f"the baseline, hosted by popen//python={python}, cannot be opened")
    red(run, "ModuleNotFoundError")


def test_a_clock_that_stands_still(gate, kept):
    run = gate(kept / "base", plugin="frozen_gate")
    red(run, "timings of the baseline are equal: the clock has stopped or is too coarse")


@pytest.mark.parametrize("seconds", [0.0, float("nan"), -1.0])
def test_times_that_are_none(seconds):
    block = SimpleNamespace(seconds=lambda: [seconds] * 4)
    with pytest.raises(UnusableTimings, match="clock"):
        draw([block], [block], load_rules().timing, seconds=5, seed=0)


# -- options ---------------------------------------------------------------------------------


def test_without_a_test_of_speed_nothing_is_known(gate, kept):
    red(gate(kept / "base", "-k", "covered"), "the gate compared nothing")


def test_no_test_is_left(gate, kept):
    red(gate(kept / "base", "-k", "nothing_of_the_kind"), "the gate compared nothing")


def test_tests_that_are_only_planned(gate, kept):
    red(gate(kept / "base", "--setup-plan"), "the gate compared nothing")


def test_frameworks_that_leave_all_out(gate, kept):
    red(gate(kept / "base", "--framework=keras"), "the gate compared nothing")


def test_too_little_time(gate, kept):
    run = gate(kept / "base", "--gate-seconds=0.001")
    red(run, "the gate compared nothing")
    assert "1 skipped" in run.text, run.text


REFUSED = {"-n2": "leave out -n and --dist", "--gate-threshold=0": "give a share above 0"}


@pytest.mark.parametrize("option", REFUSED)
def test_options_that_leave_no_gate(gate, kept, option):
    run = gate(kept / "base", option)
    red(run, REFUSED[option])
    assert run.text.count("ERROR") == 1, run.text


EXTERNAL = {
    "gate": "base", "engine": [], "batch_size": [], "gate_seconds": None, "gate_rules": None,
    "gate_threshold": None, "gate_strict": False, "in_process": False,
}  # fmt: skip


def asked(**changes):
    return read_gate(lambda name, default=None: {**EXTERNAL, **changes}.get(name, default), [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benchmark_skip": True}, "--benchmark-skip leaves timings out"),
        ({"benchmark_only": True}, "--benchmark-only leaves out"),
        ({"benchmark_disable": True}, "--benchmark-disable turns timings off"),
        ({"dist": "load"}, "leave out -n and --dist"),
        ({"in_process": True}, "leave out --in-process"),
        ({"gate_seconds": 0.0}, "--gate-seconds 0: must be above 0"),
        ({"gate_seconds": float("nan")}, "--gate-seconds nan"),
        ({"gate": None, "gate_strict": True}, "--gate-strict needs --gate BASELINE"),
        ({"engine": ["baseline"]}, "give LABEL=SPEC"),
        ({"engine": ["baseline=popen", "baseline=popen"]}, "was given already"),
        ({"engine": ["baseline=python=python3"]}, "times of two machines"),
    ],
)
def test_options_that_make_no_gate(changes, message):
    with pytest.raises(UsageError, match=message):
        asked(**changes)


@pytest.mark.parametrize(
    ("threshold", "message"), [(0.0, "give a share above 0"), (1e-9, "is less than twice the bias")]
)
def test_a_threshold_that_is_none(threshold, message):
    with pytest.raises(UsageError, match=message):
        load_rules().timing.with_threshold(threshold)


def test_options_of_a_gate():
    found = asked(engine=[f"baseline=popen//python={sys.executable}"], batch_size=[4, 4, 1])
    assert found.spec == f"popen//python={sys.executable}"
    assert found.batch_sizes == (4, 1)
    assert asked(gate=None) is None


# -- telling ---------------------------------------------------------------------------------


def made_gate(reason, cases):
    """A gate that cannot compare, for ``reason``."""
    gate = Gate.__new__(Gate)
    gate.found, gate._raised = {}, set()
    gate.baseline = Baseline(None, cases)
    gate._run = SimpleNamespace(frameworks=())

    def judge(case, batch):
        raise reason

    gate._judge = judge
    return gate


def test_what_cannot_run_is_red_where_the_baseline_has_it():
    gate = made_gate(CapabilityMissing("cpu: gone"), {CASE.id: None})
    with pytest.raises(GateFailure, match="it cannot run here: cpu: gone"):
        gate.check_speed(CASE, 1)


def test_what_cannot_run_is_a_skip_where_the_baseline_has_it_not():
    with pytest.raises(CapabilityMissing, match="cpu: gone"):
        made_gate(CapabilityMissing("cpu: gone"), {}).check_speed(CASE, 1)


def test_a_case_without_comparison_is_reported_once():
    gate = made_gate(GateFailure("wrong"), {CASE.id: None})
    with pytest.raises(GateFailure, match="wrong"):
        gate.check_speed(CASE, 1)
    with pytest.raises(CapabilityMissing, match="not compared, for the reason above: wrong"):
        gate.check_figure(CASE, 1, "score")
