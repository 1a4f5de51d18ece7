"""The weights of a graph and their names: initialisers, Constants, labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from onnx_conformance.core.arrays import Array
from onnx_conformance.core.errors import ConformanceError
from onnx_conformance.core.onnx_file import captured_names, every_graph, every_node

_PLAIN: dict[int, np.dtype[Any]] = {
    onnx.TensorProto.FLOAT: np.dtype("<f4"),
    onnx.TensorProto.DOUBLE: np.dtype("<f8"),
    onnx.TensorProto.FLOAT16: np.dtype("<f2"),
    onnx.TensorProto.INT64: np.dtype("<i8"),
    onnx.TensorProto.INT32: np.dtype("<i4"),
}


_INDEXING = {"Gather", "GatherElements", "GatherND"}
_TABLES = {  # inputs that are read by row, of ONNX Runtime's fused operators
    "EmbedLayerNormalization": (2, 3, 4),
    "GatherBlockQuantized": (0,),
}
SETTINGS = {  # inputs that hold regions, scales, bounds, limits
    "Clip": (1, 2),
    "NonMaxSuppression": (2, 3, 4),
    "Pad": (1, 2, 3),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
}
_SAME_PLACES = {"Identity", "Cast", "DequantizeLinear"}
_LARGEST = 2**30  # elements of a sparse tensor that is written out


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
    for name, value in stored_values(model):
        array = _array_of(value, folder)
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
        indexed: the axes along which it is read by index, so that its order there counts.
    """

    labels: set[str]
    operators: set[str]
    indexed: set[int] = field(default_factory=set)


def collect_uses(model: onnx.ModelProto) -> dict[str, Use]:
    """How the graph uses each value that it gives a name to."""
    constant = {name for name, _ in stored_values(model)}
    uses: dict[str, Use] = {}
    for graph, _ in every_graph(model):
        for node in graph.node:
            beside = [name for name in node.input if name in constant]
            paths = [label for label in [*node.output, *beside] if "/" in label]
            for name in node.input:
                use = uses.setdefault(name, Use({name}, set()))
                use.labels.update(paths)
                use.operators.add(node.op_type)
        _follow_indices(graph, uses)
    return uses


def _follow_indices(graph: onnx.GraphProto | onnx.FunctionProto, uses: dict[str, Use]) -> None:
    """Note the axes along which values are read by index, at once or after a change of type."""
    for node in reversed(graph.node):  # a reader stands behind what it reads
        if node.op_type in _INDEXING and node.input:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            uses[node.input[0]].indexed.add(axis if node.op_type != "GatherND" else 0)
        for place in _TABLES.get(node.op_type, ()):
            if place < len(node.input) and node.input[place]:
                uses[node.input[place]].indexed.add(0)
        if node.op_type in _SAME_PLACES and node.output[0] in uses:
            uses[node.input[0]].indexed |= uses[node.output[0]].indexed


def dead_constants(model: onnx.ModelProto) -> set[str]:
    """Constants of the main graph from which no path leads to an output: they prove nothing."""
    graph = model.graph
    live = {value.name for value in graph.output}
    for node in reversed(graph.node):  # in topological order, as ONNX demands
        if live & set(node.output):
            live |= {*node.input, *captured_names(node)}
    stored = {tensor.name for tensor in graph.initializer}
    stored |= {pair.values.name for pair in graph.sparse_initializer}
    stored |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    return stored - live


def settings_of(model: onnx.ModelProto) -> set[str]:
    """Names of what only says how an operator works, such as a Resize's scales: no weights."""
    settings, read = set[str](), set[str]()
    for node in every_node(model):
        places = SETTINGS.get(node.op_type, ()) if node.domain in ("", "ai.onnx") else ()
        for place, name in enumerate(node.input):
            (settings if place in places else read).add(name)
    return settings - read


def constant_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes of the main graph that no input reaches, in order."""
    stored = {tensor.name for tensor in model.graph.initializer}
    reached = {value.name for value in model.graph.input} - stored
    for node in model.graph.node:  # in topological order, as ONNX demands
        if reached.isdisjoint((*node.input, *captured_names(node))):
            yield node
        else:
            reached.update(node.output)


def constant_outputs(model: onnx.ModelProto) -> list[str]:
    """The outputs that no number of an input reaches; its sizes may."""
    stored = {tensor.name for tensor in model.graph.initializer}
    reached = {value.name for value in model.graph.input} - stored
    for node in model.graph.node:
        if node.op_type not in ("Shape", "Size") and not reached.isdisjoint(
            (*node.input, *captured_names(node))
        ):
            reached.update(node.output)
    return [value.name for value in model.graph.output if value.name not in reached]


_Stored = onnx.TensorProto | onnx.SparseTensorProto | onnx.AttributeProto


def stored_values(model: onnx.ModelProto) -> Iterator[tuple[str, _Stored]]:
    """Initialisers and what Constants hold, by the names of their values, of every graph."""
    for graph, _ in every_graph(model):
        if isinstance(graph, onnx.GraphProto):
            yield from ((tensor.name, tensor) for tensor in graph.initializer)
            yield from ((pair.values.name, pair) for pair in graph.sparse_initializer)
        for node in graph.node:
            if node.op_type != "Constant" or not node.output:
                continue
            for attribute in node.attribute:
                if attribute.name == "value":
                    yield node.output[0], attribute.t
                elif attribute.name == "sparse_value":
                    yield node.output[0], attribute.sparse_tensor
                elif attribute.name.startswith(("value_float", "value_int")):
                    yield node.output[0], attribute


def _array_of(stored: _Stored, folder: Path) -> Array:
    if isinstance(stored, onnx.AttributeProto):
        return _plain(stored)
    if isinstance(stored, onnx.TensorProto):
        return _read(stored, folder)
    return _dense(stored, folder)


def _dense(pair: onnx.SparseTensorProto, folder: Path) -> Array:
    """A sparse tensor written out (onnx.proto, ``SparseTensorProto``).

    Raises:
        ValueError: it is too large, or an index lies outside.
    """
    shape = tuple(pair.dims)
    elements = int(np.prod(shape, dtype=np.float64))
    if not 0 <= elements <= _LARGEST:
        raise ValueError(f"sparse '{pair.values.name}' has {elements:,} elements")
    values, indices = (_read(each, folder) for each in (pair.values, pair.indices))
    dense = np.zeros(shape, values.dtype)
    flat = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), shape)
    if flat.size and not 0 <= int(flat.min()) <= int(flat.max()) < elements:
        raise ValueError(f"sparse '{pair.values.name}' has an index outside its {shape}")
    dense.reshape(-1)[flat] = values
    return dense


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
