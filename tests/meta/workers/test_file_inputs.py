"""What an ONNX file's inputs may be, found out of its graph and by running it."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_conformance.core.domains import Bounded, Choice, Integers, Lengths, Mask, Real
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.onnx_file import inspect
from onnx_conformance.core.spec import Axis, TensorSpec
from onnx_conformance.workers.onnx import file_axes
from onnx_conformance.workers.onnx.file_axes import (
    namings,
    shape_of,
    with_batch,
    without_signs,
)
from onnx_conformance.workers.onnx.file_model import file_model
from onnx_conformance.workers.onnx.input_ranges import Graph, range_of

pytestmark = pytest.mark.slow

FLOAT, INT64, INT32, UINT8 = (
    TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8,
)  # fmt: skip


def saved(path, nodes, inputs, outputs=("y",), weights=None, opset=17, kinds=None):
    values = [helper.make_tensor_value_info(name, kind, dims) for name, kind, dims in inputs]
    made = [
        helper.make_tensor_value_info(name, (kinds or {}).get(name, FLOAT), None)
        for name in outputs
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", values, made, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


TABLE = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)


def embedding(path, *between, ids="ids", kind=INT64, dims=("batch", "seq")):
    """A table of 12 rows, of which the last of the tensors ``between`` makes is the index."""
    last = between[-1].output[0] if between else ids
    nodes = [*between, helper.make_node("Gather", ["table", last], ["y"])]
    return saved(path, nodes, [(ids, kind, dims)], weights={"table": TABLE, "two": np.int64([2])})


def range_in(path, name="ids", dtype="int64", rank=2):
    return range_of(Graph(onnx.load(path)), name, dtype, rank)


def test_what_indexes_a_table_reaches_its_rows(tmp_path):
    path = tmp_path / "m.onnx"
    assert range_in(embedding(path)).domain == Integers(0, 12)
    cast = helper.make_node("Cast", ["ids"], ["wide"], to=INT64)
    added = helper.make_node("Add", ["wide", "two"], ["more"])
    assert range_in(embedding(path, cast, kind=INT32), dtype="int32").domain == Integers(0, 12)
    moved = range_in(embedding(path, cast, added, kind=INT32), dtype="int32")
    assert moved.domain == Integers(0, 10)
    assert "12 rows 'table'" in moved.why


def test_dtypes_and_names_bound_too(tmp_path):
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=FLOAT)]
    path = saved(tmp_path / "m.onnx", nodes, [("x", UINT8, ["n", 3])])
    assert range_in(path, "x", "uint8").domain == Integers(0, 256)
    assert range_in(path, "x", "int8").domain == Integers(-128, 128)
    assert range_in(path, "x", "bool").domain == Choice((0, 1))
    assert range_in(path, "x", "float16").domain == Real()
    assert range_in(path, "attention_mask").domain == Mask()
    assert range_in(path, "mask", rank=1).domain == Choice((0, 1))


def test_what_is_compared_with_numbers(tmp_path):
    def compared(*values):
        nodes = [
            helper.make_node("Unsqueeze", ["x", "axis"], ["u"]),
            helper.make_node("Equal", ["u", "k"], ["e"]),
            helper.make_node("Cast", ["e"], ["y"], to=FLOAT),
        ]
        weights = {"k": np.int64(values), "axis": np.int64([-1])}
        return range_in(
            saved(tmp_path / "m.onnx", nodes, [("x", INT64, ["n"])], weights=weights), "x"
        )

    assert compared(*range(257)).domain == Integers(0, 257)
    assert compared(3).domain == Integers(0, 5)
    assert compared(8000, 16000).domain == Choice((8000.0, 16000.0, 16001.0))


def test_what_nothing_bounds_is_assumed_and_reported(tmp_path):
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=FLOAT)]
    path = saved(tmp_path / "m.onnx", nodes, [("x", INT32, [-1, 3])])
    built = file_model(path, 1)
    assert built.inputs == (TensorSpec("x", ("batch_size", 3), "int32", domain=Integers(-10, 10)),)
    (note,) = built.notes
    assert "nothing in the file bounds it" in note
    assert 'TensorSpec("x", (' in note


@pytest.mark.parametrize(
    ("operator", "low"),
    [
        ("Neg", -10),
        ("Log", 0),  # of which a negative number makes NaN; 0 makes an infinity, as it did before
        ("ConstantOfShape", 1),  # sizes hang on it, and of none there is nothing to compare
    ],
)
def test_negative_numbers_are_fed_where_they_mean_something(tmp_path, operator, low):
    nodes = [
        helper.make_node("Cast", ["x"], ["cast"], to=INT64 if "Shape" in operator else FLOAT),
        helper.make_node(operator, ["cast"], ["y"]),
    ]
    path = saved(tmp_path / "m.onnx", nodes, [("x", INT32, [2])])
    domain = file_model(path, 1).inputs[0].domain
    assert isinstance(domain, Integers)
    assert domain.low == low


def test_declared_inputs_come_before_any_guess(tmp_path):
    path = embedding(tmp_path / "m.onnx")
    declared = (TensorSpec("ids", ("batch", 5), "int64", domain=Integers(0, 3)),)
    built = file_model(path, 1, declared)
    assert (built.inputs, built.notes) == (declared, ())
    with pytest.raises(UsageError, match="no input 'tokens'; its inputs are ids"):
        file_model(path, 1, (TensorSpec("tokens", ("batch", 5), "int64", domain=Integers(0, 3)),))


@pytest.mark.parametrize("batch", [-1, "?", None, "N", "p2o.Dim.0"])
def test_a_batch_is_open_however_it_is_written(tmp_path, batch):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    path = saved(tmp_path / "m.onnx", nodes, [("x", FLOAT, [batch, 3])])
    assert file_model(path, 1).inputs[0].shape == ("batch_size", 3)


def test_minus_one_is_symbolic_in_the_facts_of_a_file(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    path = saved(tmp_path / "m.onnx", nodes, [("x", FLOAT, [-1, 3, None])])
    assert inspect(path)["inputs"][0]["shape"] == ["?", 3, "?"]


def test_a_size_of_zero_is_reported():
    with pytest.raises(UsageError, match="size of 0 on axis 0"):
        shape_of("x", [0, 3])


def test_open_axes_of_several_inputs_that_must_agree(tmp_path):
    nodes = [helper.make_node("Add", ["a", "b"], ["y"])]
    inputs = [("a", FLOAT, [None, None, 4]), ("b", FLOAT, [None, None, 4])]
    built = file_model(saved(tmp_path / "m.onnx", nodes, inputs), 1)
    assert {spec.shape for spec in built.inputs} == {("batch_size", "dim_1", 4)}
    named = [("a", FLOAT, ["n", "s0", 4]), ("b", FLOAT, ["n", "s1", 4])]
    built = file_model(saved(tmp_path / "m.onnx", nodes, named), 1)
    assert {spec.shape for spec in built.inputs} == {("batch_size", "dim_1", 4)}


def test_a_name_is_the_same_axis_everywhere_and_signs_are_kept_where_they_follow():
    shapes = {"x": ["n", 3], "state": [2, "n", 5]}
    assert with_batch(shapes) == {"x": ["batch_size", 3], "state": [2, "batch_size", 5]}


def test_of_several_first_axes_the_batch_is_the_one_that_every_input_has():
    steps_first = {"x": ["steps", "n", 5], "lengths": ["n"]}
    assert with_batch(steps_first) == {"x": ["steps", "batch_size", 5], "lengths": ["batch_size"]}
    apart = {"a": ["n", 3], "b": ["m", 3]}  # no axis is common: either may be the batch
    assert with_batch(apart) == {"a": ["batch_size", 3], "b": ["batch_size", 3]}


def test_an_axis_called_batch_is_the_batch_wherever_it_stands():
    shapes = {"x": ["time", "batch", 4], "h": ["batch", 5], "table": ["time", 3], "n": ["?"]}
    assert with_batch(shapes) == {
        "x": ["time", "batch_size", 4],
        "h": ["batch_size", 5],
        "table": ["time", 3],
        "n": ["batch_size"],
    }
    follows = without_signs({"x": ["n", "past+1"], "p": ["n", "past"], "q": ["n", "a-b"]})
    assert follows == {"x": ["n", "past+1"], "p": ["n", "past"], "q": ["n", "a_b"]}
    assert [compute_mode["p"] for compute_mode in namings({"p": ["batch_size", "?"]})][0] == (
        "batch_size",
        "p_dim_1",
    )


def test_a_mask_may_be_as_long_as_past_and_new_places_together(tmp_path):
    nodes = [
        helper.make_node("ReduceSum", ["past", "last"], ["old"], keepdims=0),
        helper.make_node("Concat", ["old", "new"], ["both"], axis=1),
        helper.make_node("Mul", ["both", "mask"], ["y"]),
    ]
    inputs = [
        ("new", FLOAT, ["n", "sequence"]),
        ("mask", FLOAT, ["n", "total"]),
        ("past", FLOAT, ["n", "past", 4]),
    ]
    path = saved(tmp_path / "m.onnx", nodes, inputs, weights={"last": np.int64([2])})
    looked = file_model(path, 1)
    assert looked.inputs[1].shape == ("batch_size", "past+sequence")
    assert dict(looked.axes) == dict.fromkeys(("sequence", "past"), Axis())


def test_sizes_that_the_file_accepts_are_found(tmp_path):
    """A network that halves its image five times and adds the halves again."""
    nodes, last = [], "x"
    for place in range(3):
        nodes.append(
            helper.make_node("MaxPool", [last], [f"d{place}"], kernel_shape=[2, 2], strides=[2, 2])
        )
        last = f"d{place}"
    nodes += [
        helper.make_node("Resize", [last, "", "scales"], ["up"]),
        helper.make_node("Add", ["x", "up"], ["y"]),
    ]
    path = saved(
        tmp_path / "m.onnx", nodes, [("x", FLOAT, [None, 2, None, None])],
        weights={"scales": np.float32([1, 1, 8, 8])},
    )  # fmt: skip
    built = file_model(path, 1)
    assert dict(built.axes) == dict.fromkeys(("x_dim_2", "x_dim_3"), Axis(8, 40, 8))
    assert "from 8 to 40 in steps of 8" in built.notes[0]


def test_an_axis_that_is_open_in_name_alone_is_fixed(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = {"w": np.ones((48, 2), np.float32)}
    path = saved(tmp_path / "m.onnx", nodes, [("x", FLOAT, [None, None, None])], weights=weights)
    built = file_model(path, 1)
    assert built.inputs[0].shape == ("batch_size", "x_dim_1", 48)
    assert "fed at size 48 alone" in built.notes[0]


def test_what_no_size_suits_is_refused_in_the_files_own_words(tmp_path, monkeypatch):
    monkeypatch.setattr(file_axes, "SIZES", (3,))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = {"w": np.ones((1999, 2), np.float32)}
    path = saved(tmp_path / "m.onnx", nodes, [("x", FLOAT, [None, None])], weights=weights)
    with pytest.raises(UsageError, match="the file refuses the inputs that it declares: .*MatMul"):
        file_model(path, 1)


def test_text_is_fed_as_text(tmp_path):
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    path = saved(
        tmp_path / "m.onnx", nodes, [("x", TensorProto.STRING, ["n"])],
        kinds={"y": TensorProto.STRING},
    )  # fmt: skip
    built = file_model(path, 1)
    assert (built.inputs[0].dtype, built.inputs[0].domain) == ("str", Choice(("a", "b", "c")))


def counted(path, window, dims=("batch", "N")):
    """A file that answers how many windows of its length each row has, and their first numbers."""
    nodes = [
        helper.make_node("Div", ["x_lens", "window"], ["n"]),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    inputs = [("x", FLOAT, dims), ("x_lens", INT64, dims[:1])]
    weights = {"window": np.int64([window])}
    return saved(path, nodes, inputs, ("y", "n"), weights, kinds={"n": INT64})


def test_an_input_called_a_length_is_fed_lengths_of_the_axis_beside_it(tmp_path):
    built = file_model(counted(tmp_path / "m.onnx", 2), 1)
    assert built.inputs[1].domain == Lengths("N")
    assert "1 to the size of axis 'N': its name says that it is a length" in built.notes[0]
    unnamed = file_model(counted(tmp_path / "u.onnx", 2, ("?", "?")), 1)
    assert unnamed.inputs[1].domain == Lengths(unnamed.inputs[0].shape[1])


def test_sizes_are_preferred_at_which_every_output_moves(tmp_path):
    built = file_model(counted(tmp_path / "m.onnx", 160), 1)
    assert dict(built.axes)["N"].high > 160
    assert "or its outputs do not move there" in built.notes[-1]
    still = file_model(counted(tmp_path / "still.onnx", 10**6), 1)
    assert dict(still.axes)["N"] == Axis()  # none moves it: the most general that it takes


def test_floats_that_become_indices_are_fed_as_such(tmp_path):
    cast = helper.make_node("Cast", ["ids"], ["whole"], to=INT64)
    built = file_model(embedding(tmp_path / "m.onnx", cast, kind=FLOAT), 1)
    assert built.inputs[0].domain == Integers(0, 12)
    assert built.inputs[0].dtype == "float32"


def test_probabilities_that_ordinary_numbers_leave_at_0_are_fed_larger_ones(tmp_path):
    nodes = [
        helper.make_node("Sub", ["x", "far"], ["s"]),
        helper.make_node("Sigmoid", ["s"], ["y"]),
    ]
    weights = {"far": np.float32([30.0])}
    path = saved(tmp_path / "m.onnx", nodes, [("x", FLOAT, ["n", 8])], weights=weights)
    built = file_model(path, 1)
    assert built.inputs[0].domain == file_axes.LOUD
    assert "smaller numbers leave an output as it is" in built.notes[0]


def test_sizes_that_end_the_process_are_not_fed(tmp_path):
    nodes = [
        helper.make_node("Shape", ["x"], ["size"], start=1, end=2),
        helper.make_node("Div", ["size", "window"], ["windows"]),
        helper.make_node("Div", ["window", "windows"], ["step"]),  # by 0 below 20
        helper.make_node("Cast", ["step"], ["factor"], to=FLOAT),
        helper.make_node("Mul", ["x", "factor"], ["y"]),
    ]
    weights = {"window": np.int64([20])}
    path = saved(tmp_path / "m.onnx", nodes, [("x", FLOAT, ["n", "N"])], weights=weights)
    assert dict(file_model(path, 1).axes)["N"].low >= 20


def test_a_threshold_is_fed_shares(tmp_path):
    boxes, scores = ("boxes", FLOAT, (1, 6, 4)), ("scores", FLOAT, (1, 1, 6))
    nodes = [helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "iou"], ["y"])]
    path = saved(
        tmp_path / "m.onnx", nodes, [boxes, scores, ("iou", FLOAT, (1,))],
        weights={"most": np.int64([3])}, kinds={"y": INT64},
    )  # fmt: skip
    assert file_model(path, 1).inputs[2].domain == Bounded(0, 1)


def test_what_refuses_ordinary_numbers_is_refused_in_the_files_own_words(tmp_path):
    nodes = [
        helper.make_node("Floor", ["x"], ["low"]),  # 0 for numbers from 0 to 1, else no row
        helper.make_node("Cast", ["low"], ["row"], to=INT64),
        helper.make_node("Mul", ["row", "far"], ["there"]),
        helper.make_node("Gather", ["table", "there"], ["y"]),
    ]
    weights = {"table": TABLE, "far": np.int64([1000])}
    path = saved(tmp_path / "m.onnx", nodes, [("x", FLOAT, (4,))], weights=weights)
    with pytest.raises(UsageError, match="refuses the inputs that it declares: .*Gather"):
        file_model(path, 1)


def test_a_file_without_inputs_is_refused_by_name(tmp_path):
    nodes = [helper.make_node("Identity", ["w"], ["y"])]
    path = saved(tmp_path / "m.onnx", nodes, [], weights={"w": np.ones(2, np.float32)})
    with pytest.raises(UsageError, match=r"m\.onnx has no inputs"):
        file_model(path, 1)


@pytest.mark.parametrize("refuses", [False, True])
def test_a_text_that_the_file_does_not_know_is_fed_where_it_is_taken(tmp_path, refuses):
    node = helper.make_node(
        "OneHotEncoder", ["x"], ["y"], domain="ai.onnx.ml", cats_strings=["red", "blue"],
        zeros=0 if refuses else 1,
    )  # fmt: skip
    value = helper.make_tensor_value_info("x", TensorProto.STRING, ["n"])
    graph = helper.make_graph([node], "g", [value], [onnx.ValueInfoProto(name="y")])
    opsets = [helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 17)]
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    domain = file_model(path, 1).inputs[0].domain
    assert isinstance(domain, Choice)
    values = domain.values
    assert {"red", "blue"} <= set(values)
    assert len(values) == (2 if refuses else 3)


def test_an_output_that_no_input_reaches_does_not_keep_sizes_from_being_found(
    tmp_path, monkeypatch
):
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], end=1),
        helper.make_node("ConstantOfShape", ["shape"], ["count"]),
        helper.make_node("Tanh", ["x"], ["y"]),
    ]
    path = saved(tmp_path / "m.onnx", nodes, [("x", FLOAT, ("batch", "n"))], ("y", "count"))
    tried = []
    moves = file_axes._moves
    monkeypatch.setattr(file_axes, "_moves", lambda *a: tried.append(moves(*a)) or tried[-1])
    assert file_model(path, 1).axes == (("n", Axis()),)
    assert tried == [True]


def test_a_file_that_halves_its_images_is_fed_even_sizes(tmp_path):
    nodes = [
        helper.make_node("MaxPool", ["x"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["small", "", "twice"], ["large"], mode="nearest"),
        helper.make_node("Add", ["x", "large"], ["y"]),
    ]
    path = saved(
        tmp_path / "m.onnx",
        nodes,
        [("x", FLOAT, ("batch", 1, "h", "w"))],
        weights={"twice": np.float32([1, 1, 2, 2])},
    )
    assert file_model(path, 1).axes == (("h", Axis(4, 24, 2)), ("w", Axis(4, 24, 2)))
