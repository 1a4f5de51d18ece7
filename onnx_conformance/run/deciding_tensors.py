"""The floating tensors that decide whole numbers and truth values, compared with native's.

An argmax shows nothing of an error that turns no decision. What it is taken of does: the last
floating tensors before an output of whole numbers are computed from the file's own nodes and
compared with the native tensors that they resemble.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import onnx

from onnx_conformance.core.arrays import Array
from onnx_conformance.core.artifact_graph import ArtifactGraph, ArtifactNode
from onnx_conformance.core.compute_modes import ULP
from onnx_conformance.core.tolerances import Rule
from onnx_conformance.core.traces import TINY, relative_errors, rms
from onnx_conformance.inputs.batch_layout import file_layout
from onnx_conformance.inputs.recipes import Inputs
from onnx_conformance.run.native_traces import NativeTrace, layouts, native_trace, scratch
from onnx_conformance.run.subject import DecidingTensor, Subject

if TYPE_CHECKING:
    from onnx_conformance.run.run_workers import RunWorkers

# What gives floating numbers that are decisions themselves.
STEP_OPERATORS = ("Round", "Floor", "Ceil", "Sign", "Identity", "Cast")
# Native operators, in any framework's spelling, whose results are decisions: a tensor that follows
# from them may turn in single elements by rounding. Asked of native, which no file can change.
DECISIONS = {
    "round", "floor", "ceil", "sign", "argmax", "argmin", "topk", "topkv2", "sort", "argsort",
    "nonzero", "equal", "eq", "ne", "greater", "gt", "greaterequal", "greaterorequal", "ge",
    "less", "lt", "lessequal", "lessorequal", "le", "mod", "remainder", "floormod", "floordiv",
    "bucketize", "searchsorted", "hardmax", "if", "loop", "scan", "nonmaxsuppression", "unique",
    "where", "select", "selectv2", "maskedfill", "quantizelinear", "dynamicquantizelinear",
}  # fmt: skip
FLOATS = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.UNDEFINED,  # shape inference does not know: the trace tells
)


def deciding_values(
    workers: RunWorkers, subject: Subject, inputs: Inputs, rule: Rule
) -> list[DecidingTensor]:
    """Each floating tensor of the file that decides an output, and the nearest of native's.

    Of a model of floating outputs alone, the outputs themselves. Those that resemble nothing of
    native's (within ``near`` of its size) are left out, as are the inputs.

    Args:
        rule: figures ``near``, ``share`` and ``floor_ulp``.

    Raises:
        StageFailure: native or the file cannot be traced.
    """
    graph = ArtifactGraph(subject.artifact.path)
    wanted = list(dict.fromkeys(_frontier(graph)))
    if not wanted:
        return []
    native = native_trace(workers, subject.model, inputs)
    with scratch() as folder:
        call = file_layout(subject.model, subject.artifact.facts).calls(inputs)[0]
        traced = workers.artifact_trace(subject.case, subject.artifact.path, call, wanted, folder)
        arrays = {
            name: np.load(folder / record["file"])
            for name, record in traced.items()
            if record["dtype"].startswith("float")
        }
    found = (_nearest(native, name, graph, array, rule) for name, array in arrays.items())
    return [one for one in found if one is not None]


def _frontier(graph: ArtifactGraph) -> Iterator[str]:
    """The last floating tensors on the way to outputs that are not floating."""
    types = _types(graph.model)
    whole = [name for name in graph.outputs if types.get(name, 0) not in FLOATS]
    for name in whole:
        yield from _before(graph, graph.producer.get(name), types, set())
    if not whole:
        yield from (name for name in graph.outputs if name in graph.producer)


def _before(
    graph: ArtifactGraph, node: ArtifactNode | None, types: dict[str, int], seen: set[int]
) -> Iterator[str]:
    if node is None or node.index in seen:
        return
    seen.add(node.index)
    for name in node.data:
        producer = graph.producer.get(name)
        if producer is None:
            continue  # an input of the model
        if types.get(name, 0) in FLOATS and producer.operator not in STEP_OPERATORS:
            yield name
        else:
            yield from _before(graph, producer, types, seen)


def _types(model: onnx.ModelProto) -> dict[str, int]:
    try:
        inferred = onnx.shape_inference.infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, ValueError):
        inferred = model.graph
    known = [*inferred.value_info, *inferred.input, *inferred.output]
    return {value.name: value.type.tensor_type.elem_type for value in known}


def _holds_decisions(native: NativeTrace, place: int) -> bool:
    """Whether a native tensor follows from decisions."""
    waiting, seen = [place], {place}
    while waiting:
        record = native.records[waiting.pop()]
        if record["operator"].lower().replace("_", "") in DECISIONS:
            return True
        new = [source for source in record["inputs"] if source not in seen]
        seen.update(new)
        waiting += new
    return False


def _nearest(
    native: NativeTrace, name: str, graph: ArtifactGraph, array: Array, rule: Rule
) -> DecidingTensor | None:
    """The native tensor to which most elements are closest.

    All elements count; of a native tensor that holds decisions only most.
    """
    best: DecidingTensor | None = None
    usual = np.inf
    size, floor = rms(array[np.isfinite(array)]), rule["floor_ulp"] * ULP
    for place in native.by_size.get(array.size, []) if array.size else ():
        record = native.records[place]
        if record["dtype"][:5] != "float" or abs(record["rms"] - size) > rule["near"] * size:
            continue
        for wanted, _ in layouts(native.array(place), array.shape):
            error = _usual_error(wanted, array, rule["share"])
            if error > rule["near"] or error >= usual:
                continue
            usual, node = error, graph.producer[name]
            measured = [(error, record["noise_rms"] + floor)]
            if not _holds_decisions(native, place):
                most = relative_errors(wanted, array)[1]
                measured.append((most, record["noise_max"] + floor))
            worst, noise_floor = max(measured, key=lambda pair: pair[0] / pair[1])
            best = DecidingTensor(
                name, f"{node.operator} '{node.name}'", record["operator"], worst, noise_floor,
                array,
            )  # fmt: skip
    return best


def _usual_error(wanted: Array, got: Array, share: float) -> float:
    """The quantile ``share`` of the elements' absolute errors, relative to the rms of ``wanted``.

    A few elements may be decisions, which rounding turns; an error of the function is in many.
    """
    finite = np.isfinite(wanted) & np.isfinite(got)
    if not finite.any():
        return float("inf")
    exact, found = np.asarray(wanted[finite], np.float64), np.asarray(got[finite], np.float64)
    error = float(np.quantile(np.abs(found - exact), share))
    return error / max(rms(exact), TINY)
