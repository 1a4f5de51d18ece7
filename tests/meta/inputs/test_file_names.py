"""The one map between the names of a model's spec and those of a file."""

import numpy as np
import pytest

from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.inputs.batch_layout import FileNames, file_layout
from onnx_conformance.inputs.recipes import Inputs, RawInputs

A, B = TensorSpec("a", ("batch", 2)), TensorSpec("b", ("batch", 2))
MODEL = ModelSpec("m", "torch", (A, B), (TensorSpec("y", ("batch",)),), "")


def facts(*inputs, outputs=("y",)):
    tensors = [[{"name": name, "shape": ["n", 2]} for name in side] for side in (inputs, outputs)]
    return dict(zip(("inputs", "outputs"), tensors, strict=True))


@pytest.mark.parametrize(
    ("theirs", "names"),
    [
        (("a", "b"), {"a": "a", "b": "b"}),
        (("b", "a"), {"a": "a", "b": "b"}),  # the same names in another order
        (("x", "a"), {"a": "x", "b": "a"}),  # others: in order
        (("b",), {"b": "b"}),  # an exporter left out what nothing reads
        (("a", "b", "w"), {"a": "a", "b": "b"}),
        (("x", "y", "w"), {}),
    ],
)
def test_names_are_the_same_or_go_by_order(theirs, names):
    assert FileNames.of(MODEL, facts(*theirs)).inputs == names


@pytest.mark.parametrize("kind", [Inputs, RawInputs])
def test_inputs_go_to_the_file_and_outputs_come_back(kind):
    layout = file_layout(MODEL, facts("x", "a", outputs=("z",)))
    fed = kind(a=np.zeros((3, 2)), b=np.ones((3, 2)), misspelt=np.ones(3))
    (call,) = layout.calls(fed)
    assert type(call) is kind
    assert {name: array.max() for name, array in call.items()} == {"x": 0, "a": 1, "misspelt": 1}
    assert list(layout.rows(fed, [{"z": np.ones(3)}])) == ["y"]


def test_numbers_go_in_half_precision_where_the_file_takes_them_so():
    found = facts("x", "b")
    found["inputs"][0]["dtype"] = "float16"
    fed = {"a": np.full((3, 2), 1e6, np.float32), "b": np.ones((3, 2), np.float32)}
    (call,) = file_layout(MODEL, found).calls(Inputs(fed))
    assert (call["x"].dtype, call["b"].dtype) == (np.float16, np.float32)
    assert np.isinf(call["x"]).all()  # it ends at 65504
    (raw,) = file_layout(MODEL, found).calls(RawInputs(fed))
    assert raw["x"].dtype == np.float32
