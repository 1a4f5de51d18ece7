"""Sizes that follow from others: what may be written, and what it comes to."""

import pytest

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.size_expressions import evaluate, names_in
from onnx_conformance.core.spec import Axis, TensorSpec
from onnx_conformance.inputs.recipes import Recipe

SIZES = {"past": 3, "sequence": 5, "height": 9}


@pytest.mark.parametrize(
    ("written", "size", "names"),
    [
        ("past", 3, ("past",)),
        ("past+1", 4, ("past",)),
        ("past + sequence", 8, ("past", "sequence")),
        ("2*height", 18, ("height",)),
        ("height//8", 1, ("height",)),
        ("(height-1)//2+1", 5, ("height",)),
    ],
)
def test_a_size_follows_from_others(written, size, names):
    assert evaluate(written, SIZES) == size
    assert names_in(written) == names


def test_an_axis_of_unknown_size_gives_none():
    assert evaluate("other", SIZES) is None
    assert evaluate("other+1", SIZES) is None


@pytest.mark.parametrize("written", ["past+", "past**2", "past/2", "f(past)", "past+1.5", "past-"])
def test_another_form_is_reported(written):
    with pytest.raises(UsageError, match="is not a sum, difference, product or floor division"):
        names_in(written)


def test_inputs_have_the_sizes_that_follow():
    inputs = (TensorSpec("x", ("batch", "past")), TensorSpec("m", ("past+1", "batch", 2)))
    input_set = Recipe("normal", batch=2, extent=1.0).inputs(inputs, (("past", Axis(1, 7)),))
    assert {name: array.shape for name, array in input_set.items()} == {"x": (2, 7), "m": (2, 8, 2)}
