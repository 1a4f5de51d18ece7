"""Providers of other environments: their records, their options, and how they are built."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.cli import environments
from onnx_conformance.core.errors import ConformanceError, UsageError
from onnx_conformance.run.provider_sources import adopt_engines, survey
from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

LIMIT = 60.0
HERE = f"popen//python={sys.executable}"


@pytest.fixture
def adopt():
    """Adopt, and leave the registry as it was."""
    before = {name: PROVIDERS[name] for name in PROVIDERS}
    yield lambda *argument: adopt_engines(argument, LIMIT)
    for name in list(PROVIDERS):
        PROVIDERS.forget(name)
    for name, record in before.items():
        PROVIDERS.register(name, record)


def test_a_label_is_the_cpu_provider_there(adopt):
    assert adopt(f"ort-here={HERE}") == ("ort-here",)
    record = PROVIDERS["ort-here"]
    assert (record.ort_name, record.base, record.host) == ("CPUExecutionProvider", "cpu", HERE)
    assert record.runtime
    found = survey(("ort-here",), LIMIT)["ort-here"]
    assert found.usable
    assert f"CPUExecutionProvider of ONNX Runtime {record.runtime} ran" in found.reason


def test_a_provider_of_the_name_moves_there_in_its_own_precision(adopt):
    adopt(f"openvino={HERE}", f"half:openvino_fp16={HERE}")
    assert PROVIDERS["openvino"].options["precision"] == "FP32"
    assert PROVIDERS["half"].precision == "float16"
    found = survey(("openvino",), LIMIT)["openvino"]
    assert found.stage == "compiled_in"
    assert "there was built without OpenVINOExecutionProvider" in found.reason


def test_the_gates_own_engine_is_no_provider(adopt):
    assert adopt(f"baseline={HERE}") == ()
    assert "baseline" not in PROVIDERS


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("label", "give LABEL=SPEC"),
        (f"two words={HERE}", "give LABEL=SPEC"),
        (f"x:no_such={HERE}", "unknown provider 'no_such'"),
        ("x=popen//python=/no/such/python", "that environment needs onnxruntime"),
    ],
)
def test_an_environment_that_is_none_is_reported(adopt, argument, message):
    with pytest.raises(UsageError, match=message):
        adopt(argument)


@pytest.fixture
def bare(tmp_path):
    """The Python of an environment with ONNX Runtime and ``environments.WORKER`` alone."""
    home = tmp_path / "bare"
    venv.create(home, symlinks=True)
    (packages,) = home.glob("lib/python*/site-packages")
    for name in ("onnxruntime", "numpy", "numpy.libs", "execnet", "psutil"):
        for module in Path(sysconfig.get_path("platlib")).glob(name):
            (packages / name).symlink_to(module)
    return home / "bin" / "python"


def test_another_environment_is_a_column(tmp_path, bare):
    """Which holds what an engine needs, and no more."""
    run = run_suite(
        tmp_path,
        "tests/test_structure.py::test_placement",
        "--model=simple_net",
        "--exporter=torch_torchscript",
        "--opset=14",
        "--provider=cpu",
        "--provider=ort-here",
        f"--engine=ort-here=popen//python={bare}",
    )
    assert run.status == 5, run.text  # the other checks were not asked for
    assert [case["provider"] for case in run.document["cases"]] == ["cpu", "ort-here"]


@pytest.mark.parametrize(
    ("wanted", "label", "requirement"),
    [
        ("1.24.4", "ort-1.24.4", "onnxruntime==1.24.4"),
        ("openvino=onnxruntime-openvino==1.24.1", "openvino", "onnxruntime-openvino==1.24.1"),
    ],
)
def test_a_version_alone_is_onnxruntimes(wanted, label, requirement):
    assert environments.named(wanted) == (label, requirement)
    packages = environments.requirements(requirement)
    assert packages[0] == requirement
    assert [each.partition("==")[0] for each in packages[1:]] == list(environments.WORKER)


def test_an_environment_is_built_once_and_again_when_it_changes(tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(environments, "install", lambda python, packages: built.append(packages))
    monkeypatch.setattr(venv, "create", lambda home, **_: home.mkdir(exist_ok=True))
    for wanted in ("x=a==1", "x=a==1", "x=a==2"):
        spec = environments.option(wanted, tmp_path)
        assert spec.startswith(f"--engine=x=popen//python={tmp_path / 'x'}")
    assert [packages[0] for packages in built] == ["a==1", "a==2"]


def test_what_pip_cannot_install_is_reported(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: trying\nERROR: No matching\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ConformanceError, match="pip cannot install a==9: ERROR: No matching"):
        environments.install(tmp_path / "python", ["a==9"])
