"""Operators of a model's own: four routes, and what is told where something is missing."""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from onnx_conformance.core.custom_operators import (
    CustomOperators,
    custom_operators,
    is_file,
    library_digest,
    library_problem,
    operators_of,
)
from onnx_conformance.core.errors import UsageError
from onnx_conformance.session.worker_client import ProcessWorkerClient
from tests.meta.running import ROOT, run_suite

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples" / "custom_operators"
PAGE = (ROOT / "docs" / "custom-operators.md").read_text()
COMMON = ("tests", "--ignore=tests/meta", "--provider=cpu")
TORCH = ("dynamo_function", "torchscript_symbolic", "library")
DYNAMO = ("--exporter=torch_dynamo", "--opset=18")
TORCHSCRIPT = ("--exporter=torch_torchscript", "--opset=14")
LIBRARY = "onnxruntime_extensions:get_library_path"


def models_from(*paths):
    return [f"--models-from={path}" for path in paths]


def examples(*names):
    return models_from(*(EXAMPLES / f"{name}.py" for name in names))


def verdicts(run):
    """(model, exporter) -> verdicts of its cases."""
    found = defaultdict(set)
    for case in run.document["cases"]:
        found[case["model"], case["exporter"]].add(case["verdict"])
    return dict(found)


def red_checks(run):
    """Model -> its checks that are red."""
    return {
        case["model"]: {
            row["name"] for row in case["checks"] if row["outcome"] in ("failed", "error")
        }
        for case in run.document["cases"]
    }


def told(run, words):
    """The lines of failures that hold these words."""
    lines = run.text.splitlines()
    return [line for line in lines if words in line and not line.startswith(("  ", "E ", "reason"))]


@pytest.fixture
def copied(tmp_path):
    """An example with one thing changed, as a file."""

    def copy(name, before="", after=""):
        text = (EXAMPLES / f"{name}.py").read_text()
        assert text.count(before) == 1 or not before, before
        path = tmp_path / f"{name}.py"
        path.write_text(text.replace(before, after) if before else text)
        return path

    return copy


# -- right ones ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch_run(tmp_path_factory):
    """The torch examples by every route and at two opsets each, and the files."""
    folder = tmp_path_factory.mktemp("torch")
    saved = folder / "onnx"
    return run_suite(folder, *COMMON, *examples(*TORCH), f"--save-onnx={saved}"), saved


def test_what_has_a_translation_is_proved_at_both_opsets_of_its_route(torch_run):
    found = verdicts(torch_run[0])
    assert found["isru_net", "torch_dynamo"] == {"passed"}
    assert found["biweight_net", "torch_torchscript"] == {"passed"}
    assert found["neg_pos_net", "torch_dynamo"] == {"passed"}
    assert found["neg_pos_net", "torch_torchscript"] == {"passed"}


@pytest.mark.parametrize(
    ("route", "operator", "argument"),
    [
        ("torch_dynamo", "example::biweight", "dynamo"),
        ("torch_torchscript", "example::isru", "torchscript"),
    ],
)
def test_what_has_none_is_red_in_one_line(torch_run, route, operator, argument):
    run, _ = torch_run
    assert run.status == 1
    lines = [line for line in told(run, f"{route} has no translation") if "opset18" in line]
    lines += [line for line in told(run, f"{route} has no translation") if "opset14" in line]
    assert len(lines) == 1, run.text
    assert f"of the operator {operator}; give it one" in lines[0]
    assert f'@custom_operators({argument}={{"{operator}": function}})' in lines[0]


def test_keras_handlers_are_proved_by_the_routes_that_take_them(tmp_path):
    run = run_suite(tmp_path, *COMMON, *examples("keras_handler"), "--opset=18")
    assert run.status == 0, run.text
    assert verdicts(run) == {
        ("surprise_net", "tf2onnx_keras"): {"passed"},
        ("surprise_net", "tf2onnx_function"): {"passed"},
        ("surprise_net", "tf2onnx_saved_model"): {"skipped"},
        ("surprise_net", "keras_export"): {"skipped"},
    }
    for route in ("tf2onnx_saved_model", "keras_export"):
        assert f"{route} takes no custom operator handlers; use tf2onnx_keras" in run.text


def test_variants_of_a_file_with_a_library_are_proved(tmp_path):
    """The optimiser loads the library too, and what it runs stays in float32."""
    variants = ("--variant=ort_extended", "--variant=fp16")
    run = run_suite(tmp_path, *COMMON, *examples("library"), *DYNAMO, *variants)
    assert run.status == 0, run.text
    assert {case["verdict"] for case in run.document["cases"]} == {"passed"}


def test_a_given_file_is_loaded_with_the_libraries_of_its_model(torch_run, tmp_path):
    path = torch_run[1] / "neg_pos_net-torch_dynamo-opset18.onnx"
    run = run_suite(tmp_path, *COMMON, *examples("library"), f"--artifact={path}")
    assert run.status == 0, run.text


# -- wrong ones ------------------------------------------------------------------------------

WRONG = {
    "dynamo_function": ("value_float=1.0", "value_float=1.001", DYNAMO),
    "torchscript_symbolic": ("number(1.0)", "number(1.001)", TORCHSCRIPT),
    "library": ('"NegPos", SCHEMA)(x)', '"NegPos", SCHEMA)(x)[::-1]', DYNAMO),
    "keras_handler": ('"Mul", [x, ', '"Sub", [x, ', ("--exporter=tf2onnx_function", "--opset=18")),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_translation_is_red_localised_and_repeated_alone(copied, tmp_path, name):
    before, after, route = WRONG[name]
    run = run_suite(tmp_path, *COMMON, *models_from(copied(name, before, after)), *route)
    assert run.status == 1, run.text
    (red,) = red_checks(run).values()
    assert "error_budget" in red
    assert "localised: first wrong at" in run.text, run.text
    bundle = re.search(r"bundle: (\S+-error_budget-\S+)", run.text)[1]
    for script in ("reproduce.py", "subgraph.py"):  # which load the library, where there is one
        command = [sys.executable, ROOT / bundle / script]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 1, done.stdout + done.stderr


# -- what is missing -------------------------------------------------------------------------


def test_a_symbolic_function_serves_its_model_alone(copied, tmp_path):
    """The registry is the process's, and another model of the same process has none."""
    path = copied("torchscript_symbolic")
    other = '\n\n@register_model("bare", inputs=[TensorSpec("x", ("batch", 8))])\ndef bare():\n'
    path.write_text(path.read_text() + other + "    return Net()\n")
    run = run_suite(tmp_path, *COMMON, *models_from(path), *TORCHSCRIPT)
    found = verdicts(run)
    assert found["biweight_net", "torch_torchscript"] == {"passed"}
    assert found["bare", "torch_torchscript"] == {"failed"}


def test_an_operator_that_tf2onnx_left_in_the_file_is_red_in_one_line(copied, tmp_path):
    path = copied("keras_handler", '@custom_operators(tf2onnx={"Xlogy": xlogy})\n')
    run = run_suite(tmp_path, *COMMON, *models_from(path), "--exporter=tf2onnx_keras", "--opset=18")
    assert run.status == 1
    (line,) = told(run, "has no translation of the operator Xlogy; give it one")
    assert '@custom_operators(tf2onnx={"Xlogy": function})' in line


def test_a_translation_of_an_operator_that_torch_has_not_is_told(copied, tmp_path):
    path = copied("dynamo_function", 'dynamo={"example::isru"', 'dynamo={"example::isro"')
    run = run_suite(tmp_path, *COMMON, *models_from(path), *DYNAMO)
    assert run.status == 1
    (line,) = told(run, 'torch has no operator "example::isro"; define it with')


LACKING = {
    f'"{LIBRARY}"': (
        '"no_such_library:path"',
        "model 'neg_pos_net': the custom-operator library no_such_library:path is not installed; "
        "pip install no-such-library",
    ),
    f'library="{LIBRARY}"': (
        'library="nowhere.so"',
        "model 'neg_pos_net': the custom-operator library nowhere.so is not there; build it",
    ),
}


@pytest.mark.parametrize("before", LACKING)
def test_a_library_that_is_not_there_is_told_before_anything_is_exported(copied, tmp_path, before):
    after, words = LACKING[before]
    run = run_suite(tmp_path, *COMMON, *models_from(copied("library", before, after)), *DYNAMO)
    assert run.status == 4, run.text
    assert [line for line in run.text.splitlines() if words in line], run.text
    assert len(run.text.strip().splitlines()) == 1


REFUSED = {
    "": "no library that it names has the operator ai.onnx.contrib::NegPos; name the one that has",
    "    library=__file__,\n": "cannot be loaded; build it for ONNX Runtime",
    '    library="onnxruntime_extensions:no_function",\n': "gives no path (AttributeError",
}


@pytest.mark.parametrize("after", REFUSED)
def test_a_library_that_does_not_serve_is_red_in_one_line(copied, tmp_path, after):
    path = copied("library", f'    library="{LIBRARY}",\n', after)
    run = run_suite(tmp_path, *COMMON, *models_from(path), *DYNAMO)
    assert run.status == 1
    (line,) = told(run, REFUSED[after])
    assert "model 'neg_pos_net': " in line


NOTEBOOK = """
import torch
from onnxscript import opset18 as op
from onnx_conformance import CustomOperators, TensorSpec, certify

@torch.library.custom_op("notebook::square", mutates_args=())
def square(x: torch.Tensor) -> torch.Tensor:
    return x * x

@square.register_fake
def _(x):
    return torch.empty_like(x)

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x):
        return square(self.linear(x))

chosen = {"exporters": "torch_dynamo", "opsets": 18}
own = CustomOperators(dynamo={"notebook::square": lambda x: op.Mul(x, x)})
certify(Net(), TensorSpec("x", ("batch", 4)), operators=own, **chosen).require()
lacking = certify(Net(), TensorSpec("x", ("batch", 4)), **chosen)
assert not lacking.proved
assert str(lacking).count("no translation of the operator notebook::square") == 1, lacking
"""


def test_certify_takes_operators_and_tells_what_is_missing_once(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# -- records ---------------------------------------------------------------------------------


def test_the_decorator_leaves_the_builder_as_it_is():
    def build():
        return 1

    decorated = custom_operators(library=[Path("a.so"), "b:c"])(build)
    assert decorated is build
    assert operators_of(build).libraries == ("a.so", "b:c")
    assert operators_of(lambda: 1) == CustomOperators()


def test_a_torch_operator_without_namespace_is_refused():
    with pytest.raises(UsageError, match='write it as "namespace::name"'):
        custom_operators(dynamo={"isru": print})


@pytest.mark.parametrize(
    ("reference", "file"),
    [
        (LIBRARY, True),
        ("package.module:function", True),
        ("ops.so", False),
        ("/opt/ops.so", False),
        (r"C:\ops.dll", False),
        ("./a:b.so", False),
    ],
)
def test_a_function_and_a_path_are_told_apart(reference, file):
    assert is_file(reference) is not file


def test_a_library_has_a_digest_of_its_content(tmp_path):
    path = tmp_path / "ops.so"
    path.write_bytes(b"one")
    before = library_digest(str(path))
    path.write_bytes(b"two")
    assert before != library_digest(str(path))
    assert library_problem(str(path)) is None
    assert library_digest(LIBRARY).startswith("onnxruntime")


def test_an_idle_part_is_found_without_gradients():
    worker = ProcessWorkerClient("tests.meta.user_operators:Backend")
    try:
        assert worker.call("unused", 60.0) == ["spare.bias", "spare.weight"]
    finally:
        worker.close()


def test_approximated_functions_err_inside_an_operator_too():
    worker = ProcessWorkerClient("tests.meta.user_operators:Backend")
    try:
        assert worker.call("errs_in_replicas", 60.0)
    finally:
        worker.close()


# -- the page --------------------------------------------------------------------------------


def test_the_page_links_every_example():
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert {name for name in names if f"../examples/custom_operators/{name}" in PAGE} == names


def test_the_file_of_the_page_is_proved(tmp_path):
    path = tmp_path / "isru.py"
    path.write_text(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1])
    run = run_suite(tmp_path, *COMMON, *models_from(path), *DYNAMO)
    assert run.status == 0, run.text
    assert "1 of 1 cases passed every check" in run.text
