"""The batch of a file, wherever it stands; and what a given file fixes."""

from types import SimpleNamespace

import pytest

from onnx_conformance.catalog.exporters import EXPORTERS, EXTERNAL
from onnx_conformance.checks.registry import CHECKS
from onnx_conformance.checks.structure import check_batch_axis
from onnx_conformance.core.case import Case
from onnx_conformance.core.spec import Axis, ModelSpec, TensorSpec

MODEL = ModelSpec(
    "m",
    "torch",
    (TensorSpec("x", ("time", "batch", 6)), TensorSpec("limit", ())),
    (TensorSpec("y", ("time", "batch")),),
    "m:m",
    axes=(("time", Axis(1, 9)),),
)
RIGHT = (["time", "batch", 6], [], ["time", "batch"])


def subject(x, limit, y, *, external=False, expect_dynamic=False):
    facts = {
        "inputs": [{"name": "x", "shape": x}, {"name": "limit", "shape": limit}],
        "outputs": [{"name": "y", "shape": y}],
    }
    exporter = EXTERNAL if external else EXPORTERS["torch_dynamo"]
    return SimpleNamespace(
        model=MODEL,
        artifact=SimpleNamespace(facts=facts),
        exporter=exporter,
        case=Case("m", exporter.name, 18, "cpu"),
        expect_dynamic=expect_dynamic,
    )


def test_a_batch_on_axis_1_is_as_asked():
    assert check_batch_axis(subject(*RIGHT)).passed


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (["time", 2, 6], ["time", 2], "the batch axis of 'x' is 2, not symbolic"),
        (["time", "n", 6], ["time", "n"], "'x' names its batch axis 'n', not 'batch'"),
        ([5, "batch", 6], [5, "batch"], "'x' has size 5 at axis 0, which is 'time'"),
        (["time", "batch", 6], ["time", 2], "the batch axis of 'y' is 2, not symbolic"),
    ],
)
def test_a_route_of_the_suite_keeps_what_it_promised(x, y, message):
    result = check_batch_axis(subject(x, [], y))
    assert result.outcome == "failed"
    assert message in result.reason


@pytest.mark.parametrize(("x", "y"), [(["time", 2, 6], ["time", 2]), ([5, "n", 6], [5, "n"])])
def test_what_an_external_file_fixes_is_a_note_or_red_where_dynamic_axes_are_expected(x, y):
    note = check_batch_axis(subject(x, [], y, external=True))
    assert note.passed
    assert "the file fixes sizes that the model leaves open" in note.reason
    strict = check_batch_axis(subject(x, [], y, external=True, expect_dynamic=True))
    assert strict.outcome == "failed"


@pytest.mark.parametrize(
    ("shape", "group", "required_tests"),
    [
        (("batch", 4), 0, {"batch_axis", "batch_invariance", "empty_batch"}),
        (("time", 4), 0, {"batch_axis"}),
        ((3, 4), 0, set()),
        (("batch", 4), 2, {"batch_invariance"}),
        (("batch", 4), 1, set()),
    ],
)
def test_only_a_model_with_a_batch_requires_the_checks_of_one(shape, group, required_tests):
    axes = (("time", Axis(1, 9)),) if "time" in shape else ()
    spec = TensorSpec("x", shape)
    model = ModelSpec("m", "torch", (spec,), (spec,), "m:m", axes=axes, group=group)
    case = Case("m", "torch_dynamo", 18, "cpu")
    found = {
        name
        for name, check in ((c.name, c) for c in CHECKS.values())
        if check.required_tests(model, case)
    }
    assert found & {"batch_axis", "batch_invariance", "empty_batch"} == required_tests
