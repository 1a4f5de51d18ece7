"""Calls in a row: how a failure tells where it begins and whether it grows."""

from types import SimpleNamespace

import pytest

from onnx_conformance.checks.registry import CHECKS
from onnx_conformance.checks.steps import _error_growth
from onnx_conformance.core.case import Case
from onnx_conformance.core.spec import Axis
from tests.meta.core.test_carries import decoder


def calls(*errors):
    return [
        SimpleNamespace(right=error == 0, score=SimpleNamespace(error=error)) for error in errors
    ]


@pytest.mark.parametrize(
    ("errors", "first", "words"),
    [
        ((0, 1e-4, 1e-3, 1e-2), 1, "begins at call 2 and grows: 0.0001 there, 0.01 at call 4"),
        ((0, 1e-2, 1e-3, 1e-4), 1, "begins at call 2 and fades"),
        ((1e-2, 1.1e-2), 0, "begins at call 1 and stays as large"),
        ((0, 0, 1e-2), 2, "right up to call 2; the last call is wrong"),
    ],
)
def test_an_error_that_grows_is_told_as_growing(errors, first, words):
    assert words in _error_growth(calls(*errors), first)


@pytest.mark.parametrize("name", ["steps", "reset", "one_pass", "chunks", "mask", "generation"])
def test_a_file_that_fixes_the_size_of_the_past_is_asked_for_no_calls_in_a_row(name):
    model = decoder()
    object.__setattr__(model, "axes", (("past", Axis(8, 8)), ("new", Axis(1, 3))))
    result = CHECKS[name].function(SimpleNamespace(model=model, seed=0))
    assert result.outcome == "not_applicable"
    assert "the file fixes the size of a state" in result.reason


def test_models_with_memory_alone_require_it():
    case = Case("d", "torch_dynamo", 18, "cpu")
    plain = decoder()
    object.__setattr__(plain, "carries", ())
    for name in ("steps", "reset", "one_pass", "chunks"):
        assert CHECKS[name].required_tests(decoder(), case) == 1
        assert CHECKS[name].required_tests(plain, case) == 0
