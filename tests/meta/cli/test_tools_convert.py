"""``make convert``: what is valid is kept, what is not never reaches its place."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_conformance.catalog.exporters import EXPORTERS
from onnx_conformance.catalog.models import MODELS, resolve_model
from onnx_conformance.cli import conversion, convert
from onnx_conformance.cli.context import case_with_defaults
from onnx_conformance.cli.main import main
from onnx_conformance.cli.staged_file import UnwritablePlace, staged
from onnx_conformance.core.case import ExportOptions
from onnx_conformance.core.errors import StageFailure, UsageError
from onnx_conformance.core.files import file_digest
from onnx_conformance.core.onnx_file import inspect
from onnx_conformance.core.registry import registering
from onnx_conformance.run.subject import Artifact

pytestmark = pytest.mark.slow

KEYS = {
    "output_path", "file_size_mb", "opset_version", "nodes", "inputs", "outputs",
    "max_difference", "mean_difference", "validation_passed", "error", "seconds",
}  # fmt: skip
OLDER = b"an older file"


@pytest.fixture
def bad_routes(monkeypatch):
    """A route that negates a weight, and one that writes nothing."""
    plain = EXPORTERS["torch_torchscript"]
    home = "tests.meta.plugins.bad_exporters"
    bad = {
        name: replace(plain, name=name, function=f"{home}:{name}", options=frozenset())
        for name in ("lying", "silent")
    }
    monkeypatch.setattr(EXPORTERS, "_records", {**EXPORTERS._records, **bad})


def run(cache, out, *arguments, model="simple_net"):
    return main(["convert", model, "--opset=14", f"--out={out}", cache, *arguments])


def report(out):
    return json.loads((out.parent / convert.REPORT).read_text())


def test_a_right_export_is_kept_with_its_report(cache, tmp_path, capsys):
    out = tmp_path / "models" / "net.onnx"
    assert run(cache, out) == 0
    found = report(out)
    assert set(found) >= KEYS | {"schema", "versions"}
    assert found["output_path"] == str(out)
    assert found["validation_passed"] is True
    assert found["error"] is None
    assert found["opset_version"] == {"asked": 14, "delivered": 14}
    assert found["nodes"] == len(onnx.load(out).graph.node) == 3
    assert found["inputs"] == [{"name": "input", "dtype": "float32", "shape": ["batch_size", 10]}]
    assert 0 < found["mean_difference"] <= found["max_difference"] < 1e-4
    assert found["about"]["sha256"] == [file_digest(out)]
    assert sorted(path.name for path in out.parent.iterdir()) == [convert.REPORT, "net.onnx"]
    assert capsys.readouterr().out.startswith("converting simple_net\n")


MODEL = """
from onnx_conformance import TensorSpec, register_model

@register_model("{name}", inputs=[TensorSpec("x", ("batch", 4))])
def {name}():
    import torch
    return torch.nn.Linear(4, 2)
"""


def registered(cache, out, file):
    """The status of converting the model of a file, which is not left registered."""
    status, take_back = registering(
        lambda: run(cache, out, "--no-validate", model=str(file)), MODELS
    )
    take_back()
    return status


def test_a_file_of_one_model_names_it(cache, tmp_path, capsys):
    file, out = tmp_path / "mine.py", tmp_path / "net.onnx"
    file.write_text(MODEL.format(name="first"))
    assert registered(cache, out, file) == 0
    assert out.is_file()
    file.write_text(MODEL.format(name="first") + MODEL.format(name="second"))
    assert registered(cache, out, file) == 2
    message = f"registers first, second; name one of them: first --models-from={file}"
    assert message in capsys.readouterr().err


def test_a_variant_is_kept_and_what_is_not_judged_is_said(cache, tmp_path, capsys):
    out = tmp_path / "net.onnx"
    assert run(cache, out, "--variant=int8_static") == 0
    operators = {node.op_type for node in onnx.load(out).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    assert report(out)["about"]["exporter"].endswith("~int8_static")
    said = capsys.readouterr().out
    assert "✓ valid" in said
    assert "noise_floors" not in said
    assert "warning: the accuracy of int8 is not judged without samples" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--variant=nope",), "unknown variant 'nope'; known:"),
        (("--variant=fp16", "--external-data"), "variant fp16 is made of a plain export"),
    ],
)
def test_a_variant_that_cannot_be_made_is_reported(cache, tmp_path, capsys, options, message):
    assert run(cache, tmp_path / "net.onnx", *options) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_unvalidated_is_said_and_kept(cache, tmp_path, capsys):
    out = tmp_path / "net.onnx"
    assert run(cache, out, "--no-validate") == 0
    found = report(out)
    assert found["validation_passed"] is None
    assert found["max_difference"] is None
    assert inspect(out)["opset"] == 14
    assert "warning: VALIDATE=no" in capsys.readouterr().out


@pytest.mark.usefixtures("bad_routes")
@pytest.mark.parametrize("older", [False, True])
def test_a_wrong_export_never_reaches_its_place(cache, tmp_path, older):
    out = tmp_path / "net.onnx"
    if older:
        out.write_bytes(OLDER)
    assert run(cache, out, "--exporter=lying") == 1
    found = report(out)
    assert found["validation_passed"] is False
    assert found["output_path"] is None
    assert "nothing was written" in found["error"]
    left = {path.name for path in tmp_path.iterdir()} - {convert.REPORT}
    assert left == ({"net.onnx"} if older else set())
    assert not older or out.read_bytes() == OLDER


@pytest.mark.usefixtures("bad_routes")
@pytest.mark.parametrize("validate", [(), ("--no-validate",)])
def test_an_export_that_fails_is_reported(cache, tmp_path, validate):
    out = tmp_path / "net.onnx"
    assert run(cache, out, "--exporter=silent", *validate) == 1
    assert "wrote no file" in report(out)["error"]
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense", "--out=x.onnx"], "unknown model 'nonsense'"),
        (["simple_net", "--opset=99", "--out=x.onnx"], "supports opsets"),
        (["simple_net", "--exporter=keras_export", "--out=x.onnx"], "its routes: torch_"),
        (["simple_net", "--exporter=none", "--out=x.onnx"], "unknown exporter 'none'"),
        (["simple_net", "--out=net.txt"], "does not end in .onnx"),
        (["simple_net", "--out=folder.onnx"], "is a folder"),
        (["simple_net", "--out=/dev/null/net.onnx"], "cannot write"),
        (["simple_net", "--bogus"], "unrecognized arguments: --bogus"),
        (["simple_net", "--opset=new"], "invalid int value"),
        ([], "required: model"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.onnx").mkdir()
    assert main(["convert", *arguments, f"--cache-dir={tmp_path / 'cache'}"]) == 2
    output = capsys.readouterr().err
    assert message in output
    assert output.count("\n") == 1
    assert not list(tmp_path.glob("*.json"))


def test_a_known_failure_is_no_proof(tmp_path, monkeypatch):
    certificate = SimpleNamespace(proof=False, known=("delivered another opset",), known_edge=())
    monkeypatch.setattr(conversion, "_difference", lambda _: conversion.Difference(0.0, 0.0))
    context = SimpleNamespace(subject=lambda *_: None, certificate=lambda _: certificate)
    request = conversion.ConversionRequest(
        case_with_defaults(resolve_model("simple_net")), tmp_path / "net.onnx"
    )
    ready = SimpleNamespace(artifact=None, place=lambda: pytest.fail("it was placed"))
    with pytest.raises(conversion.InvalidConversion, match="delivered another opset"):
        conversion._judge(context, request, ready, SimpleNamespace(about=None))


@pytest.mark.parametrize(
    ("model", "opset", "route"),
    [
        ("simple_net", None, ("torch_dynamo", 18)),
        ("simple_net", 20, ("torch_dynamo", 20)),
        ("simple_net", 14, ("torch_torchscript", 14)),
        ("keras_sequential", None, ("tf2onnx_function", 18)),
        ("keras_sequential", 14, ("tf2onnx_function", 14)),
    ],
)
def test_a_route_is_chosen(model, opset, route):
    case = case_with_defaults(resolve_model(model), opset=opset)
    assert (case.exporter, case.opset) == route


def test_an_option_that_a_route_has_not_is_refused():
    with pytest.raises(UsageError, match="does not support the option"):
        case_with_defaults(
            resolve_model("keras_sequential"), options=ExportOptions(external_data=True)
        )


@pytest.fixture
def external(tmp_path):
    """An artifact with its weights beside it."""
    tensor = numpy_helper.from_array(np.arange(64, dtype=np.float32), "w")
    value = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, [64]) for n in ("x", "y")}
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", [value["x"]], [value["y"]], [tensor])
    path = tmp_path / "cache" / "model.onnx"
    path.parent.mkdir()
    onnx.save(
        helper.make_model(graph), path, save_as_external_data=True, location="model.onnx.data",
        size_threshold=0,
    )  # fmt: skip
    facts = inspect(path)
    files = tuple(path.parent / name for name in facts["files"])
    return Artifact(path, files, tuple(map(file_digest, files)), facts)


def test_weights_beside_a_graph_are_placed_with_it(external, tmp_path):
    target = tmp_path / "out" / "net.onnx"
    with staged(external, target) as ready:
        assert not target.exists()
        ready.place()
    graph, data = ready.artifact.files
    assert sorted(path.name for path in target.parent.iterdir()) == sorted([graph.name, data.name])
    assert data.name.startswith("net-")
    (tensor,) = onnx.load(target).graph.initializer
    assert (numpy_helper.to_array(tensor) == np.arange(64)).all()


def test_what_is_not_placed_is_removed(external, tmp_path):
    target = tmp_path / "out" / "net.onnx"
    with pytest.raises(StageFailure), staged(external, target):
        raise StageFailure("export", "net", "wrong")
    assert list(target.parent.iterdir()) == []


def test_a_file_that_changed_since_it_was_judged_is_not_placed(external, tmp_path):
    target = tmp_path / "out" / "net.onnx"
    with staged(external, target) as ready:
        ready.artifact.files[1].write_bytes(b"other weights")
        with pytest.raises(UnwritablePlace, match="changed since it was judged"):
            ready.place()
    assert not target.exists()
