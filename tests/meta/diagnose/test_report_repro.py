"""Repro bundles repeat a failure without the suite, and stop failing when the file is fixed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_conformance.catalog.exporters import EXPORTERS
from onnx_conformance.checks import reproduction
from onnx_conformance.checks.closeness import check_allclose, check_top5
from onnx_conformance.checks.determinism import check_determinism
from onnx_conformance.checks.evidence import ConformanceFailure
from onnx_conformance.checks.function import check_batch_invariance, check_error_budget
from onnx_conformance.checks.robustness import check_empty_batch, check_nonfinite
from onnx_conformance.checks.structure import check_opset
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import ConformanceError, StageFailure
from onnx_conformance.core.onnx_file import inspect
from onnx_conformance.core.results import CheckResult
from onnx_conformance.core.settings import Settings
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.diagnose.bundle import scrub, write_bundle
from onnx_conformance.inputs.families import pinned
from onnx_conformance.run.subject import Answer, Artifact, SessionInfo
from tests.meta.running import ROOT

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(5)
WEIGHT = RNG.standard_normal((8, 6)).astype(np.float32)
BIAS = RNG.standard_normal(6).astype(np.float32)
MODEL = ModelSpec(
    "tiny",
    "torch",
    (TensorSpec("input", ("batch_size", 8)),),
    (TensorSpec("output", ("batch_size", 6)),),
    "nowhere:tiny",
)
COMMAND = "pytest 'tests/test_function.py::test_it[tiny-torch_dynamo-opset18-cpu]' --seed 7"


def save_model(path, *, weight=WEIGHT, before=(), after=(), output=TensorProto.FLOAT, **names):
    """``y = x @ W + b``, with nodes before ("x" to "a") or after it ("z" to the output)."""
    input_name, answer = names.get("input", "input"), names.get("output_name", "output")
    gemm = helper.make_node(
        "Gemm", ["a" if before else input_name, "w", "b"], ["z" if after else answer]
    )
    graph = helper.make_graph(
        [*before, gemm, *after],
        "tiny",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["batch_size", 8])],
        [helper.make_tensor_value_info(answer, output, ["batch_size", 6])],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(BIAS, "b"),
            numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path, **names.get("saving", {}))
    return path


class FakeSubject:
    """A case whose native model is NumPy and whose runtime is onnx's reference evaluator."""

    def __init__(self, path, provider="cpu"):
        self.case = Case("tiny", "torch_dynamo", 18, provider)
        self.model, self.exporter, self.seed = MODEL, EXPORTERS["torch_dynamo"], 0
        self.tolerances = load_tolerances(ROOT / "tolerances.yaml")
        self.graph_level = "enable_all"
        facts = inspect(path)
        files = tuple(path.parent / name for name in facts["files"])
        self.artifact = Artifact(path, files, ("0" * 64,), facts)
        placement = {"CPUExecutionProvider": {"Gemm": 1}}
        self.session = SessionInfo("CPUExecutionProvider", ("0" * 64,), placement, (), (), 0.0)
        self._evaluator = ReferenceEvaluator(onnx.load(path))

    def reference(self, inputs):
        def at(dtype, scale=1.0):
            weight = (WEIGHT * scale).astype(dtype)
            with np.errstate(invalid="ignore"):  # some inputs hold infinities
                return {"output": inputs["input"].astype(dtype) @ weight + BIAS.astype(dtype)}

        replicas = tuple(at(np.float32, 1 + k * 2.0**-23) for k in (-1, 1, 2))
        return Reference(at(np.float64), at(np.float32), replicas)

    def native(self, inputs):
        return self.reference(inputs).native

    def run(self, inputs, repeat=0):
        input_name, (answer,) = (
            self.artifact.facts["inputs"][0]["name"],
            self._evaluator.output_names,
        )
        with np.errstate(invalid="ignore"):  # some inputs hold infinities
            outputs = self._evaluator.run([answer], {input_name: inputs["input"]})
        return Answer({"output": outputs[0]})


def wrong_weight():
    weight = WEIGHT.copy()
    weight[3, 2] *= 1.5
    return weight


def nan_replaced():
    return (
        helper.make_node("IsNaN", ["input"], ["is_nan"]),
        helper.make_node("Where", ["is_nan", "zero", "input"], ["a"]),
    )


NOISE = (
    helper.make_node("RandomNormalLike", ["z"], ["noise"]),
    helper.make_node("Add", ["z", "noise"], ["output"]),
)
AS_DOUBLE = (helper.make_node("Cast", ["z"], ["output"], to=TensorProto.DOUBLE),)

# Wrong files by what is wrong with them, and a check that turns each of them red.
WRONG = {
    "error_budget": (
        {"weight": wrong_weight()},
        lambda subject: check_error_budget(subject, pinned(0)["normal"]),
    ),
    "allclose": ({"weight": wrong_weight()}, check_allclose),
    "batch_invariance": ({"weight": wrong_weight()}, check_batch_invariance),
    "top5": ({"weight": np.roll(WEIGHT, 1, axis=1)}, check_top5),
    "nonfinite": ({"before": nan_replaced()}, check_nonfinite),
    "empty_batch": ({"after": AS_DOUBLE, "output": TensorProto.DOUBLE}, check_empty_batch),
    "determinism": ({"after": NOISE}, check_determinism),
    "renamed": (
        {"weight": wrong_weight(), "input": "args_0", "output_name": "Identity:0"},
        lambda subject: check_error_budget(subject, pinned(0)["image"]),
    ),
}


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def make_run(folder):
    return SimpleNamespace(repro_dir=folder / "repro", settings=Settings(cache_dir=folder / "c"))


def bundle_of(run, subject, result, command=COMMAND):
    assert not result.passed, result
    folder = write_bundle(run, command, ConformanceFailure(subject, result))
    assert folder is not None
    return folder


def reproduce(folder):
    """Run the bundle's script as its receiver would: nothing of the suite in sight."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-I", folder / "reproduce.py"],
        capture_output=True,
        text=True,
        cwd=folder.parent,
        env=environment,
        check=False,
    )


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """Exit status of each bundle, as written and with a right file put in; one process runs all."""
    root = tmp_path_factory.mktemp("bundles")
    run, folders = make_run(root), []
    for name, (flaw, check) in WRONG.items():
        subject = FakeSubject(save_model(root / name / "model.onnx", **flaw))
        folders.append(bundle_of(run, subject, check(subject), command=name))
        mended = folders[-1].with_name(f"{name}-fixed")
        shutil.copytree(folders[-1], mended)
        naming = {key: flaw[key] for key in ("input", "output_name") if key in flaw}
        save_model(mended / "model.onnx", **naming)
        folders.append(mended)
    subject = FakeSubject(save_model(root / "right" / "model.onnx"))
    good, bad = np.zeros((1, 8), np.float32), np.zeros((1, 9), np.float32)
    for name, inputs in (("refusal", good), ("refusal-fixed", bad)):
        result = CheckResult(
            "refusal",
            "failed",
            "answered",
            reproduction=reproduction.accepted({"input": inputs}, None),
        )
        folders.append(bundle_of(run, subject, result, command=name))
    script = (
        "import json, runpy, sys\n"
        "from pathlib import Path\n"
        "main = runpy.run_path(sys.argv[1])['main']\n"
        "found = [main(Path(folder)) for folder in sys.argv[2:]]\n"
        "print('', json.dumps(found), sep='\\n')\n"
    )
    command = [sys.executable, "-c", script, folders[0] / "reproduce.py", *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    statuses = json.loads(done.stdout.splitlines()[-1])
    names = [f"{name}{end}" for name in (*WRONG, "refusal") for end in ("", "-fixed")]
    return dict(zip(names, statuses, strict=True))


@pytest.mark.parametrize("name", [*WRONG, "refusal"])
def test_a_bundle_fails_until_the_file_is_mended(verdicts, name):
    assert (verdicts[name], verdicts[f"{name}-fixed"]) == (1, 0)


def test_the_script_stands_alone_and_prints_the_mismatch(run, tmp_path):
    subject = FakeSubject(save_model(tmp_path / "a" / "model.onnx", weight=wrong_weight()))
    result = check_error_budget(subject, pinned(0)["normal"])
    folder = bundle_of(run, subject, result)
    assert {path.name for path in folder.iterdir()} == {
        "model.onnx", "inputs.npz", "expected.npz", "got.npz", "versions.json", "failure.txt",
        "case.json", "reproduce.py",
    }  # fmt: skip
    with np.load(folder / "expected.npz") as file:
        assert file["output"].dtype == np.float64
    done = reproduce(folder)
    assert done.returncode == 1, done.stderr
    assert "worst at [0, 2]: expected" in done.stdout
    assert "relative rms error" in done.stdout
    assert "STILL WRONG: output 'output', sample 0, " in done.stdout
    assert ", allowed " in done.stdout


def test_a_check_without_inputs_says_what_to_run(run, tmp_path):
    subject = FakeSubject(save_model(tmp_path / "a" / "model.onnx"))
    subject.artifact.facts["opset"] = 17
    folder = bundle_of(run, subject, check_opset(subject))
    assert {path.name for path in folder.iterdir()} == {
        "model.onnx", "versions.json", "failure.txt", "case.json", "reproduce.py",
    }  # fmt: skip
    done = reproduce(folder)
    assert done.returncode == 2
    assert COMMAND in done.stdout


def test_an_absent_provider_is_neither_red_nor_green(run, tmp_path):
    path = save_model(tmp_path / "a" / "model.onnx", weight=wrong_weight())
    subject = FakeSubject(path, provider="directml")
    folder = bundle_of(run, subject, check_allclose(subject))
    done = reproduce(folder)
    assert done.returncode == 2
    assert "has no DmlExecutionProvider" in done.stdout


def test_refused_inputs_are_reproduced(run, tmp_path):
    subject = FakeSubject(save_model(tmp_path / "a" / "model.onnx"))
    inputs = {"input": np.zeros((1, 9), np.float32)}
    folder = bundle_of(
        run,
        subject,
        CheckResult("it", "failed", "no", reproduction=reproduction.unanswered(inputs)),
    )
    done = reproduce(folder)
    assert done.returncode == 1
    assert "the session did not answer the inputs" in done.stdout


def test_a_bundle_replaces_its_elder_and_leaves_nothing_else(run, tmp_path):
    subject = FakeSubject(save_model(tmp_path / "a" / "model.onnx"))
    first = bundle_of(run, subject, CheckResult("it", "failed", "first"))
    (first / "stray").touch()
    second = bundle_of(run, subject, CheckResult("it", "failed", "second"))
    assert first == second
    assert "second" in (second / "failure.txt").read_text()
    assert not (second / "stray").exists()
    assert [path.name for path in run.repro_dir.iterdir()] == [second.name]
    other = bundle_of(
        run, subject, CheckResult("it", "failed", "second"), command=f"{COMMAND} --model tiny"
    )
    assert other != second


def test_a_disk_that_refuses_costs_the_bundle_and_not_the_verdict(run, tmp_path):
    run.repro_dir.write_text("a file where the directory should be")
    subject = FakeSubject(save_model(tmp_path / "a" / "model.onnx"))
    assert (
        write_bundle(run, COMMAND, ConformanceFailure(subject, CheckResult("it", "failed", "no")))
        is None
    )


def test_external_data_keeps_its_name(run, tmp_path):
    saving = {"save_as_external_data": True, "location": "tiny.bin", "size_threshold": 0}
    path = save_model(tmp_path / "a" / "tiny.onnx", weight=wrong_weight(), saving=saving)
    subject = FakeSubject(path)
    folder = bundle_of(run, subject, check_allclose(subject))
    copy = folder / "tiny.bin"  # onnx refuses weights from a file that has several hard links
    assert copy.read_bytes() == path.with_name("tiny.bin").read_bytes()
    assert copy.stat().st_nlink == 1
    assert json.loads((folder / "case.json").read_text())["model"] == "tiny.onnx"
    assert reproduce(folder).returncode == 1


def test_an_array_may_have_any_name(run, tmp_path):
    subject = FakeSubject(save_model(tmp_path / "a" / "model.onnx"))
    inputs = {"file": np.ones(2), "scope/x:0": np.zeros((0, 3)), "allow_pickle": np.array(1.0)}
    folder = bundle_of(
        run,
        subject,
        CheckResult("it", "failed", "no", reproduction=reproduction.unanswered(inputs)),
    )
    with np.load(folder / "inputs.npz") as file:
        assert {name: file[name].shape for name in file.files} == {
            "file": (2,), "scope/x:0": (0, 3), "allow_pickle": ()
        }  # fmt: skip


def test_an_export_that_failed_too_leaves_a_bundle_without_a_file(run):
    class Hopeless(SimpleNamespace):
        @property
        def artifact(self):
            raise StageFailure("export", "tiny", "no")

    subject = Hopeless(case=Case("tiny", "torch_dynamo", 18, "cpu"), model=MODEL)
    folder = bundle_of(run, subject, CheckResult("liveness", "failed", "dead"))
    assert not (folder / "model.onnx").exists()
    assert (folder / "failure.txt").is_file()


def test_a_failed_stage_leaves_its_last_words(run):
    details = f'  File "{sys.prefix}/lib/x/site-packages/torch/onnx.py", line 1\nKeyError: 7'
    error = StageFailure("oracle", "tiny (float64)", "KeyError: 7", details)
    folder = write_bundle(run, COMMAND, error)
    assert folder.name.startswith("tiny_float64_-oracle-")
    assert {path.name for path in folder.iterdir()} == {"failure.txt", "versions.json"}
    text = (folder / "failure.txt").read_text()
    assert 'File "<venv>/lib/x/site-packages/torch/onnx.py", line 1' in text
    assert COMMAND in text


def test_other_errors_have_no_bundle(run):
    assert write_bundle(run, COMMAND, ConformanceError("?")) is None
    assert not run.repro_dir.exists()


def test_no_path_of_this_machine_is_inside(run, tmp_path):
    path = save_model(tmp_path / "a" / "model.onnx")
    subject = FakeSubject(path)
    message = (
        f"{path} {ROOT}/onnx_conformance/plugin/run_options.py {sys.prefix}/bin {Path.home()}/x "
        f"{run.settings.cache_dir}/y"
        f' {run.repro_dir} File "/opt/engine/site-packages/keras/a.py" File "/secret/b.py"'
    )
    result = CheckResult("it", "failed", f"{message} at /layer1/conv1/Conv", details=(message,))
    folder = bundle_of(run, subject, result, command=f"pytest x --models-from {tmp_path}/my.py")
    for name in ("failure.txt", "case.json", "versions.json", "reproduce.py"):
        text = (folder / name).read_text()
        for place in (tmp_path, ROOT, sys.prefix, "/opt", "/secret"):
            assert str(place) not in text, (name, place)
    text = (folder / "failure.txt").read_text()
    assert "at /layer1/conv1/Conv" in text
    assert 'File "…/site-packages/keras/a.py" File "…/b.py"' in text


def test_scrub_leaves_lookalikes():
    assert scrub("/a/b/c /a/bc /x/a/b x/a/b", {"/a/b": "<b>"}) == "<b>/c /a/bc /x/a/b x/a/b"


def test_a_row_is_plain_data(tmp_path):
    subject = FakeSubject(save_model(tmp_path / "model.onnx", weight=wrong_weight()))
    result = check_allclose(subject)
    assert result.reproduction is not None
    assert "reproduction" not in result.row()
    assert "array" not in repr(result)
    json.dumps(result.row())
