"""Sizes that a file leaves open, and malformed inputs of models whose inputs have few axes."""

from types import SimpleNamespace

import numpy as np
import pytest

from onnx_conformance.catalog.exporters import EXPORTERS
from onnx_conformance.checks.structure import check_interface
from onnx_conformance.core.case import Case
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.inputs.families import malformed
from onnx_conformance.run.subject import NativeWeights

X, Y = TensorSpec("x", ("batch", 6)), TensorSpec("y", ("batch", 5))


def interface(input_shape=("batch", 6), answered=("batch", 5), kind="float32"):
    """The check's verdict on a file that declares these shapes, and this type of its output."""

    def tensor(name, shape):
        dtype = kind if name == "y" else "float32"
        return {"name": name, "dtype": dtype, "shape": None if shape is None else list(shape)}

    facts = {
        "inputs": [tensor("x", input_shape)],
        "outputs": [tensor("y", answered)],
        "producer": "",
    }
    subject = SimpleNamespace(
        case=Case("m", "torch_torchscript", 18, "cpu"),
        model=ModelSpec("m", "torch", (X,), (Y,), ""),
        exporter=EXPORTERS["torch_torchscript"],
        artifact=SimpleNamespace(facts=facts),
        weights=NativeWeights({}, []),
    )
    return check_interface(subject)


@pytest.mark.parametrize("answered", [("batch", 5), ("batch", "Reshapeoutput_dim_1"), None])
def test_an_output_size_that_the_file_leaves_open_is_judged_where_it_comes_out(answered):
    assert interface(answered=answered).passed


@pytest.mark.parametrize(
    "shapes",
    [{"answered": ("batch", 4)}, {"answered": ("batch", "n", 5)}, {"input_shape": ("batch", "n")}],
)
def test_another_size_another_rank_and_an_open_input_are_wrong(shapes):
    assert interface(**shapes).outcome == "failed"


def test_an_output_that_is_no_tensor_is_reported_with_the_remedy():
    assert "'y' is a sequence, not a tensor" in interface(kind="?").reason


@pytest.mark.parametrize("shape", [("batch",), ("batch", 6)])
def test_malformed_inputs_differ_in_rank_whatever_it_is(shape):
    model = ModelSpec(
        "m", "torch", (TensorSpec("x", shape), TensorSpec("z", ("batch", 6))), (Y,), ""
    )
    flaws = malformed(model, 0)
    assert all(isinstance(a, np.ndarray) for n in flaws.values() for a in n.inputs.values())
    assert abs(flaws["rank"].inputs["x"].ndim - len(shape)) == 1
    assert all(named.inputs.digest for named in flaws.values())
