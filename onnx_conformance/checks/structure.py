"""Checks of the file: checker, interface, batch_axis, opset, inference_mode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from onnx_conformance.catalog.exporters import EXTERNAL
from onnx_conformance.checks.registry import register_check
from onnx_conformance.core.bfloat16 import held_in
from onnx_conformance.core.case import ExternalCase
from onnx_conformance.core.documents import TensorFacts
from onnx_conformance.core.graph_weights import constant_nodes
from onnx_conformance.core.onnx_file import (
    complaint_beside_own,
    complaint_of,
    every_node,
    load_model,
)
from onnx_conformance.core.plain_outputs import keys_of
from onnx_conformance.core.results import CheckResult, failed, passed
from onnx_conformance.core.spec import TensorSpec
from onnx_conformance.inputs.batch_layout import is_half_of
from onnx_conformance.run.external_artifacts import chosen_by_exporter
from onnx_conformance.run.subject import Subject

RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform")
    + ("RandomUniformLike",)
)

# What ONNX Runtime takes and its tools leave in files, by onnx.checker's words.
HARMLESS = {
    "InferenceError]": "the types or shapes that the file's value_info says of values inside"
}
HARMLESS_OF_HALF = {  # its converter to float16 appends nodes before others that they feed
    **HARMLESS,
    "must be topologically sorted": "their order, which topological_sort of "
    "onnxruntime.transformers.onnx_model.OnnxModel mends",
}


@register_check(control="unknown_operator")
def check_checker(subject: Subject) -> CheckResult:
    """``onnx.checker`` in full, which includes strict shape inference.

    What it says of the reference artifact as well was not brought in by what is judged, and an
    external artifact may have what ONNX Runtime's optimiser and its converter to float16 leave in
    files, and ONNX Runtime takes.
    """
    nodes = sum(subject.artifact.facts["nodes"].values())
    complaint = complaint_of(subject.artifact.path)
    if not complaint:
        return passed(f"{nodes} nodes valid, shapes inferred strictly", compared=nodes)
    if complaint == subject.weights.complaint:
        return passed(f"onnx.checker says so of the reference too: {complaint}", compared=nodes)
    if subject.exporter is EXTERNAL:
        rest, own = complaint_beside_own(subject.artifact.path)
        but = [f"{', '.join(own)}, which ONNX has from a later opset on"] if own else []
        harmless = HARMLESS_OF_HALF if subject.case.precision == "float16" else HARMLESS
        but += [why for words, why in harmless.items() if words in complaint]
        if not rest and but:
            valid = (
                f"{nodes} nodes valid but for {' and '.join(but)}: only ONNX Runtime runs this file"
            )
            return passed(valid, compared=nodes)
        complaint = rest or complaint
    return failed(f"{complaint}; export it again", compared=nodes)


@register_check(control="output_renamed")
def check_interface(subject: Subject) -> CheckResult:
    """Count, names, dtypes and sizes of inputs and outputs, and the outputs' order."""
    facts, exporter, notes = subject.artifact.facts, subject.exporter, []
    inputs = _inputs(subject)
    if inputs != facts["inputs"]:
        order = [tensor["name"] for tensor in facts["inputs"]]
        notes.append(f"inputs in the order {order}, which a caller by get_inputs() must know")
    sides: tuple[tuple[str, tuple[TensorSpec, ...], list[TensorFacts], bool], ...] = (
        ("input", subject.model.inputs, inputs, exporter.sets_input_names),
        ("output", subject.model.outputs, facts["outputs"], exporter.sets_output_names),
    )
    compared = 0
    for side, specs, found, promised in sides:
        if len(specs) != len(found):
            names = [tensor["name"] for tensor in found]
            reason = f"{len(found)} {side}s {names}, expected {len(specs)}"
            told = _of_maps(names) or f": {[spec.name for spec in specs]}; give both the same"
            return failed(reason + told)
        reordered = _reordered([spec.name for spec in specs], [t["name"] for t in found])
        if reordered and side == "output":
            return failed(reordered, compared=compared)
        for spec, tensor in zip(specs, found, strict=True):
            named = promised or not _may_be_named(subject, spec, tensor)
            expected = _expected(subject, spec, tensor) if side == "output" else spec
            if _in_half(subject, spec, tensor):
                expected = replace(expected, dtype=tensor["dtype"])
                notes.append(f"{side} '{spec.name}' is float16: callers convert it")
            problem = _tensor_problem(
                expected, tensor, named=named, answered=side == "output", group=subject.model.group
            )
            if problem:
                return failed(f"{side} {problem}", compared=compared)
            if tensor["name"] != spec.name:
                notes.append(f"'{tensor['name']}' is taken as {side} '{spec.name}'")
            compared += 2 + len(spec.shape)
    note = f"; by the exporter's choice: {', '.join(notes)}" if notes else ""
    return passed(f"names, order, dtypes and sizes as specified{note}", compared=compared)


def _reordered(wanted: list[str], names: list[str]) -> str | None:
    """What outputs with the right names in another order mean to a caller."""
    if names == wanted or sorted(names) != sorted(wanted):
        return None
    return (
        f"outputs stand in the order {names}, the model's in {wanted}: run(None, inputs) hands "
        "them out by place, each in another's; put the file's into that order, or let the model "
        "give them in the file's"
    )


def _of_maps(names: list[str]) -> str:
    """What to do about outputs of maps beside a model that answers arrays."""
    maps = [name for name in names if keys_of(name) in names]
    if not maps:
        return ""
    return (
        f"; '{maps[0]}' is a sequence of maps, made by ZipMap: export without ZipMap "
        "(options={'zipmap': False} in skl2onnx, zipmap=False in onnxmltools), or let the model "
        "return a list of dicts too"
    )


def _inputs(subject: Subject) -> list[TensorFacts]:
    """The file's inputs in the spec's order, where the names are the spec's.

    ONNX Runtime takes inputs by name, and exporters sort those of a dict or of a SavedModel.
    """
    found = subject.artifact.facts["inputs"]
    places = {spec.name: place for place, spec in enumerate(subject.model.inputs)}
    if places.keys() != {tensor["name"] for tensor in found}:
        return found
    return sorted(found, key=lambda tensor: places[tensor["name"]])


def _may_be_named(subject: Subject, spec: TensorSpec, tensor: TensorFacts) -> bool:
    """Whether a name that nobody promised is one that an exporter makes up, or as good as ours."""
    if subject.case.exporter != EXTERNAL.name or spec.name in subject.model.unnamed:
        return True  # the route chooses, and is known to
    return chosen_by_exporter(tensor, subject.artifact.facts["producer"], subject.weights.names)


def _expected(subject: Subject, spec: TensorSpec, tensor: TensorFacts) -> TensorSpec:
    """An output's spec, as far as the file is free: what comes out is judged by its values.

    A reference artifact may declare another shape than it answers, and plain callables' numbers
    may have another width.
    """
    shape, dtype = tensor["shape"], tensor["dtype"]
    if shape == subject.weights.declared.get(spec.name, ()):
        spec = replace(spec, shape=tuple(shape or ()))
    same = dtype != "?" and np.dtype(held_in(dtype)).kind == np.dtype(spec.held).kind
    return replace(spec, dtype=dtype) if same and subject.model.loosely_typed else spec


def _in_half(subject: Subject, spec: TensorSpec, tensor: TensorFacts) -> bool:
    """Whether a file that is judged as one in half precision takes or gives its numbers so."""
    external = subject.case.exporter == EXTERNAL.name
    half = subject.case.precision == "float16"
    return external and half and is_half_of(spec, tensor["dtype"])


def _tensor_problem(
    spec: TensorSpec, tensor: TensorFacts, *, named: bool, answered: bool, group: int
) -> str | None:
    """What is wrong with an input or output as the file declares it.

    Args:
        answered: it is an output: a size that the file leaves open is judged where it comes out.
        group: how many samples every call takes, where the model fixes that; 0 for any.
    """
    if named and tensor["name"] != spec.name:
        return (
            f"is named '{tensor['name']}', expected '{spec.name}'; name it so where the file is "
            "made, or give the spec the file's name"
        )
    if tensor["dtype"] == "?":
        return f"'{spec.name}' is a sequence, not a tensor; remove the node that makes it"
    if tensor["dtype"] != spec.dtype:
        return f"'{spec.name}' has dtype {tensor['dtype']}, expected {spec.dtype}"
    shape = tensor["shape"]
    if shape is None and answered:
        return None
    if shape is None or len(shape) != len(spec.shape):
        problem = f"'{spec.name}' has shape {shape}, expected {list(spec.shape)}"
        one_more = shape is not None and 1 in shape and len(shape) == len(spec.shape) + 1
        return problem + "; if that is meant, reshape(-1, 1) what the model answers" * one_more
    for axis, (dim, got) in enumerate(zip(spec.shape, shape, strict=True)):
        if isinstance(got, str) and answered:
            continue
        wanted = group if group and axis == spec.batch_axis and isinstance(got, int) else dim
        if isinstance(wanted, int) and wanted != got:
            told = f"'{spec.name}' has size {got} at axis {axis}, expected {wanted}"
            turned = sorted(map(str, shape[1:])) == sorted(map(str, spec.shape[1:]))
            return told + ("; its axes stand in another order (channels first or last)" * turned)
    return None


@register_check(
    control="batch_axis_frozen", where=lambda model: model.open_batch or bool(model.axes)
)
def check_batch_axis(subject: Subject) -> CheckResult:
    """The batch is symbolic (or static, if that was asked) wherever it stands, and named so.

    Other symbolic axes stay symbolic too. What a given file fixes is told and not red, unless
    dynamic axes are expected of it (``--expect-dynamic``).
    """
    facts, compared, notes = subject.artifact.facts, 0, []
    counts = [len(facts["inputs"]), len(facts["outputs"])]
    if counts != [len(subject.model.inputs), len(subject.model.outputs)]:
        return failed(f"the file has {counts[0]} inputs and {counts[1]} outputs")
    lenient = subject.case.exporter == EXTERNAL.name and not subject.expect_dynamic
    inputs = [spec.name for spec in subject.model.inputs]
    for spec, tensor in zip(
        (*subject.model.inputs, *subject.model.outputs),
        (*_inputs(subject), *facts["outputs"]),
        strict=True,
    ):
        shape = tensor["shape"] or []
        frozen = _frozen_axis(spec, shape)
        if frozen and spec.name in inputs and lenient:
            notes.append(f"'{spec.name}' {frozen[0]}")
        elif frozen and subject.case.options.dynamic_batch and not lenient:
            return failed(f"'{spec.name}' {frozen[0]}{frozen[1]}")
        problem = _batch_problem(subject, spec, shape)
        if problem and lenient:
            notes.append(problem)
        elif problem:
            return failed(problem)
        compared += 1
    reason = "as asked on every input and output"
    if notes:
        reason = f"the file fixes sizes that the model leaves open: {'; '.join(notes)}"
    return passed(reason, compared=compared)


def _batch_problem(subject: Subject, spec: TensorSpec, shape: list[Any]) -> str | None:
    """What is wrong with the batch of one tensor, where it has one that the model leaves open."""
    axis = spec.batch_axis
    if axis is None or not subject.model.open_batch:
        return None
    found = shape[axis] if axis < len(shape) else None
    dynamic = isinstance(found, str)
    if dynamic != subject.case.options.dynamic_batch:
        kind = "symbolic" if subject.case.options.dynamic_batch else "static"
        return f"the batch axis of '{spec.name}' is {found}, not {kind}"
    if dynamic and subject.exporter.sets_batch_axis and found != spec.shape[axis]:
        return f"'{spec.name}' names its batch axis '{found}', not '{spec.shape[axis]}'"
    return None


def _frozen_axis(spec: TensorSpec, shape: list[Any]) -> tuple[str, str] | None:
    """The first symbolic axis beside the batch that the file gives one size, in words."""
    for axis, (wanted, got) in enumerate(zip(spec.shape, shape, strict=False)):
        if axis != spec.batch_axis and isinstance(wanted, str) and not isinstance(got, str):
            return f"has size {got} at axis {axis}", f", which is '{wanted}' and must stay symbolic"
    return None


@register_check(control="opset_relabelled")
def check_opset(subject: Subject) -> CheckResult:
    """The file's opset is the one that was asked for; if none was, one that exists."""
    delivered, asked = subject.artifact.facts["opset"], subject.case.opset
    if asked not in (delivered, None):
        external = isinstance(subject.case, ExternalCase)
        by = " (by --opset, or by the file's name or manifest)" if external else ""
        return failed(f"asked for opset {asked}{by}, delivered {delivered}")
    newest = onnx.defs.onnx_opset_version()
    if "ai.onnx" not in subject.artifact.facts["domains"]:
        return passed("no operator of ONNX's own opsets is imported", compared=1)
    if not 0 < delivered <= newest:
        return failed(f"the file says opset {delivered}; known opsets: 1 to {newest}")
    said = "as asked" if asked is not None else "as the file says (--opset asks for one)"
    return passed(f"opset {delivered} {said}", compared=1)


@register_check(control="training_mode")
def check_inference_mode(subject: Subject) -> CheckResult:
    """No node behaves as in training, and none draws random numbers.

    A BatchNormalization in training mode is arithmetic where no input reaches it: a kernel is
    standardised so. Where native takes statistics from the batch itself, as many nodes may.
    """
    model = load_model(subject.artifact.path, weights=False)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = list(every_node(model))
    training, idle = [], {id(node) for node in constant_nodes(model)}
    for node in nodes:
        if node.domain == "ai.onnx.preview.training":
            return failed(f"node '{node.name}' is a training operator")
        if node.op_type in RANDOM:
            return failed(f"{node.op_type} '{node.name}' draws random numbers")
        if node.op_type == "BatchNormalization" and _attribute(node, "training_mode"):
            training += [] if id(node) in idle else [node.name]
        if node.op_type == "Dropout" and _dropout_trains(node, stored):
            return failed(f"Dropout '{node.name}' is in training mode")
    if not training:
        return passed("no node in training mode", compared=len(nodes))
    expected = subject.weights.batch_statistics
    if len(training) > expected:
        reason = f"BatchNormalization '{training[0]}' is in training mode"
        reason += f" with {len(training) - 1} more" if len(training) > 1 else ""
        reason += (
            f", and native takes statistics from the batch {expected} times" if expected else ""
        )
        return failed(reason)
    return passed(
        f"{len(training)} BatchNormalization nodes use the batch's statistics, as native does",
        compared=len(nodes),
    )


def _attribute(node: onnx.NodeProto, name: str) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), 0)


def _dropout_trains(node: onnx.NodeProto, stored: dict[str, onnx.TensorProto]) -> bool:
    """Whether the third input, ``training_mode``, is given and not a constant False."""
    if len(node.input) < 3 or not node.input[2]:
        return False
    flag = stored.get(node.input[2])
    return flag is None or bool(onnx.numpy_helper.to_array(flag).any())
