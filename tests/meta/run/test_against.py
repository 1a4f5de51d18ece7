"""Two ONNX files compared with each other: the one stands in the native model's place."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.settings import Settings
from onnx_conformance.run.own_references import without_itself
from onnx_conformance.workers.onnx.precision import NoDouble, doubled
from tests.meta.running import ORDINARY, run_suite

pytestmark = pytest.mark.slow


def perceptron(path, *, flip=False, batch="n", dtype=TensorProto.FLOAT, producer=""):
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((10, 5)).astype(np.float32)
    if flip:
        weights[3, 2] *= -1
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Gelu", ["m"], ["y"]),
        helper.make_node("ArgMax", ["y"], ["class"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, [batch, 10])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 5]),
            helper.make_tensor_value_info("class", TensorProto.INT64, [batch]),
        ],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model.producer_name = producer
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("against")
    perceptron(folder / "before.onnx")
    perceptron(folder / "after.onnx", producer="an optimiser")
    perceptron(folder / "wrong.onnx", flip=True)
    return run_suite(
        folder,
        *ORDINARY,
        f"--against={folder / 'before.onnx'}",
        f"--artifact={folder / 'after.onnx'}",
        f"--artifact={folder / 'wrong.onnx'}",
        "--provider=cpu",
    )


def test_the_same_function_is_proved(run):
    verdicts = {case["id"]: case["verdict"] for case in run.document["cases"]}
    assert verdicts == {"before.onnx-after-cpu": "passed", "before.onnx-wrong-cpu": "failed"}


def test_it_rests_on_a_float64_oracle(run):
    right = next(case for case in run.document["cases"] if case["id"].endswith("after-cpu"))
    assert 0 < right["worst_score"] <= 4


def test_the_node_is_localised_and_the_command_is_complete(run):
    (wrong,) = [case for case in run.document["cases"] if case["verdict"] == "failed"]
    assert wrong["divergence"]["operator"] == "MatMul"
    assert "--against=" in run.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--against=nowhere.onnx", "--artifact=x.onnx"), "--against nowhere.onnx: no such file"),
        (("--against=README.md", "--artifact=x.onnx"), "must be an .onnx file"),
        (("--against=b.onnx",), "it needs --artifact=FILE"),
        (("--against=b.onnx", "--artifact=b.onnx", "--model=resnet18"), "and no --model"),
    ],
)
def test_bad_input_is_reported(tmp_path, options, message):
    ran = run_suite(tmp_path, *ORDINARY, *options)
    assert ran.status == 4
    assert message in ran.text


def test_each_file_of_a_folder_is_compared_with_its_namesake(tmp_path):
    for folder, flipped in (("before", "decoder_model"), ("after", "")):
        (tmp_path / folder).mkdir()
        for role in ("encoder_model", "decoder_model"):
            perceptron(tmp_path / folder / f"{role}.onnx", flip=role == flipped, producer=folder)
    ran = run_suite(
        tmp_path,
        "tests/test_function.py",
        "--first-finding",
        f"--against={tmp_path / 'before'}",
        f"--artifact={tmp_path / 'after'}",
        "--provider=cpu",
    )
    verdicts = {case["id"]: case["verdict"] for case in ran.document["cases"]}
    assert verdicts == {
        "decoder_model.onnx-decoder_model-cpu": "failed",
        "encoder_model.onnx-encoder_model-cpu": "passed",
    }


def cases_of(artifact, *levels, provider="cpu"):
    case = Case("before.onnx", "given", None, provider).external(str(artifact), "after")
    return tuple(replace(case, graph_level=level) for level in levels or ("",))


@pytest.mark.parametrize("how", ["itself", "a link", "a copy"])
def test_a_file_beside_itself_is_no_proof_where_both_sides_are_the_same_run(tmp_path, how):
    path, other = perceptron(tmp_path / "one.onnx"), tmp_path / "other.onnx"
    if how == "itself":
        other = path
    elif how == "a link":
        other.symlink_to(path)
    else:
        other.write_bytes(path.read_bytes())
    settings = Settings(cache_dir=tmp_path, graph_level="disabled")
    with pytest.raises(UsageError, match="both sides are the same run, which proves nothing"):
        without_itself((str(path),), cases_of(other), settings)


def test_a_file_beside_itself_asks_what_the_optimiser_makes_of_it(tmp_path):
    path = perceptron(tmp_path / "one.onnx")
    settings = Settings(cache_dir=tmp_path)
    kept, notes = without_itself((str(path),), cases_of(path), settings)
    assert kept == cases_of(path)
    assert "what ONNX Runtime does to it at graph level all" in notes[0]
    levels = cases_of(path, "disabled", "basic", "all")
    kept, notes = without_itself((str(path),), levels, settings)
    assert [case.graph_level for case in kept] == ["basic", "all"]
    assert "not judged, because it is the reference's own run" in notes[-1]
    other = replace(settings, graph_level="disabled")
    assert without_itself((str(path),), cases_of(path, provider="cuda"), other)[0]


def test_another_file_is_judged_at_every_level(tmp_path):
    path, other = perceptron(tmp_path / "a.onnx"), perceptron(tmp_path / "b.onnx", flip=True)
    cases = cases_of(other, "disabled", "all")
    assert without_itself((str(path),), cases, Settings(cache_dir=tmp_path)) == (cases, ())


def test_the_doubled_graph_is_the_graph_in_float64(tmp_path):
    model = onnx.load(perceptron(tmp_path / "m.onnx"))
    x = np.random.default_rng(0).standard_normal((3, 10))
    narrow, wide = ReferenceEvaluator(model), ReferenceEvaluator(doubled(model))
    exact, rounded = wide.run(None, {"x": x}), narrow.run(None, {"x": x.astype(np.float32)})
    assert exact[0].dtype == np.float64
    assert 0 < np.abs(exact[0] - rounded[0]).max() < 1e-5


def test_what_is_about_rounding_has_no_double():
    node = helper.make_node("QuantizeLinear", ["x", "s"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    model = helper.make_model(helper.make_graph([node], "g", [x], []))
    with pytest.raises(NoDouble, match="QuantizeLinear"):
        doubled(model)
