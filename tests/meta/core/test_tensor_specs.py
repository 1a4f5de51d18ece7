"""TensorSpec: what it refuses in one sentence, and the spellings of a dtype that it takes."""

import numpy as np
import pytest

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import TensorSpec


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((("batch", 5), "int64"), 'has no name; .* TensorSpec\\("x", \\("batch", 16\\)\\)'),
        (("x", 5), "has the shape 5; a shape is a tuple"),
        (("x", "batch"), "has the shape 'batch'; a shape is a tuple"),
        (("x", ("batch",), "int46"), "int46, which NumPy lacks; close: int64"),
        (("x", ("batch",), "int64", "linear", "ids"), "has the domain 'ids'; .* Integers"),
    ],
)
def test_an_argument_of_another_type_is_refused_in_one_sentence(arguments, message):
    with pytest.raises(UsageError, match=message):
        TensorSpec(*arguments)


class TorchDtype:
    def __str__(self) -> str:
        return "torch.int64"


@pytest.mark.parametrize("dtype", ["int64", np.int64, np.dtype("int64"), TorchDtype()])
def test_a_dtype_of_numpy_or_torch_is_its_name(dtype):
    assert TensorSpec("x", (3,), dtype).dtype == "int64"
