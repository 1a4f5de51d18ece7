"""The candidate of every gated case takes twice its time."""

from functools import partial

from onnx_conformance.perf.gate import gate
from onnx_conformance.perf.options import BASELINE

gate.Gate = partial(
    gate.Gate,
    worker="tests.meta.slowed:Slowed",
    forms={BASELINE: "plain", gate.CANDIDATE: "slowed-2.0"},
)
