"""Native's traces, kept for the next artifact of a model, and the samples they are made of."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from onnx_conformance.checks.verdict import limits_for
from onnx_conformance.core.budget import Reference
from onnx_conformance.core.comparison import Outputs, structure_problem
from onnx_conformance.core.errors import ConformanceError
from onnx_conformance.core.judgement import Judgement, judge_outputs
from onnx_conformance.diagnose.alignment import NativeTrace
from onnx_conformance.inputs.families import cut
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.inputs.sample_arrays import Layout, file_layout
from onnx_conformance.session.conformance_session import ConformanceSession
from onnx_conformance.session.live_subject import LiveSubject

KEPT = 3  # native traces: an image model's needs some hundred megabytes on disk
SAMPLES = 2  # more make a trace larger and no clearer

_Kept = OrderedDict[tuple[str, str], tuple[NativeTrace, tempfile.TemporaryDirectory[str]]]
_KEPT: WeakKeyDictionary[ConformanceSession, _Kept] = WeakKeyDictionary()


def native_trace(subject: LiveSubject, inputs: Inputs) -> NativeTrace:
    """Native's tensors on inputs, in float64; those of the last inputs are kept."""
    bench = conformance_session_of(subject)
    kept = _KEPT.setdefault(bench, OrderedDict())
    key = (subject.model.name, inputs.digest)
    if key not in kept:
        folder = tempfile.TemporaryDirectory(prefix="conformance-trace-")
        try:
            records: Any = bench.native_trace(subject.model, inputs, Path(folder.name))
        except ConformanceError:  # a worker that traces nothing
            folder.cleanup()
            raise
        kept[key] = NativeTrace(records, Path(folder.name)), folder
        while len(kept) > KEPT:
            kept.popitem(last=False)[1][1].cleanup()
    kept.move_to_end(key)
    return kept[key][0]


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the artifact's tensors."""
    with tempfile.TemporaryDirectory(prefix="conformance-trace-") as folder:
        yield Path(folder)


def layout_in(subject: LiveSubject) -> Layout:
    """How the subject's file takes samples: the file's names there, the spec's here."""
    return file_layout(subject.model, subject.artifact.facts)


def failing_samples(subject: LiveSubject, inputs: Inputs) -> Inputs:
    """One sample of the inputs that fails alone, or else a few that fail together.

    A fault of the batch axis needs more than one sample to show.
    """
    batch = min(len(array) for array in inputs.values())
    if batch <= 1:
        return inputs
    inputs = layout_in(subject).first(inputs)
    batch = min(len(array) for array in inputs.values())
    answer = subject.run(inputs)
    if answer.outputs is None:
        return inputs
    order = _worst_first(subject, inputs, answer.outputs, batch)
    tries = [cut(inputs, place, place + 1) for place in order[:1]]
    if batch > SAMPLES:
        tries.append(_chosen(inputs, sorted(order[:SAMPLES])))
    for chosen in tries:
        if wrong_outputs(subject, chosen, subject.run(chosen).outputs):
            return chosen
    return inputs


def _chosen(inputs: Inputs, places: list[int]) -> Inputs:
    return Inputs((name, np.ascontiguousarray(array[places])) for name, array in inputs.items())


def _worst_first(subject: LiveSubject, inputs: Inputs, got: Outputs, batch: int) -> list[int]:
    reference = subject.reference(inputs)
    if structure_problem(reference.native, got):
        return list(range(batch))

    def severity(place: int) -> float:
        own = {name: array[place : place + 1] for name, array in got.items()}
        found = _differing(subject, reference.rows(place, place + 1), own)
        return max((judged.severity for _, judged in found), default=0.0)

    return sorted(range(batch), key=severity, reverse=True)


def wrong_outputs(subject: LiveSubject, inputs: Inputs, got: Outputs | None) -> list[str]:
    """The spec's outputs that are over the error budget, or of another shape or type."""
    reference = subject.reference(inputs)
    if got is None or structure_problem(reference.native, got):
        return [spec.name for spec in subject.model.judged]
    return [name for name, judged in _differing(subject, reference, got) if not judged.right]


def _differing(
    subject: LiveSubject, reference: Reference, got: Outputs
) -> Iterator[tuple[str, Judgement]]:
    """The judgement of each output that is not native's to the bit."""
    limits = limits_for(subject)
    for spec in subject.model.judged:
        native, answer = reference.native[spec.name], got[spec.name]
        if answer.size and not np.array_equal(native, answer, equal_nan=True):
            yield spec.name, judge_outputs(reference, got, [spec], limits)


def conformance_session_of(subject: LiveSubject) -> ConformanceSession:
    """Where the subject's workers are reached."""
    return subject.conformance_session
