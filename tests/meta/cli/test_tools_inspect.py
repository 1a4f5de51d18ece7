"""``make inspect``: what is in a file, and who takes its nodes; never told by a name."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.cli import inspect
from onnx_conformance.cli.file_contents import operators, weights
from onnx_conformance.cli.inspect import FilePlacement
from onnx_conformance.cli.main import main
from onnx_conformance.run.probe import ProbeResult

pytestmark = pytest.mark.slow

CPU = "CPUExecutionProvider"


def value(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def branch(name, operator):
    """A branch of an If that keeps a weight and a constant of its own."""
    constant = helper.make_node(
        "Constant", [], [f"{name}_c"], value=numpy_helper.from_array(np.ones(16, np.float32))
    )
    node = helper.make_node(operator, ["w", f"{name}_c"], [name])
    own = numpy_helper.from_array(np.ones(4, np.float16), f"{name}_own")
    return helper.make_graph([constant, node], name, [], [value(name, [16])], [own])


@pytest.fixture
def model():
    """``if c then w + 1 else w - 1``, and a Relu."""
    choose = helper.make_node(
        "If", ["c"], ["z"], then_branch=branch("a", "Add"), else_branch=branch("b", "Sub")
    )
    graph = helper.make_graph(
        [choose, helper.make_node("Relu", ["z"], ["y"])],
        "g",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [value("y", ["size"])],
        [
            numpy_helper.from_array(np.ones(16, np.float32), "w"),
            helper.make_tensor("quarter", TensorProto.INT4, [5], [1, 2, 3, 4, 5]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.fixture
def path(model, tmp_path):
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_operators_in_branches_count(model):
    assert operators(model) == {"Constant": 2, "If": 1, "Relu": 1, "Add": 1, "Sub": 1}


def test_operators_of_other_domains_are_named_so():
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    graph = helper.make_graph([node], "g", [value("x", [1])], [value("y", [1])])
    assert operators(helper.make_model(graph)) == {"com.microsoft::Gelu": 1}


def test_weights_are_listed_by_size_wherever_they_are_kept(model):
    found = [(weight.name, weight.dtype, weight.bytes, weight.where) for weight in weights(model)]
    assert sorted(found[:3]) == [
        ("a_c", "float", 64, "Constant"),
        ("b_c", "float", 64, "Constant"),
        ("w", "float", 64, "file"),
    ]
    assert found[3:] == [
        ("a_own", "float16", 8, "file"),
        ("b_own", "float16", 8, "file"),
        ("quarter", "int4", 3, "file"),
    ]


def test_a_file_is_opened_on_what_works_here(path, capsys):
    assert main(["inspect", str(path)]) == 0
    output = capsys.readouterr().out
    assert output.startswith(str(path))
    assert "opset: ai.onnx 21" in output
    assert "output y: float32 ['size']" in output
    assert "y axis 0 'size'" in output
    assert "✓ cpu: opens it" in output
    assert "coreml" in output.split("not available here")[0]


@pytest.fixture
def workers(monkeypatch):
    """Providers that work by decree, and what their sessions are said to take."""

    def use(**taken):
        usable = {name: ProbeResult(name in taken, "no device") for name in PROVIDERS}
        monkeypatch.setattr(inspect, "survey", lambda names, limit: usable)
        monkeypatch.setattr(inspect, "placements_of", lambda artifact, names, settings: taken)

    return use


def test_what_a_provider_leaves_to_another_is_shown(path, workers, capsys):
    cuda = PROVIDERS["cuda"].ort_name
    placed = {cuda: {"Relu": 1}, CPU: {"If": 1}}
    workers(
        cpu=FilePlacement({CPU: {"If": 1, "Relu": 1}}, {CPU: {"If": 1}}),
        cuda=FilePlacement(placed, placed),
    )
    assert main(["inspect", str(path)]) == 0
    rows = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    assert ["Relu", "1", "1", "1"] in rows
    assert ["If", "1", "1", "0"] in rows
    assert ["Constant", "2", "–", "–"] in rows


def test_a_file_that_nothing_opens_is_red(path, workers, capsys):
    workers(cpu=FilePlacement(None, None, "Fail: no such operator"))
    assert main(["inspect", str(path)]) == 1
    assert "✗ cpu: cannot open it: Fail: no such operator" in capsys.readouterr().out


def test_a_file_without_a_kernel_is_red(tmp_path, capsys):
    """ONNX knows an LRN of float64; ONNX Runtime's CPU provider has none."""
    node = helper.make_node("LRN", ["x"], ["y"], size=3)
    wide = {
        n: helper.make_tensor_value_info(n, TensorProto.DOUBLE, [1, 3, 4, 4]) for n in ("x", "y")
    }
    graph = helper.make_graph([node], "g", [wide["x"]], [wide["y"]])
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "a.onnx")
    assert main(["inspect", str(tmp_path / "a.onnx")]) == 1
    assert "✗ cpu: cannot open it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bad.onnx", b"no ONNX file", "bad.onnx"),
        ("empty.onnx", b"", "empty.onnx"),
        ("absent.onnx", None, "there is no file"),
    ],
)
def test_no_onnx_file_is_one_line(name, content, message, tmp_path, capsys):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["inspect", str(tmp_path / name)]) == 2
    output = capsys.readouterr().err
    assert message in output
    assert output.count("\n") == 1
