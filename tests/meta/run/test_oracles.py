"""An oracle that is float32 in disguise is refused, one of a model that moves numbers is not."""

import numpy as np
import pytest

from onnx_conformance.core.domains import Integers
from onnx_conformance.core.spec import ModelSpec, TensorSpec
from onnx_conformance.inputs.recipes import Inputs, Recipe
from onnx_conformance.run.oracle_check import oracle_problem

X = TensorSpec("x", ("batch", 6))
IDS = TensorSpec("ids", ("batch", 6), "int64", domain=Integers(0, 5))
TABLE = np.random.default_rng(1).random((5, 1), dtype=np.float32).astype(np.float64)


def problem(function, *, inputs=(X,), narrow=False, weights=None):
    """What is said of an oracle that computes ``function``, in float32 if it is ``narrow``."""
    model = ModelSpec("m", "torch", inputs, (TensorSpec("y", ("batch", 6)),), "")
    input_sets = [Recipe("normal", batch=2, seed=seed).inputs(inputs) for seed in range(6)]

    def answer(input_set):
        [array] = input_set.values()
        if array.dtype.kind == "f":
            array = array.astype(np.float32 if narrow else np.float64)
        return {"y": function(array).astype(np.float64)}

    return oracle_problem(
        model, input_sets, [answer(f) for f in input_sets], lambda: weights or {}, answer
    )


MOVING = {
    "sort": lambda x: np.sort(x, axis=1),
    "clip": lambda x: np.clip(x, -0.5, 0.5),
    "double": lambda x: 2 * x,
    "sign": np.sign,
    "choose": lambda x: np.where(x > 0, x, 0),
}


@pytest.mark.parametrize("name", MOVING)
def test_a_model_that_moves_or_chooses_numbers_has_an_oracle(name):
    assert problem(MOVING[name]) is None


def test_a_clip_of_inputs_that_it_cuts_has_an_oracle():
    cut = iter(range(12))  # the first inputs lie outside of the bounds, later ones do not

    def function(x):
        return np.clip(1e3 * x, -0.5, 0.5) if next(cut) in (0, 6) else np.clip(x, -0.5, 0.5)

    assert problem(function) is None


@pytest.mark.parametrize("name", ["tenth", "sum"])
def test_an_oracle_in_float32_is_found(name):
    function = {"tenth": lambda x: x / 10, "sum": lambda x: x + x[:, :1] * 3}[name]
    assert "every output has float32 values" in problem(function, narrow=True)
    assert problem(function) is None


def test_weights_that_are_looked_up_are_no_disguise_and_numbers_made_of_them_are():
    def rounded(x):
        return (TABLE[x, 0] / 3).astype(np.float32)

    assert problem(lambda x: TABLE[x, 0], inputs=(IDS,), weights={"table": TABLE}) is None
    assert "float32" in problem(rounded, inputs=(IDS,), weights={"table": TABLE})


def test_of_texts_weights_are_looked_up_too():
    model = ModelSpec("m", "torch", (), (TensorSpec("y", ("batch", 1)),), "")
    texts, found = Inputs({"x": np.array([["red"], ["blue"]], object)}), {"y": TABLE[:2]}
    weights = {"table": TABLE}
    assert oracle_problem(model, [texts], [found], lambda: weights, lambda inputs: found) is None


def test_an_output_of_another_dtype_is_reported():
    model = ModelSpec("m", "torch", (X,), (TensorSpec("y", ("batch", 6)),), "")
    input_sets = [Recipe("normal").inputs((X,))]
    found = oracle_problem(
        model, input_sets, [{"y": np.ones(1, np.float32)}], dict, lambda inputs: {}
    )
    assert found == "an output has dtype float32, not float64"
