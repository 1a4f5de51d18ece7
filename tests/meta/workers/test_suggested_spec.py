"""Specs from what is there: what a model takes near a wrong one, and what examples show."""

import numpy as np
import pytest

from onnx_conformance.core.domains import Integers, Mask
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.spec import Axis, TensorSpec
from onnx_conformance.workers.built_model import BuiltModel
from onnx_conformance.workers.user_model.examples import specs_of_examples
from onnx_conformance.workers.user_model.suggested_spec import suggestion

RNG = np.random.default_rng(0)


def built(function, *parameters):
    """The face of a function from arrays to one array."""
    return BuiltModel(
        framework="python",
        parameters=parameters,
        run=lambda inputs: {"y": function(*inputs.values())},
    )


def recurrent(x):
    """(time, batch, 4) to the same: each step sees those before it."""
    return x.reshape(len(x), -1, 4).cumsum(axis=0)


def past(token, mask):
    """(batch, past) and its mask, one longer."""
    return np.concatenate([token, token[:, :1]], axis=1) * mask


def halved(image):
    """(batch, height) with an even height."""
    return image.reshape(len(image), -1, 2).sum(axis=2).repeat(2, axis=1) + image


def table(ids):
    return np.arange(9.0)[ids]


def joined(nodes, edges):
    """Each node and those that point to it."""
    found = nodes.copy()
    np.add.at(found, edges[1], nodes[edges[0]])
    return found


EDGES = np.array([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 2]])
WORDS = "shapes (2,3) and (4,4) do not fit"
BATCHES = [
    (
        lambda x: x @ np.ones((4, 2), np.float32),
        [TensorSpec("x", ("batch", 3))],
        (),
        'it takes TensorSpec("x", ("batch", 4))',
    ),
    (
        past,
        [
            TensorSpec("token", ("batch", "past")),
            TensorSpec("mask", ("batch", "past"), "int64", domain=Mask()),
        ],
        (("past", Axis(1, 12)),),
        'it takes TensorSpec("mask", ("batch", "past+1"), "int64", domain=Mask())',
    ),
    (
        table,
        [TensorSpec("ids", ("batch", 3), "int64", domain=Integers(0, 100))],
        (),
        'it takes TensorSpec("ids", ("batch", 3), "int64", domain=Integers(0, 9))',
    ),
    (
        halved,
        [TensorSpec("image", ("batch", "height"))],
        (("height", Axis(1, 24)),),
        "it takes axes={'height': (4, 24, 2)}",
    ),
    (
        joined,
        [
            TensorSpec("nodes", ("nodes", 4)),
            TensorSpec("edges", (2, "links"), "int64", domain=Integers(0, 9)),
        ],
        (("nodes", Axis()), ("links", Axis())),
        "it takes axes={'nodes': (9, 18, 1), 'links': (1, 24, 1)}",
    ),
    (lambda x: x.missing, [TensorSpec("x", ("batch", 3))], (), ""),
]


@pytest.mark.parametrize(("function", "specs", "axes", "text"), BATCHES)
def test_the_spec_that_would_be_is_shown(function, specs, axes, text):
    names = [spec.name for spec in specs]
    assert suggestion(built(function, *names), tuple(specs), axes, WORDS) == text


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("function", "names", "examples", "text"),
    [
        (recurrent, ("x",), floats(2, 3, 4), 'inputs=[TensorSpec("x", ("batch_size", 3, 4))]'),
        (
            recurrent,
            ("x",),
            [{"x": floats(5, 2, 4)}, {"x": floats(9, 3, 4)}],
            'inputs=[TensorSpec("x", ("x_dim_0", "batch_size", 4))], axes={\'x_dim_0\': (5, 9)}',
        ),
        (
            past,
            ("token", "mask"),
            [(floats(1, 4), np.ones((1, 5), int)), (floats(1, 7), np.full((1, 8), 4))],
            'inputs=[TensorSpec("token", ("batch_size", "token_dim_1")), TensorSpec("mask", '
            '("batch_size", "token_dim_1+1"), "int64", domain=Integers(1, 5))], '
            "axes={'token_dim_1': (4, 7)}",
        ),
        (
            halved,
            ("image",),
            [[floats(2, 4)], [floats(3, 10)]],
            'inputs=[TensorSpec("image", ("batch_size", "image_dim_1"))], '
            "axes={'image_dim_1': (4, 10, 6)}",
        ),
        (
            joined,
            ("nodes", "edges"),
            [(floats(5, 2), EDGES[:, :3]), (floats(8, 2), EDGES)],
            'inputs=[TensorSpec("nodes", ("nodes_dim_0", 2)), TensorSpec("edges", (2, '
            '"edges_dim_1"), "int64", domain=Integers(0, 5))], '
            "axes={'nodes_dim_0': (5, 8), 'edges_dim_1': (3, 6)}",
        ),
    ],
    ids=["one", "recurrent", "past", "steps", "graph"],
)
def test_examples_of_several_sizes_show_which_axes_vary(function, names, examples, text):
    assert str(specs_of_examples("net", examples, built(function, *names))) == text


def test_examples_of_unlike_ranks_are_refused():
    examples = [{"x": floats(2, 3)}, {"x": floats(2, 3, 1)}]
    with pytest.raises(UsageError, match="input 'x' has rank and dtype"):
        specs_of_examples("net", examples, built(recurrent, "x"))
