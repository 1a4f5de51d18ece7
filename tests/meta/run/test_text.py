"""Text and maps of tabular models: judged against a callable and against another file."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.meta.running import run_suite

pytestmark = pytest.mark.slow

CITIES, KINDS = ("Bern", "Oslo", "Rome"), ("cheap", "dear", "fair")
WEIGHTS = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
NATIVE = """
import numpy as np
from onnx_conformance import Choice, TensorSpec, register_model

CITIES, KINDS = np.array({cities}), np.array({kinds})
WEIGHTS = np.array({weights}, np.float32)

@register_model("prices", inputs=[
    TensorSpec("size", ("batch", 1)),
    TensorSpec("city", ("batch", 1), "str", domain=Choice(tuple(CITIES.tolist()))),
])
def prices():
    def price(size, city):
        scores = np.concatenate([size, city == CITIES], axis=1).astype(np.float32) @ WEIGHTS
        chances = [dict(zip(KINDS.tolist(), 1 / (1 + np.exp(-row)))) for row in scores]
        return KINDS[scores.argmax(axis=1)], scores, chances
    return price
"""


def write(path, cities=CITIES, kinds=KINDS, keys=KINDS):
    """size (N, 1) and city (N, 1) to the kind of price, scores (N, 3) and a map of chances."""
    ml = "ai.onnx.ml"
    node = helper.make_node
    nodes = [
        node("OneHotEncoder", ["city"], ["hot"], domain=ml, cats_strings=list(cities)),
        node("Reshape", ["hot", "rows"], ["flat"]),
        node("Concat", ["size", "flat"], ["features"], axis=1),
        node("MatMul", ["features", "weights"], ["scores"]),
        node("ArgMax", ["scores"], ["place"], axis=1, keepdims=0),
        node(
            "LabelEncoder", ["place"], ["kind"], domain=ml,
            keys_int64s=[0, 1, 2], values_strings=list(kinds),
        ),
        node("Sigmoid", ["scores"], ["share"]),
        node("ZipMap", ["share"], ["chances"], domain=ml, classlabels_strings=list(keys)),
    ]  # fmt: skip
    tensor = helper.make_tensor_value_info
    stored = [
        numpy_helper.from_array(WEIGHTS, "weights"),
        numpy_helper.from_array(np.array([-1, 3]), "rows"),
    ]
    size = tensor("size", TensorProto.FLOAT, ["batch", 1])
    city = tensor("city", TensorProto.STRING, ["batch", 1])
    kind = tensor("kind", TensorProto.STRING, ["batch"])
    scores = tensor("scores", TensorProto.FLOAT, ["batch", 3])
    number = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.STRING, number))
    outputs = [kind, scores, helper.make_value_info("chances", maps)]
    graph = helper.make_graph(nodes, "prices", [size, city], outputs, stored)
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(ml, 3)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), path)
    return path


@pytest.fixture(scope="module", params=["callable", "file"])
def run(request, tmp_path_factory):
    """Right, with two categories swapped, and with two words swapped."""
    folder = tmp_path_factory.mktemp("text")
    artifact = folder / "given"
    artifact.mkdir()
    write(artifact / "right.onnx")
    write(artifact / "cities.onnx", cities=(CITIES[1], CITIES[0], CITIES[2]))
    write(artifact / "words.onnx", kinds=(KINDS[0], KINDS[2], KINDS[1]))
    write(artifact / "keys.onnx", keys=(KINDS[1], KINDS[0], KINDS[2]))
    write(artifact / "renamed.onnx", keys=(KINDS[0], KINDS[1], "moderate"))
    models = folder / "models.py"
    models.write_text(NATIVE.format(cities=CITIES, kinds=KINDS, weights=WEIGHTS.tolist()))
    native = (f"--models-from={models}", "--model=prices")
    if request.param == "file":
        native = (f"--against={write(folder / 'before.onnx')}",)
    options = (f"--artifact={artifact}", "--provider=cpu", "--no-localize")
    return run_suite(folder, "tests", "--ignore=tests/meta", *native, *options)


def red(run, label):
    (case,) = [case for case in run.document["cases"] if label in case["id"]]
    return {row["name"] for row in case["checks"] if row["outcome"] in ("failed", "error")}


def test_the_right_file_is_green(run):
    assert red(run, "right") == set(), run.text
    assert "right" not in [c["id"] for c in run.document["cases"] if not c["complete"]], run.text


def test_a_category_or_a_word_in_anothers_place_is_red(run):
    assert "error_budget" in red(run, "cities")
    assert "error_budget" in red(run, "words")


def test_a_key_of_a_map_in_anothers_place_or_of_another_name_is_red(run):
    assert "error_budget" in red(run, "keys")
    assert "error_budget" in red(run, "renamed")
