"""Every way in which a provider that is named does not compute is red, or skipped by its name.

Real here: a plugin's library that ONNX Runtime loads and that takes no node, one that cannot be
loaded, a build with CUDA on a machine without a GPU, an environment variable. At a seam: a device
lost in a run (an error raised in the session), a placement in part (what the session says).
"""

import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnx_conformance.api import _judged
from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.checks.controls import AlteredSubject
from onnx_conformance.checks.registry import CHECKS, PLAIN_CASE
from onnx_conformance.cli import providers as tool
from onnx_conformance.cli.context import context, read_run
from onnx_conformance.core.errors import CapabilityMissing, StageFailure, UsageError
from onnx_conformance.core.registry import registering
from onnx_conformance.perf.latency.certification import Certificates
from onnx_conformance.run.probe import ProbeResult, probe_request, write_probe_model
from onnx_conformance.run.provider_sources import adopt_libraries, survey
from onnx_conformance.run.worker_client import ProcessWorkerClient
from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

ONE = (
    "tests/test_structure.py::test_placement",
    "--model=simple_net",
    "--exporter=torch_torchscript",
    "--opset=14",
)
PLUGIN = Path(__file__).parents[1] / "plugins" / "idle_provider.c"
LIMIT = 60.0


@pytest.fixture(scope="session")
def idle(tmp_path_factory):
    """A plugin that registers, has a device and takes no node."""
    compiler = shutil.which("cc")
    if compiler is None or os.name != "posix":
        pytest.skip("no C compiler to build a plugin with")
    library = tmp_path_factory.mktemp("plugin") / "libidle.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, PLUGIN], check=True)
    return library


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "libbroken.so"
    path.write_text("no library")
    return path


# -- plugins ---------------------------------------------------------------------------------


def test_a_plugin_that_takes_no_node_is_red(idle, tmp_path, cache):
    run = run_suite(tmp_path, *ONE, "--provider=idle", f"--provider-library=idle={idle}", cache)
    assert run.status == 1, run.text
    assert not run.document["environment"]["providers"]["idle"]["usable"]


def surveyed(argument):
    """What ONNX Runtime calls a plugin's provider, and what its probe finds."""
    [name], take_back = registering(lambda: adopt_libraries([argument], LIMIT), PROVIDERS)
    try:
        return PROVIDERS[name].ort_name, survey([name], LIMIT)[name]
    finally:
        take_back()


def test_a_plugin_that_takes_no_node_is_reported_by_the_probe(idle):
    name, found = surveyed(f"idle={idle}")
    assert name == "IdleExecutionProvider"
    assert (found.usable, found.stage, found.broken) == (False, "placement", True)


@pytest.mark.parametrize("forbidden", [True, False])
def test_a_session_that_would_fall_back_does_not_open_where_that_is_forbidden(idle, forbidden):
    options = ["--no-cpu-fallback"] if forbidden else []
    library = f"--provider-library=other={idle}"
    run = read_run([*ONE[1:], "--provider=other", library, *options])
    with context(run) as opened:
        if forbidden:
            with pytest.raises(StageFailure, match="which --no-cpu-fallback forbids"):
                opened.workers.session(run.cases[0])
        else:
            assert opened.workers.session(run.cases[0]).nodes("CPUExecutionProvider")


def test_the_cpu_provider_is_no_fallback(tmp_path, cache):
    run = run_suite(tmp_path, *ONE, "--provider=cpu", "--no-cpu-fallback", cache)
    assert run.status == 5, run.text  # the other checks were not asked for


def verdicts_of(run):
    return {case["provider"]: case["verdict"] for case in run.document["cases"]}


def test_a_library_that_cannot_be_loaded_is_skipped_and_red_where_required(broken, tmp_path, cache):
    required = (f"--provider-library=bad={broken}", "--require=bad", cache)
    run = run_suite(tmp_path, *ONE, "--provider=cpu", "--provider=bad", *required)
    assert run.status == 1, run.text
    assert verdicts_of(run) == {"cpu": "passed", "bad": "skipped"}
    assert run.document["environment"]["providers"]["bad"]["stage"] == "libraries"
    assert any("--require bad" in problem for problem in run.document["run"]["problems"])


def test_a_missing_library_is_named(broken):
    _, found = surveyed(f"bad={broken}")
    assert found.stage == "libraries"
    assert "libbroken.so" in found.reason


# -- compiled in, without a device ---------------------------------------------------------


def test_a_provider_without_its_device_is_skipped_and_red_where_required(tmp_path, cache):
    found = survey(("cuda", "tensorrt"), LIMIT)
    if any(each.usable for each in found.values()):
        pytest.skip("a GPU is here")
    providers = [f"--provider={name}" for name in ("cpu", "cuda", "tensorrt")]
    run = run_suite(tmp_path, *ONE, *providers, "--require=cuda", cache)
    assert run.status == 1, run.text
    assert verdicts_of(run) == {"cpu": "passed", "cuda": "skipped", "tensorrt": "skipped"}
    for name in ("cuda", "tensorrt"):
        assert f"{name}: {found[name].reason}" in run.text
        assert found[name].remedy in run.text
    assert any("--require cuda" in problem for problem in run.document["run"]["problems"])
    assert tool.main(["--provider=cpu", "--require=cuda"]) == 1


# -- precision -------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "status"), [("1", 1), ("0", 5)])
def test_a_variable_that_overrides_precision_is_red(tmp_path, cache, monkeypatch, value, status):
    monkeypatch.setenv("FAKE_OVERRIDE", value)
    run = run_suite(tmp_path, *ONE, "--provider=fakemode", cache, plugin="fake_modes")
    assert run.status == status, run.text
    text = "FAKE_OVERRIDE=1 overrides the precision of fakemode (float32); unset it"
    assert (text in run.text) is (status == 1)


# -- placement -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("least", "passes"), [(0.0, True), (0.75, True), (0.76, False), (1.0, False)]
)
def test_a_placement_in_part_is_judged_by_the_share_asked_for(right, least, passes):
    placement = {"CPUExecutionProvider": {"Gemm": 3}, "OtherExecutionProvider": {"Shape": 1}}
    altered = AlteredSubject(right, session=replace(right.session, placement=placement))
    altered.min_placement = least
    result = CHECKS["placement"].function(altered)
    assert result.passed is passes, result.reason
    assert "OtherExecutionProvider 1 nodes (Shape 1)" in result.reason
    assert "75 %" in result.reason


def test_a_share_that_is_none_is_a_usage_error():
    with pytest.raises(UsageError, match="--min-placement 95"):
        read_run([*ONE[1:], "--provider=cpu", "--min-placement=95"])


# -- at run time -------------------------------------------------------------------------------


@pytest.mark.parametrize("fallback", [False, True])
def test_a_device_lost_in_a_run_is_an_error_and_no_answer(tmp_path, fallback):
    """What ONNX Runtime does when it may fall back, an answer from another provider, is shown."""
    model = tmp_path / "probe.onnx"
    write_probe_model(model)
    session = probe_request(PROVIDERS["cpu"], model)
    input_sets = [{"x": np.array([[1.0, 2.0]], dtype=np.float32)}]
    worker = ProcessWorkerClient("tests.meta.falling_backend:FallingBackend")
    try:
        answer = worker.call(
            "fall", LIMIT, session=session, input_sets=input_sets, fallback=fallback
        )[0]
    finally:
        worker.close()
    assert ("outputs" in answer) is fallback
    assert fallback or "the device was lost" in answer["error"]


# -- processes that come to grief ------------------------------------------------------------

FALLING = ("aborting", "hanging", "losing", "stillborn")
WHOLE = (*(f"tests/test_{part}.py" for part in ("structure", "function", "robustness")), *ONE[1:])


@pytest.fixture(scope="module")
def fallen(tmp_path_factory, cache):
    """A run of a provider that is well beside those that are not; its native side is cached."""
    folder = tmp_path_factory.mktemp("fallen")
    assert run_suite(folder, *WHOLE, "--provider=cpu", cache).status == 0
    providers = [f"--provider={name}" for name in ("cpu", *FALLING)]
    limit, started = "--call-limit=10", time.perf_counter()
    run = run_suite(folder, *WHOLE, *providers, limit, cache, plugin="falling_providers")
    return run, time.perf_counter() - started


def cases_of(run, provider):
    return [case for case in run.document["cases"] if case["provider"] == provider]


def test_a_provider_that_falls_costs_its_own_rows_only(fallen):
    run, _ = fallen
    assert run.status == 1, run.text
    assert {case["verdict"] for case in cases_of(run, "cpu")} == {"passed"}, run.text
    assert all(case["complete"] for case in cases_of(run, "cpu"))
    assert [case["verdict"] for name in FALLING for case in cases_of(run, name)] == ["failed"] * 4


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        ("aborting", "worker died: in 'run', exit status -6"),
        ("hanging", "worker hung: 'run' did not answer within 10 s and was killed"),
        ("losing", "the session failed on the inputs: EPFail: the device was lost"),
        ("stillborn", "worker died: in 'run', exit status -6"),
    ],
)
def test_what_it_fell_of_is_reported_in_its_red_rows(fallen, provider, message):
    (case,) = cases_of(fallen[0], provider)
    red = [row["reason"] for row in case["checks"] if row["outcome"] in ("failed", "error")]
    assert red
    assert any(message in reason for reason in red), red


def test_a_provider_that_hangs_costs_its_limit_once(fallen):
    assert fallen[1] < 30.0


# -- no provider that was not asked for ----------------------------------------------------


def test_no_other_provider_is_probed(tmp_path, cache):
    run = run_suite(tmp_path, *ONE, "--provider=cpu", cache, plugin="fake_modes")
    assert run.status == 5, run.text  # the other checks were not asked for
    assert set(run.document["environment"]["providers"]) == {"cpu"}


# -- wherever a provider is asked for ----------------------------------------------------------


class Probed:
    """Workers that know of a provider what its probe found, and nothing else."""

    store = None

    def __init__(self, stage):
        self.found = ProbeResult(False, "it took no node", stage, "fix it")

    def probe(self, name):
        return self.found

    def plan(self, needs):
        assert not needs

    def quiesce(self):
        pass


@pytest.mark.parametrize(("stage", "outcome"), [("placement", "failed"), ("device", "skipped")])
def test_certify_tells_what_is_broken_from_what_is_absent(stage, outcome):
    (result,) = _judged(PLAIN_CASE, Probed(stage), None, ()).results
    assert result.outcome == outcome
    assert result.reason == "cpu: it took no node; to use it: fix it"


@pytest.mark.parametrize(
    ("stage", "raised"), [("engine", StageFailure), ("device", CapabilityMissing)]
)
def test_what_is_broken_is_no_skip_of_a_timing_either(stage, raised):
    certificates = Certificates(None, Probed(stage))
    certificates.ensure([PLAIN_CASE])
    with pytest.raises(raised, match="it took no node; to use it: fix it"):
        certificates.of(PLAIN_CASE)
