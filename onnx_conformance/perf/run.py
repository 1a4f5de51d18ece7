"""A run with what its options say of timing and of the gate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnx_conformance.perf.gate.gate_options import GateOptions
from onnx_conformance.perf.latency.options import Timing
from onnx_conformance.session.run import Run


@dataclass(frozen=True)
class PerfRun(Run):
    """What the conformance checks need to know, and what timings and the gate need on top.

    Args:
        gate: None where no baseline was named.
        gate_json, gate_html: where the gate's results go.
    """

    timing: Timing
    gate: GateOptions | None
    gate_json: Path
    gate_html: Path
