"""What a graph holds in weights, and what it calls them: initialisers, Constants, labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from onnx_conformance.core.comparison import Array
from onnx_conformance.core.errors import ConformanceError

_PLAIN: dict[int, np.dtype[Any]] = {
    onnx.TensorProto.FLOAT: np.dtype("<f4"),
    onnx.TensorProto.DOUBLE: np.dtype("<f8"),
    onnx.TensorProto.FLOAT16: np.dtype("<f2"),
    onnx.TensorProto.INT64: np.dtype("<i8"),
    onnx.TensorProto.INT32: np.dtype("<i4"),
}


class OutsideFolder(ConformanceError):
    """An artifact asks for a file that is not beside it."""


def collect_initializers(model: onnx.ModelProto, folder: Path) -> dict[str, Array]:
    """All weights of the model by name, subgraphs and functions included, read-only.

    Load the model with ``load_external_data=False``: external data is mapped, not copied. A
    name that occurs again in another scope gets a suffix ``#2``, ``#3``.

    Args:
        folder: the artifact's; external data is read from within it only.

    Raises:
        OutsideFolder: external data lies elsewhere.
    """
    arrays: dict[str, Array] = {}
    for name, value in _constants(model):
        array = _read(value, folder) if isinstance(value, onnx.TensorProto) else _plain(value)
        if array.dtype == object:  # strings are no weights
            continue
        array.flags.writeable = False
        key, count = name, 1
        while key in arrays:
            count += 1
            key = f"{name}#{count}"
        arrays[key] = array
    return arrays


@dataclass
class Use:
    """How the graph uses a value.

    Args:
        labels: what it calls it: the value's own name, the outputs of the nodes that read it,
            and the names that stand beside it among their inputs, as far as they are paths
            (dynamo's ``conv2d_1`` counts operators, not modules).
        operators: the types of the nodes that read it.
    """

    labels: set[str]
    operators: set[str]


def collect_uses(model: onnx.ModelProto) -> dict[str, Use]:
    """How the graph uses each value that it gives a name to."""
    constant = {name for name, _ in _constants(model)}
    uses: dict[str, Use] = {}
    for graph in graphs(model):
        for node in graph.node:
            beside = [name for name in node.input if name in constant]
            paths = [label for label in [*node.output, *beside] if "/" in label]
            for name in node.input:
                use = uses.setdefault(name, Use({name}, set()))
                use.labels.update(paths)
                use.operators.add(node.op_type)
    return uses


def graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """The main graph, then functions and subgraphs, breadth first."""
    waiting: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop(0)
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def dead_constants(model: onnx.ModelProto) -> set[str]:
    """Constants of the main graph from which no path leads to an output: they prove nothing."""
    graph = model.graph
    live = {value.name for value in graph.output}
    for node in reversed(graph.node):  # in topological order, as ONNX demands
        if live & set(node.output):
            live |= {*node.input, *_captured(node)}
    stored = {tensor.name for tensor in graph.initializer}
    stored |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    return stored - live


def _captured(node: onnx.NodeProto) -> Iterator[str]:
    """All names that a node's subgraphs read, whoever defines them."""
    for attribute in node.attribute:
        for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            yield from (value.name for value in inner.output)
            for each in inner.node:
                yield from each.input
                yield from _captured(each)


def _constants(
    model: onnx.ModelProto,
) -> Iterator[tuple[str, onnx.TensorProto | onnx.AttributeProto]]:
    for graph in graphs(model):
        if isinstance(graph, onnx.GraphProto):
            yield from ((tensor.name, tensor) for tensor in graph.initializer)
        for node in graph.node:
            if node.op_type != "Constant":
                continue
            for attribute in node.attribute:
                if attribute.name == "value":
                    yield node.output[0], attribute.t
                elif attribute.name.startswith(("value_float", "value_int")):
                    yield node.output[0], attribute


def _plain(attribute: onnx.AttributeProto) -> Array:
    dtype = np.float32 if attribute.name.startswith("value_float") else np.int64
    return np.array(onnx.helper.get_attribute_value(attribute), dtype=dtype)


def _read(tensor: onnx.TensorProto, folder: Path) -> Array:
    external = tensor.data_location == onnx.TensorProto.EXTERNAL
    dtype = _PLAIN.get(tensor.data_type)
    if external:
        data = _external_bytes(tensor, folder)
        if dtype is None:
            inline = onnx.TensorProto(
                data_type=tensor.data_type, dims=tensor.dims, raw_data=data.tobytes()
            )
            return np.asarray(numpy_helper.to_array(inline))
        return data.view(dtype).reshape(tuple(tensor.dims))
    if dtype is not None and tensor.HasField("raw_data"):
        return np.frombuffer(tensor.raw_data, dtype=dtype).reshape(tuple(tensor.dims))
    return numpy_helper.to_array(tensor)


def _external_bytes(tensor: onnx.TensorProto, folder: Path) -> Array:
    """The tensor's bytes, mapped; the format: onnx.proto, ``TensorProto.external_data``."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    root = folder.resolve()
    path = (root / entries["location"]).resolve()
    if not path.is_relative_to(root):
        raise OutsideFolder(
            f"'{tensor.name}' has its data in '{entries['location']}', outside {root}"
        )
    offset = int(entries.get("offset", 0))
    length = int(entries.get("length", path.stat().st_size - offset))
    if length == 0:
        return np.zeros(0, np.uint8)
    return np.memmap(path, np.uint8, mode="r", offset=offset, shape=(length,))
