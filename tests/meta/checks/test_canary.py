"""The canary on small files: what it moves, what it accuses, and what it cannot show."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_conformance.checks.canary import check_canary
from onnx_conformance.checks.canary_edits import move_output, weights_to_move
from onnx_conformance.core.case import Case
from onnx_conformance.core.documents import FileFacts
from onnx_conformance.core.errors import StageFailure
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.core.tolerances import load_tolerances
from onnx_conformance.run.subject import Answer, Artifact
from tests.meta.running import ROOT

RNG = np.random.default_rng(3)
SQUARE = RNG.normal(size=(6, 6)).astype(np.float32)


def graph_of(nodes, stored, kind=TensorProto.FLOAT):
    graph_input = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6])
    taken = helper.make_tensor_value_info("y", kind, None)
    tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "g", [graph_input], [taken], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


class Subject:
    """Runs whatever file it has with onnx.reference; ``session`` may answer from another."""

    def __init__(self, path, *, weights_from=None, deaf=False, broken=False, dtype="float32"):
        facts = cast("FileFacts", {})
        self.artifact = Artifact(path, (path,), (file_digest(path),), facts)
        self.case, self.seed = Case("m", "given", 18, "cpu"), 0
        self.tolerances = load_tolerances(ROOT / "tolerances.yaml")
        taken = TensorSpec("x", ("batch", 6))
        made = TensorSpec("y", ("batch", 6), dtype)
        self.model = SimpleNamespace(inputs=(taken,), axes=(), outputs=(made,))
        self.options = {
            "weights_from": weights_from, "deaf": deaf, "broken": broken, "dtype": dtype,
        }  # fmt: skip
        self._answering = path

    @property
    def session(self):
        return SimpleNamespace(sha256=self.artifact.sha256)

    def with_artifact(self, artifact):
        other = Subject(self._answering, **self.options)
        other.artifact = artifact
        return other

    def run(self, inputs, repeat=0):
        if self.options["deaf"]:
            return self._answer(onnx.load(self._answering), inputs)
        model = onnx.load(self.artifact.path)
        if self.options["broken"] and self.artifact.path != self._answering:
            raise StageFailure("runtime", "m", "no such kernel")
        if self.options["weights_from"]:  # a cache that knows the graph and not its weights
            old = {t.name: t for t in onnx.load(self.options["weights_from"]).graph.initializer}
            for tensor in model.graph.initializer:
                tensor.CopyFrom(old.get(tensor.name, tensor))
        return self._answer(model, inputs)

    def native(self, inputs):
        return {"y": np.full((1, 6), 1.0 if self.options["deaf"] else np.nan, np.float32)}

    def unoptimised(self, input_sets):
        model = onnx.load(self.artifact.path)
        return [self._answer(model, inputs) for inputs in input_sets]

    def _answer(self, model, inputs):
        return Answer({"y": ReferenceEvaluator(model).run(None, dict(inputs))[0]})


@pytest.fixture
def judge(tmp_path):
    """The verdict on a file of these nodes and constants."""

    def verdict(nodes, stored, kind=TensorProto.FLOAT, **options):
        path = tmp_path / "m.onnx"
        onnx.save(graph_of(nodes, stored, kind), path)
        if options.pop("stale", False):
            options["weights_from"] = path
        return check_canary(Subject(path, **options))

    return verdict


DENSE = [helper.make_node("MatMul", ["x", "w"], ["y"])]


def test_a_weight_that_moves_the_answer_is_enough(judge):
    result = judge(DENSE, {"w": SQUARE})
    assert result.passed
    assert "with w changed" in result.reason


def test_an_engine_that_answers_from_elsewhere_is_accused(judge):
    result = judge(DENSE, {"w": SQUARE}, deaf=True)
    assert result.outcome == "failed"
    assert "do not depend on the file" in result.reason


def test_one_that_keeps_old_weights_for_a_graph_that_it_knows_is_accused(judge):
    """An output moved by a node more would not notice."""
    result = judge(DENSE, {"w": SQUARE}, stale=True)
    assert result.outcome == "failed"
    assert "when the CPU runs the copy" in result.details[0]


def test_weights_of_branches_that_nobody_chose_accuse_nobody(judge):
    """Eight of them, and none shows: the file is shown to be computed by its output's sign."""
    parts = {f"e{n}": RNG.normal(size=(40, 6)).astype(np.float32) for n in range(9)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Concat", list(parts), ["all"], axis=0),
        helper.make_node("Gather", ["all", "chosen"], ["row"]),
        helper.make_node("Mul", ["h", "row"], ["y"]),
    ]
    chosen = np.array([0], np.int64)
    result = judge(nodes, {**parts, "w": SQUARE, "chosen": chosen})
    assert result.passed
    assert "the sign of its output" in result.reason or "with e0 changed" in result.reason


def test_no_weights_at_all(judge):
    result = judge([helper.make_node("Relu", ["x"], ["y"])], {})
    assert result.passed
    assert "the sign of its output changed" in result.reason
    assert judge([helper.make_node("Relu", ["x"], ["y"])], {}, deaf=True).outcome == "failed"


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT64, TensorProto.BOOL])
def test_outputs_that_are_no_floating_numbers(judge, kind):
    nodes = [
        helper.make_node("Relu", ["x"], ["h"]),
        helper.make_node("Cast", ["h"], ["y"], to=kind),
    ]
    assert judge(nodes, {}, kind).passed
    assert judge(nodes, {}, kind, deaf=True).outcome == "failed"


def test_answers_that_are_all_zero_are_moved_too(judge):
    nodes = [helper.make_node("Sub", ["x", "x"], ["y"])]
    assert judge(nodes, {}).passed
    assert judge(nodes, {}, deaf=True).outcome == "failed"


@pytest.mark.filterwarnings("ignore:invalid value")
def test_answers_that_are_no_numbers_show_nothing(judge):
    nodes = [helper.make_node("Sub", ["x", "x"], ["z"]), helper.make_node("Div", ["z", "z"], ["y"])]
    result = judge(nodes, {})
    assert result.outcome == "skipped"
    assert "nothing shows that the file" in result.reason
    numbers = judge(nodes, {}, deaf=True)  # where native has some
    assert numbers.outcome == "failed"
    assert "; native's do" in numbers.reason


@pytest.mark.filterwarnings("ignore:invalid value")
def test_answers_that_are_numbers_for_some_samples_alone(judge):
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"]),
        helper.make_node("Sub", ["most", "two"], ["above"]),  # below 0 for one sample
        helper.make_node("Sqrt", ["above"], ["y"]),
    ]
    assert judge(nodes, {"two": np.float32(1.5)}).passed


def test_text_is_not_applicable(judge):
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.STRING)]
    assert judge(nodes, {}, TensorProto.STRING, dtype="str").outcome == "not_applicable"


def test_a_copy_that_cannot_be_opened_is_no_accusation_by_itself(judge):
    result = judge(DENSE, {"w": SQUARE}, broken=True)
    assert result.outcome == "failed"  # for the CPU does open it


def test_what_says_how_to_resize_is_no_weight():
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(SQUARE)),
        helper.make_node("MatMul", ["x", "c"], ["h"]),
        helper.make_node("Resize", ["h", "", "scales"], ["z"]),
        helper.make_node("Clip", ["z", "low", "high"], ["y"]),
    ]
    stored = {
        "scales": np.array([1, 2], np.float32),
        "low": np.array(-1, np.float32),
        "high": np.array(2, np.float32),
    }
    assert weights_to_move(graph_of(nodes, stored), None) == ["c"]


def test_large_weights_come_before_small_ones_next_to_the_output_first():
    nodes = [
        helper.make_node("MatMul", ["x", "big"], ["a"]),
        helper.make_node("Add", ["a", "small"], ["b"]),
        helper.make_node("MatMul", ["b", "middle"], ["c"]),
        helper.make_node("Add", ["c", "last"], ["y"]),
    ]
    sizes = {"big": (6, 60), "small": (60,), "middle": (60, 6), "last": (6,)}
    stored = {name: RNG.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    assert weights_to_move(graph_of(nodes, stored), None) == ["last", "middle", "big", "small"]


@pytest.mark.parametrize("answered", [np.float64, np.float32])
def test_an_output_is_moved_in_the_files_own_dtype(answered):
    """A plain callable answers in float64 where its file gives float32."""
    model = graph_of([helper.make_node("Relu", ["x"], ["y"])], {})
    rows = np.ones((2, 6), np.float32)
    move_output(model, "y", rows.astype(answered))
    [moved] = ReferenceEvaluator(model).run(None, {"x": rows})
    assert moved.dtype == np.float32
    assert (moved == -1).all()
