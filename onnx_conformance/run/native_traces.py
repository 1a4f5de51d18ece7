"""Native's intermediate tensors, kept for the next artifact of a model."""

from __future__ import annotations

import tempfile
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from onnx_conformance.core.arrays import Array
from onnx_conformance.core.compute_modes import ULP
from onnx_conformance.core.errors import ConformanceError
from onnx_conformance.core.spec import ModelSpec
from onnx_conformance.core.tolerances import Rule
from onnx_conformance.core.traces import NativeTensorRecord, TensorRecord
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.run_workers import RunWorkers

MOST_TRACES = 3  # native traces: an image model's needs some hundred megabytes on disk


class NativeTrace:
    """The native tensors, mapped from their files."""

    def __init__(self, records: Sequence[NativeTensorRecord], folder: Path) -> None:
        self.records = records
        self._folder = folder
        self.by_size: dict[int, list[int]] = defaultdict(list)
        for place, record in enumerate(records):
            self.by_size[elements_of(record)].append(place)
        self._consumers: dict[int, list[int]] = defaultdict(list)
        for place, record in enumerate(records):
            for source in record["inputs"]:
                self._consumers[source].append(place)

    @cached_property
    def following(self) -> list[int]:
        """For each tensor, a bit mask of the tensors that depend on it, itself included."""
        masks = [1 << place for place in range(len(self.records))]
        for place in reversed(range(len(self.records))):
            for later in self.consumers(place):
                masks[place] |= masks[later]
        return masks

    def path(self, place: int) -> Path:
        """The file of a tensor by its place."""
        return self._folder / self.records[place]["file"]

    def array(self, place: int) -> Array:
        """The tensor at a place of the trace."""
        loaded: Array = np.load(self.path(place), mmap_mode="r")
        return loaded

    def consumers(self, place: int) -> list[int]:
        """Native tensors that were made of this one."""
        return self._consumers.get(place, [])

    def allowance(self, place: int, rule: Rule) -> tuple[float, float]:
        """float32's own error of the tensor, in the rms and in the max norm."""
        record = self.records[place]
        floor = rule["floor_ulp"] * ULP
        return record["noise_rms"] + floor, record["noise_max"] + floor


def layouts(wanted: Array, shape: tuple[int, ...]) -> Iterator[tuple[Array, bool]]:
    """The native tensor in every layout of that shape that an exporter may give it.

    As it is; with the channel axis first or last; flattened, or with axes of one. Only the
    tensor as it is may be flattened: with channels moved, that is a fault.
    """
    if wanted.shape == shape:
        yield wanted, False
    if wanted.ndim >= 3:
        for source, target in ((-1, 1), (1, -1)):
            other = np.moveaxis(wanted, source, target)
            if _significant(other.shape) == _significant(shape):
                yield other.reshape(shape), True
    if wanted.shape != shape and wanted.size == int(np.prod(shape)):
        yield wanted.reshape(shape), False


def _significant(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


def elements_of(record: TensorRecord) -> int:
    """How many numbers a tensor holds."""
    return int(np.prod(record["shape"]))


_Kept = OrderedDict[tuple[str, str], tuple[NativeTrace, tempfile.TemporaryDirectory[str]]]
_KEPT: WeakKeyDictionary[RunWorkers, _Kept] = WeakKeyDictionary()


def native_trace(workers: RunWorkers, model: ModelSpec, inputs: Inputs) -> NativeTrace:
    """Native's tensors on inputs, in float64; those of the latest inputs are kept."""
    kept = _KEPT.setdefault(workers, OrderedDict())
    key = (model.name, inputs.digest)
    if key not in kept:
        folder = tempfile.TemporaryDirectory(prefix="conformance-trace-")
        try:
            records = workers.native_trace(model, inputs, Path(folder.name))
        except ConformanceError:  # a worker that traces nothing
            folder.cleanup()
            raise
        kept[key] = NativeTrace(records, Path(folder.name)), folder
        while len(kept) > MOST_TRACES:
            kept.popitem(last=False)[1][1].cleanup()
    kept.move_to_end(key)
    return kept[key][0]


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the artifact's tensors."""
    with tempfile.TemporaryDirectory(prefix="conformance-trace-") as folder:
        yield Path(folder)
