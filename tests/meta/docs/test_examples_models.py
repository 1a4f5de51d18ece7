"""The worked examples: each is certified by the real command, and spoiled ones are red."""

import re
import shlex
import subprocess
import sys
from collections import defaultdict

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnx_conformance.core.spec import MIDDLE, Axis
from tests.meta.running import ROOT, run_suite

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples" / "models"
PAGE = (EXAMPLES / "README.md").read_text()
# Export options are those of the routes, whatever the model.
PLAIN = ("--ignore=tests/meta", "--ignore=tests/test_export_options.py")
COMMON = ("tests", *PLAIN, "--provider=cpu")
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


def case_of(run, label):
    """The case of a given file."""
    (case,) = [case for case in run.document["cases"] if label in case["id"]]
    return case


def red_checks(run, label):
    """The checks that are red in a given file's case."""
    case = case_of(run, label)
    return {row["name"] for row in case["checks"] if row["outcome"] in ("failed", "error")}


@pytest.fixture(scope="module")
def torch_run(tmp_path_factory):
    """Every torch example, by the route that exports fastest."""
    route = ("--exporter=torch_torchscript", "--opset=18", KNOWN)
    return run_suite(tmp_path_factory.mktemp("torch"), *COMMON, *models_from(*TORCH), *route)


@pytest.fixture(scope="module")
def dynamo_run(tmp_path_factory):
    """The examples of variable length by torch.export, and what was exported."""
    folder = tmp_path_factory.mktemp("dynamo")
    route = ("--exporter=torch_dynamo", "--opset=18", f"--save-onnx={folder}")
    files = models_from("transformer_encoder", "lstm")
    chosen = ("--model=transformer_encoder", "--model=lstm_guarded")
    return run_suite(folder, *COMMON, *files, *chosen, *route), folder


def test_torch_examples_are_proved(torch_run):
    assert torch_run.status == 0, torch_run.text
    proved = {name: {"passed"} for name in CERTIFIED}
    assert verdicts(torch_run) == {**proved, "lstm": {"passed"}}
    edges = {case["model"]: case["edge"] for case in torch_run.document["cases"] if case["edge"]}
    assert edges == {"lstm": ["nonfinite", "empty_batch"]}
    assert "(known upstream: ONNX Runtime's LSTM kernel ends the process" in torch_run.text


def test_examples_of_variable_length_are_proved_by_dynamo_too(dynamo_run):
    run, _ = dynamo_run
    assert run.status == 0, run.text
    assert verdicts(run) == {"transformer_encoder": {"passed"}, "lstm_guarded": {"passed"}}


LENGTHS = {"transformer_encoder": Axis(1, 32), "lstm": Axis(1, 20), "lstm_guarded": Axis(1, 20)}


def extent(inputs):
    found = re.search(r"extent=([\d.]+)", inputs)
    return float(found[1]) if found else MIDDLE


def test_sequences_are_proved_at_three_lengths_and_more(torch_run, dynamo_run):
    """The smallest and the largest of the spec among them."""
    every = [*torch_run.document["cases"], *dynamo_run[0].document["cases"]]
    cases = [case for case in every if case["model"] in LENGTHS]
    assert len(cases) == 5
    for case in cases:
        axis = LENGTHS[case["model"]]
        rows = [row for row in case["checks"] if row["name"] == "error_budget"]
        proved = {axis.size(extent(row["inputs"])) for row in rows if row["outcome"] == "passed"}
        assert {axis.low, axis.high} <= proved, case["id"]
        assert len(proved) >= 3, case["id"]


def test_outputs_of_a_dict_bear_its_keys(torch_run):
    cases = torch_run.document["cases"]
    names = {case["model"]: [o["name"] for o in case["outputs"]] for case in cases}
    assert names["transformer_encoder"] == ["last_hidden_state", "pooled"]
    assert names["unet"] == ["logits", "mask"]


def test_keras_example_is_proved_whatever_the_order_of_inputs_in_the_file(tmp_path):
    """A SavedModel sorts them by name."""
    routes = ("--exporter=tf2onnx_function", "--exporter=tf2onnx_saved_model", "--opset=18")
    run = run_suite(tmp_path, *COMMON, *models_from("keras_two_inputs"), *routes)
    assert run.status == 0, run.text
    assert verdicts(run) == {"keras_two_inputs": {"passed"}}
    orders = {tuple(i["name"] for i in case["inputs"]) for case in run.document["cases"]}
    assert len(orders) == 2


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
    assert "no float64 oracle" in str(case_of(alarms, "right")["checks"])


def test_a_whole_number_that_differs_is_red(alarms):
    """Of equal readings the last is the highest: only the inputs `zeros` and `ones` tell."""
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
def spoiled(dynamo_run, tmp_path_factory):
    """The transformer's export, right and spoiled, as files that somebody gave us."""
    folder = tmp_path_factory.mktemp("spoiled")
    for spoil in (None, *SPOILED):
        model = onnx.load(dynamo_run[1] / "transformer_encoder-torch_dynamo-opset18.onnx")
        if spoil is not None:
            spoil(model)
        onnx.save(model, folder / f"{spoil.__name__ if spoil else 'right'}.onnx")
    reports = tmp_path_factory.mktemp("reports")
    return run_suite(reports, *COMMON, *models_from("transformer_encoder"), f"--artifact={folder}")


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_a_wrong_transformer_is_red(spoiled, spoil):
    assert SPOILED[spoil] in red_checks(spoiled, spoil.__name__)


def test_swapped_heads_are_localised_through_token_ids_and_masks(spoiled):
    divergence = str(case_of(spoiled, "heads_swapped")["divergence"])
    assert "'module': 'blocks.0.attention.query'" in divergence


def test_the_right_transformer_beside_them_is_not(spoiled):
    assert red_checks(spoiled, "right") == set()


def test_an_lstm_with_two_gates_swapped_is_red(dynamo_run, tmp_path):
    """The same values in other rows, which the audit of the weights leaves to the inputs."""
    model = onnx.load(dynamo_run[1] / "lstm_guarded-torch_dynamo-opset18.onnx")
    layer = next(node for node in model.graph.node if node.op_type == "LSTM")
    (weight,) = [tensor for tensor in model.graph.initializer if tensor.name == layer.input[1]]
    gates = numpy_helper.to_array(weight).reshape(1, 4, 16, -1)[:, [1, 0, 2, 3]]
    weight.CopyFrom(numpy_helper.from_array(gates.reshape(weight.dims).copy(), weight.name))
    onnx.save(model, tmp_path / "gates.onnx")
    arguments = ("--model=lstm_guarded", f"--artifact={tmp_path / 'gates.onnx'}", "--no-localize")
    arguments += ("-k", "initializers or pinned or allclose", "--bundles=0")
    run = run_suite(tmp_path, *COMMON, *models_from("lstm"), *arguments)
    assert {row["name"] for row in case_of(run, "gates")["checks"]} >= {"initializers"}
    assert {"error_budget", "allclose"} <= red_checks(run, "gates")
    assert "initializers" not in red_checks(run, "gates")


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
