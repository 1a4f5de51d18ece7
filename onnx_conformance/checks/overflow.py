"""The check overflow: the first tensor that leaves float16's range inside the network.

An infinity inside a network may not reach its outputs: a clip or a sigmoid turns it into a number,
though not native's. A provider that computes a float32 file in half precision does not show its
tensors; there the result says what would overflow, and the error budget judges the outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from onnx_conformance.catalog.providers import PROVIDERS
from onnx_conformance.checks.registry import register_check
from onnx_conformance.core.onnx_file import answering_nodes, load_model
from onnx_conformance.core.results import CheckResult, failed, passed
from onnx_conformance.core.spec import DerivedCase
from onnx_conformance.core.tolerances import FLOAT32
from onnx_conformance.core.traces import Traced
from onnx_conformance.inputs.families import chosen, cut
from onnx_conformance.session.subject import Subject

FLOAT16 = "float16"
LARGEST = float(np.finfo(np.float16).max)
RECIPES = ("large_normal", "image")  # of the pinned ones, those whose values are largest
SAMPLES = 2
HALF = DerivedCase("simple_net", "torch_torchscript", 14, "cpu", variant="fp16", precision=FLOAT16)


@dataclass(frozen=True)
class _Made:
    """A tensor with the node that makes it, and whether what goes in is finite."""

    node: str
    record: Traced
    inputs_finite: bool

    @property
    def overflows(self) -> bool:
        return bool(self.record["nonfinite"]) and self.inputs_finite

    @property
    def exceeds_float16(self) -> bool:
        """Whether it would overflow in float16."""
        return self.record["dtype"] == FLOAT32 and self.size > LARGEST

    @property
    def size(self) -> float:
        return max(abs(self.record["low"]), abs(self.record["high"]))


@register_check(control="half_overflows", input_sets=("pinned",), case=HALF, precisions=(FLOAT16,))
def check_overflow(subject: Subject) -> CheckResult:
    """No tensor of the file leaves float16's range on ordinary inputs."""
    made = [
        one
        for inputs in chosen(RECIPES, subject.model, subject.seed)
        for one in _tensors(subject, subject.ranges(cut(inputs, 0, SAMPLES)))
    ]
    spoilt = next((one for one in made if one.overflows), None)
    if spoilt is not None:
        lost, dtype = spoilt.record["nonfinite"], spoilt.record["dtype"]
        reason = f"{spoilt.node} overflows {dtype}: {lost} elements of its output are not finite"
        return failed("overflow", f"{reason}, though its inputs are")
    half = [one for one in made if one.record["dtype"] == FLOAT16]
    if not half and PROVIDERS[subject.case.provider].precision == FLOAT16:
        return _of_provider(subject, made)
    if not half:
        return failed(
            "overflow",
            "no tensor of the file is in float16, so float16's budget would be too wide; judge it "
            "as float32 (without --precision float16)",
        )
    largest = max(half, key=lambda one: one.size)
    share = largest.size / LARGEST
    reason = f"the largest number is {largest.size:.4g} at {largest.node}, {share:.2%} of float16's"
    statistics = {"largest": largest.size, "node": largest.node}
    return passed("overflow", reason, compared=len(half), statistics=statistics)


def _of_provider(subject: Subject, made: list[_Made]) -> CheckResult:
    provider, outside = subject.case.provider, [one for one in made if one.exceeds_float16]
    reason = f"all {len(made)} tensors stay within float16's range"
    if outside:
        reason = (
            f"{len(outside)} of {len(made)} tensors leave float16's range, the first at "
            f"{outside[0].node} ({outside[0].size:.4g}); right only where {provider} keeps them in "
            "float32, which the error budget judges"
        )
    statistics = {"beyond": len(outside), "node": outside[0].node if outside else ""}
    return passed("overflow", reason, compared=len(made), statistics=statistics)


def _tensors(subject: Subject, traced: dict[str, Traced]) -> Iterator[_Made]:
    """The tensors that lead to an answer, in the order in which they are made.

    What nobody reads is in no precision of the file's.
    """
    model = load_model(subject.artifact.path)
    answering = {name for node in answering_nodes(model) for name in node.output}
    for node in model.graph.node:
        if answering.isdisjoint(node.output):
            continue
        known = [traced[name] for name in node.input if name in traced]
        finite = not any(record["nonfinite"] for record in known)
        for output in node.output:
            if output in traced:
                yield _Made(f"{node.op_type} '{node.name or output}'", traced[output], finite)
