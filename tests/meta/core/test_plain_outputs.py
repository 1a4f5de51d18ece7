"""Outputs that are no arrays of numbers: texts as codes, maps as values and keys."""

import numpy as np
import pytest

from onnx_conformance.core.plain_outputs import arrays_of, coded, dtype_of, named
from onnx_conformance.core.spec import ModelSpec, TensorSpec


def test_equal_texts_have_equal_codes_and_others_do_not():
    texts = coded(np.array([["Bern", "Oslo"], ["Oslo", "Björn"]], object))
    assert texts.dtype == np.int64
    assert texts[0, 1] == texts[1, 0]
    assert len(np.unique(texts)) == 3
    np.testing.assert_array_equal(texts, coded(np.array([["Bern", "Oslo"], ["Oslo", "Björn"]])))
    encoded = np.array([[b"Bern", b"Oslo"], [b"Oslo", "Björn".encode()]], object)  # TensorFlow's
    np.testing.assert_array_equal(texts, coded(encoded))
    assert np.asarray(texts, np.float64).astype(np.int64).tolist() == texts.tolist()


def test_numbers_are_left_as_they_are():
    numbers = np.ones(3, np.float32)
    assert coded(numbers) is numbers


def test_maps_are_values_in_the_order_of_their_keys_beside_the_keys():
    found = named(["p"], [[{"b": 0.25, "a": 0.75}, {"a": 0.5, "b": 0.5}]])
    np.testing.assert_array_equal(found["p"], np.array([[0.75, 0.25], [0.5, 0.5]], np.float32))
    assert found["p (keys)"].tolist() == [["a", "b"], ["a", "b"]]
    assert [dtype_of(array) for array in found.values()] == ["float32", "str"]


def test_maps_of_unlike_keys_have_no_columns():
    with pytest.raises(ValueError, match="different keys"):
        arrays_of([{"a": 1.0}, {"b": 1.0}])


@pytest.mark.parametrize(
    ("dtypes", "precision"),
    [(("float32", "int64"), "float32"), (("float32", "float16"), "float16")],
)
def test_an_output_in_half_sets_the_class_of_the_model(dtypes, precision):
    outputs = tuple(TensorSpec(f"y{n}", ("batch", 2), one) for n, one in enumerate(dtypes))
    half = TensorSpec("x", ("batch", 2), "float16")
    assert ModelSpec("m", "torch", (half,), outputs, "m:m").precision == precision
