"""The worked examples: each is certified by the command that its page gives, and spoiled ones are red."""

import shlex
import subprocess
import sys
from collections import defaultdict

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fixtures.paths import ROOT
from tests.meta.running import run_suite

EXAMPLES = ROOT / "examples" / "models"
PAGE = (EXAMPLES / "README.md").read_text()
COMMON = ("tests", "--ignore=tests/meta", "--provider=cpu")
KNOWN = f"--known-failures={EXAMPLES / 'known_failures.yaml'}"
TORCH = ("transformer_encoder", "lstm", "unet", "tabular_mlp", "checkpoint")
CERTIFIED = ("transformer_encoder", "lstm_guarded", "unet", "tabular_mlp", "moons")


def models_from(*names):
    return [f"--models-from={EXAMPLES / name}.py" for name in names]


def verdicts(run):
    """Model -> verdicts of its cases."""
    found = defaultdict(set)
    for case in run.document["cases"]:
        found[case["model"]].add(case["verdict"])
    return dict(found)


def red_checks(run, label):
    """The checks that are red in a given file's case."""
    (case,) = [case for case in run.document["cases"] if label in case["id"]]
    return {row["name"] for row in case["checks"] if row["outcome"] in ("failed", "error")}


@pytest.fixture(scope="module")
def torch_run(tmp_path_factory):
    """Every torch example by both routes, and what was exported."""
    folder = tmp_path_factory.mktemp("torch")
    options = ("--opset=18", KNOWN, f"--save-onnx={folder}")
    return run_suite(folder, *COMMON, *models_from(*TORCH), *options), folder


def test_torch_examples_are_proved_by_both_routes(torch_run):
    run, _ = torch_run
    assert run.status == 0, run.text
    assert verdicts(run) == {**{name: {"passed"} for name in CERTIFIED}, "lstm": {"known_failure"}}


def test_sequences_are_fed_at_three_lengths_and_more(torch_run):
    """The smallest and the largest of the spec among them: a feed of each size was compared."""
    run, _ = torch_run
    for case in run.document["cases"]:
        pinned = [row for row in case["checks"] if row["name"] == "error_budget"]
        labels = " ".join(str(row) for row in pinned)
        assert all(f"extent={extent}" in labels for extent in ("0", "0.25", "1")), case["id"]


def test_outputs_of_a_dict_bear_its_keys(torch_run):
    run, _ = torch_run
    names = {case["model"]: [o["name"] for o in case["outputs"]] for case in run.document["cases"]}
    assert names["transformer_encoder"] == ["last_hidden_state", "pooled"]
    assert names["unet"] == ["logits", "mask"]


def test_keras_example_is_proved_by_every_route(tmp_path):
    run = run_suite(tmp_path, *COMMON, *models_from("keras_two_inputs"), "--opset=18")
    assert run.status == 0, run.text
    assert verdicts(run) == {"keras_two_inputs": {"passed"}}
    assert len({case["exporter"] for case in run.document["cases"]}) == 4


@pytest.fixture(scope="module")
def alarms(tmp_path_factory):
    """The file that plain_python.py writes, and one that raises the alarm at the limit itself."""
    folder = tmp_path_factory.mktemp("alarms")
    right = folder / "right.onnx"
    subprocess.run([sys.executable, EXAMPLES / "plain_python.py", right], check=True)
    model = onnx.load(right)
    for node in model.graph.node:
        if node.op_type == "ArgMax":
            node.attribute.append(helper.make_attribute("select_last_index", 1))
    onnx.save(model, folder / "last.onnx")
    return run_suite(
        folder, *COMMON, *models_from("plain_python"), f"--artifact={folder}", "--no-localize"
    )


def test_a_plain_callable_is_judged_by_allclose_and_exactly(alarms):
    assert red_checks(alarms, "right") == set()
    (case,) = [case for case in alarms.document["cases"] if "right" in case["id"]]
    assert "no float64 oracle" in str(case["checks"])


def test_a_whole_number_that_differs_is_red(alarms):
    """Of equal readings the last is the highest: nothing but the feeds `zeros` and `ones` tells."""
    assert "error_budget" in red_checks(alarms, "last")


# -- wrong conversions of the transformer ----------------------------------------------------


def mask_ignored(model):
    """Nothing is hidden from attention: ``mask or not mask``."""
    for node in model.graph.node:
        node.input[:] = ["all_seen" if name == "attention_mask" else name for name in node.input]
    hidden = helper.make_node("Not", ["attention_mask"], ["all_hidden"])
    seen = helper.make_node("Or", ["attention_mask", "all_hidden"], ["all_seen"])
    model.graph.node.insert(0, seen)
    model.graph.node.insert(0, hidden)


def length_frozen(model):
    """The positions are those of the sequence that was traced."""
    (place,) = [node for node in model.graph.node if node.op_type == "Range"]
    traced = numpy_helper.from_array(np.arange(16), "positions")
    model.graph.node.insert(0, helper.make_node("Constant", [], list(place.output), value=traced))
    model.graph.node.remove(place)


def heads_swapped(model):
    """Two heads of the first layer have each other's queries: eight columns each."""
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = [stored[n.input[1]] for n in products if n.input[1] in stored]
    query = numpy_helper.to_array(weights[0])
    order = [*range(8, 16), *range(8), *range(16, 32)]
    weights[0].CopyFrom(numpy_helper.from_array(query[:, order].copy(), weights[0].name))


SPOILED = {mask_ignored: "error_budget", length_frozen: "error_budget", heads_swapped: "allclose"}


@pytest.fixture(scope="module")
def spoiled(torch_run, tmp_path_factory):
    """The transformer's exports, right and spoiled, as files that somebody gave us."""
    folder = tmp_path_factory.mktemp("spoiled")
    for route in ("torch_torchscript", "torch_dynamo"):
        for spoil in (None, *SPOILED):
            model = onnx.load(torch_run[1] / f"transformer_encoder-{route}-opset18.onnx")
            if spoil is not None:
                spoil(model)
            label = f"{spoil.__name__ if spoil else 'right'}-{route}"
            onnx.save(model, folder / f"{label}.onnx")
    reports = tmp_path_factory.mktemp("reports")
    cache = f"--cache-dir={torch_run[1] / 'cache'}"
    options = (f"--artifact={folder}", cache, "--no-localize")
    return run_suite(reports, *COMMON, *models_from("transformer_encoder"), *options)


@pytest.mark.parametrize("route", ["torch_torchscript", "torch_dynamo"])
@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_a_wrong_transformer_is_red(spoiled, spoil, route):
    assert SPOILED[spoil] in red_checks(spoiled, f"{spoil.__name__}-{route}")


@pytest.mark.parametrize("route", ["torch_torchscript", "torch_dynamo"])
def test_the_right_transformer_beside_them_is_not(spoiled, route):
    assert red_checks(spoiled, f"right-{route}") == set()


# -- the page and the checkpoint -------------------------------------------------------------


def test_the_page_names_every_example_and_its_commands_name_what_is_there():
    files = {path.name for path in EXAMPLES.glob("*.py")}
    assert {name for name in files if name in PAGE} == files
    for line in PAGE.splitlines():
        if line.startswith("    "):
            for word in shlex.split(line):
                if "examples/models/" in word:
                    assert (ROOT / word.partition("=")[2 if "=" in word else 0]).exists(), line


def test_the_checkpoint_is_small():
    assert (EXAMPLES / "moons.pt").stat().st_size < 100_000
