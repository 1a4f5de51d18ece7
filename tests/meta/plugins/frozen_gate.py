"""The workers of every gated case have a clock that stands still."""

from functools import partial

from onnx_conformance.perf.gate import gate
from onnx_conformance.perf.options import BASELINE

gate.Gate = partial(
    gate.Gate,
    worker="tests.meta.frozen:Frozen",
    forms={BASELINE: "frozen-0.001", gate.CANDIDATE: "frozen-0.001"},
)
