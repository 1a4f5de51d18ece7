"""The entry points: what pytest loads for every user, and the words of the command line."""

import json
import os
import shlex
import subprocess
import sys
import tomllib

import pytest

from onnx_conformance.cli import run
from onnx_conformance.core.files import WHOLE_RUN, program
from onnx_conformance.plugin.typed_command import whole_run, whole_run_of
from tests.meta.running import ROOT
from tests.meta.small_files import write_product

pytestmark = pytest.mark.slow

SECONDS = 0.15  # that it may add to the start of pytest

MEASURED = """
import json, sys, time
import pytest
before, started = {*sys.modules}, time.perf_counter()
import onnx_conformance.plugin
print(json.dumps([time.perf_counter() - started, sorted({*sys.modules} - before)]))
"""


def test_the_entry_point_imports_itself_alone():
    command = [sys.executable, "-c", MEASURED]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    seconds, imported = json.loads(ran.stdout)
    assert imported == ["onnx_conformance", "onnx_conformance.plugin"]
    assert seconds < SECONDS


def test_the_entry_point_is_called_as_its_module():
    """pytest then loads it once, though a conftest.py names it too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {
        "onnx_conformance.plugin": "onnx_conformance.plugin"
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["my.py"], ["--models-from=my.py"]),
        (["--no-cache", "my.py", "-v"], ["--no-cache", "--models-from=my.py", "-v"]),
        (["--against", "a.onnx", "b.onnx"], ["--against", "a.onnx", "--artifact=b.onnx"]),
        (["--model", "net", "my.py"], ["--model", "net", "--models-from=my.py"]),
        (["-k", "my.py", "resnet18"], ["-k", "my.py", "--model=resnet18"]),
        (["--models-from=a.py"], ["--models-from=a.py"]),
        (["torchvision:resnet18"], ["--model=torchvision:resnet18"]),
        (["my.py:net"], ["--model=my.py:net"]),
    ],
)
def test_words_of_the_command_line(arguments, expected):
    found = run.pytest_arguments(arguments)
    assert found[-len(expected) :] == expected
    assert str(run.TESTS) in found


def test_a_test_id_is_found_by_its_file(tmp_path):
    arguments = ["test_function.py::test_liveness[net-cpu]", "my.py"]
    found = run.pytest_arguments(arguments)
    assert f"{run.TESTS}/test_function.py::test_liveness[net-cpu]" in found
    assert str(run.TESTS) not in found


def test_a_folder_of_files_is_judged(tmp_path):
    assert run.pytest_arguments([str(tmp_path)])[-1] == f"--artifact={tmp_path}"


@pytest.mark.parametrize(
    ("command", "file"), [("bench", "test_latency.py"), ("gate", "test_gate.py")]
)
def test_commands_of_one_file(command, file):
    found = run.pytest_arguments(["my.py"], run.TEST_FILES[command], run.OPTIONS[command])
    assert found[0] == str(run.TESTS / file)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["--against", "a.onnx", "b.onnx", "-k", "pinned or rows"], "--against a.onnx b.onnx"),
        (["my.py", "-kpinned", "-m=structure", "--deselect=x", "-v"], "my.py -v"),
        (["test_function.py::test_rows[net-cpu]", "--model", "-k"], "--model -k"),
        (["my file.py", "-m", "structure", "--provider", "cpu"], "'my file.py' --provider cpu"),
    ],
)
def test_the_command_of_every_check_repeats_what_was_typed(words, kept):
    assert whole_run(words, lambda word: "::" in word).endswith(f" run {kept}")


def test_what_pytest_was_told_is_repeated_without_its_tests(monkeypatch):
    monkeypatch.delenv(WHOLE_RUN, raising=False)
    found = whole_run_of(["tests/test_function.py", "--against=a.onnx", "--artifact", "b.onnx"])
    assert found.endswith("onnx_conformance run --against=a.onnx --artifact b.onnx")


def test_the_interpreter_of_an_environment_that_is_not_active_is_named(tmp_path, monkeypatch):
    python = tmp_path / ".venv" / "bin" / "python"
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    assert program() == [".venv/bin/python", "-m", "onnx_conformance"]
    monkeypatch.chdir(tmp_path / "..")
    assert program()[0].startswith(tmp_path.name)
    monkeypatch.chdir("/")
    python.parent.mkdir(parents=True)
    python.symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(python.parent))
    assert program()[0] == "python"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of the user's, with two files, one of which has a wrong weight."""
    folder = tmp_path_factory.mktemp("user")
    write_product(folder / "good.onnx")
    write_product(folder / "my bad.onnx", wrong=True)
    return folder


@pytest.mark.parametrize(
    ("judged", "status", "collected"), [("my bad.onnx", 1, "1 test"), ("good.onnx", 5, "tests")]
)
def test_the_next_step_can_be_pasted_into_the_folder_of_the_run(files, judged, status, collected):
    def typed(command):
        return subprocess.run(
            command, shell=True, cwd=files, env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    words = ("run", "--against", "good.onnx", judged, "--provider=cpu", "-k", "initializers")
    ran = typed(shlex.join([sys.executable, "-m", "onnx_conformance", *words]))
    assert ran.returncode == status, ran.stdout + ran.stderr
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("next: ")]
    again = typed(line.removeprefix("next: ").partition("   #")[0] + " --collect-only -q")
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{collected} collected" in again.stdout
