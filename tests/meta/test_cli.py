"""The command line: quick and light where nothing runs, one clear line where it cannot run."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.meta.running import run_suite

FRAMEWORKS = {"torch", "torchvision", "tensorflow", "keras", "tf2onnx", "onnxruntime", "jax"}
SLACK = 5  # an idle machine answers within 2 s

USAGE = {
    "model": (["--model=resnet19"], "unknown model 'resnet19'; known: efficientnet_lite0, "),
    "exporter": (["--exporter=onnx"], "unknown exporter 'onnx'; known: keras_export, "),
    "provider": (["--provider=gpu"], "unknown provider 'gpu'; known: coreml, cpu, "),
    "required provider": (["--require=gpus"], "unknown provider 'gpus'; known: coreml, cpu, "),
    "opset": (["--opset=99"], "no chosen exporter serves opset 99; served: torch_torchscript 9-"),
    "no route": (["--model=simple_net", "--exporter=keras_export"], "no case is left: "),
    "tolerances": (["--tolerances={bad}"], "{bad}, line 1: the file must be a mapping"),
    "no tolerances": (["--tolerances={folder}/none"], "cannot read {folder}/none: No such file"),
    "known failures": (["--known-failures={bad}"], "{bad}, entry 1: must have exactly the keys "),
    "cache": (["--cache-dir={bad}"], "cannot write to the cache directory {bad} ("),
    "cache below": (["--cache-dir={bad}/cache"], "cannot write to the cache directory {bad}/cache"),
    "image": (["--image={folder}/none.jpg"], "--image {folder}/none.jpg: no such file"),
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """Every run of USAGE, two at a time: its folder, its command line's words, and the run."""

    def refuse(name):
        folder, inputs = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("inputs")
        bad = inputs / "bad.yaml"
        bad.write_text("- a mapping was wanted\n")
        arguments, words = USAGE[name]
        places = {"folder": inputs, "bad": bad}
        run = run_suite(folder, *(argument.format(**places) for argument in arguments))
        return folder, words.format(**places), run

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(USAGE, pool.map(refuse, USAGE), strict=True))


@pytest.mark.parametrize("name", USAGE)
def test_what_cannot_run_is_refused_in_one_line(refusals, name):
    folder, words, run = refusals[name]
    assert run.status == pytest.ExitCode.USAGE_ERROR, run.text
    [line] = run.text.strip().splitlines()
    assert line.startswith(f"ERROR: {words}")
    assert list(folder.rglob("*")) == []


def test_wrong_type_of_a_number_is_refused(tmp_path):
    run = run_suite(tmp_path, "--opset=latest")
    assert run.status == pytest.ExitCode.USAGE_ERROR
    assert "argument --opset: invalid int value: 'latest'" in run.text
    assert "Traceback" not in run.text


@pytest.mark.parametrize("arguments", [["--help"], ["--collect-only", "-q"]], ids=" ".join)
def test_asking_imports_no_framework_and_writes_nothing(tmp_path, monkeypatch, arguments):
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    started = time.perf_counter()
    run = run_suite(tmp_path, *arguments)
    seconds = time.perf_counter() - started
    assert run.status == 0, run.text
    imported = set(re.findall(r"^import time: .*\| +([\w.]+)$", run.text, re.MULTILINE))
    assert "numpy" in imported
    assert not {name.partition(".")[0] for name in imported} & FRAMEWORKS
    assert list(tmp_path.rglob("*")) == []
    assert seconds < 2 * SLACK


def test_help_tells_every_option_with_its_default(tmp_path):
    text = run_suite(tmp_path, "--help").text
    for option in ("--model", "--exporter", "--opset", "--provider", "--require", "--tolerances"):
        assert option in text
    assert "default: tolerances.yaml" in text
    assert "default: .conformance/cache" in text
