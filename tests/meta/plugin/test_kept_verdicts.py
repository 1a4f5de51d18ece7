"""--resume takes the verdicts of cases that passed, and none of other code, options or files."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from onnx_conformance.cli.context import read_run
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.files import TOLERANCES
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.store import key_of
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.plugin import run_basis as basis
from onnx_conformance.plugin.kept_verdicts import KIND
from tests.meta.running import ROOT, environment_of_a_run, run_suite
from tests.meta.small_files import write_models, write_product

FILES = ("one", "two", "wrong")


@pytest.fixture
def run(tmp_path):
    tolerances = tmp_path / "tolerances.yaml"
    tolerances.write_bytes(TOLERANCES.read_bytes())
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_own.py").write_text("one = 1\n")
    return SimpleNamespace(
        settings=Settings(),
        tolerances=load_tolerances(tolerances),
        cases=(Case("simple_net", "torch_dynamo", 18, "cpu"),),
        known_failures=(),
        frameworks=(),
        images=(),
        localize="auto",
        bundles=20,
    )


def key(run, plugins=()):
    manager = SimpleNamespace(list_name_plugin=lambda: [(str(each), each) for each in plugins])
    config = SimpleNamespace(getoption=lambda *_: None, pluginmanager=manager)
    folders = [run.tolerances.path.parent / "tests"]
    return key_of(**basis.run_basis(config, run, folders), **basis.machine_basis())


def test_the_same_run_has_the_same_key_wherever_its_cache_is(run, tmp_path):
    before = key(run)
    run.settings = replace(run.settings, cache_dir=tmp_path / "elsewhere", limit=7.0)
    assert key(run) == before


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"threads": 2},
        {"graph_level": "basic"},
        {"edge_cases": "fail"},
        {"first_finding": True},
        {"examples": 3},
        {"cpu_fallback": False},
        {"weights": "pretrained"},
    ],
)
def test_another_option_is_another_key(run, changed):
    before = key(run)
    run.settings = replace(run.settings, **changed)
    assert key(run) != before


@pytest.mark.parametrize("name", ["tolerances.yaml", "tests/test_own.py", "tests/helper.py"])
def test_other_tolerances_and_other_tests_are_another_key(run, name):
    before = key(run)
    with (run.tolerances.path.parent / name).open("a") as file:
        file.write("# looser\n")
    assert key(run) != before


def test_a_plugin_and_what_it_holds_are_another_key(run, tmp_path):
    plugin = SimpleNamespace(__file__=str(tmp_path / "conftest.py"))
    (tmp_path / "conftest.py").write_text("one = 1\n")
    first = key(run, [plugin])
    (tmp_path / "conftest.py").write_text("one = 2\n")
    assert len({key(run), first, key(run, [plugin])}) == 3


def test_another_file_of_data_is_another_key(run, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "one.npz").write_bytes(b"1")
    run.settings = replace(run.settings, evaluation_data=str(folder))
    before = key(run)
    (folder / "one.npz").write_bytes(b"2")
    assert key(run) != before


def test_another_package_variable_or_build_is_another_key(run, monkeypatch, tmp_path):
    before = key(run)
    with monkeypatch.context() as patch:
        patch.setenv("ORT_DISABLE_ALL", "1")
        assert key(run) != before
    with monkeypatch.context() as patch:
        patch.setattr(basis, "_libraries", lambda: iter([("libonnxruntime.so", 1, 2)]))
        assert key(run) != before
    with monkeypatch.context() as patch:
        patch.setattr(basis, "DRIVERS", (run.tolerances.path,))
        assert key(run) != before
    with monkeypatch.context() as patch:
        (tmp_path / "onnxruntime-0.1.dist-info").mkdir()
        patch.syspath_prepend(tmp_path)
        assert key(run) != before
    assert key(run) == before


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The options of a run of three files, of which one is wrong, on a cache of its own."""
    folder = tmp_path_factory.mktemp("many")
    for name in FILES:
        write_product(folder / f"{name}.onnx", wrong=name == "wrong", producer=name)
    files = [f"--artifact={folder / name}.onnx" for name in FILES]
    models = [f"--models-from={write_models(folder / 'models.py')}", "--model=product"]
    tests = ["tests/test_structure.py", "tests/test_function.py"]
    few = ["-k", "checker or interface or allclose", "--no-localize", "--bundles=0"]
    return [*tests, *models, *files, "--provider=cpu", *few, f"--cache-dir={folder / 'cache'}"]


@pytest.fixture(scope="module")
def killed(command, tmp_path_factory):
    """A run that was killed once it had judged its first case: the cache that it left."""
    folder = tmp_path_factory.mktemp("killed")
    cache = next(word.partition("=")[2] for word in command if word.startswith("--cache-dir"))
    kept = Path(cache) / KIND
    reports = [f"--report-json={folder / 'r.json'}", "--report-html="]
    words = [sys.executable, "-m", "pytest", *command, *reports]
    process = subprocess.Popen(
        words, cwd=ROOT, env=environment_of_a_run(), stdout=subprocess.DEVNULL
    )
    while process.poll() is None and not list(kept.glob("*/manifest.json")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "r.json").exists()
    return kept


@pytest.fixture(scope="module")
def resumed(killed, command, tmp_path_factory):
    return run_suite(tmp_path_factory.mktemp("resumed"), *command, "--resume")


def taken(run):
    return {case["exporter"]: case["resumed"] is not None for case in run.document["cases"]}


def verdicts(run):
    return {case["exporter"]: case["verdict"] for case in run.document["cases"]}


@pytest.mark.slow
def test_what_a_killed_run_judged_is_taken_and_the_rest_is_run(resumed):
    assert resumed.status == 1, resumed.text
    assert taken(resumed)["one"]
    assert not taken(resumed)["wrong"]
    assert verdicts(resumed) == {"one": "passed", "two": "passed", "wrong": "failed"}
    assert "of earlier runs (" in resumed.document["run"]["sentence"]


@pytest.mark.slow
def test_another_file_of_the_name_is_judged_under_xdist_too(resumed, command, tmp_path):
    path = next(word for word in command if word.endswith("one.onnx")).partition("=")[2]
    write_product(Path(path), wrong=True)
    run = run_suite(tmp_path, *command, "--resume", "-n2")
    assert taken(run) == {"one": False, "two": True, "wrong": False}, run.text
    assert verdicts(run) == {"one": "failed", "two": "passed", "wrong": "failed"}


def test_without_a_cache_nothing_can_be_taken():
    with pytest.raises(UsageError, match="leave out --no-cache"):
        read_run(["--model=simple_net", "--resume", "--no-cache"])
