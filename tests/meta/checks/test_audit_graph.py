"""What a file holds in weights: read wherever it stands, and from beside the graph only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx_conformance.core.graph_weights import (
    OutsideFolder,
    collect_initializers,
    dead_constants,
)


def constant(output: str, **attribute: Any) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [output], **attribute)


def test_collecting_reads_initialisers_constants_and_subgraphs(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    half = values.astype(np.float16)
    branch = helper.make_graph([constant("c", value_floats=[1.0, 2.0])], "b", [], [])
    graph = helper.make_graph(
        [
            constant("a", value=numpy_helper.from_array(values)),
            constant("c", value_int=3),
            constant("text", value=numpy_helper.from_array(np.array(["no weight"], object))),
            helper.make_node("If", ["x"], ["y"], then_branch=branch),
        ],
        "g", [], [],
        [numpy_helper.from_array(half, "w"), helper.make_tensor("v", 1, [2], [1.0, 2.0])],
    )  # fmt: skip
    arrays = collect_initializers(helper.make_model(graph), tmp_path)
    assert set(arrays) == {"a", "c", "c#2", "w", "v"}
    np.testing.assert_array_equal(arrays["a"], values)
    np.testing.assert_array_equal(arrays["c#2"], [1, 2])
    assert arrays["w"].dtype == np.float16
    assert arrays["c"] == 3
    assert not any(array.flags.writeable for array in arrays.values())


def test_what_no_output_depends_on_is_dead() -> None:
    """A good copy of a weight beside the bad one that is used would prove nothing."""
    inner = helper.make_graph([helper.make_node("Identity", ["deep"], ["z"])], "b", [], [])
    inner.output.add(name="z")
    nodes = [
        constant("read", value_float=1.0),
        constant("unread", value_float=1.0),
        helper.make_node("Add", ["decoy", "unread"], ["nobody"]),
        helper.make_node("If", ["read"], ["half"], then_branch=inner, else_branch=inner),
        helper.make_node("Add", ["half", "used"], ["y"]),
    ]
    stored = [helper.make_tensor(name, 1, [1], [1.0]) for name in ("decoy", "used", "deep", "lone")]
    graph = helper.make_graph(nodes, "g", [], [], stored)
    graph.output.add(name="y")
    assert dead_constants(helper.make_model(graph)) == {"decoy", "unread", "lone"}


def external(location: str, **entries: int) -> onnx.ModelProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return helper.make_model(helper.make_graph([], "g", [], [], [tensor]))


def test_external_data_is_read_from_beside_the_graph_only(tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    folder.mkdir()
    np.array([0, 1.5, 2.5], np.float32).tofile(folder / "w.data")
    np.array([7, 7], np.float32).tofile(tmp_path / "secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    arrays = collect_initializers(external("w.data", offset=4, length=8), folder)
    np.testing.assert_array_equal(arrays["w"], [1.5, 2.5])
    assert not arrays["w"].flags.writeable
    for location in ("../secret", str(tmp_path / "secret"), "link"):
        with pytest.raises(OutsideFolder, match="outside"):
            collect_initializers(external(location), folder)
