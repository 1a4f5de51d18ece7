"""Operators of a model's own: four routes, and what is told where something is missing."""

import re
import subprocess
import sys
from collections import defaultdict
from contextlib import closing
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
from onnx_conformance.run.worker_client import ProcessWorkerClient
from tests.meta.running import ROOT, run_suite

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples" / "custom_operators"
PAGE = (ROOT / "docs" / "custom-operators.md").read_text()
COMMON = ("tests", "--ignore=tests/meta", "--provider=cpu")
PLAIN = (*COMMON, "--ignore=tests/test_export_options.py")
TORCH = ("dynamo_function", "torchscript_symbolic", "library")
DYNAMO = ("--exporter=torch_dynamo", "--opset=18")
TORCHSCRIPT = ("--exporter=torch_torchscript", "--opset=14")
LIBRARY = "onnxruntime_extensions:get_library_path"
MANY = "--bundles=200"
# What judges a copy that is wrong or lacks something: the sentence is asserted, not every check.
FEW = "pinned and uniform"


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


def red_messages(run, model, check):
    """What the red rows of a check of a model say: the first names the node and the bundle."""
    cases = [case for case in run.document["cases"] if case["model"] == model]
    rows = [row for case in cases for row in case["checks"] if row["name"] == check]
    return "\n".join(row["message"] for row in rows if row["outcome"] in ("failed", "error"))


def red_with(run, message):
    """The lines of failures that hold these words."""
    lines = run.text.splitlines()
    return [
        line
        for line in lines
        if message in line and not line.startswith(("  ", "E ", "FAILED", "reason"))
    ]


def copied(folder, label, name, before="", after=""):
    """An example with one thing changed, as a file: ``label`` names its model and operators.

    torch and the suite know operators and models by name, and several copies share a run.
    """
    text = (EXAMPLES / f"{name}.py").read_text()
    assert text.count(before) == 1 or not before, before
    text = text.replace(before, after) if before else text
    path = folder / f"{label}.py"
    path.write_text(
        text.replace(f'"{MODELS[name]}"', f'"{label}"').replace("example::", f"{label}::")
    )
    return path


MODELS = {
    "dynamo_function": "isru_net",
    "torchscript_symbolic": "biweight_net",
    "library": "neg_pos_net",
    "keras_handler": "surprise_net",
}
# Label -> an example, what is wrong with its copy, and the route that takes it.
WRONG = {
    "wrong_isru": ("dynamo_function", "value_float=1.0", "value_float=1.001"),
    "wrong_biweight": ("torchscript_symbolic", "number(1.0)", "number(1.001)"),
    "wrong_neg_pos": ("library", '"NegPos", SCHEMA)(x)', '"NegPos", SCHEMA)(x)[::-1]'),
    "wrong_surprise": ("keras_handler", '"Mul", [x, ', '"Sub", [x, '),
}
NAMED = f'    library="{LIBRARY}",\n'
# Label -> what a copy of the example `library` names instead, and the words of its red line.
REFUSED = {
    "no_library": (
        "",
        "none of its libraries has the operator ai.onnx.contrib::NegPos; name one that does",
    ),
    "no_library_at_all": (
        "    library=__file__,\n",
        "cannot be loaded; build it for ONNX Runtime",
    ),
    "no_path": (
        '    library="onnxruntime_extensions:no_function",\n',
        "gives no path (AttributeError",
    ),
}


# -- whole runs ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch_run(tmp_path_factory):
    """The torch examples by every route and at two opsets each, and the files."""
    folder = tmp_path_factory.mktemp("torch")
    saved = folder / "onnx"
    return run_suite(folder, *PLAIN, *examples(*TORCH), f"--save-onnx={saved}"), saved


@pytest.fixture(scope="module")
def dynamo_run(tmp_path_factory):
    """The page's example, right, beside copies that are wrong or lack something."""
    folder = tmp_path_factory.mktemp("dynamo")
    page = folder / "page.py"
    page.write_text(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1])
    paths = [
        page,
        *(copied(folder, label, *WRONG[label]) for label in ("wrong_isru", "wrong_neg_pos")),
    ]
    paths.append(copied(folder, "isro", "dynamo_function", '{"example::isru"', '{"example::isro"'))
    for label, (after, _) in REFUSED.items():
        paths.append(copied(folder, label, "library", NAMED, after))
    copies = " or ".join(("wrong_isru", "wrong_neg_pos", "isro", *REFUSED))
    chosen = ("-k", f"not ({copies}) or ({FEW})")
    return run_suite(folder, *PLAIN, *models_from(*paths), *DYNAMO, MANY, *chosen)


@pytest.fixture(scope="module")
def torchscript_run(tmp_path_factory):
    """A symbolic function, right and wrong, beside a model without one for its operator."""
    folder = tmp_path_factory.mktemp("torchscript")
    right = copied(folder, "translated", "torchscript_symbolic")
    other = '\n\n@register_model("bare", inputs=[TensorSpec("x", ("batch", 8))])\ndef bare():\n'
    right.write_text(right.read_text() + other + "    return Net()\n")
    wrong = copied(folder, "wrong_biweight", *WRONG["wrong_biweight"])
    chosen = ("-k", f"translated or ({FEW})")
    return run_suite(folder, *PLAIN, *models_from(right, wrong), *TORCHSCRIPT, MANY, *chosen)


@pytest.fixture(scope="module")
def keras_run(tmp_path_factory):
    """The example by every route, and by one each a wrong handler and a lacking one."""
    folder = tmp_path_factory.mktemp("keras")
    wrong = copied(folder, "wrong_surprise", *WRONG["wrong_surprise"])
    handler = '@custom_operators(tf2onnx={"Xlogy": xlogy})\n'
    lacking = copied(folder, "lacking", "keras_handler", handler)
    copies = "wrong_surprise-tf2onnx_function or lacking-tf2onnx_keras"
    chosen = f"surprise_net or (({copies}) and {FEW})"
    files = models_from(EXAMPLES / "keras_handler.py", wrong, lacking)
    return run_suite(folder, *PLAIN, *files, "--opset=18", MANY, "-k", chosen)


# -- right ones ------------------------------------------------------------------------------


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
    lines = [line for line in red_with(run, f"{route} has no translation") if "opset18" in line]
    lines += [line for line in red_with(run, f"{route} has no translation") if "opset14" in line]
    assert len(lines) == 1, run.text
    assert f"of the operator {operator}; give it one" in lines[0]
    assert f'@custom_operators({argument}={{"{operator}": function}})' in lines[0]


def test_the_file_of_the_page_is_proved(dynamo_run):
    cases = [
        c for c in dynamo_run.document["cases"] if c["model"] not in (*WRONG, *REFUSED, "isro")
    ]
    assert cases, dynamo_run.text
    assert {case["verdict"] for case in cases} == {"passed"}
    assert all(case["complete"] for case in cases if not case["option"])


def test_keras_handlers_are_proved_by_the_routes_that_take_them(keras_run):
    found = {
        route: seen
        for (model, route), seen in verdicts(keras_run).items()
        if model == "surprise_net"
    }
    assert found == {
        "tf2onnx_keras": {"passed"},
        "tf2onnx_function": {"passed"},
        "tf2onnx_saved_model": {"skipped"},
        "keras_export": {"skipped"},
    }, keras_run.text
    for route in ("tf2onnx_saved_model", "keras_export"):
        assert f"{route} takes no custom operator handlers; use tf2onnx_keras" in keras_run.text


def test_variants_of_a_file_with_a_library_are_proved(tmp_path):
    """The optimiser loads the library too, and what it runs stays in float32."""
    variants = ("--variant=ort_extended", "--variant=fp16")
    run = run_suite(tmp_path, *PLAIN, *examples("library"), *DYNAMO, *variants)
    assert run.status == 0, run.text
    assert {case["verdict"] for case in run.document["cases"]} == {"passed"}


def test_an_external_file_is_loaded_with_the_libraries_of_its_model(torch_run, tmp_path):
    path = torch_run[1] / "neg_pos_net-torch_dynamo-opset18.onnx"
    run = run_suite(tmp_path, *COMMON, *examples("library"), f"--artifact={path}")
    assert run.status == 0, run.text


# -- wrong ones ------------------------------------------------------------------------------


@pytest.mark.parametrize("label", WRONG)
def test_a_wrong_translation_is_red_localised_and_repeated_alone(
    dynamo_run, torchscript_run, keras_run, tmp_path, label
):
    runs = {"wrong_biweight": torchscript_run, "wrong_surprise": keras_run}
    run = runs.get(label, dynamo_run)
    assert run.status == 1, run.text
    text = red_messages(run, label, "error_budget")
    assert "localised: first wrong at" in text, text
    bundle = re.search(r"bundle: (\S+-error_budget-\S+)", text)[1]
    for script in ("reproduce.py", "subgraph.py"):  # which load the library, where there is one
        command = [sys.executable, ROOT / bundle / script]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 1, done.stdout + done.stderr


# -- what is missing -------------------------------------------------------------------------


def test_a_symbolic_function_serves_its_model_alone(torchscript_run):
    """The registry is the process's, and another model of the same process has none."""
    found = verdicts(torchscript_run)
    assert found["translated", "torch_torchscript"] == {"passed"}, torchscript_run.text
    assert found["bare", "torch_torchscript"] == {"failed"}


def test_an_operator_that_tf2onnx_left_in_the_file_is_red_in_one_line(keras_run):
    (line,) = red_with(keras_run, "has no translation of the operator Xlogy; give it one")
    assert '@custom_operators(tf2onnx={"Xlogy": function})' in line


def test_a_translation_of_an_operator_that_torch_has_not_is_reported(dynamo_run):
    (line,) = red_with(dynamo_run, 'torch has no operator "isro::isro"; define it with')


LACKING = {
    f'"{LIBRARY}"': (
        '"no_such_library:path"',
        "the custom-operator library no_such_library:path is not installed; "
        "pip install no-such-library",
    ),
    f'library="{LIBRARY}"': (
        'library="nowhere.so"',
        "there is no custom-operator library nowhere.so; build it",
    ),
}


@pytest.mark.parametrize("before", LACKING)
def test_a_library_that_is_not_there_is_reported_before_anything_is_exported(tmp_path, before):
    after, message = LACKING[before]
    path = copied(tmp_path, "lacking", "library", before, after)
    run = run_suite(tmp_path, *COMMON, *models_from(path), *DYNAMO)
    assert run.status == 4, run.text
    assert f"model 'lacking': {message}" in run.text
    assert len(run.text.strip().splitlines()) == 1


@pytest.mark.parametrize("label", REFUSED)
def test_a_library_that_does_not_serve_is_red_in_one_line(dynamo_run, label):
    (line,) = red_with(dynamo_run, REFUSED[label][1])
    assert f"model '{label}': " in line


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
    with pytest.raises(UsageError, match='write "namespace::name"'):
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


@pytest.fixture(scope="module")
def worker():
    with closing(ProcessWorkerClient("tests.meta.user_operators:Backend")) as worker:
        yield worker


def test_an_idle_part_is_found_without_gradients(worker):
    assert worker.call("unused", 60.0) == ["spare.bias", "spare.weight"]


def test_approximated_functions_err_inside_an_operator_too(worker):
    assert worker.call("errs_in_replicas", 60.0)


# -- the page --------------------------------------------------------------------------------


def test_the_page_links_every_example():
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert {name for name in names if f"../examples/custom_operators/{name}" in PAGE} == names
