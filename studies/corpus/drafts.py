"""Drafts and mutants: an artifact laid out for editing, its weights beside it and shared."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]
BIG = 1024  # bytes; larger initialisers stay in the data file that all mutants share


class Graph:
    """A model's graph with its weights as arrays; nodes without a name get one."""

    def __init__(self, model: onnx.ModelProto, arrays: dict[str, Array]) -> None:
        self.model = model
        self.graph = model.graph
        self.arrays = arrays
        for place, node in enumerate(self.graph.node):
            node.name = node.name or f"{node.op_type}_{place}"

    def nodes(self, *operators: str) -> list[onnx.NodeProto]:
        """The nodes of these operators (all, if none is named), in the graph's order."""
        return [node for node in self.graph.node if not operators or node.op_type in operators]

    def node(self, name: str) -> onnx.NodeProto:
        """The node of that name."""
        return next(node for node in self.graph.node if node.name == name)

    def array(self, name: str) -> Array:
        """An initialiser's or a Constant node's value; KeyError for any other name."""
        if name in self.arrays:
            return self.arrays[name]
        for node in self.graph.node:
            if node.op_type == "Constant" and name in node.output:
                value = next(a for a in node.attribute if a.name == "value")
                return numpy_helper.to_array(value.t)
        raise KeyError(name)

    def is_constant(self, name: str) -> bool:
        """Whether the value is an initialiser or comes out of a Constant node."""
        try:
            self.array(name)
        except (KeyError, StopIteration):
            return False
        return True

    def producer(self, value: str) -> onnx.NodeProto | None:
        """The node that makes a value."""
        return next((node for node in self.graph.node if value in node.output), None)

    def consumers(self, value: str) -> list[onnx.NodeProto]:
        """The nodes that read a value."""
        return [node for node in self.graph.node if value in node.input]

    @property
    def inputs(self) -> list[onnx.ValueInfoProto]:
        """The graph's inputs without its initialisers."""
        return [value for value in self.graph.input if value.name not in self.arrays]

    @property
    def opset(self) -> int:
        """The version of the default operator set."""
        return next(e.version for e in self.model.opset_import if e.domain in ("", "ai.onnx"))


class Draft(Graph):
    """An artifact from which mutants are made. Not to be edited itself.

    Args:
        path: the file; its weights are read into ``arrays``.
        weights: the native model's tensors by name, where a fault wants them.
    """

    def __init__(self, path: Path, weights: dict[str, Array] | None = None) -> None:
        model = onnx.load(path)
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        super().__init__(model, arrays)
        self.weights = weights or {}
        self.findings: dict[Any, Any] = {}  # what surveys of the graph cost time to find out
        self.ranges: dict[str, tuple[float, float]] = {}
        self._full = model

    @cached_property
    def shapes(self) -> dict[str, tuple[int | str | None, ...]]:
        """The shape of every value that shape inference finds."""
        inferred = onnx.shape_inference.infer_shapes(self.model, strict_mode=False)
        known = [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
        return {value.name: _shape(value) for value in known}

    @cached_property
    def _makers(self) -> dict[str, onnx.NodeProto]:
        return {value: node for node in self.graph.node for value in node.output}

    @cached_property
    def _readers(self) -> dict[str, list[onnx.NodeProto]]:
        readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for value in dict.fromkeys(node.input):
                readers.setdefault(value, []).append(node)
        return readers

    # A draft does not change, so it need not be searched each time as a mutant must.

    def producer(self, value: str) -> onnx.NodeProto | None:
        return self._makers.get(value)

    def consumers(self, value: str) -> list[onnx.NodeProto]:
        return list(self._readers.get(value, []))

    def is_constant(self, name: str) -> bool:
        if name in self.arrays:
            return True
        producer = self._makers.get(name)
        return producer is not None and producer.op_type == "Constant" and super().is_constant(name)

    def share_weights(self, folder: Path, name: str = "weights.bin") -> None:
        """Write the large initialisers once to ``folder``; mutants made from now on refer there."""
        offset = 0
        with (folder / name).open("wb") as file:
            for tensor in self.graph.initializer:
                array = self.arrays[tensor.name]
                if array.nbytes < BIG:
                    continue
                raw = array.tobytes()
                file.write(raw)
                tensor.CopyFrom(_reference(tensor, name, offset, len(raw)))
                offset += len(raw)
                offset += file.write(b"\0" * (-offset % 64))

    def mutant(self) -> Mutant:
        """A copy to edit. Arrays are shared until a mutant sets its own."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        return Mutant(model, dict(self.arrays))


class Mutant(Graph):
    """A copy of a draft that a fault edits."""

    def set_array(self, name: str, array: Array) -> None:
        """Give an initialiser or a Constant node another value (and dtype, and shape)."""
        tensor = numpy_helper.from_array(np.asarray(array, order="C"), name)
        if name in self.arrays:
            if self.arrays[name].shape != np.shape(array):
                self._forget_shape(name)
            place = next(t for t in self.graph.initializer if t.name == name)
            place.CopyFrom(tensor)
            self.arrays[name] = array
            return
        node = self.producer(name)
        if node is None or node.op_type != "Constant":
            raise KeyError(name)
        next(a for a in node.attribute if a.name == "value").t.CopyFrom(tensor)

    def _forget_shape(self, name: str) -> None:
        """A value that changes its shape loses the one that was declared."""
        kept = [value for value in self.graph.value_info if value.name != name]
        del self.graph.value_info[:]
        self.graph.value_info.extend(kept)

    def add_array(self, name: str, array: Array) -> str:
        """A new initialiser; gives back its name."""
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        self.arrays[name] = array
        return name

    def insert(self, node: onnx.NodeProto, *, before: str | None = None) -> None:
        """Put a node before the node of that name, or at the end."""
        names = [other.name for other in self.graph.node]
        self.graph.node.insert(names.index(before) if before else len(names), node)

    def insert_after(self, value: str, operator: str, *more: str, **attributes: Any) -> str:
        """Pass a value through a new node on its way to all its readers, outputs included.

        Gives back the new node's name. ``more`` are its further inputs.
        """
        inner = f"{value}__inner"
        name = f"{operator}_after_{value}"
        producer = self.producer(value)
        node = helper.make_node(operator, [inner, *more], [value], name=name, **attributes)
        if producer is None:  # a graph input: its readers read the new value instead
            node.input[0], node.output[0] = value, inner
            for reader in self.consumers(value):
                replace_input(reader, value, inner)
            self.graph.node.insert(0, node)
            return name
        producer.output[list(producer.output).index(value)] = inner
        place = [other.name for other in self.graph.node].index(producer.name)
        self.graph.node.insert(place + 1, node)
        return name

    def bypass(self, name: str) -> None:
        """Remove a node: whoever read its first output reads its first input instead."""
        node = self.node(name)
        source, target = node.input[0], node.output[0]
        self.graph.node.remove(node)
        outputs = [value.name for value in self.graph.output]
        if target in outputs:
            producer = self.producer(source)
            if producer is None:
                raise ValueError(f"'{name}' joins an input and an output")
            for reader in self.consumers(source):
                replace_input(reader, source, target)
            producer.output[list(producer.output).index(source)] = target
            return
        for reader in self.consumers(target):
            replace_input(reader, target, source)

    def save(self, path: Path) -> None:
        """Write the file; shared weights are only referred to."""
        path.write_bytes(self.model.SerializeToString())


def replace_input(node: onnx.NodeProto, old: str, new: str) -> None:
    """Let a node read another value."""
    for place, value in enumerate(node.input):
        if value == old:
            node.input[place] = new


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """A node's attribute as a Python value."""
    found = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    """Give a node an attribute, in place of an older one."""
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def remove_attribute(node: onnx.NodeProto, name: str) -> None:
    """Take an attribute away, so that the operator's default holds."""
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def _reference(
    tensor: onnx.TensorProto, location: str, offset: int, length: int
) -> onnx.TensorProto:
    entries = {"location": location, "offset": str(offset), "length": str(length)}
    found = onnx.TensorProto(
        name=tensor.name,
        data_type=tensor.data_type,
        dims=tensor.dims,
        data_location=onnx.TensorProto.EXTERNAL,
    )
    for key, value in entries.items():
        found.external_data.add(key=key, value=value)
    return found


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str | None, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None) for dim in dims
    )
