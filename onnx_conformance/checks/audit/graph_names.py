"""Match names in the graph with native modules, so that swapped tensors are noticed.

Exporters write the module's path into names, each in its own form:

- torch dynamo: ``features.0.0.weight``, and ``features.0.0.weight_bias`` for a folded bias;
- TorchScript: the output ``/features/features.0/features.0.0/Conv_output_0`` of the node;
- tf2onnx: ``functional_1/mobilenetv2_1/Conv1_1/convolution:0``; each layer may bear a counter.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from onnx_conformance.checks.audit.matches import WeightMatch
from onnx_conformance.core.arrays import Array
from onnx_conformance.core.graph_weights import Use

_TAIL = re.compile(r"(:\d+|__\d+)+$")
_COUNTER = re.compile(r"_\d+$")
_HERE = ""  # key of the tensors whose path ends at a tree's node; no component is empty


class NativeNames:
    """The native names, as a tree of the components of their paths.

    A tensor is found under its own full name and under its module's.
    """

    def __init__(self, natives: Iterable[str]) -> None:
        self._root: dict[str, Any] = {}
        for native in natives:
            parts = [part for part in re.split(r"[./]", native) if part]
            for path in (parts, parts[:-1]):
                if path:
                    self._add(path, native)

    def modules_named(self, labels: Iterable[str]) -> frozenset[str]:
        """The tensors that the labels name: those of the longest path found in any of them."""
        longest, names = 0, set[str]()
        for label in labels:
            depth, found = self._longest(components(label))
            if depth > longest:
                longest, names = depth, set()
            if depth == longest:
                names.update(found)
        return frozenset(names)

    def _add(self, path: list[str], native: str) -> None:
        node = self._root
        for part in path:
            node = node.setdefault(part, {})
        node.setdefault(_HERE, []).append(native)

    def _longest(self, parts: list[str]) -> tuple[int, set[str]]:
        """How many components of a native path occur in a row, and the tensors of such paths."""
        longest, names = 0, set[str]()
        for start in range(len(parts)):
            nodes = [self._root]
            for depth, part in enumerate(parts[start:], start=1):
                nodes = [node[form] for node in nodes for form in _forms(part) if form in node]
                here = {name for node in nodes for name in node.get(_HERE, ())}
                if here and depth > longest:
                    longest, names = depth, set()
                if depth == longest:
                    names |= here
                if not nodes:
                    break
        return longest, names


def module_of(native: str) -> str:
    """The path of the module that owns a native tensor."""
    return re.sub(r"[./]?[^./]*$", "", native)


def components(label: str) -> list[str]:
    """A label's path, in parts; TorchScript's repeated prefixes are taken together."""
    parts: list[str] = []
    for part in _TAIL.sub("", label).split("/"):
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        if part:
            parts.append(part)
    return [piece for part in parts for piece in part.split(".") if piece]


def _forms(part: str) -> tuple[str, ...]:
    bare = _COUNTER.sub("", part)
    return (part,) if bare in ("", part) else (part, bare)


# A product's operand is no offset, a sum's no factor.
_NOT_READ_BY = {"factor": frozenset({"Add", "Sub"}), "offset": frozenset({"Mul", "Div"})}


class SwapDetector:
    """The initialisers by what the graph calls them, beside what they were found to hold."""

    def __init__(
        self,
        initializers: Mapping[str, Array],
        matches: Mapping[str, Sequence[WeightMatch]],
        names: NativeNames,
        uses: Mapping[str, Use],
    ) -> None:
        self._initializers = initializers
        self._matches = matches
        self._uses = uses
        self._kernels: dict[int | None, list[WeightMatch]] = defaultdict(list)
        for match in (match for several in matches.values() for match in several):
            if match.role == "kernel":
                self._kernels[match.fold].append(match)
        self._named = {name: names.modules_named(labels_of(name, uses)) for name in initializers}

    def misplaced(self, native: str, size: int, matches: Sequence[WeightMatch]) -> str | None:
        """Why a tensor found by its values stands in the wrong place, if it does.

        Names count only in pairs: what holds the tensor bears another one's name, and what
        bears the tensor's name holds nothing of its module, or none that it is named after.
        """
        if all(self._misread(match) for match in matches):
            return (
                f"misplaced: a BatchNorm's {matches[0].role}, which the graph uses as another part"
            )
        if not all(self._contradicted(match.initializer) for match in matches):
            return None
        called = {native, *(alias for match in matches for alias in self._possible_names(match))}
        modules = {module_of(tensor) for tensor in called}
        for name, found in self._initializers.items():
            if found.size != size or not called & self._named[name]:
                continue
            elsewhere = modules.isdisjoint(module_of(tensor) for tensor in self._held_natives(name))
            if elsewhere or self._contradicted(name):
                return f"misplaced: by its name, '{name}' should hold it"
        return None

    def kernels_of(self, fold: int) -> list[WeightMatch]:
        """The matches of kernels into which this BatchNorm's factor was folded."""
        return self._kernels.get(fold, [])

    def _misread(self, match: WeightMatch) -> bool:
        """Whether the operators that read a BatchNorm's factor or offset take it for the other."""
        use = self._uses.get(match.initializer)
        wrong = _NOT_READ_BY.get(match.role, frozenset())
        return use is not None and bool(use.operators) and use.operators <= wrong

    def _contradicted(self, name: str) -> bool:
        """Whether the graph names an initialiser after tensors other than those it holds."""
        return bool(self._named[name]) and not self._named[name] & self._held_natives(name)

    def _held_natives(self, name: str) -> set[str]:
        return {
            alias for match in self._matches.get(name, ()) for alias in self._possible_names(match)
        }

    def _possible_names(self, match: WeightMatch) -> set[str]:
        """What a match's initialiser may be named after: a fold's offset, after the kernel."""
        kernels = [] if match.fold is None else self.kernels_of(match.fold)
        return {*match.natives, *(native for kernel in kernels for native in kernel.natives)}


def labels_of(name: str, uses: Mapping[str, Use]) -> set[str]:
    """What the graph calls an initialiser, at least its own name."""
    return uses[name].labels if name in uses else {name}
