"""int8 is judged by what it decides: clean files are green, spoiled ones red, with confidence."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper

from onnx_conformance.catalog.models import resolve_model
from onnx_conformance.checks.precision import check_composition, check_sqnr
from onnx_conformance.checks.task import check_task
from onnx_conformance.cli.context import read_run
from onnx_conformance.core.case import Case
from onnx_conformance.core.domains import Integers
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.inputs.samples import (
    calibration_inputs,
    task_samples,
    typical_inputs,
    user_inputs,
)
from onnx_conformance.run.subject import Answer
from tests.meta.plain_subject import TOLERANCES
from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

JUDGED = ("tests/test_structure.py", "tests/test_function.py", "tests/test_quantised.py")
PLUGIN = ("-p", "tests.meta.plugins.bad_variants")
ONE = ("--exporter=torch_torchscript", "--opset=14", "--provider=cpu")
VARIANTS = ("int8_static", "int8_dynamic", "int8_shifted", "int8_saturated", "int8_claimed")
SEEDS = range(20)
FLOAT = onnx.TensorProto.FLOAT


@pytest.fixture(scope="module")
def run(tmp_path_factory, cache):
    """Every variant of the model that has a task, and one of a model that has none."""
    folder = tmp_path_factory.mktemp("int8")
    chosen = [f"--variant={name}" for name in VARIANTS]
    chosen += ["--model=digits_cnn", "--model=simple_net", "--no-localize", cache]
    chosen += ["-k", "int8 and (digits_cnn or int8_static)"]
    return run_suite(folder, *PLUGIN, *JUDGED, *ONE, *chosen)


@pytest.fixture(scope="module")
def cases(run):
    return {
        (case["model"], case["exporter"].partition("~")[2]): case for case in run.document["cases"]
    }


def reasons(case, check):
    return " ".join(row["reason"] for row in case["checks"] if row["name"] == check)


def test_clean_conversions_are_proved_where_a_task_judges_them(cases):
    for variant in ("int8_static", "int8_dynamic"):
        case = cases["digits_cnn", variant]
        assert case["verdict"] == "passed", case["checks"]
        assert case["decibels"] > 30
        assert "accuracy lost" in reasons(case, "task")


@pytest.mark.parametrize(
    ("variant", "check", "message"),
    [
        ("int8_shifted", "sqnr", "dB of signal to quantisation noise"),
        ("int8_saturated", "task", "accuracy lost"),
        ("int8_claimed", "error_budget", "differs from native torch"),
    ],
)
def test_spoiled_conversions_are_red(cases, variant, check, message):
    case = cases["digits_cnn", variant]
    failed = {row["name"] for row in case["checks"] if row["outcome"] == "failed"}
    assert case["verdict"] == "failed"
    assert check in failed
    assert message in reasons(case, check)


def test_without_a_task_it_is_said_to_be_of_latency_alone(cases):
    case = cases["simple_net", "int8_static"]
    assert case["verdict"] == "passed"
    assert not case["complete"]
    assert "accuracy is judged for efficientnet_lite0, digits_cnn" in reasons(case, "task")


def test_the_effect_of_batch_mates_on_dynamic_scales_is_reported(cases):
    assert "measures activations batch by batch" in reasons(
        cases["digits_cnn", "int8_dynamic"], "composition"
    )


# -- on figures alone: a judge that is asked a hundred times -------------------------------------

MODEL = resolve_model("digits_cnn")


def _written(path, operator, read):
    """A file of a Relu that answers, and a node beside or before it."""
    ends = [helper.make_tensor_value_info(name, FLOAT, ["batch", 4]) for name in ("x", "y")]
    nodes = [helper.make_node(operator, ["x"], ["other"]), helper.make_node("Relu", [read], ["y"])]
    graph = helper.make_graph(nodes, "two", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph), path)
    return SimpleNamespace(path=path, facts={"nodes": {operator: 1, "Relu": 1}})


@pytest.fixture(scope="module")
def rounded(tmp_path_factory):
    """The file of what is judged on figures alone: read by name only, never run."""
    path = tmp_path_factory.mktemp("rounded") / "model.onnx"
    return _written(path, "DynamicQuantizeLinear", read="other")


@pytest.fixture
def subject(rounded):
    return lambda seed, change: _subject(seed, change, rounded)


def _subject(seed, change, artifact):
    """A classifier that is right on 98 %, and a conversion that ``change`` makes of its logits."""
    samples, rng = task_samples(MODEL, seed), np.random.default_rng(seed)
    said = np.where(rng.random(len(samples.labels)) < 0.98, samples.labels, 9 - samples.labels)
    logits = 8.0 * np.eye(10)[said] + rng.normal(size=(len(said), 10))
    converted = change(logits, rng).astype(np.float32)
    rows = {inputs.digest: place for place, inputs in enumerate(typical_inputs(MODEL, seed))}

    def cut(array, inputs):
        start = 10 * rows[inputs.digest]
        return {"output": array[start : start + len(inputs["input"])].astype(np.float32)}

    return SimpleNamespace(
        model=MODEL,
        seed=seed,
        case=Case("digits_cnn", "torch_dynamo", 18, "cpu", precision="int8"),
        tolerances=TOLERANCES,
        native=lambda inputs: cut(logits, inputs),
        run=lambda inputs: Answer(cut(converted, inputs)),
        artifact=artifact,
    )


def noisy(logits, rng):
    return logits + 0.1 * rng.normal(size=logits.shape)


def four_points_less(logits, rng):
    wrong = rng.random(len(logits)) < 0.04
    return np.where(wrong[:, np.newaxis], np.roll(logits, 1, axis=1), noisy(logits, rng))


@pytest.mark.parametrize("check", [check_task, check_sqnr], ids=lambda check: check.__name__)
def test_clean_ones_are_green_in_every_seed(subject, check):
    assert [seed for seed in SEEDS if not check(subject(seed, noisy)).passed] == []


def test_four_points_less_of_accuracy_are_red_in_every_seed(subject):
    passing = [seed for seed in SEEDS if check_task(subject(seed, four_points_less)).passed]
    assert passing == []


def test_a_session_that_refuses_is_red(subject):
    silent = subject(0, noisy)
    silent.run = lambda inputs: Answer(None, "no kernel")
    results = [check(silent) for check in (check_sqnr, check_task, check_composition)]
    assert {result.outcome for result in results} == {"failed"}
    assert all("no kernel" in result.reason for result in results)


@pytest.mark.parametrize(
    ("operator", "read"),
    [("Sigmoid", "other"), ("DynamicQuantizeLinear", "x")],
    ids=["no node rounds", "none of the answer does"],
)
def test_a_file_in_float32_is_not_judged_as_int8(subject, tmp_path, operator, read):
    plain = subject(0, noisy)
    plain.artifact = _written(tmp_path / "plain.onnx", operator, read)
    result = check_sqnr(plain)
    assert result.outcome == "failed"
    assert "nothing in the file is quantised" in result.reason


@pytest.mark.parametrize(
    "operator",
    ["MatMulNBits", "MatMulBnb4", "QMoE", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QGemm"],
)
def test_com_microsofts_quantised_operators_are_known(subject, tmp_path, operator):
    judged = subject(0, noisy)
    judged.artifact = _written(tmp_path / "m.onnx", operator, "other")
    assert check_sqnr(judged).passed


def test_a_constant_answer_has_no_signal(subject):
    dead = subject(0, noisy)
    flat = {"output": np.ones((10, 10), np.float32)}
    dead.native = dead_run = lambda inputs: flat
    dead.run = lambda inputs: Answer(dead_run(inputs))
    result = check_sqnr(dead)
    assert result.outcome == "failed"
    assert "zero everywhere" in result.reason


@pytest.mark.parametrize(("wrong", "outcome"), [(0.0, "passed"), (0.01, "passed"), (0.5, "failed")])
def test_whole_numbers_are_compared_too(subject, wrong, outcome):
    """A mask beside the logits: no error budget and no logit knows of it."""
    judged = subject(0, noisy)
    mask = TensorSpec("mask", ("batch", 16), "int64", domain=Integers(0, 3))
    judged.model = replace(MODEL, outputs=(*MODEL.outputs, mask))
    rng = np.random.default_rng(0)
    of_native = {
        inputs.digest: rng.integers(4, size=(10, 16)) for inputs in typical_inputs(MODEL, 0)
    }
    moved = {
        digest: np.where(rng.random(right.shape) < wrong, (right + 1) % 4, right)
        for digest, right in of_native.items()
    }
    plain = judged.native, judged.run
    judged.native = lambda inputs: {**plain[0](inputs), "mask": of_native[inputs.digest]}
    judged.run = lambda inputs: Answer({**plain[1](inputs).outputs, "mask": moved[inputs.digest]})
    result = check_sqnr(judged)
    assert result.outcome == outcome, result.reason
    assert wrong == 0.0 or "output 'mask'" in result.reason


# -- samples ---------------------------------------------------------------------------------------


def rows_of(input_sets):
    return {sample.tobytes() for inputs in input_sets for sample in inputs["input"]}


@pytest.mark.parametrize("name", ["digits_cnn", "simple_net"])
def test_no_sample_is_both_calibrated_and_judged_on(name):
    model = resolve_model(name)
    assert not rows_of(calibration_inputs(model, 0)) & rows_of(typical_inputs(model, 0))


def test_other_seeds_draw_other_samples():
    assert rows_of(calibration_inputs(MODEL, 0)) != rows_of(calibration_inputs(MODEL, 1))


def test_calibration_data_are_read(tmp_path):
    array = np.arange(192, dtype=np.float32).reshape(3, 1, 8, 8)
    np.savez(tmp_path / "one.npz", input=array)
    assert [inputs.digest for inputs in user_inputs(MODEL, tmp_path)] == [
        Inputs({"input": array}).digest
    ]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (None, "a folder with .npz files (an array for each input: input) or photographs"),
        ({"labels": np.zeros(1, np.int64)}, "'input' is missing (found: labels)"),
        ({"input": np.zeros((1, 1, 8, 8))}, "'input' is float64[1, 1, 8, 8], expected float32"),
        ({"input": np.zeros((1, 8, 8), np.float32)}, "'input' is float32[1, 8, 8], expected"),
    ],
)
def test_calibration_data_that_do_not_fit_are_reported(tmp_path, arrays, message):
    if arrays is not None:
        np.savez(tmp_path / "one.npz", **arrays)
    with pytest.raises(UsageError) as caught:
        user_inputs(MODEL, tmp_path)
    assert message in str(caught.value)


def test_an_external_file_is_judged_by_the_precision_that_is_named(tmp_path, run, cases):
    path = cases["digits_cnn", "int8_static"]["artifact"]
    arguments = ("--model=digits_cnn", "--provider=cpu", f"--artifact={path}", "--precision=int8")
    ran = run_suite(tmp_path, *JUDGED, *arguments, "--opset=14")
    [case] = ran.document["cases"]
    assert case["verdict"] == "passed", ran.text
    assert "accuracy lost" in reasons(case, "task")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # else a wrong float32 file had the budget of TF32, on a processor that knows none
        (["--model=digits_cnn", "--artifact=a.onnx", "--precision=tf32"], "--precision: invalid"),
        (["--model=simple_net", "--precision=int8"], "--precision is for files"),
        (
            [*ONE, "--model=digits_cnn", "--variant=int8_static", "--calibration-data=/nowhere"],
            "--calibration-data /nowhere: no such folder",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_run(arguments, message):
    with pytest.raises(UsageError, match=message):
        read_run(arguments)
