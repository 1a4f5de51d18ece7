"""The candidate of every gated case takes twice its time."""

from functools import partial

from onnx_conformance.perf.gate import gate

gate.Gate = partial(
    gate.Gate,
    worker="tests.meta.slowed:Slowed",
    forms={gate.BASELINE: "plain", gate.CANDIDATE: "slowed-2.0"},
)
