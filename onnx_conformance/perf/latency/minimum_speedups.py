"""Speed-ups that are required: "is ONNX Runtime faster?" as a test."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.yaml_reader import NodeReader, compose
from onnx_conformance.perf.latency.ratios import Ratio

SHIPPED = Path(__file__).with_name("minimum_speedups.yaml")
_KEYS = ("cases", "batch_sizes", "floor", "reason")


@dataclass(frozen=True)
class Floor:
    """One entry: what the cases that fit it must reach at these batch sizes."""

    cases: str
    batch_sizes: tuple[int, ...]
    floor: float
    reason: str

    def fits(self, case: str, batch: int) -> bool:
        """Whether it is about this case's id and batch size."""
        return fnmatchcase(case, self.cases) and batch in self.batch_sizes

    def problem(self, speedup: Ratio) -> str | None:
        """Why a speed-up is too small, or None. What an interval leaves open is not red."""
        if speedup.high >= self.floor:
            return None
        return (
            f"{speedup} times native eager's speed, at least {self.floor:g} is required "
            f"({self.reason})"
        )


def load_floors(path: Path) -> list[Floor]:
    """Read and validate a file of floors.

    Raises:
        UsageError: naming the file, the line and what is wrong there.
    """
    root, reader = compose(path), _Reader(path)
    if not isinstance(root, yaml.SequenceNode) or not root.value:
        raise UsageError(f"{path}: the file must be a list of floors")
    return [reader.floor(node) for node in root.value]


def floor_of(floors: list[Floor], case: str, batch: int) -> Floor:
    """The first entry that fits.

    Raises:
        UsageError: none does.
    """
    for floor in floors:
        if floor.fits(case, batch):
            return floor
    raise UsageError(
        f"--require-speedup: no entry fits {case} at batch {batch}; add one, or leave the case out"
    )


class _Reader(NodeReader):
    """Reads the entries of a file of floors."""

    def floor(self, node: Any) -> Floor:
        found = self.mapping(node, "an entry")
        self.exactly(node, found, _KEYS, "an entry")
        sizes, floor = self.value(found["batch_sizes"]), self.value(found["floor"])
        if not isinstance(sizes, list) or not all(type(n) is int and n > 0 for n in sizes):
            self.fail(found["batch_sizes"], "'batch_sizes' must be a list of numbers above 0")
        if isinstance(floor, bool) or not isinstance(floor, (int, float)) or not 0 < floor < 1e6:
            self.fail(found["floor"], f"'floor' must be a number above 0, not {floor!r}")
        reason = self.reason(found["reason"], "an entry")
        return Floor(str(self.value(found["cases"])), tuple(sizes), float(floor), reason)
