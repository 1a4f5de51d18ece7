"""What faults of layout, wiring, weights and batch, and equivalent rewrites, have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import onnx

from studies.corpus import Site
from studies.corpus.drafts import Array, Draft, Graph, Mutant, attribute
from studies.corpus.patches import Patch
from studies.corpus.survey import layers

MODERN = 13  # opset from which axes, pads and bounds are inputs, and Softmax has one axis
Change = Callable[[Array], Array]
SILENT = ("BatchNormalization", "Identity", "Transpose", "Dropout")
POINTWISE = ("Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "Erf", "Elu")
AVERAGES = ("GlobalAveragePool", "ReduceMean")


@dataclass(frozen=True)
class Map:
    """A value of shape (batch, channels, height, width) with all but the batch known."""

    value: str
    node: str
    channels: int
    height: int
    width: int


def maps(draft: Draft, *operators: str) -> Iterator[Map]:
    """The feature maps that nodes of these operators make."""
    for node in draft.nodes(*operators):
        sizes = known_sizes(draft, node.output[0]) if node.output else None
        if sizes is not None and len(sizes) == 3:
            yield Map(node.output[0], node.name, *sizes)


def known_sizes(draft: Draft, value: str) -> tuple[int, ...] | None:
    """A value's shape without its batch axis; None where a size is not known."""
    found = draft.shapes.get(value)
    if not found or not all(isinstance(size, int) and size > 0 for size in found[1:]):
        return None
    return tuple(size for size in found[1:] if isinstance(size, int))


@lru_cache(maxsize=1)
def _element_types(draft: Draft) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(draft.model).graph
    known = [*inferred.value_info, *inferred.input, *inferred.output]
    return {value.name: value.type.tensor_type.elem_type for value in known}


def is_float(draft: Draft, value: str) -> bool:
    """Whether a value is of float32 data, not a shape or an index."""
    if draft.is_constant(value):
        return bool(draft.array(value).dtype == np.float32)
    return _element_types(draft).get(value) == onnx.TensorProto.FLOAT


def data_inputs(draft: Draft, node: onnx.NodeProto) -> list[int]:
    """The places of a node's inputs that are computed float data, not constants."""
    return [
        place
        for place, value in enumerate(node.input)
        if value and not draft.is_constant(value) and is_float(draft, value)
    ]


def data_pairs(draft: Draft, operator: str) -> Iterator[onnx.NodeProto]:
    """The nodes of an operator that join two different computed values of one shape."""
    for node in draft.nodes(operator):
        if len(data_inputs(draft, node)) == 2 and node.input[0] != node.input[1]:
            sizes = [known_sizes(draft, value) for value in node.input]
            if sizes[0] is not None and sizes[0] == sizes[1]:
                yield node


def with_constant(draft: Draft, *operators: str) -> Iterator[tuple[onnx.NodeProto, int]]:
    """Nodes of two inputs, one of them a float constant, with that constant's place."""
    for node in draft.nodes(*operators):
        if len(node.input) == 2 and len(data_inputs(draft, node)) == 1:
            yield node, 1 - data_inputs(draft, node)[0]


def biases(draft: Draft) -> Iterator[str]:
    """The constants that are added to each channel, by layers or by nodes of their own."""
    found = [
        node.input[2]
        for node in draft.nodes("Conv", "ConvTranspose", "Gemm")
        if len(node.input) > 2 and node.input[2] and draft.is_constant(node.input[2])
    ]
    found += [node.input[place] for node, place in with_constant(draft, "Add")]
    yield from (name for name in dict.fromkeys(found) if draft.array(name).size > 1)


def kernels(draft: Draft, *operators: str) -> Iterator[tuple[str, int]]:
    """The weights of layers, each once, with their axis of output channels."""
    found = {layer.weight: layer.axis for layer in layers(draft, *operators)}
    yield from ((name, axis) for name, axis in found.items() if draft.array(name).size > 1)


def tensors(draft: Draft) -> Iterator[str]:
    """The names of all weights and biases."""
    yield from dict.fromkeys([*(name for name, _ in kernels(draft)), *biases(draft)])


def readers(graph: Graph, value: str) -> tuple[str, ...]:
    """The names of the nodes that read a value."""
    return tuple(node.name for node in graph.consumers(value))


def only_reader(graph: Graph, value: str, *operators: str) -> onnx.NodeProto | None:
    """The one node that reads a value, if it is of these operators and no output is in between."""
    found = graph.consumers(value)
    inner = value not in [output.name for output in graph.graph.output]
    if inner and len(found) == 1 and list(found[0].input).count(value) == 1:
        return found[0] if not operators or found[0].op_type in operators else None
    return None


def places_matter(draft: Draft, value: str) -> bool:
    """Whether it shows if a feature map is given with its pixels in another order.

    Layers of one pixel and averages over a map do not see it, unless a map in the old order is
    joined to it and the result goes through an activation.
    """
    moved, mixed = {value}, set[str]()
    for node in draft.nodes():
        if not moved.intersection(node.input) or node.op_type in AVERAGES:
            continue
        if not _is_of_one_pixel(draft, node):
            return True
        others = [node.input[place] for place in data_inputs(draft, node)]
        joins = any(other not in moved and _is_spread(draft, other) for other in others)
        blends = joins or bool(mixed.intersection(node.input))
        if blends and node.op_type not in ("Conv", "Add", "Sub", *SILENT):
            return True
        moved.update(node.output)
        mixed.update(node.output if blends else [])
    return False


def _is_spread(draft: Draft, value: str) -> bool:
    """Whether a value is more than one pixel a channel, or may be."""
    sizes = known_sizes(draft, value)
    return sizes is None or (len(sizes) > 2 and max(sizes[1:]) > 1)


def _is_of_one_pixel(draft: Draft, node: onnx.NodeProto) -> bool:
    if node.op_type == "Conv" and draft.is_constant(node.input[1]):
        return draft.array(node.input[1]).shape[2:] == (1, 1) and pair(node, "strides") == [1, 1]
    return node.op_type in ("Add", "Sub", "Mul", "Div", *SILENT, *POINTWISE)


def rewritten(draft: Draft, name: str, change: Change) -> Iterator[Site]:
    """The site of a fault that changes a constant's values; none where it would change nothing."""
    before = draft.array(name)
    if not np.array_equal(before, change(before)):
        yield Site(name, partial(_rewrite, name=name, change=change), readers(draft, name))


def _rewrite(mutant: Mutant, *, name: str, change: Change) -> None:
    before = mutant.array(name)
    mutant.set_array(name, np.asarray(change(before), before.dtype))


def reduced(
    patch: Patch,
    operator: str,
    value: str,
    axes: Sequence[int],
    opset: int,
    *,
    keepdims: int = 1,
) -> str:
    """A reduction, whose axes became an input in opset 18 (those of ReduceSum in 13)."""
    if opset >= (MODERN if operator == "ReduceSum" else 18):
        places = patch.constant(np.array(axes), np.int64)
        return patch.add(operator, value, places, keepdims=keepdims)
    return patch.add(operator, value, axes=list(axes), keepdims=keepdims)


def sliced(patch: Patch, value: str, start: int, end: int, axis: int, step: int = 1) -> str:
    """A part of a value along one axis, of opset 10 and later."""
    places = [patch.constant(np.array([number]), np.int64) for number in (start, end, axis, step)]
    return patch.add("Slice", value, *places)


def set_input(node: onnx.NodeProto, place: int, name: str) -> None:
    """Let a node read a value at a place that it may not have had."""
    node.input.extend([""] * (place + 1 - len(node.input)))
    node.input[place] = name


def pair(node: onnx.NodeProto, name: str, default: int = 1) -> list[int]:
    """A Conv's strides or dilations, two of them."""
    return list(attribute(node, name, [default, default]))


def explicit_pads(node: onnx.NodeProto) -> list[int] | None:
    """A two-dimensional window's pads (top, left, bottom, right); None for an automatic choice."""
    if attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        return None
    return list(attribute(node, "pads", [0, 0, 0, 0]))


def constant_convolutions(draft: Draft) -> Iterator[onnx.NodeProto]:
    """The two-dimensional convolutions with constant kernels and biases."""
    for node in draft.nodes("Conv"):
        constant = all(draft.is_constant(value) for value in node.input[1:] if value)
        if constant and draft.array(node.input[1]).ndim == 4 and known_sizes(draft, node.output[0]):
            yield node
