"""The settings of a run, and the limits on what an external artifact may use: frozen records."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal

from onnx_conformance.core.case import Case
from onnx_conformance.core.errors import UsageError
from onnx_conformance.core.tolerances import shipped
from onnx_conformance.core.yaml_reader import read_figures

FILE = Path(__file__).with_name("limits.yaml")
MB = 2**20


@dataclass(frozen=True)
class Limits:
    """The limits; ``_mb`` in MiB. ``limits.yaml`` says what each is for."""

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
    return Limits(**read_figures(path, (one.name for one in fields(Limits)), "most"))


@cache
def shipped_limits() -> Limits:
    """The limits of ``limits.yaml``."""
    return load_limits()


# What --graph-level calls ONNX Runtime's graph optimization levels, and what it calls them itself.
LEVELS = {
    "disabled": "disable_all",
    "basic": "enable_basic",
    "extended": "enable_extended",
    "layout": "enable_layout",
    "all": "enable_all",
}

EdgeCases = Literal["report", "fail"]


@dataclass(frozen=True)
class Settings:
    """Options that affect results or resources, made from pytest's options.

    Args:
        approximation: how far runtimes may be off in functions that they approximate.
        padding: when padded places are left open
            (:func:`onnx_conformance.inputs.padding.open_by_error`).
        limit: seconds that one call into a worker may last.
        threads: threads of each worker.
        graph_level: how far ONNX Runtime optimises graphs, a key of LEVELS.
        in_process: host workers in pytest's own process, for a debugger.
        native_in_process: host the native workers so, for a model that lives there.
        ahead: compute what the selected cases need in the background: of all of them at the start,
            or, in a worker of pytest-xdist, which is given some of them, of each when it begins.
        examples: recipes that Hypothesis draws a case; None for as many as the profile in force
            says.
        first_finding: a case that is red skips its remaining checks, so nothing but the native
            side is computed ahead.
        calibration_data: a folder of inputs to calibrate int8 variants on; empty for ours.
        evaluation_data: a folder of samples to judge int8 on; empty for ours.
        cpu_fallback: whether sessions may leave nodes to the CPU provider.
        expect_dynamic: a given file that fixes an axis which the model leaves open is red.
        min_placement: the least share of the nodes that a case's provider must run, 0 to 1.
        limits: on what an external artifact may use.
        edge_cases: ``report``: failures on edge cases are reported and decide nothing; ``fail``:
            they are red.
        custom_op_libraries: files with operators for ONNX Runtime, as the user named them.
    """

    seed: int = 0
    weights: str = "calibrated"
    cache_dir: Path = Path(".conformance/cache")
    limit: float = 300.0
    threads: int = 1
    graph_level: str = "all"
    in_process: bool = False
    native_in_process: bool = False
    ahead: bool = True
    examples: int | None = None
    first_finding: bool = False
    cpu_fallback: bool = True
    min_placement: float = 0.0
    expect_dynamic: bool = False
    calibration_data: str = ""
    evaluation_data: str = ""
    approximation: dict[str, float] = field(default_factory=partial(shipped, "approximation"))
    padding: dict[str, float] = field(default_factory=partial(shipped, "padding"))
    limits: Limits = field(default_factory=shipped_limits)
    custom_op_libraries: tuple[str, ...] = ()
    edge_cases: EdgeCases = "report"


def level_of(case: Case, settings: Settings) -> str:
    """What ONNX Runtime calls the graph optimization level of the case's sessions."""
    return LEVELS[case.graph_level or settings.graph_level]


Localizing = Literal["auto", "all", "off"]
