"""Limits on what an external artifact may use (MB, seconds, nodes), from ``limits.yaml``."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path

from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.yaml_reader import read_yaml

FILE = Path(__file__).with_name("limits.yaml")
MB = 2**20


@dataclass(frozen=True)
class Limits:
    """The most of each; ``_mb`` in MiB. What they are for stands in ``limits.yaml``."""

    file_mb: float
    data_mb: float
    nodes: float
    depth: float
    elements: float
    memory_mb: float
    memory_per_mb: float
    seconds: float

    def memory(self, files: tuple[Path, ...]) -> int:
        """Bytes that a worker may take for one call on an artifact of these files."""
        held = sum(file.stat().st_size for file in files)
        return int(self.memory_mb * MB + self.memory_per_mb * held)

    def as_dict(self) -> dict[str, float]:
        """As they travel to a worker."""
        return asdict(self)

    def changed(self, asked: tuple[str, ...]) -> Limits:
        """With ``NAME=NUMBER`` of ``--artifact-limit``.

        Raises:
            UsageError: no such limit, or no number above 0.
        """
        known = {field.name for field in fields(self)}
        figures: dict[str, float] = {}
        for text in asked:
            name, _, figure = text.partition("=")
            if name not in known:
                raise UsageError(
                    f"--artifact-limit {text}: write NAME=NUMBER, where NAME is one of "
                    f"{', '.join(sorted(known))}"
                )
            figures[name] = _positive(figure, f"--artifact-limit {text}")
        return replace(self, **figures)


def _positive(figure: object, where: str) -> float:
    try:
        number = float(str(figure))
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise UsageError(f"{where}: must be a number above 0")
    return number


def load_limits(path: Path = FILE) -> Limits:
    """Read the figures; each has its reason.

    Raises:
        UsageError: a figure or a reason is missing, or there is one that nothing reads.
    """
    figures = {}
    for name, node in read_yaml(path).keys(field.name for field in fields(Limits)).items():
        parts = node.keys(("most", "reason"))
        parts["reason"].reason()
        figures[name] = parts["most"].positive()
    return Limits(**figures)


@cache
def shipped_limits() -> Limits:
    """Those of ``limits.yaml``."""
    return load_limits()
