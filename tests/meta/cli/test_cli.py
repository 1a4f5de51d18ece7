"""The command line: quick and light where nothing runs, one clear line where it cannot run."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.meta.running import CACHE, run_suite

pytestmark = pytest.mark.slow

FRAMEWORKS = {"torch", "torchvision", "tensorflow", "keras", "tf2onnx", "onnxruntime"}
SECONDS, SLACK = 2, 6  # what an idle machine needs at most, and what a busy one may

REFUSED = {
    "--model=resnet19": "unknown model 'resnet19'; known: digits_cnn, efficientnet_lite0, ",
    "--exporter=onnx": "unknown exporter 'onnx'; known: keras_export, ",
    "--provider=gpu": "unknown provider 'gpu'; known: coreml, coreml_fp16, cpu, cuda, ",
    "--opset=99": "no chosen exporter supports opset 99; supported: torch_torchscript 9-",
    "--tolerances={file}": "{file}, line 1: the file must be a mapping",
    "--cache-dir={file}/cache": "cannot write to the cache directory {file}/cache (",
    "--image={file}.jpg": "--image {file}.jpg: no such file",
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """A run with each argument of REFUSED, two at a time: (what it should say, run, folder)."""

    def refuse(argument):
        folder = tmp_path_factory.mktemp("reports")
        file = tmp_path_factory.mktemp("inputs") / "file"
        file.write_text("- a mapping was wanted\n")
        message = REFUSED[argument].format(file=file)
        return message, run_suite(folder, argument.format(file=file)), folder

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(REFUSED, pool.map(refuse, REFUSED), strict=True))


@pytest.mark.parametrize("argument", REFUSED)
def test_what_cannot_run_is_refused_in_one_line(refusals, argument):
    message, run, folder = refusals[argument]
    assert run.status == pytest.ExitCode.USAGE_ERROR, run.text
    [line] = run.text.strip().splitlines()
    assert line.startswith(f"ERROR: {message}")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--help"], "tolerances file (default: the one"),
        (
            ["tests", "--ignore=tests/meta", "--collect-only", "-q"],
            "simple_net-torch_dynamo-opset18-cpu]",
        ),
    ],
    ids=["help", "collect"],
)
def test_asking_imports_no_framework_and_writes_no_file(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # each import tells its name on stderr
    monkeypatch.delenv(CACHE)  # a run that is forked has imported much already
    started = time.perf_counter()
    run = run_suite(tmp_path, *arguments, "--capture=no")
    assert time.perf_counter() - started < SECONDS * SLACK
    assert run.status == 0, run.text
    assert message in run.text
    imported = set(re.findall(r"^import time: .*\| +([\w.]+)$", run.text, re.MULTILINE))
    assert "onnx_conformance.run.selection" in imported
    assert not {name.partition(".")[0] for name in imported} & FRAMEWORKS
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
