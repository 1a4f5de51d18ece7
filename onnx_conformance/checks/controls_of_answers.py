"""Negative controls that change what a worker reported, and those of half precision and int8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from onnx_conformance.checks.controls import (
    AlteredSubject,
    changed,
    register_change,
    register_control,
    register_edit,
)
from onnx_conformance.core.arrays import Outputs
from onnx_conformance.core.budget import Reference
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.subject import Answer, Subject


@register_control(placement="CPUExecutionProvider ran no node; what ran: SomeOther")
def provider_ran_nothing(subject: Subject, folder: Path) -> Subject:
    """The session fell back in silence: every node on another provider."""
    placement = {"SomeOtherExecutionProvider": {"Gemm": 2}}
    return AlteredSubject(subject, session=replace(subject.session, placement=placement))


@register_control(placement="the session loaded files of digest 000000")
def another_file_loaded(subject: Subject, folder: Path) -> Subject:
    """The session loaded a file that is not the artifact."""
    return AlteredSubject(subject, session=replace(subject.session, sha256=("0" * 64,)))


@register_control(canary="the outputs do not depend on the file")
def another_file_answers(subject: Subject, folder: Path) -> Subject:
    """Whatever file it is given, the session says that it loaded it, and answers from the first."""

    def deaf(other: Subject) -> Subject:
        session = replace(subject.session, sha256=other.artifact.sha256)
        return AlteredSubject(other, session=session, run=subject.run, again=deaf)

    return deaf(subject)


@register_control(liveness="a model that barely depends on its input proves nothing")
def constant_output(subject: Subject, folder: Path) -> Subject:
    """The native model says the same to every input."""

    def reference(inputs: Inputs) -> Reference:
        right = subject.reference(inputs)

        def constant(outputs: Outputs) -> Outputs:
            return {name: np.full_like(array, 0.25) for name, array in outputs.items()}

        replicas = tuple(constant(replica) for replica in right.replicas)
        return Reference(constant(right.oracle), constant(right.native), replicas)

    return AlteredSubject(subject, reference=reference)


@register_change(allclose="is not close to native torch")
def scaled_by_a_tenth(outputs: Outputs, inputs: Inputs, repeat: int) -> Outputs:
    """Outputs a tenth too large."""
    return {n: a * np.float32(1.1) for n, a in outputs.items()}


@register_change(batch_invariance="at batch 2, sample")
def leaks_between_samples(outputs: Outputs, inputs: Inputs, repeat: int) -> Outputs:
    """A thousandth of its batch's mean is added to each sample."""
    return {
        name: a + np.float32(1e-3) * (a.mean(axis=0, keepdims=True) - a[:1])
        for name, a in outputs.items()
    }


@register_control(unoptimised="with ONNX Runtime's graph optimisation off")
def right_after_optimisation(subject: Subject, folder: Path) -> Subject:
    """What is written is a thousandth too large, which a fusion fixes."""

    def unoptimised(inputs: Inputs) -> Answer:
        outputs = subject.run(inputs).outputs
        assert outputs is not None
        return Answer({name: a * np.float32(1.001) for name, a in outputs.items()})

    return AlteredSubject(subject, unoptimised=unoptimised)


@register_change(sizes="differs from native torch at 1 of 9 inputs: batch=17")
def wrong_at_batch_17(outputs: Outputs, inputs: Inputs, repeat: int) -> Outputs:
    """Right at every batch but one, at which each output is a thousandth too large."""
    return {name: a * np.float32(1.001) if len(a) == 17 else a for name, a in outputs.items()}


@register_change(rows="differs from native torch at")
def wrong_in_a_narrow_band(outputs: Outputs, inputs: Inputs, repeat: int) -> Outputs:
    """Samples whose first number lies between 0.9 and 0.91 come out a hundred-thousandth off."""
    first = next(iter(inputs.values())).reshape(inputs.samples, -1)[:, :1]
    band = (first > 0.9) & (first < 0.91)
    return {
        name: np.where(band.reshape(-1, *[1] * (a.ndim - 1)), a * np.float32(1.00001), a)
        for name, a in outputs.items()
    }


@register_change(determinism="two runs differ in")
def not_repeatable(outputs: Outputs, inputs: Inputs, repeat: int) -> Outputs:
    """The second run differs in the last bit."""
    return {
        name: np.nextafter(a, np.float32(np.inf)) if repeat else a for name, a in outputs.items()
    }


@register_control(determinism="the second of two runs is wrong")
def spoilt_by_its_first_run(subject: Subject, folder: Path) -> Subject:
    """A provider that promises no determinism, whose second answer is a tenth too large."""
    wrong = changed(
        subject,
        lambda outputs, inputs, repeat: {
            name: a * np.float32(1.1) if repeat else a for name, a in outputs.items()
        },
    )
    wrong.case = replace(subject.case, provider="cuda")
    return wrong


@register_change(top5="of sample 0 is class", photographs="differs from native torch")
def classes_swapped(outputs: Outputs, inputs: Inputs, repeat: int) -> Outputs:
    """The first and second class have changed places."""
    return {name: a[:, [1, 0, *range(2, a.shape[1])]] for name, a in outputs.items()}


@register_change(nonfinite="differs in NaN")
def nan_replaced(outputs: Outputs, inputs: Inputs, repeat: int) -> Outputs:
    """NaN and infinity come out as ordinary numbers."""
    return {n: np.nan_to_num(a) for n, a in outputs.items()}


@register_control(empty_batch="refused the inputs: InvalidArgument: empty batch")
def refuses_empty(subject: Subject, folder: Path) -> Subject:
    """A batch of no samples is an error."""

    def run(inputs: Inputs, repeat: int) -> Answer:
        if any(len(array) == 0 for array in inputs.values()):
            return Answer(None, "InvalidArgument: empty batch")
        return subject.run(inputs, repeat)

    return AlteredSubject(subject, run=run)


@register_control(refusal="the session answered with numbers")
def accepts_anything(subject: Subject, folder: Path) -> Subject:
    """Malformed inputs get numbers, too, and no error."""

    def run(inputs: Inputs, repeat: int) -> Answer:
        arrays = [np.zeros(spec.concrete(1), spec.held) for spec in subject.model.outputs]
        names = [spec.name for spec in subject.model.outputs]
        return Answer(dict(zip(names, arrays, strict=True)))

    return AlteredSubject(subject, run=run)


# -- half precision and int8 -----------------------------------------------------------------------

SHIFT = 32  # of the 256 levels
LARGE = np.float32(16384)
SATURATING = 0.02  # of the scale that was calibrated


@register_change(composition="alone and among 10 samples it differs")
def follows_the_batch(outputs: Outputs, inputs: Inputs, repeat: int) -> Outputs:
    """Each answer leans to the mean of its batch."""
    return {name: array + array.mean(axis=0) for name, array in outputs.items()}


@register_edit(overflow="overflows float16")
def half_overflows(model: onnx.ModelProto) -> None:
    """A layer's weights are large and the next one's small: without limits the same function."""
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        first = model.graph.node[1].input
        scaled = array * LARGE if tensor.name in first else array / LARGE
        tensor.CopyFrom(numpy_helper.from_array(scaled.astype(array.dtype), tensor.name))


@register_edit(sqnr="dB of signal to quantisation noise")
def zero_points_wrong(model: onnx.ModelProto) -> None:
    """The zero points of activations are off, where they are quantised and not where restored."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            wrong = f"{node.output[0]}_wrong_zero"
            point = numpy_helper.to_array(tensors[node.input[2]])
            limits = np.iinfo(point.dtype)
            shifted = np.clip(point.astype(np.int64) + SHIFT, limits.min, limits.max)
            shifted = shifted.astype(point.dtype)
            model.graph.initializer.append(numpy_helper.from_array(shifted, wrong))
            node.input[2] = wrong


@register_edit(task="accuracy lost")
def layer_saturated(model: onnx.ModelProto) -> None:
    """The middle layer's activations were calibrated on too small a range, on both sides alike."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    scale = tensors[nodes[len(nodes) // 2].input[1]]
    smaller = numpy_helper.to_array(scale) * np.float32(SATURATING)
    scale.CopyFrom(numpy_helper.from_array(smaller, scale.name))
