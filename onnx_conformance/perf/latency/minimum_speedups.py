"""Minimum speed-ups of ``--require-speedup``, and whether a row reaches its own."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.yaml_reader import Node, read_yaml
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
    file = read_yaml(path)
    entries = file.entries()
    if not entries:
        file.fail("the file must be a list of minimum speed-ups, and has none")
    return [_entry(entry) for entry in entries]


def _entry(entry: Node) -> MinimumSpeedup:
    found = entry.keys(_KEYS)
    sizes = found["batch_sizes"].value
    if not isinstance(sizes, list) or not all(type(n) is int and n > 0 for n in sizes):
        found["batch_sizes"].fail("'batch_sizes' must be a list of numbers above 0, such as [1, 4]")
    return MinimumSpeedup(
        cases=found["cases"].text(),
        batch_sizes=tuple(sizes),
        minimum_speedup=found["minimum_speedup"].positive(),
        reason=found["reason"].reason(),
    )


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
        f"--require-speedup: no entry matches {case} at batch {batch}; add one, or leave the case "
        "out"
    )
