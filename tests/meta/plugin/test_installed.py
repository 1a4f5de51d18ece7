"""A user's own project, with nothing of this one but the wheel: red and green, and left in peace.

The environment is fresh: the frameworks come from this one by a path, the library from the wheel,
and a distribution called ``fixtures`` that ends any run that imports it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from onnx_conformance.core.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "examples" / "sample_project"
BAR_SECONDS, BAR_BYTES = 60, 2_000_000  # to install; of the wheel, the rest being dependencies
OPTIONAL = ("matplotlib", "jinja2", "markupsafe", "skimage", "sklearn", "scipy", "PIL", "onnxslim")

pytestmark = pytest.mark.slow


class Installed:
    """An environment with the wheel, and a copy of the sample project."""

    def __init__(self, home: Path, project: Path) -> None:
        self.home = home
        self.project = project
        self.packages = next(home.glob("lib/python*/site-packages"))

    def run(
        self, *arguments: str, folder: Path | None = None, path: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command of that environment, in the project's folder."""
        hidden = ("PYTHON", "PYTEST_", "CI", "BUILD_NUMBER", "COV_")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        environment |= {"PYTHONPATH": str(path)} if path else {}
        return subprocess.run(
            [self.home / "bin" / arguments[0], *arguments[1:]],
            cwd=folder or self.project, env=environment,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    def files(self) -> set[Path]:
        """What the library's folder holds, but for bytecode."""
        found = (self.packages / "onnx_conformance").rglob("*")
        return {path for path in found if "__pycache__" not in path.parts}


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout."""
    alone = [] if importlib.util.find_spec("hatchling") is None else ["--no-isolation"]
    command = [sys.executable, "-m", "build", "--wheel", *alone, f"--outdir={folder}", str(ROOT)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if importlib.util.find_spec("build") is None:
        pytest.skip("build is not installed: 'make lint' installs it")
    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory, wheel):
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True, timeout=60)
    found = Installed(home, tmp_path_factory.mktemp("user") / "project")
    (found.packages / "frameworks.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", f"--python={home / 'bin' / 'python'}", "install"]
    quiet = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*pip, *quiet, wheel], check=True, timeout=BAR_SECONDS)
    other = found.packages / "fixtures"
    other.mkdir()
    (other / "__init__.py").write_text("raise SystemExit('the other fixtures was imported')\n")
    shutil.copytree(SAMPLE, found.project)
    exported = found.run("python", "-m", "digits_net.export", "digits.onnx")
    assert exported.returncode == 0, exported.stderr
    return found


@pytest.fixture(scope="module")
def wrong(installed):
    """The served file with one weight negated."""
    model = onnx.load(installed.project / "digits.onnx")
    stored = next(each for each in model.graph.initializer if each.name == "last.weight")
    values = numpy_helper.to_array(stored).copy()
    values[0, 0] *= -1
    stored.CopyFrom(numpy_helper.from_array(values, stored.name))
    path = installed.project / "wrong.onnx"
    onnx.save(model, path)
    return path


def test_the_wheel_is_light(wheel, installed):
    assert wheel.stat().st_size < BAR_BYTES
    (metadata,) = installed.packages.glob("onnx_conformance-*.dist-info/METADATA")
    required = [line for line in metadata.read_text().splitlines() if line.startswith("Requires-D")]
    plain = {line.split()[1].rstrip(";") for line in required if "extra ==" not in line}
    assert "numpy" in plain
    heavy = {*OPTIONAL, "torch", "tensorflow", "onnxruntime", "scikit-image", "scikit-learn"}
    assert not plain & {*heavy, "pillow"}
    assert not [line for line in required if "==" in line.partition(";")[0]]  # no pins
    assert {line.split("extra == ")[1].strip("'\"") for line in required if "extra" in line} == {
        *EXTRAS
    }
    assert (installed.packages / "onnx_conformance" / "py.typed").is_file()


def test_every_conformance_test_is_shipped_but_those_of_this_suites_own_models(installed):
    here = {path.name for path in (ROOT / "tests").glob("test_*.py")}
    shipped = {path.name for path in (installed.packages / "onnx_conformance/suite").iterdir()}
    assert shipped - {"__pycache__"} == here - {"test_export_options.py"} | {"conftest.py"}


def test_the_samples_own_tests_pass(installed):
    before = installed.files()
    ran = installed.run("python", "-m", "pytest", "-q", "-W", "error")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout
    assert installed.files() == before
    assert not (installed.project / ".conformance").exists()


def test_one_wrong_weight_is_red_and_the_message_stands_alone(installed, wrong):
    test = installed.project / "tests" / "test_wrong.py"
    served = (installed.project / "tests" / "test_export.py").read_text()
    test.write_text(served.replace("digits.onnx", wrong.name, 1))
    ran = installed.run("python", "-m", "pytest", "-q", "tests/test_wrong.py", "-k", "served")
    test.unlink()
    assert ran.returncode == 1, ran.stdout + ran.stderr
    output = [line[1:].strip() for line in ran.stdout.splitlines() if line.startswith("E ")]
    cause = "AssertionError: model-wrong-cpu: initializers: 1 of 9 native weights are not intact"
    assert output[0].startswith(cause)
    changed = "'last.weight' differs in 'last.weight'; 1 of 320 elements; worst at [0, 0]"
    assert any(changed in line for line in output)
    assert output[-1].startswith("to do: ")
    assert "onnx_conformance/api.py" not in ran.stdout  # no line of the library's


def test_the_console_script_certifies_and_leaves_its_outputs_in_the_project(installed):
    before = installed.files()
    arguments = ("--provider=cpu", "--exporter=torch_torchscript", "--opset", "17")
    ran = installed.run("onnx-conformance", "run", "conformance_models.py", *arguments)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    outputs = installed.project / ".conformance"
    assert json.loads((outputs / "results.json").read_text())["run"]["verdict"] == "passed"
    assert {path.name for path in outputs.iterdir()} == {"cache", "report.html", "results.json"}
    assert installed.files() == before


def test_two_files_are_compared(installed, wrong):
    arguments = ("--against", "digits.onnx", wrong.name, "--no-cache", "--no-localize")
    ran = installed.run("onnx-conformance", "run", *arguments, "-k", "initializers or pinned")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    script = installed.home / "bin" / "onnx-conformance"  # of an environment that is not active
    again = f"reproduce: {script} run 'test_structure.py::test_initializers["
    assert again in ran.stdout


WITHOUT_EXTRAS = f"""
import sys
from importlib.machinery import PathFinder

class Absent(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in {OPTIONAL}
        return None if hidden else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Absent
"""


def test_without_extras_a_run_keeps_terminal_json_and_markdown(installed, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_EXTRAS)
    arguments = ("--provider=cpu", "--exporter=torch_torchscript", "--opset=17", "--report-md=r.md")
    run = ("onnx-conformance", "run", "conformance_models.py")
    ran = installed.run(*run, *arguments, "-p", "no:benchmark", path=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    extra = "pip install 'onnx-conformance[report]'"
    assert f"no page: jinja2 is not installed; {extra}   data: " in ran.stdout
    assert "digits_net" in (installed.project / "r.md").read_text()
    assert not (installed.project / ".conformance" / "report.html").exists()
    timed = installed.run("onnx-conformance", "bench", run[2], *arguments[:3], path=tmp_path)
    assert timed.returncode == 4
    assert "scipy is not installed; pip install 'onnx-conformance[timing]'" in timed.stderr
    pictured = installed.run(*run, *arguments[:3], "--image=digits.onnx", path=tmp_path)
    assert pictured.returncode == 4
    assert "PIL is not installed; pip install 'onnx-conformance[photographs]'" in pictured.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "output"),
    [
        (("run",), 4, "no model to certify: name a Python file"),
        (("run", "nowhere.py"), 4, "--models-from nowhere.py: no such file"),
        (("inspect", "digits.onnx"), 0, "✓ cpu: opens it"),
        (("providers", "--provider=cpu"), 0, "available: cpu"),
        (("new-model", "my_net", "mine.py"), 0, "onnx-conformance run"),
        (("nothing",), 2, "unknown command 'nothing'"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_the_other_commands(installed, arguments, status, output):
    ran = installed.run("onnx-conformance", *arguments)
    assert ran.returncode == status, ran.stdout + ran.stderr
    assert output in ran.stdout + ran.stderr


STRANGERS_CONFTEST = """
import sys, warnings
import pytest

def pytest_addoption(parser):
    for name in ("--model", "--seed", "--provider", "--image", "--weights"):
        parser.addoption(name, default="theirs")

@pytest.fixture
def subject():
    return "theirs"

@pytest.fixture
def evidence(request):
    return request.config.getoption("model")
"""
STRANGERS_TEST = """
import sys, warnings
import pytest

def test_theirs(subject, evidence, pytestconfig):
    assert (subject, evidence) == ("theirs", "theirs")
    assert pytestconfig.getini("filterwarnings") == []
    ours = {name for name in sys.modules if name.partition(".")[0] == "onnx_conformance"}
    assert ours == {"onnx_conformance", "onnx_conformance.plugin"}
    with pytest.warns(UserWarning):
        warnings.warn("theirs")
"""


def test_other_tests_of_a_user_are_left_in_peace(installed, tmp_path):
    (tmp_path / "conftest.py").write_text(STRANGERS_CONFTEST)
    (tmp_path / "test_theirs.py").write_text(STRANGERS_TEST)
    arguments = ("-q", "--strict-markers", "--strict-config")
    ran = installed.run("python", "-m", "pytest", *arguments, folder=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    listed = installed.run("python", "-m", "pytest", "--help", folder=tmp_path).stdout
    assert "plugins: " not in listed
    assert "onnx-conformance:" not in listed


PROBE = """
import sys

class Probe:
    def __init__(self, threads):
        pass

    def folders(self):
        import onnx_conformance.core.worker_messages
        return sys.path + [onnx_conformance.__file__]
"""
ASKED = """
import json, sys
from onnx_conformance.run.worker_client import ProcessWorkerClient
worker = ProcessWorkerClient("path_probe:Probe", spec=f"popen//python={sys.argv[1]}")
print(json.dumps(worker.call("folders", 60)))
worker.close()
"""


def test_a_worker_of_another_environment_sees_no_package_of_this_one(installed, tmp_path):
    """Else that environment's ONNX Runtime would not be the one that is judged."""
    home = tmp_path / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True, timeout=60)
    (next(home.glob("lib/python*/site-packages")) / "frameworks.pth").write_text(
        sysconfig.get_path("purelib")
    )
    (installed.project / "path_probe.py").write_text(PROBE)
    ran = installed.run("python", "-c", ASKED, str(home / "bin" / "python"))
    assert ran.returncode == 0, ran.stderr
    *folders, library = json.loads(ran.stdout)
    assert str(installed.packages) not in folders
    assert str(installed.project) in folders
    assert library == str(installed.packages / "onnx_conformance" / "__init__.py")


COLLECTED = """
import sys
sys.path.remove("")
import pytest
status = pytest.main(["-q", "--collect-only", "--model=simple_net", "tests/test_structure.py"])
import onnx_conformance
print(onnx_conformance.__file__)
sys.exit(status)
"""


def test_a_checkouts_tests_judge_the_checkouts_library_though_another_is_installed(installed):
    ran = installed.run("python", "-c", COLLECTED, folder=ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == str(ROOT / "onnx_conformance" / "__init__.py")
