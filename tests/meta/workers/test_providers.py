"""Providers' records, their probes stage by stage, and ``make providers``."""

import json
import sys
import time
from dataclasses import asdict, replace

import numpy as np
import pytest

from onnx_conformance.catalog.devices import DEVICES, Device, told_versions
from onnx_conformance.catalog.providers import (
    COARSER,
    DEFAULT_PROVIDERS,
    PROVIDERS,
    Provider,
    coarser,
)
from onnx_conformance.cli import providers as tool
from onnx_conformance.core.errors import CapabilityMissing, UsageError, WorkerDied, WorkerError
from onnx_conformance.core.registry import registering
from onnx_conformance.core.tolerances import PRECISIONS
from onnx_conformance.run import provider_sources
from onnx_conformance.run.probe import (
    BACKEND,
    READY,
    STAGES,
    ProbeResult,
    bringer,
    missing_library,
    probe,
    refused_library,
    write_probe_model,
)
from onnx_conformance.run.provider_sources import adopt_libraries, survey
from onnx_conformance.run.worker_client import ProcessWorkerClient

pytestmark = pytest.mark.slow

LIMIT = 60.0
LOST = "/site/libonnxruntime_providers_cuda.so"
LOG = (
    f"[E:onnxruntime] FAIL : Failed to load library {LOST} with error: libcurand.so.10: cannot "
    "open shared object file: No such file or directory\n"
)


class WorkerClient:
    """a worker that answers what it is told to, or raises it."""

    def __init__(self, log="", **answers):
        right = {"outputs": {"y": np.array([[20.0]])}, "seconds": 0.0}
        self.answers = {
            "versions": {"compiled_in": ["XExecutionProvider"]},
            "open": {"placement": {"XExecutionProvider": {"Gemm": 1}}},
            "run": [right],
            **answers,
        }
        self.log = log

    def call(self, method, limit, **arguments):
        answer = self.answers[method]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def standard_error(self):
        return self.log


X = Provider("x", "XExecutionProvider", remedy="install x")
FELL = "This session contains nodes, but fallback to CPU EP has been explicitly disabled"
WRONG = [{"outputs": {"y": np.array([[19.0]])}}]


# -- records ---------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=lambda provider: provider.name)
def test_a_record_is_whole(provider):
    assert provider.name in PROVIDERS
    assert provider.ort_name.endswith("ExecutionProvider")
    assert provider.precision in PRECISIONS
    assert provider.remedy or provider.name == "cpu"
    assert provider.markers == (("gpu",) if provider.gpu else ())


def test_every_device_can_be_asked_for():
    """By a process with ONNX Runtime, which the judge has not."""
    worker = ProcessWorkerClient(BACKEND)
    try:
        assert {each.device for each in PROVIDERS.values()} - {""} == {*DEVICES}
        for device in DEVICES.values():
            assert isinstance(worker.call("device", LIMIT, device=asdict(device)), str)
    finally:
        worker.close()


def test_classes_of_precision_are_those_of_the_tolerances():
    assert set(PRECISIONS) <= set(COARSER)
    assert coarser("tf32", "float16") == coarser("float16", "tf32") == "float16"
    assert coarser("float32", "tf32") == "tf32"
    with pytest.raises(UsageError, match="precision 'int4' is none of"):
        coarser("int4", "float32")


def test_modes_of_one_provider_differ_in_options_or_environment():
    modes = {}
    for each in PROVIDERS.values():
        key = (each.ort_name, tuple(each.options.items()), tuple(each.environment.items()))
        assert key not in modes, f"{each.name} opens as {modes[key]} does"
        modes[key] = each.name


def test_parity_is_without_tf32():
    assert PROVIDERS["cuda"].options["use_tf32"] == "0"
    assert PROVIDERS["tensorrt"].environment == {"NVIDIA_TF32_OVERRIDE": "0"}
    assert {PROVIDERS[name].precision for name in DEFAULT_PROVIDERS} == {"float32"}


def test_switches_of_tensorrt_are_in_the_words_that_its_binding_takes():
    """It refuses 0 and 1: "The value for the key … should be 'True' or 'False'"."""
    options = [
        (name, value)
        for provider in PROVIDERS.values()
        for name, value in provider.options.items()
        if name.startswith("trt_") and name.endswith("_enable")
    ]
    assert len(options) == 9
    assert {value for _, value in options} == {"True", "False"}
    assert PROVIDERS["tensorrt_fp16"].options["trt_fp16_enable"] == "True"


@pytest.mark.parametrize(
    ("name", "environment", "overrides"),
    [
        ("cuda", {"NVIDIA_TF32_OVERRIDE": "1"}, True),
        ("cuda", {"NVIDIA_TF32_OVERRIDE": "0"}, False),
        ("cuda", {}, False),
        ("cuda_tf32", {"NVIDIA_TF32_OVERRIDE": "0"}, True),
        ("tensorrt", {"NVIDIA_TF32_OVERRIDE": "1"}, False),  # its process has its own
        ("tensorrt", {"ORT_TENSORRT_FP16_ENABLE": "1"}, True),
        ("tensorrt_fp16", {"ORT_TENSORRT_FP16_ENABLE": "1"}, False),
        ("tensorrt_fp16", {"ORT_TENSORRT_INT8_ENABLE": "1"}, True),
        ("cpu", {"NVIDIA_TF32_OVERRIDE": "1"}, False),
    ],
)
def test_an_environment_against_the_precision_is_reported(name, environment, overrides):
    text = PROVIDERS[name].overridden(environment)
    assert bool(text) is overrides
    assert all(f"overrides the precision of {name}" in message for message in text)


def test_knobs_are_set_in_the_providers_own_words():
    opened = PROVIDERS["openvino"].opened_with(threads=2, device_id=1)
    assert opened == {"device_type": "CPU", "precision": "FP32", "num_of_threads": "2"}
    assert PROVIDERS["cuda"].opened_with(threads=2, device_id=1)["device_id"] == "1"


def test_a_mode_set_by_the_environment_has_it_in_its_process(tmp_path):
    record = replace(X, environment={"CONFORMANCE_MODE": "0"})
    worker = ProcessWorkerClient(
        "tests.meta.provider_doubles:EnvironmentBackend", spec=record.process()
    )
    try:
        assert worker.call("variable", LIMIT, name="CONFORMANCE_MODE") == "0"
    finally:
        worker.close()


# -- stages ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("worker", "stage", "message"),
    [
        (WorkerClient(), READY, "ran a node correctly"),
        (WorkerClient(versions={"compiled_in": []}), "compiled_in", "was built without XExecution"),
        (WorkerClient(LOG, open=WorkerError("Fail", "x")), "libraries", "libcurand.so.10"),
        (WorkerClient(open=WorkerError("Fail", FELL)), "placement", "ran no node: all fell back"),
        (
            WorkerClient(open={"placement": {"CPUExecutionProvider": {"Gemm": 1}}}),
            "placement",
            "no node",
        ),
        (WorkerClient(open=WorkerError("Fail", "no memory")), "session", "no memory"),
        (WorkerClient(open=WorkerDied("worker died", "in 'open'")), "engine", "worker died"),
        (
            WorkerClient(open=CapabilityMissing("x offers no device here")),
            "device",
            "no device here",
        ),
        (WorkerClient(run=[{"error": "EPFail: x"}]), "numbers", "cannot run: EPFail"),
        (WorkerClient(run=WRONG), "numbers", "wrongly"),
    ],
)
def test_a_probe_says_how_far_it_got(worker, stage, message, tmp_path):
    result = probe(X, worker, tmp_path / "probe.onnx", LIMIT)
    assert result.stage == stage
    assert message in result.reason
    assert result.usable is (stage == READY)
    assert stage in (*STAGES, READY)


def test_a_missing_device_is_reported_beside_a_missing_library(tmp_path, monkeypatch):
    monkeypatch.setattr("onnx_conformance.run.probe._no_device", lambda *_: "no GPU is here")
    worker = WorkerClient(LOG, open=WorkerError("Fail", "x"))
    result = probe(replace(X, device="nvidia"), worker, tmp_path / "probe.onnx", LIMIT)
    assert result.stage == "libraries"
    assert result.reason.endswith("No such file or directory; and no GPU is here")
    assert result.sentence.endswith("; to use it: install x")


def test_a_device_that_is_missing_is_asked_for_in_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "onnx_conformance.run.probe.BACKEND", "tests.meta.provider_doubles:NoDeviceBackend"
    )
    worker = WorkerClient(open=WorkerError("Fail", "x"))
    result = probe(replace(X, device="nvidia"), worker, tmp_path / "probe.onnx", LIMIT)
    assert (result.stage, result.reason) == ("device", "there is no nvidia here")


@pytest.mark.parametrize("device", ["bfloat16", "float16"])
def test_a_session_that_would_open_and_compute_otherwise_is_no_provider(
    tmp_path, monkeypatch, device
):
    monkeypatch.setattr("onnx_conformance.run.probe._no_device", lambda *_: f"no {device}")
    result = probe(replace(X, device=device), WorkerClient(), tmp_path / "probe.onnx", LIMIT)
    assert (result.usable, result.stage, result.reason) == (False, "device", f"no {device}")


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_here_and_wrong_is_no_absence(stage):
    assert ProbeResult(False, "", stage).broken is (stage in ("engine", "placement", "numbers"))


@pytest.mark.parametrize(
    ("message", "library", "how"),
    [
        ("libcurand.so.10: cannot open shared object file: No such", "libcurand.so.10", "curand"),
        ("libnvinfer.so.10: cannot open shared object file", "libnvinfer.so.10", "cu13<11"),
        ("libnvonnxparser.so.10: cannot open shared object file", "libnvonnxparser.so.10", "cu13"),
        ('which depends on "cudnn64_9.dll" which is missing', "cudnn64_9.dll", ""),
        ("Library not loaded: @rpath/libfoo.1.dylib", "libfoo.1.dylib", ""),
        ("invalid ELF header", "", ""),
    ],
)
def test_a_loaders_words_name_the_library(message, library, how):
    assert missing_library(message) == library
    assert how in bringer(library)


@pytest.mark.parametrize(
    ("provider", "loaded"), [("TensorrtExecutionProvider", True), ("CPUExecutionProvider", False)]
)
def test_the_package_of_tensorrt_loads_its_own_libraries(provider, loaded, tmp_path, monkeypatch):
    """They lie in a folder of it, where no loader looks."""
    from onnx_conformance.workers.onnxruntime.open_session import load_libraries

    (tmp_path / "tensorrt_libs.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt_libs", raising=False)
    load_libraries(provider)
    assert ("tensorrt_libs" in sys.modules) is loaded
    sys.modules.pop("tensorrt_libs", None)


def test_an_absent_package_of_tensorrt_is_no_error():
    from onnx_conformance.workers.onnxruntime.open_session import load_libraries

    load_libraries("TensorrtExecutionProvider")


def test_what_the_bridge_logged_last_counts():
    assert refused_library("nothing of that kind") is None
    own, cause = refused_library(LOG.replace("cuda.so", "tensorrt.so") + LOG)
    assert own == "libonnxruntime_providers_cuda.so"
    assert cause.startswith("libcurand.so.10: cannot open")


@pytest.mark.parametrize(
    ("flags", "kind", "message"),
    [
        ("fpu amx_bf16", "bfloat16", ""),
        ("fpu avx512f", "bfloat16", "this processor has no bfloat16 instructions (avx512_bf16"),
        ("fpu avx512_bf16", "float16", "this processor has no float16 instructions (avx512_fp16"),
        (None, "float16", "nothing tells whether this processor has float16"),
    ],
)
def test_arithmetic_of_the_processor_is_looked_up(monkeypatch, tmp_path, flags, kind, message):
    from onnx_conformance.workers.onnxruntime import probe_backend

    path = tmp_path / "cpuinfo"
    if flags is not None:
        path.write_text(f"flags : {flags}\n")
    monkeypatch.setattr(probe_backend, "CPUINFO", path)
    text = probe_backend.absence(DEVICES[kind])
    assert text.startswith(message)
    assert bool(text) == bool(message)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (Device("x", "no x is here", paths=("/no/such/*",)), "no x is here (/no/such/*)"),
        (Device("x", "no x is here", paths=("/no/such/*", "/")), ""),
        (Device("x", "this is not BeOS", systems=("BeOS",)), "this is not BeOS, but "),
    ],
)
def test_a_device_that_its_record_describes_is_looked_for(device, message):
    from onnx_conformance.workers.onnxruntime import probe_backend

    text = probe_backend.absence(device)
    assert text.startswith(message)
    assert bool(text) == bool(message)


def test_driver_and_firmware_are_read_from_the_drivers_own_files(tmp_path, monkeypatch):
    (tmp_path / "gpus" / "0").mkdir(parents=True)
    about = "Model: \t\t NVIDIA H200\nVideo BIOS: \t 96.00.A5.00.01\n"
    (tmp_path / "gpus" / "0" / "information").write_text(about)
    told = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build"
    (tmp_path / "version").write_text(f"{told}  (user@host)\nGCC version:  gcc 12.2.0\n")
    here = [
        (word, files.replace("/proc/driver/nvidia", str(tmp_path)), pattern)
        for word, files, pattern in DEVICES["nvidia"].versions
    ]
    found = told_versions(replace(DEVICES["nvidia"], versions=tuple(here)))
    assert found == "NVIDIA H200, driver 570.124.06, firmware 96.00.A5.00.01"
    assert told_versions(Device("x", versions=(("", "/no/such/*", "(.+)"),))) == ""


def test_a_session_that_tells_of_no_node_is_asked_by_its_profile(tmp_path):
    path = tmp_path / "probe.onnx"
    write_probe_model(path)
    placed = {"placement": {"XExecutionProvider": {"Gemm": 1}}}
    silent = {"placement": {}}
    assert probe(X, WorkerClient(open=silent, profile=placed), path, LIMIT).usable
    assert probe(X, WorkerClient(open=silent, profile=silent), path, LIMIT).stage == "placement"


# -- many of them --------------------------------------------------------------------------


def test_probing_all_providers_takes_seconds():
    started = time.perf_counter()
    found = survey(PROVIDERS, LIMIT)
    assert time.perf_counter() - started < 20.0  # 3 alone; tests share the processors
    assert list(found) == list(PROVIDERS)
    assert found["cpu"].usable
    assert all(each.stage in STAGES and each.sentence for each in found.values() if not each.usable)


@pytest.mark.parametrize(("stage", "tried"), [("device", 2), ("session", 3)])
def test_what_one_mode_lacks_of_devices_all_lack(monkeypatch, stage, tried):
    asked = []

    def probed(provider, model, limit):
        asked.append(provider.name)
        return ProbeResult(False, f"{provider.name} cannot", stage, seconds=1.0)

    names = ("cuda", "cuda_tf32", "tensorrt")
    compiled = [PROVIDERS[name].ort_name for name in names]
    monkeypatch.setattr(provider_sources, "_compiled_in", lambda limit: compiled)
    monkeypatch.setattr(provider_sources, "_probed", probed)
    found = survey((*names, "coreml"), LIMIT)
    assert len(asked) == tried
    assert [found[name].stage for name in names] == [stage] * 3
    assert found["coreml"].stage == "compiled_in"


def test_the_probe_model_is_right_to_the_bit(tmp_path):
    from onnx.reference import ReferenceEvaluator

    write_probe_model(tmp_path / "probe.onnx")
    session = ReferenceEvaluator(str(tmp_path / "probe.onnx"))
    assert session.run(None, {"x": np.array([[1.0, 2.0]], np.float32)})[0].item() == 20.0


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("cpu=some_package", "a provider 'cpu' exists"),
        ("only_a_name", "give NAME=PATH"),
        ("two words=x", "give NAME=PATH"),
        ("x=/no/such/file.so", "there is no such file or module"),
    ],
)
def test_a_malformed_plugin_option_is_refused(argument, message):
    with pytest.raises(UsageError, match=message):
        adopt_libraries([argument], LIMIT)


def test_a_known_provider_may_come_as_its_plugin():
    arguments = ["webgpu=onnxruntime_ep_webgpu"]
    names, take_back = registering(lambda: adopt_libraries(arguments, LIMIT), PROVIDERS)
    adopted = PROVIDERS["webgpu"]
    take_back()
    assert names == ("webgpu",)
    assert adopted.ort_name == "WebGpuExecutionProvider"
    assert adopted.library == "onnxruntime_ep_webgpu"
    assert PROVIDERS["webgpu"].library == ""


# -- the tool --------------------------------------------------------------------------------


@pytest.fixture
def found(monkeypatch):
    results = {
        "cpu": ProbeResult(True, "ran", READY, seconds=0.1),
        "cuda": ProbeResult(False, "no GPU [here]", "device", "buy one"),
    }
    monkeypatch.setattr(tool, "survey", lambda names, limit: {n: results[n] for n in names})
    return results


def test_the_table_says_what_to_do(found, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert tool.main(["--provider=cpu", "--provider=cuda"]) == 0
    text = capsys.readouterr().out
    for message in ("no GPU [here]", "buy one", "device", "available: cpu"):
        assert message in text


def test_as_data(found, capsys):
    assert tool.main(["--provider=cpu", "--provider=cuda", "--json"]) == 0
    text = json.loads(capsys.readouterr().out)
    assert text["cuda"]["stage"] == "device"
    assert text["cuda"]["record"]["options"] == {"use_tf32": "0"}


@pytest.mark.parametrize(("name", "status"), [("cpu", 0), ("cuda", 1)])
def test_what_is_required_must_work(found, name, status, capsys):
    assert tool.main(["--provider=cpu", f"--require={name}"]) == status
    assert (f"--require {name}: it does not work here" in capsys.readouterr().err) is bool(status)


def test_an_unknown_requirement_is_an_error():
    with pytest.raises(UsageError, match="unknown provider 'gpus'"):
        tool.main(["--require=gpus"])
