"""Minimum speed-ups of ``--require-speedup``, and whether a row reaches its own."""

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
_KEYS = ("cases", "batch_sizes", "minimum_speedup", "reason")


@dataclass(frozen=True)
class MinimumSpeedup:
    """One entry: what the cases that fit it must reach at these batch sizes."""

    cases: str
    batch_sizes: tuple[int, ...]
    minimum_speedup: float
    reason: str

    def fits(self, case: str, batch: int) -> bool:
        """Whether it is about this case's id and batch size."""
        return fnmatchcase(case, self.cases) and batch in self.batch_sizes

    def problem(self, speedup: Ratio) -> str | None:
        """Why a speed-up is too small, or None. What an interval leaves open is not red."""
        if speedup.high >= self.minimum_speedup:
            return None
        return (
            f"{speedup} times native eager's speed, at least {self.minimum_speedup:g} is required "
            f"({self.reason})"
        )


def load_minimum_speedups(path: Path) -> list[MinimumSpeedup]:
    """Read and validate a file of minimum speed-ups.

    Raises:
        UsageError: naming the file, the line and what is wrong there.
    """
    root, reader = compose(path), _Reader(path)
    if not isinstance(root, yaml.SequenceNode) or not root.value:
        raise UsageError(f"{path}: the file must be a list of minimum speed-ups")
    return [reader.minimum_speedup(node) for node in root.value]


def minimum_speedup_of(
    minimum_speedups: list[MinimumSpeedup], case: str, batch: int
) -> MinimumSpeedup:
    """The first entry that fits.

    Raises:
        UsageError: none does.
    """
    for minimum_speedup in minimum_speedups:
        if minimum_speedup.fits(case, batch):
            return minimum_speedup
    raise UsageError(
        f"--require-speedup: no entry fits {case} at batch {batch}; add one, or leave the case out"
    )


class _Reader(NodeReader):
    """Reads the entries of a file of minimum speed-ups."""

    def minimum_speedup(self, node: Any) -> MinimumSpeedup:
        found = self.mapping(node, "an entry")
        self.exactly(node, found, _KEYS, "an entry")
        sizes, minimum_speedup = (
            self.value(found["batch_sizes"]),
            self.value(found["minimum_speedup"]),
        )
        if not isinstance(sizes, list) or not all(type(n) is int and n > 0 for n in sizes):
            self.fail(found["batch_sizes"], "'batch_sizes' must be a list of numbers above 0")
        if (
            isinstance(minimum_speedup, bool)
            or not isinstance(minimum_speedup, (int, float))
            or not 0 < minimum_speedup < 1e6
        ):
            self.fail(
                found["minimum_speedup"],
                f"'minimum_speedup' must be a number above 0, not {minimum_speedup!r}",
            )
        reason = self.reason(found["reason"], "an entry")
        return MinimumSpeedup(
            str(self.value(found["cases"])), tuple(sizes), float(minimum_speedup), reason
        )
