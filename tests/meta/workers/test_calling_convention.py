"""Inputs go to the parameters of their names."""

import functools
from collections.abc import Sequence

import pytest

from onnx_conformance.workers.calling_convention import convention_of


def in_order(x, y): ...
def optional(input_ids=None, past=None, attention_mask=None): ...
def keyword_only(x, *, y, flag=False): ...
def variable(*inputs): ...
def anything(**inputs): ...
def in_a_dict(batch: dict[str, int]): ...
def in_a_mapping(batch: "typing.Mapping[str, int]"): ...  # type: ignore[name-defined]  # noqa: F821
def in_a_list(features: "list[Tensor]"): ...  # type: ignore[name-defined]  # noqa: F821
def in_a_sequence(features: Sequence[int]): ...
def in_a_tuple(pair: tuple[int, int]): ...
def detector(images: list[int], targets=None): ...
def one(input): ...


@pytest.mark.parametrize(
    ("function", "names", "fed"),
    [
        (in_order, ("x", "y"), ((1, 2), {})),
        (in_order, ("a", "b"), ((1, 2), {})),
        (in_order, ("y", "x"), ((2, 1), {})),
        (optional, ("input_ids", "attention_mask"), ((1,), {"attention_mask": 2})),
        (optional, ("tokens", "attention_mask"), ((1,), {"attention_mask": 2})),
        (keyword_only, ("x", "y"), ((1,), {"y": 2})),
        (variable, ("x", "y"), ((1, 2), {})),
        (anything, ("x", "y"), ((), {"x": 1, "y": 2})),
        (in_a_dict, ("x", "y"), (({"x": 1, "y": 2},), {})),
        (in_a_mapping, ("x", "y"), (({"x": 1, "y": 2},), {})),
        (one, ("x", "y"), (({"x": 1, "y": 2},), {})),
        (in_a_list, ("x", "y"), (([1, 2],), {})),
        (in_a_sequence, ("x", "y"), (([1, 2],), {})),
        (in_a_tuple, ("x", "y"), (((1, 2),), {})),
        (detector, ("x", "y"), (([1, 2],), {})),
        (detector, ("images",), ((1,), {})),
        (detector, ("images", "targets"), ((1, 2), {})),
        (functools.partial(in_order, y=5), ("x",), ((1,), {})),
    ],
)
def test_each_input_reaches_its_parameter(function, names, fed):
    call = convention_of(function, names)
    assert call.problem == ""
    assert call(lambda *args, **named: (args, named), range(1, len(names) + 1)) == fed


@pytest.mark.parametrize(
    ("function", "names"), [(in_order, ("x", "y")), (in_order, ("a", "b")), (one, ("x",))]
)
def test_a_call_in_order_needs_no_help(function, names):
    assert convention_of(function, names).plain


@pytest.mark.parametrize(
    ("function", "names", "message"),
    [
        (in_order, ("x",), "takes 2 inputs (x, y), but its spec has 1: x"),
        (keyword_only, ("x",), "takes 2 to 3 inputs (x, y, flag), but its spec has 1: x"),
    ],
)
def test_too_many_or_too_few_inputs_are_reported(function, names, message):
    assert convention_of(function, names).problem.startswith(message)


def test_one_parameter_that_takes_no_dict_of_several_inputs_is_reported():
    def one_tensor(x):
        return x.sum()

    with pytest.raises(TypeError, match=r"takes 1 inputs \(x\), but its spec has 2: a, b; given"):
        convention_of(one_tensor, ("a", "b"))(one_tensor, (1, 2))


def test_an_error_of_a_model_that_takes_a_dict_stays_as_it_is():
    def asked(batch: dict):
        return batch["c"]

    with pytest.raises(KeyError, match="c"):
        convention_of(asked, ("a", "b"))(asked, (1, 2))
