"""Align tensors of an artifact with native ones by their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path

import numpy as np

from onnx_conformance.core.arrays import Array
from onnx_conformance.core.artifact_graph import ArtifactGraph
from onnx_conformance.core.tolerances import Rule
from onnx_conformance.core.traces import TINY, TensorRecord, relative_errors
from onnx_conformance.diagnose.divergence import TensorError
from onnx_conformance.run.native_traces import NativeTrace, elements_of, layouts


@dataclass(frozen=True)
class TensorMatch:
    """A native tensor beside an artifact's, and how far apart they are."""

    native: int
    error: TensorError
    within: bool
    moved: bool  # the channel axis stands elsewhere


def _compare(
    native: NativeTrace, place: int, actual: Array, rule: Rule
) -> tuple[TensorError, bool] | None:
    """The error of ``actual`` against a native tensor in the nearest layout.

    None if no layout makes their shapes equal. The flag says whether the channels moved.
    """
    wanted = native.array(place)
    yards = native.allowance(place, rule)
    best: tuple[TensorError, bool] | None = None
    for candidate, moved in layouts(wanted, actual.shape):
        errors = relative_errors(candidate, actual)
        ratio = max(error / yard for error, yard in zip(errors, yards, strict=True))
        if best is None or ratio < best[0].noise_floors:
            best = TensorError(errors[0], ratio), moved
        if ratio <= rule["factor"]:
            break
    return best


class Aligner:
    """Finds for each tensor of an artifact the native tensors that explain it."""

    def __init__(
        self, native: NativeTrace, traced: Mapping[str, TensorRecord], folder: Path, rule: Rule
    ) -> None:
        self.native = native
        self.traced = traced
        self.rule = rule
        self._folder = folder
        self._matches: dict[str, list[TensorMatch]] = {}
        self._sources: dict[str, list[int]] = {}

    def array(self, name: str) -> Array:
        """A tensor of the artifact, as float32."""
        loaded: Array = np.load(self._folder / self.traced[name]["file"], mmap_mode="r")
        return loaded

    def output(self, name: str) -> Array:
        """A tensor of the artifact in its own dtype."""
        return np.asarray(self.array(name)).astype(self.traced[name]["dtype"], copy=False)

    def is_judged(self, name: str) -> bool:
        """Whether the tensor is of numbers or truth values that may be wrong: not empty."""
        record = self.traced.get(name)
        return record is not None and elements_of(record) > 0

    def matches(self, name: str) -> list[TensorMatch]:
        """The native tensors that it equals within budget, the nearest first.

        After :meth:`align` only those that native makes of what the file makes it of.
        """
        return self._matches.get(name, [])

    def align(self, graph: ArtifactGraph) -> None:
        """Go through the file in its order.

        A tensor is explained by what follows, in native, from the tensors that explain the inputs
        of its node. Others resemble it by chance, such as one branch of a sum that lost the other.
        """
        everything = (1 << len(self.native.records)) - 1
        allowed = dict.fromkeys(graph.inputs, everything)
        for name in graph.inputs:
            self._matches[name] = self._find(name) if self.is_judged(name) else []
            self._sources[name] = [match.native for match in self._matches[name]]
        for node in graph.data_nodes:
            mask = everything
            for name in node.data:
                mask &= self._after(name, allowed.get(name, everything))
            for name in node.outputs:
                found = self._find(name) if self.is_judged(name) else []
                self._matches[name] = [m for m in found if mask >> m.native & 1]
                allowed[name] = mask
                known = [match.native for match in self._matches[name]]
                before = [place for source in node.data for place in self.sources(source)]
                self._sources[name] = known or list(dict.fromkeys(before))

    def sources(self, name: str) -> list[int]:
        """The native tensors that explain it, or else those that explain what it is made of."""
        return self._sources.get(name, [])

    def _after(self, name: str, otherwise: int) -> int:
        """What follows from the native tensors that explain this one."""
        masks = [self.native.following[match.native] for match in self.matches(name)]
        return reduce(or_, masks) if masks else otherwise

    def _find(self, name: str) -> list[TensorMatch]:
        record = self.traced[name]
        actual: Array | None = None
        found = []
        for place in self.native.by_size.get(elements_of(record), []):
            if not self._may_match(place, record):
                continue
            actual = self.array(name) if actual is None else actual
            compared = _compare(self.native, place, actual, self.rule)
            if compared is not None and compared[0].noise_floors <= self.rule["factor"]:
                found.append(TensorMatch(place, compared[0], True, compared[1]))
        records = self.native.records
        return sorted(
            found,
            key=lambda m: (
                records[m.native]["derived"],
                list(records[m.native]["shape"]) != record["shape"],
                m.error.noise_floors,
            ),
        )

    def _may_match(self, place: int, record: TensorRecord) -> bool:
        """Whether statistics, which err no more than their tensor, leave it possible."""
        native = self.native.records[place]
        if native["nonfinite"] != record["nonfinite"]:
            return False
        by_rms, by_max = (
            self.rule["factor"] * yard for yard in self.native.allowance(place, self.rule)
        )
        largest = max(abs(native["low"]), abs(native["high"]), TINY)
        slack = 1.01
        return (
            abs(native["rms"] - record["rms"]) <= slack * by_rms * max(native["rms"], TINY)
            and abs(native["low"] - record["low"]) <= slack * by_max * largest
            and abs(native["high"] - record["high"]) <= slack * by_max * largest
        )

    def nearest(self, name: str, places: Sequence[int]) -> TensorMatch | None:
        """The nearest of these native tensors, however far; None if none has its size."""
        if not self.is_judged(name):
            return None
        actual, found = self.array(name), []
        for place in places:
            if elements_of(self.native.records[place]) != elements_of(self.traced[name]):
                continue
            compared = _compare(self.native, place, actual, self.rule)
            if compared is not None:
                within = compared[0].noise_floors <= self.rule["factor"]
                found.append(TensorMatch(place, compared[0], within, compared[1]))
        return min(found, key=lambda m: (not m.within, m.error.relative), default=None)
