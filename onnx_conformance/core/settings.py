"""The settings of a run, as one frozen record."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from onnx_conformance.core.limits import Limits, shipped_limits
from onnx_conformance.core.spec import Case
from onnx_conformance.core.tolerances import shipped_approximation

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
    """Options that shape results or resources; pytest's options become one of these.

    Args:
        approximation: how far runtimes may be off in functions that they approximate.
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
    approximation: dict[str, float] = field(default_factory=shipped_approximation)
    limits: Limits = field(default_factory=shipped_limits)
    custom_op_libraries: tuple[str, ...] = ()
    edge_cases: EdgeCases = "report"


def level_of(case: Case, settings: Settings) -> str:
    """What ONNX Runtime calls the graph optimization level of the case's sessions."""
    return LEVELS[case.graph_level or settings.graph_level]


Localizing = Literal["auto", "all", "off"]
