"""Each study runs at its smallest size: a move of the library must not leave one behind."""

import json
import subprocess
import sys

import pytest

from studies import false_alarms
from tests.meta.running import ROOT

pytestmark = pytest.mark.slow

IN_SMALL = "small0000-torch_torchscript-opset18-cpu"


@pytest.fixture
def study(pytestconfig):
    """Runs a study's command, and gives what it printed; ``kept`` names the cache of this run."""
    kept = f"--cache-dir={pytestconfig.getoption('cache_dir')}"

    def run(name, *message, status=(0,)):
        arguments = [str(kept if word == "kept" else word) for word in message]
        ran = subprocess.run(
            [sys.executable, "-m", name, *arguments],
            cwd=ROOT, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert ran.returncode in status, ran.stdout[-2000:] + ran.stderr[-3000:]
        return ran.stdout

    return run


def test_clean_exports_are_counted(monkeypatch, tmp_path):
    """In this process, because its own first jobs are the largest models."""
    small = ("--exporter=torch_torchscript", "--opset=14", "--model=simple_net")
    monkeypatch.setattr(false_alarms, "OUTPUT", tmp_path / "found.json")
    monkeypatch.setattr(false_alarms, "jobs", lambda seeds, **_: ((seed, small) for seed in seeds))
    monkeypatch.setattr("sys.argv", ["", "--seeds=0", "--trials=1", "--processes=1"])
    assert false_alarms.main() == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["trials"] > 12
    assert found["worst"] > 0.0


def test_its_jobs_name_every_model():
    seeds = iter(range(100))
    named = [options[0] for _, options in false_alarms.islice(false_alarms.jobs(seeds), 20)]
    assert {"--model=simple_net", "--model=resnet50"} <= set(named)


def test_a_fault_is_localised(study, tmp_path):
    found = tmp_path / "found.json"
    case = ("simple_net", "torch_torchscript", 14)
    study("studies.localisation", *case, "--count=1", "kept", "--json", found)
    (trial,) = json.loads(found.read_text())
    assert trial["right"]


def test_a_gate_is_tried(study, tmp_path):
    found = tmp_path / "found.json"
    study("studies.gate_error_rates", "--trials", "slow20=1", "kept", "--output", found)
    (trial,) = json.loads(found.read_text())["trials"]
    assert trial["verdict"] == "slower"


def test_int8_is_judged_on_samples_of_a_seed(study):
    assert "a layer saturated        green    0 of 1" in study("studies.quantised_seeds", "--n=1")


def test_the_suite_is_held_against_a_bare_script(study):
    output = study("studies.overhead", "simple_net", "torch_torchscript")
    assert "suite, cold" in output
    assert "suite, caches filled" in output


def test_many_models_are_collected_and_two_runs_share_a_cache(study, tmp_path):
    found = tmp_path / "found.json"
    study("studies.growth", "--models=2", "--together=1", "--json", found)
    growth = json.loads(found.read_text())
    assert growth["collected"]["cases"] == 80
    shared = growth["together"]
    assert shared["entries"] == {
        "models": 1,
        "artifacts": 1,
        "outputs": shared["entries"]["outputs"],
    }
    assert min(shared["export"]) == 0.0 < max(shared["export"])  # one exported, the other waited
    assert shared["verdicts"][0] == shared["verdicts"][1] == {IN_SMALL: "passed"}


def test_faults_are_shrunk(study):
    output = study("studies.shrinking", "simple_net", "--places=1", "--seeds=1", "kept")
    assert "faults found" in output


def test_workers_are_timed_alone(study, tmp_path):
    """One repetition has no interval, so the comparison itself is too vague: status 1."""
    found = tmp_path / "found.json"
    times = ("--seconds=0.1", "--alone-seconds=0.01", "--repetitions=1", "--threads=1")
    alone = ("--model=simple_net", *times, "kept", "--output", found)
    study("studies.timing_alone", *alone, status=(0, 1))
    (model,) = json.loads(found.read_text())["models"]
    assert all(seconds > 0.0 for seconds in (*model["native"], *model["runtime"]))
