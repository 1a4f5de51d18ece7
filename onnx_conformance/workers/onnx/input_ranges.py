"""Ranges of an ONNX file's inputs, read from the graph that uses them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from onnx_conformance.core.domains import Bounded, Choice, Domain, Integers, Lengths, Mask, Real
from onnx_conformance.core.onnx_file import every_graph
from onnx_conformance.core.plain_outputs import TEXT
from onnx_conformance.core.spec import TensorSpec

# What passes whole numbers on, each as it is.
LAYOUT_OPERATORS = {
    "Cast", "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity",
    "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
}  # fmt: skip
MOST_HOPS = 40  # nodes between an input and the table that it indexes
BYTE_RANGES = {"int8": (-128, 128), "uint8": (0, 256)}
MOST_COMPARED = 1_000  # above it, only the numbers that are compared with are tried, and one other
ASSUMED_BOUND = 10  # whole numbers below this, and above its opposite, where nothing bounds them
# Operators whose inputs say how many numbers there are, or which: no place for any whole number.
SHAPING_OPERATORS = {
    "ArrayFeatureExtractor": (1,), "BlackmanWindow": (0,), "CenterCropPad": (1,),
    "Compress": (1,), "ConstantOfShape": (0,), "CumSum": (1,), "DFT": (1, 2), "Expand": (1,),
    "Gather": (1,), "GatherElements": (1,), "GatherND": (1,), "HammingWindow": (0,),
    "HannWindow": (0,), "Loop": (0,), "MaxUnpool": (1, 2), "MelWeightMatrix": (0, 1, 2),
    "OneHot": (0, 1), "Pad": (1,), "Range": (0, 1, 2), "Reshape": (1,), "Resize": (2, 3),
    "ReverseSequence": (1,), "STFT": (1, 3), "ScatterElements": (1,), "ScatterND": (1,),
    "SequenceAt": (1,), "Slice": (1, 2, 3, 4), "Split": (1,), "Squeeze": (1,), "Tile": (1,),
    "TopK": (1,), "Trilu": (1,), "Unsqueeze": (1,), "Upsample": (1,),
}  # fmt: skip
# What of a node's attributes lists the texts that it knows, and what hands texts on.
KEYS_OF_TEXT = {"keys_strings", "keys_tensor", "cats_strings", "pool_strings"}
TEXT_MOVES = {"StringNormalizer", "ArrayFeatureExtractor", "FeatureVectorizer"}
MOST_TEXTS = 1_000
UNKNOWN_TEXTS = ("a", "b", "c")
MASK_WORDS = ("mask",)
LENGTH = re.compile(r"(^|[_.])(len|lens|length|lengths|seqlens?)$", re.IGNORECASE)
UNKNOWN = ""  # the axis of Lengths, until the axes have names
DIVIDING_OPERATORS = ("Div", "Mod")
SHARES = {("NonMaxSuppression", 3)}  # operators and their inputs that take 0 to 1 alone


@dataclass(frozen=True)
class Range:
    """What an input may be, and why.

    Args:
        known: whether the graph, the dtype or a name says so; else it is an assumption.
    """

    domain: Domain
    why: str
    known: bool = True


class Graph:
    """A file's main graph, for questions about what becomes of an input."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._sizes: dict[str, list[int | None]] = {}
        self._constants: dict[str, onnx.TensorProto] = {}
        self._readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
        self.safe = True  # nothing divides, which of whole numbers may end the process
        for graph, _ in every_graph(model):
            stored = list(graph.initializer) if isinstance(graph, onnx.GraphProto) else []
            for tensor in stored:
                self._keep(tensor.name, tensor)
            for node in graph.node:
                self.safe &= node.op_type not in DIVIDING_OPERATORS
                for attribute in node.attribute:
                    if node.op_type == "Constant" and attribute.name == "value":
                        self._keep(node.output[0], attribute.t)
                for place, name in enumerate(node.input):
                    self._readers.setdefault(name, []).append((node, place))
        for value in model.graph.value_info:
            dims = value.type.tensor_type.shape.dim
            found = [d.dim_value if d.dim_value > 0 else None for d in dims]
            self._sizes.setdefault(value.name, found)

    def _keep(self, name: str, tensor: onnx.TensorProto) -> None:
        self._constants[name] = tensor
        self._sizes[name] = list(tensor.dims)

    def _readers_of(
        self, name: str, step: Callable[[onnx.NodeProto, int], int | None]
    ) -> Iterator[tuple[onnx.NodeProto, int, int]]:
        """The nodes that read a value or what is made of it, at which place, with what added to it.

        Args:
            step: what a node adds to the numbers that it passes on; None where it passes none on.
        """
        waiting, seen = [(name, 0, 0)], set()
        while waiting:
            now, offset, hops = waiting.pop()
            if now in seen or hops > MOST_HOPS:
                continue
            seen.add(now)
            for node, place in self._readers.get(now, []):
                yield node, place, offset
                added = step(node, place)
                if added is not None:
                    waiting += [(one, offset + added, hops + 1) for one in node.output if one]

    def bounds(self, name: str) -> Iterator[tuple[int, str]]:
        """(how many values are allowed from 0 on, why) at each table that ``name`` indexes."""
        for node, place, offset in self._readers_of(name, self._step):
            limit = self._limit(node, place)
            if limit is not None:
                label = f" '{node.input[0]}'" if node.input[0] in self._constants else ""
                yield limit - offset, f"it indexes {limit} rows{label} of {node.op_type}"

    def _limit(self, node: onnx.NodeProto, place: int) -> int | None:
        """How many rows the node can be asked for, where ``place`` is an index."""
        if node.op_type in ("Gather", "GatherElements") and place == 1:
            return self._size(node.input[0], _attribute(node, "axis", 0))
        if node.op_type == "OneHot" and place == 0:
            depth = self._array(node.input[1])
            return int(depth.ravel()[0]) if depth is not None and depth.size == 1 else None
        return None

    def _step(self, node: onnx.NodeProto, place: int) -> int | None:
        """What the node adds to each number that it passes on; None where it computes others."""
        if node.op_type in LAYOUT_OPERATORS:
            index = node.op_type.startswith("Gather") and place > 0
            return None if index else 0
        if node.op_type not in ("Add", "Sub") or (node.op_type == "Sub" and place):
            return None
        other = self._array(node.input[1 - place])
        if other is None or other.dtype.kind not in "iu" or not other.size:
            return None
        if node.op_type == "Sub":
            return -int(other.min())
        return int(other.max())

    def _size(self, name: str, axis: int) -> int | None:
        sizes = self._sizes.get(name)
        return sizes[axis] if sizes and -len(sizes) <= axis < len(sizes) else None

    def _array(self, name: str) -> NDArray[Any] | None:
        tensor = self._constants.get(name)
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
            return None
        return numpy_helper.to_array(tensor)

    def shapes(self, name: str) -> bool:
        """Whether sizes or places hang on the input's numbers."""
        return any(
            place in SHAPING_OPERATORS.get(node.op_type, ())
            for node, place, _ in self._readers_of(name, lambda node, place: 0)
        )

    def share(self, name: str) -> str | None:
        """The operator that takes the input as a share from 0 to 1."""
        readers = self._readers.get(name, [])
        return next((n.op_type for n, place in readers if (n.op_type, place) in SHARES), None)

    def compared_with(self, name: str) -> list[int]:
        """The constants with which an input's numbers are compared by Equal."""
        found: list[int] = []
        for node, place, _ in self._readers_of(name, _moves_its_first):
            if node.op_type == "Equal":
                other = self._array(node.input[1 - place])
                if other is not None and other.dtype.kind in "iu":
                    found += [int(v) for v in np.unique(other)]
        return sorted(set(found))

    def texts(self, name: str) -> tuple[str, ...]:
        """The texts that nodes behind an input know: keys, categories, constants compared with."""
        found: set[str] = set()
        for node, _, _ in self._readers_of(name, _moves_texts):
            constants = [self._array(other) for other in node.input]
            for attribute in node.attribute:
                if attribute.name in KEYS_OF_TEXT:
                    found |= {text.decode() for text in attribute.strings}
                    if attribute.HasField("t"):
                        constants.append(numpy_helper.to_array(attribute.t))
            texts = [a for a in constants if a is not None and a.dtype.kind == "O"]
            found |= {str(text) for array in texts for text in array.flat}
        return tuple(sorted(found))[:MOST_TEXTS]


def _moves_its_first(node: onnx.NodeProto, place: int) -> int | None:
    return 0 if node.op_type in LAYOUT_OPERATORS and place == 0 else None


def _moves_texts(node: onnx.NodeProto, place: int) -> int | None:
    return 0 if node.op_type in LAYOUT_OPERATORS | TEXT_MOVES else None


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((a.i for a in node.attribute if a.name == name), default)


def range_of(graph: Graph, name: str, dtype: str, rank: int) -> Range:
    """What the input ``name`` may be."""
    if dtype == "bool":
        return Range(Choice((0, 1)), "it is a truth value")
    if dtype == TEXT:
        return _range_of_text(graph, name)
    if np.issubdtype(np.dtype(dtype), np.floating) and not list(graph.bounds(name)):
        reader = graph.share(name)
        if reader:
            return Range(Bounded(0, 1), f"{reader} takes a share")
        return Range(Real(), "it is a floating number")
    return _range_of_whole(graph, name, dtype, rank)


def _range_of_text(graph: Graph, name: str) -> Range:
    known = graph.texts(name)
    why = "the file has these" if known else "nothing in the file names its texts"
    return Range(Choice(known or UNKNOWN_TEXTS), why, known=bool(known))


def _range_of_whole(graph: Graph, name: str, dtype: str, rank: int) -> Range:
    limits = list(graph.bounds(name))
    if limits:
        most, why = min(limits)
        if most >= 1:
            return Range(Integers(0, most), why)
    named = _by_name(name, rank)
    if named is not None:
        return named
    if dtype in BYTE_RANGES:
        return Range(Integers(*BYTE_RANGES[dtype]), f"{dtype} holds these")
    compared = [value for value in graph.compared_with(name) if value >= 0]
    if compared:
        one_hot = compared == list(range(len(compared))) and len(compared) > 2
        if not one_hot and max(compared) > MOST_COMPARED:  # a sampling rate, not a number of ids
            few = tuple(float(value) for value in (*compared[:MOST_HOPS], max(compared) + 1))
            return Range(Choice(few), f"it is compared with {_few(compared)}")
        top = len(compared) if one_hot else max(compared) + 2  # others than it, too
        return Range(Integers(0, top), f"it is compared with {_few(compared)}")
    low = 0 if dtype.startswith("u") or graph.shapes(name) else -ASSUMED_BOUND
    return Range(Integers(low, ASSUMED_BOUND), "nothing in the file bounds it", known=False)


def _by_name(name: str, rank: int) -> Range | None:
    if any(word in name.lower() for word in MASK_WORDS):
        return Range(Mask() if rank > 1 else Choice((0, 1)), "its name says that it is a mask")
    if rank == 1 and LENGTH.search(name):
        return Range(Lengths(UNKNOWN), "its name says that it is a length")
    return None


def _few(values: list[int]) -> str:
    shown = ", ".join(map(str, values[:3]))
    return shown if len(values) <= 3 else f"{shown} and {len(values) - 3} more"


def notes_of(
    path: str, specs: Sequence[TensorSpec], ranges: Mapping[str, Range]
) -> tuple[str, ...]:
    """One line on the values of each input of whole numbers, shares or text.

    Where they are assumed, it tells how to say otherwise.
    """
    return tuple(
        _note_of(path, spec, ranges[spec.name])
        for spec in specs
        if spec.dtype != "bool" and not spec.real
    )


def _note_of(path: str, spec: TensorSpec, found: Range) -> str:
    louder = isinstance(spec.domain, Bounded) and spec.domain != found.domain
    why = "smaller numbers leave an output as it is" if louder else found.why
    words = f"input '{spec.name}' ({spec.dtype}) is fed {_domain(spec.domain)}: {why}"
    if found.known:
        return words
    domain = 'Choice(("a", "b"))' if spec.dtype == TEXT else "Integers(LOW, HIGH)"
    wanted = f'TensorSpec("{spec.name}", {spec.shape!r}, "{spec.dtype}", domain={domain})'
    return (
        f"{words}; to say otherwise, register the file with --models-from, as a function that "
        f'returns pathlib.Path("{path}"), with inputs=[{wanted}, ...]'
    )


def _domain(domain: Domain) -> str:
    if isinstance(domain, Bounded):
        return f"{domain.low:g} to {domain.high:g}"
    if isinstance(domain, Integers):
        return f"{domain.low} to {domain.high - 1}"
    if isinstance(domain, Choice):
        return " or ".join(
            repr(value) if isinstance(value, str) else f"{value:g}" for value in domain.values
        )
    if isinstance(domain, Lengths):
        return f"{domain.low} to the size of axis '{domain.axis}'"
    return "ones, then zeros (a mask)"
